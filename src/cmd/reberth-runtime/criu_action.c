// SPDX-License-Identifier: Apache-2.0
/*
 * criu_action.c - what CRIU's action script runs: tell somebody, wait for the answer
 *
 * `criu-action <socket>` with CRTOOLS_SCRIPT_ACTION in the environment.
 *
 * Fault points: source.criu.pre-dump, .network-lock (tasks seized), .post-dump (all written);
 * target.criu.pre-restore, .pages, .held, .told ("go" was said, "released" not marked),
 * .pre-resume (released, not running yet).
 *
 * Source, socket dump.sock: "<action> <criu pid>"; "go" lets CRIU go on. When the dump server is
 * gone the dump must not succeed, so the end of the connection is a no.
 *
 * Target, action post-setup-namespaces: waits for a file "pages" (or "abort") beside the socket.
 *
 * Target, socket hold.sock, action post-restore: "held <init pid>". The tasks exist, and CRIU
 * waits for us to let them run. Only "go" and "abort" decide; a worker that died is followed by
 * one that recovers, so we connect again and again until one of the two words was said.
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cleanup.h"
#include "dump.h"
#include "err.h"
#include "fault.h"
#include "io.h"
#include "runtime.h"
#include "wait.h"
#include "workdir.h"

enum { RETRY_MS = 20 };

enum answer { ANSWER_GO, ANSWER_ABORT, ANSWER_NONE };

/* @ret_fd: the connection, -EBADF without one; its end tells the other side that we are done */
static enum answer ask(const char *dir, const char *name, const char *line, int *ret_fd)
{
	char reply[64] = "";

	*ret_fd = rb_criu_connect_at(dir, name, NULL);
	if (*ret_fd < 0 || rb_write_all(*ret_fd, line, strlen(line)) < 0 ||
	    rb_read_line(*ret_fd, reply, sizeof(reply), NULL, NULL) <= 0)
		return ANSWER_NONE;
	if (strcmp(reply, "go") == 0)
		return ANSWER_GO;
	return strcmp(reply, "abort") == 0 ? ANSWER_ABORT : ANSWER_NONE;
}

static int source_action(const char *dir, const char *action)
{
	_cleanup_close_ int fd = -EBADF;
	char line[128], point[64];

	snprintf(point, sizeof(point), "source.criu.%s", action);
	if (rb_fault_point(point, NULL, NULL) < 0)
		return 1;
	/* CRIU holds all tasks by now, and has not changed any */
	if (strcmp(action, "network-lock") == 0)
		return 0;
	snprintf(line, sizeof(line), "%s %d\n", action, (int)getppid());
	return ask(dir, "dump.sock", line, &fd) == ANSWER_GO ? 0 : 1;
}

/* From now on the tasks run, or are about to: CRIU holds them by ptrace alone, and were it killed
 * now, they would run. */
static int mark_released(const char *dir)
{
	char path[PATH_MAX];

	if (rb_path(path, sizeof(path), "%s/released", dir) < 0)
		return -ENAMETOOLONG;
	return rb_write_file(path, "", 0, 0600, false, NULL);
}

static int hold(const char *dir)
{
	const char *init = getenv("CRTOOLS_INIT_PID"), *id = strrchr(dir, '/') + 1;
	/* closed when the tasks are marked as released, not before: a worker that hears of our end
	 * must not take them for lost */
	_cleanup_close_ int fd = -EBADF;
	pid_t criu = getppid();
	char line[64];
	enum answer answer;

	/* a CRIU that is killed takes us along: the worker must not go on believing in held tasks
	 */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (rb_fault_point("target.criu.held", NULL, NULL) < 0)
		return 1;
	snprintf(line, sizeof(line), "held %d\n", init ? atoi(init) : 0);
	do {
		/* CRIU or the placeholder was killed: there is nobody to let go any more */
		if (getppid() != criu || rb_criu_placeholder_pid(rb_criu_run_dir(), id) <= 0)
			return 1;
		rb_close_fd(&fd);
		answer = ask(dir, "hold.sock", line, &fd);
		if (answer == ANSWER_NONE)
			rb_wait_ms(RETRY_MS, NULL, NULL);
	} while (answer == ANSWER_NONE);
	if (answer != ANSWER_GO || getppid() != criu ||
	    rb_criu_placeholder_pid(rb_criu_run_dir(), id) <= 0)
		return 1;
	if (rb_fault_point("target.criu.told", NULL, NULL) < 0)
		return 1;
	return mark_released(dir) < 0;
}

/*
 * The namespaces are made and no task has been forked yet: everything so far was done while the
 * pages still travelled. Go on when the worker says that they are here. (Segments of System V were
 * filled before: criu_await_pages().)
 */
static int await_pages(const char *dir)
{
	const char *id = strrchr(dir, '/') + 1;
	char pages[PATH_MAX], abort[PATH_MAX];
	pid_t criu = getppid();

	if (rb_fault_point("target.criu.pages", NULL, NULL) < 0 ||
	    rb_path(pages, sizeof(pages), "%s/pages", dir) < 0 ||
	    rb_path(abort, sizeof(abort), "%s/abort", dir) < 0)
		return 1;
	while (access(pages, F_OK) < 0) {
		if (access(abort, F_OK) == 0 || getppid() != criu ||
		    rb_criu_placeholder_pid(rb_criu_run_dir(), id) <= 0)
			return 1;
		rb_wait_ms(1, NULL, NULL);
	}
	return 0;
}

int runtime_criu_action(int argc, char **argv)
{
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION");
	char dir[PATH_MAX], point[64];
	const char *name;

	if (argc != 3 || !action || !rb_criu_path_valid(argv[2])) {
		fputs("reberth-runtime: criu-action is for CRIU's action script only\n", stderr);
		return 2;
	}
	rb_fault_setup(rb_criu_run_dir());
	snprintf(dir, sizeof(dir), "%s", argv[2]);
	name = strrchr(argv[2], '/') + 1;
	dirname(dir);
	if (strcmp(name, "dump.sock") == 0)
		return source_action(dir, action);
	if (strcmp(action, "post-restore") == 0)
		return hold(dir);
	if (strcmp(action, "post-setup-namespaces") == 0)
		return await_pages(dir);
	snprintf(point, sizeof(point), "target.criu.%s", action);
	return rb_fault_point(point, NULL, NULL) < 0;
}
