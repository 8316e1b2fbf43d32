// SPDX-License-Identifier: Apache-2.0
/*
 * test_arrival.c - the worker's side of an arrival against a placeholder and a script played here
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arrival.h"
#include "err.h"
#include "io.h"
#include "tap.h"
#include "wait.h"
#include "workdir.h"

#define ID "00112233445566778899aabbccddeeff"

static char dir[] = "/tmp/rb-test-arrival-XXXXXX";
static char work_dir[64], arrival_dir[128];

static int say(const char *name, const char *line)
{
	int fd = rb_criu_connect_at(arrival_dir, name, NULL);

	if (fd < 0 || rb_write_all(fd, line, strlen(line)) < 0)
		_exit(9);
	return fd;
}

static void expect(int fd, const char *want)
{
	struct rb_wait wait = rb_wait_within(NULL, 5000);
	char line[64] = "";

	if (rb_read_line(fd, line, sizeof(line), &wait, NULL) <= 0 || strcmp(line, want) != 0)
		_exit(8);
}

/* Return: the placeholder's connection, after its greeting and the worker's first word */
static int begin_to_restore(void)
{
	char line[64];
	int control;

	snprintf(line, sizeof(line), "hello %d waiting\n", (int)getpid());
	control = say("control.sock", line);
	expect(control, "restore");
	(void)!write(control, "restoring\n", 10);
	return control;
}

/* A child that plays a placeholder whose restore ends as @outcome says. */
static pid_t play(const char *outcome, bool with_script)
{
	pid_t pid = fork();
	int control;

	if (pid != 0)
		return pid;
	control = begin_to_restore();
	if (with_script)
		expect(say("hold.sock", "held 4711\n"), "go");
	(void)!write(control, outcome, strlen(outcome));
	pause();
	_exit(0);
}

static struct rb_arrival *open_arrival(void)
{
	struct rb_arrival *a = NULL;
	struct rb_err err = {};

	if (rb_arrival_open(dir, "m1", ID, work_dir, &a, &err) < 0)
		printf("# %s\n", err.msg);
	return a;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void good_restore(void)
{
	struct rb_wait wait = rb_wait_within(NULL, 5000);
	struct rb_arrival *a = open_arrival();
	struct rb_err err = {};
	pid_t pid;
	int got = 0;

	CHECK(a);
	pid = play("restored 4711\n", true);
	CHECK_INT(rb_arrival_wait_placeholder(a, &got, &wait, &err), 0);
	CHECK_INT(got, pid);
	CHECK_INT(rb_arrival_restore(a, &wait, &err), 0);
	CHECK_INT(rb_arrival_wait_held(a, &got, &wait, &err), 0);
	CHECK_INT(got, 4711);
	CHECK_INT(rb_arrival_release(a, true, &wait, &err), 0);
	CHECK_INT(rb_arrival_wait_running(a, &got, &wait, &err), 0);
	CHECK_INT(got, 4711);
	end(pid);
	rb_arrival_close(a, true);
	CHECK(access(arrival_dir, F_OK) < 0);
}

/* A placeholder whose CRIU waits for its images: it stops that when it is told to. */
static pid_t play_waiting(void)
{
	pid_t pid = fork();
	char path[PATH_MAX];
	int control;

	if (pid != 0)
		return pid;
	control = begin_to_restore();
	expect(control, "stop");
	(void)!write(control, "failed CRIU: no images\n", 23);
	expect(control, "restore");
	snprintf(path, sizeof(path), "%s/abort", arrival_dir);
	if (access(path, F_OK) == 0)
		_exit(7);
	(void)!write(control, "restoring\n", 10);
	snprintf(path, sizeof(path), "%s/images", arrival_dir);
	while (access(path, F_OK) < 0)
		usleep(1000);
	expect(say("hold.sock", "held 4712\n"), "go");
	pause();
	_exit(0);
}

static void called_off_and_begun_again(void)
{
	struct rb_wait wait = rb_wait_within(NULL, 5000);
	struct rb_arrival *a = open_arrival();
	struct rb_err err = {};
	pid_t pid;
	int got = 0;

	CHECK(a);
	pid = play_waiting();
	CHECK_INT(rb_arrival_restore(a, &wait, &err), 0);
	/* a second word changes nothing: it would be taken for the next restore's */
	CHECK_INT(rb_arrival_restore(a, &wait, &err), 0);
	CHECK_INT(rb_arrival_call_off(a, &wait, &err), 0);
	CHECK_INT(rb_arrival_restore(a, &wait, &err), 0);
	CHECK_INT(rb_arrival_images(a, &err), 0);
	CHECK_INT(rb_arrival_wait_held(a, &got, &wait, &err), 0);
	CHECK_INT(got, 4712);
	CHECK_INT(rb_arrival_release(a, true, &wait, &err), 0);
	end(pid);
	rb_arrival_close(a, true);
}

static void failed_restore(void)
{
	struct rb_wait wait = rb_wait_within(NULL, 5000);
	struct rb_arrival *a = open_arrival();
	struct rb_err err = {};
	pid_t pid;
	int got;

	CHECK(a);
	pid = play("failed CRIU: Error (x.c:1): no\n", false);
	CHECK_INT(rb_arrival_restore(a, &wait, &err), 0);
	CHECK_INT(rb_arrival_wait_held(a, &got, &wait, &err), -EIO);
	CHECK_INT(err.code, RB_E_CRIU);
	CHECK_STR(err.msg, "CRIU: Error (x.c:1): no");
	end(pid);
	rb_arrival_close(a, true);
}

static void killed_placeholder(void)
{
	struct rb_wait wait = rb_wait_within(NULL, 5000);
	struct rb_arrival *a = open_arrival();
	struct rb_err err = {};
	pid_t pid;
	int got;

	CHECK(a);
	pid = play("", false);
	CHECK_INT(rb_arrival_restore(a, &wait, &err), 0);
	end(pid);
	CHECK_INT(rb_arrival_wait_held(a, &got, &wait, &err), -EIO);
	CHECK_INT(err.code, RB_E_CRIU);
	rb_arrival_close(a, true);
}

static void worker_recovers(void)
{
	struct rb_wait wait = rb_wait_within(NULL, 5000);
	struct rb_arrival *a = open_arrival();
	struct rb_err err = {};
	char line[64];
	int control, got = 0;

	CHECK(a);
	rb_arrival_close(a, false);
	CHECK_INT(rb_criu_connect_at(arrival_dir, "control.sock", NULL), -ECONNREFUSED);
	a = open_arrival();
	CHECK(a);
	snprintf(line, sizeof(line), "hello %d restored\nrestored 99\n", (int)getpid());
	control = say("control.sock", line);
	CHECK_INT(rb_arrival_wait_running(a, &got, &wait, &err), 0);
	CHECK_INT(got, 99);
	close(control);
	rb_arrival_close(a, true);
}

/* by running the script that CRIU runs */
static void act(const char *action)
{
	char command[512];

	snprintf(command, sizeof(command), "CRTOOLS_SCRIPT_ACTION=%s %s/action.sh", action,
		 work_dir);
	CHECK_INT(system(command), 0);
}

static void tasks_resume_before_runc_ends(void)
{
	struct rb_wait brief = rb_wait_within(NULL, 50), wait = rb_wait_within(NULL, 5000);
	struct rb_arrival *a = open_arrival();
	struct rb_err err = {};
	int got;

	CHECK(a);
	act("network-unlock");
	CHECK_INT(rb_arrival_wait_resumed(a, &brief, &err), -ETIMEDOUT);
	act("post-resume");
	CHECK_INT(rb_arrival_wait_resumed(a, &wait, &err), 0);
	brief = rb_wait_within(NULL, 50);
	CHECK_INT(rb_arrival_wait_running(a, &got, &brief, &err), -ETIMEDOUT);
	rb_arrival_close(a, true);
}

static void nobody_comes(void)
{
	struct rb_wait wait = rb_wait_within(NULL, 50);
	struct rb_arrival *a = open_arrival();
	struct rb_err err = {};
	int got;

	CHECK(a);
	CHECK_INT(rb_arrival_wait_placeholder(a, &got, &wait, &err), -ETIMEDOUT);
	CHECK_INT(rb_arrival_open(dir, "m1", "../x", work_dir, &a, &err), -EINVAL);
	rb_arrival_forget(dir, ID);
	CHECK(access(arrival_dir, F_OK) < 0);
	rb_arrival_close(a, false);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	/* nothing here runs it, but the action script names it */
	setenv("REBERTH_RUNTIME", "/bin/true", 1);
	snprintf(work_dir, sizeof(work_dir), "%s/work", dir);
	snprintf(arrival_dir, sizeof(arrival_dir), "%s/arrivals/" ID, dir);
	TAP_RUN(good_restore);
	TAP_RUN(called_off_and_begun_again);
	TAP_RUN(failed_restore);
	TAP_RUN(killed_placeholder);
	TAP_RUN(worker_recovers);
	TAP_RUN(tasks_resume_before_runc_ends);
	TAP_RUN(nobody_comes);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
