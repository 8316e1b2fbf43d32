// SPDX-License-Identifier: Apache-2.0
/*
 * test_action.c - CRIU's action script, done by CRIU itself (criu_act.c)
 *
 * `test_action LIBRARY` starts itself again with the library preloaded, and runs the script as CRIU
 * does. The script itself only says that it was run. The other ends of the sockets are played by
 * processes that the test forks, which do what is said to them and end with status 0 if all that
 * they heard was right.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "folder.h"
#include "io.h"
#include "tap.h"
#include "wait.h"
#include "workdir.h"

enum { IS_SCRIPT = 42 };

static bool there(const char *name)
{
	return access(in(name), F_OK) == 0;
}

static void make(const char *name)
{
	CHECK_INT(rb_write_file(in(name), "", 0, 0600, false, NULL), 0);
}

static int status_of(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* as CRIU's cr_system() */
static int run_script(const char *action)
{
	pid_t pid;

	setenv("CRTOOLS_SCRIPT_ACTION", action, 1);
	pid = fork();
	if (pid == 0) {
		const char *argv[] = { "action.sh", NULL };

		execvp(in("action.sh"), (char *const *)argv);
		_exit(99);
	}
	unsetenv("CRTOOLS_SCRIPT_ACTION");
	return status_of(pid);
}

static bool write_list(const char *actions, const char *socket, const char *resumed)
{
	char list[512];

	snprintf(list, sizeof(list), " %s \n%s\n%s\n%s\n", actions, in("faults"), in(socket),
		 resumed);
	return rb_write_file(in("action.list"), list, strlen(list), 0600, false, NULL) == 0;
}

/* At the other end of @socket: hears @want and answers @answers one after the other, each in a
 * connection of its own; "" ends it without one. @mark: has to be there when the last one ends */
static pid_t play(const char *socket, const char *want, const char *const *answers,
		  const char *mark)
{
	_cleanup_close_ int listen_fd = rb_criu_listen_at(top, socket, NULL);
	struct rb_wait wait = rb_wait_within(NULL, 5000);
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	for (; *answers; answers++) {
		_cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		char line[64] = "", c;

		if (rb_read_line(fd, line, sizeof(line), &wait, NULL) <= 0 ||
		    strcmp(line, want) != 0)
			_exit(1);
		(void)!write(fd, *answers, strlen(*answers));
		if (!answers[1] && mark && (read(fd, &c, 1) != 0 || !there(mark)))
			_exit(2);
	}
	_exit(0);
}

static const char *const go[] = { "go\n", NULL }, *const no[] = { "abort\n", NULL },
			 *const nothing[] = { "", NULL }, *const half[] = { "go", NULL },
			 *const at_last[] = { "", "what\n", "go\n", NULL };

static void server_decides(void)
{
	const struct {
		const char *const *answers;
		int status;
	} cases[] = { { go, 0 }, { no, 1 }, { nothing, 1 }, { half, 1 } };
	char want[64];

	CHECK(write_list("pre-dump post-dump", "dump.sock", ""));
	snprintf(want, sizeof(want), "post-dump %d", (int)getpid());
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		pid_t server = play("dump.sock", want, cases[i].answers, NULL);

		CHECK_INT(run_script("post-dump"), cases[i].status);
		CHECK_INT(status_of(server), 0);
	}
	/* nobody there */
	CHECK_INT(run_script("post-dump"), 1);
}

static void others(void)
{
	CHECK(write_list("pre-dump post-dump", "dump.sock", in("resumed")));
	CHECK_INT(run_script("network-lock"), 0);
	CHECK(!there("resumed"));
	CHECK_INT(run_script("post-resume"), 0);
	CHECK(there("resumed"));
	/* that one is not urgent */
	CHECK_INT(run_script("pre-dump"), IS_SCRIPT);
}

static void pages_come(void)
{
	pid_t worker;

	CHECK(write_list("post-setup-namespaces post-restore", "hold.sock", ""));
	worker = fork();
	if (worker == 0) {
		usleep(50000);
		_exit(rb_write_file(in("pages"), "", 0, 0600, false, NULL) < 0);
	}
	CHECK_INT(run_script("post-setup-namespaces"), 0);
	CHECK(there("pages"));
	CHECK_INT(status_of(worker), 0);
	unlink(in("pages"));
	make("abort");
	CHECK_INT(run_script("post-setup-namespaces"), 1);
	unlink(in("abort"));
}

static void held_until_go(void)
{
	pid_t worker;

	CHECK(write_list("post-setup-namespaces post-restore", "hold.sock", ""));
	setenv("CRTOOLS_INIT_PID", "4711", 1);
	/* the first one is killed, and the second says what nobody understands */
	worker = play("hold.sock", "held 4711", at_last, "released");
	CHECK_INT(run_script("post-restore"), 0);
	CHECK_INT(status_of(worker), 0);
	CHECK(there("released"));
	unlink(in("released"));
	worker = play("hold.sock", "held 4711", no, NULL);
	CHECK_INT(run_script("post-restore"), 1);
	CHECK_INT(status_of(worker), 0);
	CHECK(!there("released"));
}

/* The arrival is forgotten while nobody listens: its tasks are not let go. */
static void held_for_nobody(void)
{
	char kept[PATH_MAX];
	pid_t worker;

	CHECK(write_list("post-restore", "arrival/hold.sock", ""));
	CHECK_INT(mkdir(in("arrival"), 0700), 0);
	snprintf(kept, sizeof(kept), "%s", in("arrival"));
	worker = fork();
	if (worker == 0) {
		usleep(50000);
		_exit(rmdir(kept) < 0);
	}
	CHECK_INT(run_script("post-restore"), 1);
	CHECK_INT(status_of(worker), 0);
}

/* with fault points the script itself is asked */
static void faults(void)
{
	CHECK(write_list("pre-dump post-dump", "dump.sock", ""));
	make("faults");
	CHECK_INT(run_script("post-dump"), IS_SCRIPT);
	CHECK_INT(run_script("network-lock"), IS_SCRIPT);
	unlink(in("faults"));
}

/* other processes are waited for as ever */
static void processes(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(7);
	CHECK_INT(status_of(pid), 7);
}

int main(int argc, char **argv)
{
	static const char script[] = "#!/bin/sh\nexit 42\n";

	if (argc == 2) {
		setenv("LD_PRELOAD", argv[1], 1);
		execl("/proc/self/exe", argv[0], argv[1], "again", NULL);
		return 1;
	}
	unsetenv("LD_PRELOAD");
	if (!mkdtemp(top) ||
	    rb_write_file(in("action.sh"), script, strlen(script), 0755, false, NULL) < 0)
		return 1;
	setenv("REBERTH_ACTIONS", in("action.list"), 1);
	TAP_RUN(server_decides);
	TAP_RUN(others);
	TAP_RUN(pages_come);
	TAP_RUN(held_until_go);
	TAP_RUN(held_for_nobody);
	TAP_RUN(faults);
	TAP_RUN(processes);
	rb_rm_rf(top, NULL);
	return tap_done();
}
