// SPDX-License-Identifier: Apache-2.0
/*
 * test_containerd.c - what containerd answers about a snapshot, and which file system that is
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "cleanup.h"
#include "containerd.h"
#include "engine.h"
#include "err.h"
#include "json.h"
#include "tap.h"

/* one field of a message whose length fits into seven bits */
static size_t put(uint8_t *at, uint8_t number, const void *data, size_t len)
{
	at[0] = (uint8_t)(number << 3 | 2);
	at[1] = (uint8_t)len;
	memcpy(at + 2, data, len);
	return len + 2;
}

/* as containerd 1.7 answers, but for shorter paths */
static size_t make_answer(uint8_t ret[256], const char *type, const char *const *options)
{
	uint8_t mount[128];
	size_t n = put(mount, 1, type, strlen(type)), len;

	n += put(mount + n, 2, "overlay", 7);
	for (; *options; options++)
		n += put(mount + n, 4, *options, strlen(*options));
	len = put(ret + 5, 1, mount, n);
	memset(ret, 0, 4);
	ret[4] = (uint8_t)len;
	return len + 5;
}

static const char *const overlay[] = { "index=off", "workdir=/s/41/work", "upperdir=/s/41/fs",
				       "lowerdir=/s/40/fs:/s/1/fs", NULL };

static void upper_is_found(void)
{
	uint8_t answer[256];
	size_t len = make_answer(answer, "overlay", overlay);
	struct rb_err err = {};
	char upper[PATH_MAX];

	CHECK_INT(rb_containerd_parse(answer, len, upper, sizeof(upper), &err), 0);
	CHECK_STR(upper, "/s/41/fs");
}

static void what_is_no_overlay_is_refused(void)
{
	uint8_t answer[256];
	size_t len = make_answer(answer, "bind", (const char *const[]){ "rw", "rbind", NULL });
	struct rb_err err = {};
	char upper[PATH_MAX];

	CHECK_INT(rb_containerd_parse(answer, len, upper, sizeof(upper), &err), -ENOTSUP);
	CHECK_INT(err.code, RB_E_REFUSED);
	/* read-only: there is no upper folder */
	len = make_answer(answer, "overlay", (const char *const[]){ "lowerdir=/a:/b", NULL });
	CHECK_INT(rb_containerd_parse(answer, len, upper, sizeof(upper), &err), -ENOTSUP);
	len = make_answer(answer, "overlay", (const char *const[]){ "upperdir=41/fs", NULL });
	CHECK_INT(rb_containerd_parse(answer, len, upper, sizeof(upper), &err), -EPROTO);
}

static void what_is_no_answer_is_an_error(void)
{
	uint8_t answer[256];
	size_t len = make_answer(answer, "overlay", overlay);
	struct rb_err err = {};
	char upper[PATH_MAX];

	for (size_t short_len = 0; short_len < len; short_len++)
		CHECK_INT(rb_containerd_parse(answer, short_len, upper, sizeof(upper), &err),
			  -EPROTO);
	answer[0] = 1; /* packed */
	CHECK_INT(rb_containerd_parse(answer, len, upper, sizeof(upper), &err), -EPROTO);
	answer[0] = 0;
	answer[6]++; /* a field that is longer than the message */
	CHECK_INT(rb_containerd_parse(answer, len, upper, sizeof(upper), &err), -EPROTO);
	CHECK_INT(rb_containerd_parse("\0\0\0\0\0", 5, upper, sizeof(upper), &err), -EPROTO);
}

static int find(const char *inspect_text, const char *info_text, struct rb_rootfs *ret,
		struct rb_err *err)
{
	_cleanup_json_ json_t *inspect = json_loads(inspect_text, 0, NULL);
	_cleanup_json_ json_t *info = json_loads(info_text, 0, NULL);

	return rb_engine_rootfs(inspect, info, ret, NULL, err);
}

static void stores(void)
{
	static const char snapshotter[] =
		"{'DriverStatus': [['driver-type', 'io.containerd.snapshotter.v1']],"
		" 'Containerd': {'Address': '/nowhere/containerd.sock'}}";
	char info[256];
	struct rb_rootfs rootfs;
	struct rb_err err = {};

	snprintf(info, sizeof(info), "%s", snapshotter);
	for (char *c = info; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	CHECK_INT(find("{\"Driver\": \"overlay2\", \"GraphDriver\": {\"Data\": {\"UpperDir\": "
		       "\"/d/1/diff\", "
		       "\"MergedDir\": \"/d/1/merged\"}}}",
		       "{\"DriverStatus\": [[\"Backing Filesystem\", \"extfs\"]]}", &rootfs, &err),
		  0);
	CHECK_STR(rootfs.upper, "/d/1/diff");
	CHECK_STR(rootfs.merged, "/d/1/merged");
	CHECK_INT(find("{\"Driver\": \"vfs\", \"GraphDriver\": {\"Data\": null}}", "{}", &rootfs,
		       &err),
		  -ENOTSUP);
	CHECK_INT(find("{\"Driver\": \"btrfs\", \"Id\": \"1\"}", info, &rootfs, &err), -ENOTSUP);
	/* never "no such container", which would be gone then */
	CHECK_INT(find("{\"Driver\": \"overlayfs\", \"Id\": \"1\"}", info, &rootfs, &err),
		  -ECONNREFUSED);
	CHECK_STR(err.msg,
		  "where the container's files are: containerd does not answer at "
		  "'/nowhere/containerd.sock': No such file or directory; is containerd running?");
}

int main(void)
{
	TAP_RUN(upper_is_found);
	TAP_RUN(what_is_no_overlay_is_refused);
	TAP_RUN(what_is_no_answer_is_an_error);
	TAP_RUN(stores);
	return tap_done();
}
