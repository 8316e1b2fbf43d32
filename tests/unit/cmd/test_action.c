// SPDX-License-Identifier: Apache-2.0
/*
 * test_action.c - CRIU's action script, done by the process that CRIU forked for it
 *
 * `test_action LIBRARY` starts itself again with the library preloaded, and calls the script as
 * CRIU does. The script itself and the program that it would start only say that they were.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "tap.h"
#include "workdir.h"

enum { IS_SCRIPT = 42, IS_PROGRAM = 43 };

static char dir[] = "/tmp/test_action.XXXXXX";

static const char *in(const char *name)
{
	static char paths[4][128];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static pid_t start(const char *action)
{
	pid_t pid = fork();

	if (pid == 0) {
		const char *argv[] = { "action.sh", NULL };

		setenv("CRTOOLS_SCRIPT_ACTION", action, 1);
		execvp(in("action.sh"), (char *const *)argv);
		_exit(99);
	}
	return pid;
}

static int end(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* What becomes of "post-dump" when the server says this; @ret_line: what it was told */
static int answer(const char *text, char *ret_line, size_t size)
{
	_cleanup_close_ int listen_fd = rb_criu_listen_at(dir, "dump.sock", NULL), fd = -EBADF;
	pid_t pid = start("post-dump");

	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	rb_read_line(fd, ret_line, size, NULL, NULL);
	(void)!write(fd, text, strlen(text));
	rb_close_fd(&fd);
	return end(pid);
}

static void server_decides(void)
{
	char line[64] = "", want[64];

	snprintf(want, sizeof(want), "post-dump %d", (int)getpid());
	CHECK_INT(answer("go\n", line, sizeof(line)), 0);
	CHECK_STR(line, want);
	CHECK_INT(answer("abort\n", line, sizeof(line)), 1);
	CHECK_INT(answer("", line, sizeof(line)), 1);
	CHECK_INT(answer("go", line, sizeof(line)), 1);
	/* nobody there */
	CHECK_INT(end(start("post-dump")), 1);
}

static void others(void)
{
	CHECK_INT(end(start("pre-dump")), IS_PROGRAM);
	CHECK_INT(end(start("network-lock")), 0);
}

/* with fault points the script itself is asked */
static void faults(void)
{
	CHECK_INT(rb_write_file(in("faults"), "", 0, 0600, false, NULL), 0);
	CHECK_INT(end(start("post-dump")), IS_SCRIPT);
	unlink(in("faults"));
}

static bool write_script(const char *name, int status)
{
	char text[64];

	snprintf(text, sizeof(text), "#!/bin/sh\nexit %d\n", status);
	return rb_write_file(in(name), text, strlen(text), 0755, false, NULL) == 0;
}

int main(int argc, char **argv)
{
	char list[512];

	if (argc == 2) {
		setenv("LD_PRELOAD", argv[1], 1);
		execl("/proc/self/exe", argv[0], argv[1], "again", NULL);
		return 1;
	}
	unsetenv("LD_PRELOAD");
	if (!mkdtemp(dir))
		return 1;
	snprintf(list, sizeof(list), " pre-dump post-dump \n%s\n%s\n%s\n\n", in("faults"),
		 in("program"), in("dump.sock"));
	if (!write_script("action.sh", IS_SCRIPT) || !write_script("program", IS_PROGRAM) ||
	    rb_write_file(in("action.list"), list, strlen(list), 0600, false, NULL) < 0)
		return 1;
	TAP_RUN(server_decides);
	TAP_RUN(others);
	TAP_RUN(faults);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
