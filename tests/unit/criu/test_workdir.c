// SPDX-License-Identifier: Apache-2.0
/*
 * test_workdir.c - what is taken as an id and as a path, and what is found in CRIU's log
 */
#include <stdlib.h>
#include <unistd.h>

#include "dump.h"
#include "err.h"
#include "io.h"
#include "tap.h"
#include "workdir.h"

static char dir[] = "/tmp/rb-test-workdir-XXXXXX";

static void ids(void)
{
	CHECK(rb_criu_id_valid("0123456789abcdef"));
	CHECK(!rb_criu_id_valid(""));
	CHECK(!rb_criu_id_valid("../../etc"));
	CHECK(!rb_criu_id_valid("ABC"));
	CHECK(!rb_criu_id_valid(
		"00000000000000000000000000000000000000000000000000000000000000000"));
}

static void paths(void)
{
	CHECK(rb_criu_path_valid("/var/lib/reberth/m-1/work"));
	CHECK(!rb_criu_path_valid("var/lib"));
	CHECK(!rb_criu_path_valid("/tmp/a'b"));
	CHECK(!rb_criu_path_valid("/tmp/a b"));
	CHECK(!rb_criu_path_valid("/tmp/a\nb"));
}

static void log_error(void)
{
	static const char log[] =
		"(00.01) Running pre-dump scripts\n"
		"(00.02) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: no\n"
		"(00.03) Error (criu/sk-inet.c:188): inet: In-flight connection (l) found\n"
		"(00.04) Error (criu/cr-dump.c:2098): Dumping FAILED.\n";
	char path[64], line[200];

	snprintf(path, sizeof(path), "%s/dump.log", dir);
	CHECK_INT(rb_write_file(path, log, sizeof(log) - 1, 0600, false, NULL), 0);
	rb_criu_log_error(path, line, sizeof(line));
	CHECK_STR(line, "CRIU: Error (criu/sk-inet.c:188): inet: In-flight connection (l) found");
	rb_criu_log_error("/nonexistent", line, sizeof(line));
	CHECK_STR(line, "");
}

static void config(void)
{
	struct rb_buf text = {};
	char path[64];

	CHECK_INT(rb_criu_write_config(dir, "external net[1]:extRootNetNS\n", NULL), 0);
	snprintf(path, sizeof(path), "%s/criu.conf", dir);
	CHECK_INT(rb_read_file(path, 0, &text, NULL), 0);
	CHECK(strstr(text.data, "\nmanage-cgroups=ignore\n"));
	CHECK(strstr(text.data, "\nexternal net[1]:extRootNetNS\n"));
	rb_buf_free(&text);
}

static void long_socket_paths(void)
{
	char deep[400];
	int fd, peer;

	snprintf(deep, sizeof(deep), "%s/%0100d/%0100d", dir, 1, 2);
	CHECK_INT(rb_mkdir_p(deep, 0700, NULL), 0);
	fd = rb_criu_listen_at(deep, "a.sock", NULL);
	CHECK(fd >= 0);
	peer = rb_criu_connect_at(deep, "a.sock", NULL);
	CHECK(peer >= 0);
	close(peer);
	close(fd);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	TAP_RUN(ids);
	TAP_RUN(paths);
	TAP_RUN(log_error);
	TAP_RUN(config);
	TAP_RUN(long_socket_paths);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
