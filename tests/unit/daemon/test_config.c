// SPDX-License-Identifier: Apache-2.0
/*
 * test_config.c - what is wrong in the configuration is said when it is read
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "io.h"
#include "tap.h"

static char folder[64] = "/tmp/reberth-config-XXXXXX";

/* a configuration with @more */
static int load(const char *more, struct rb_err *err)
{
	struct rb_config config = {};
	char path[128], text[512];
	int r;

	snprintf(path, sizeof(path), "%s/reberth.json", folder);
	snprintf(text, sizeof(text),
		 "{\"node\":\"h1\",\"listen\":\"0.0.0.0:7480\",\"nodes\":{},"
		 "\"tls\":{\"ca\":\"a\",\"cert\":\"b\",\"key\":\"c\"}%s}",
		 more);
	rb_write_file(path, text, strlen(text), 0600, false, NULL);
	r = rb_config_load(path, &config, err);
	if (r >= 0)
		json_decref(config.json);
	return r;
}

static void folders_for_bind_mounts(void)
{
	static const char *const wrong[] = { "\"/srv\"", "[\"srv\"]", "[\"\"]", "[7]",
					     "[\"/a\",\"b\"]" };

	CHECK_INT(load("", NULL), 0);
	CHECK_INT(load(",\"allow_bind\":[]", NULL), 0);
	CHECK_INT(load(",\"allow_bind\":[\"/srv\", \"/data/\"]", NULL), 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char more[64];
		struct rb_err err = {};

		snprintf(more, sizeof(more), ",\"allow_bind\":%s", wrong[i]);
		CHECK_INT(load(more, &err), -EINVAL);
		CHECK(strstr(err.msg, "\"allow_bind\" must be a list of folders"));
	}
}

int main(void)
{
	if (!mkdtemp(folder))
		return 99;
	TAP_RUN(folders_for_bind_mounts);
	rb_rm_rf(folder, NULL);
	return tap_done();
}
