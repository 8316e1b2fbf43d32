// SPDX-License-Identifier: Apache-2.0
/*
 * criu_dump.c - the dump server: runs `runc checkpoint`, and stands behind CRIU in case it is
 * killed
 *
 * `criu-dump <work_dir> <container id> <freezer folder> <worker pid>` returns once CRIU waits in
 * its pre-dump action, and leaves the server in the background. dump.c has the lines spoken.
 *
 * The server is CRIU's tracer, only to be told of its death in time: a process that exits stops in
 * PTRACE_EVENT_EXIT *before* the kernel takes the tasks from it that it traces itself, after
 * SIGKILL too. At that moment the server freezes the cgroup. Then CRIU may go; its tasks do not
 * run but stay frozen, and are cured (cure.h). Without this they would run on at once: into a trap
 * instruction, in the worst case.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "cure.h"
#include "dump.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "proc.h"
#include "runtime.h"
#include "smaps.h"
#include "wait.h"
#include "workdir.h"

enum {
	PIDS_MAX = 4096,
	BIG_PAGES = 4096,  /* of which the kernel takes a while to count them all */
	LINE_MS = 2000,	   /* a client that connected says its line within */
	FREEZE_MS = 10000, /* freezing tasks that CRIU holds */
	HURRY_NICE = -15,  /* as the worker's, while the container stands still */
};

enum phase { STARTING, PARKED, DUMPING, FROZEN };

struct server {
	const char *work_dir, *id, *freezer;
	enum phase phase;
	int listen_fd, signal_fd;
	int ready_fd;  /* pipe to the process that the worker waits for; closed when parked */
	int action_fd; /* CRIU's action script, waiting */
	int client_fd; /* the worker, waiting for the end of the dump or of us */
	int worker_pidfd;
	struct rb_child runc;
	bool runc_ended;
	int runc_status;
	pid_t criu;    /* traced while not 0 */
	bool stopping; /* the worker does not want the dump any more */
	struct rb_cure *cure;
	struct rb_smaps *smaps; /* NULL: CRIU reads the kernel's own */
	struct rb_err err;	/* the first thing that went wrong */
};

static void reply(int *fd, const char *text)
{
	if (*fd >= 0)
		(void)!send(*fd, text, strlen(text), MSG_NOSIGNAL);
	rb_close_fd(fd);
}

/* The worker's process in the foreground passes the message on; an empty one means success. */
static void report_ready(struct server *s, const char *message)
{
	if (s->ready_fd >= 0)
		(void)!write(s->ready_fd, message, strlen(message));
	rb_close_fd(&s->ready_fd);
}

static void fail(struct server *s, const struct rb_err *err)
{
	if (s->err.code == RB_OK)
		s->err = *err;
}

static void stop(struct server *s)
{
	s->stopping = true;
	reply(&s->action_fd, "abort\n");
	if (s->criu > 0)
		kill(s->criu, SIGKILL);
	if (!s->runc_ended)
		kill(s->runc.pid, SIGKILL);
}

/* "<size> <resident> ..." */
static bool is_big(pid_t pid)
{
	_cleanup_buf_ struct rb_buf text = {};
	unsigned long resident = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	return rb_read_file(path, 0, &text, NULL) == 0 &&
	       sscanf(text.data, "%*u %lu", &resident) == 1 && resident >= BIG_PAGES;
}

/* The tasks stand still, and their mappings stay as they are until CRIU has looked at them. Where
 * this fails CRIU reads what the kernel has, which takes longer. */
static void write_smaps(struct server *s)
{
	pid_t pids[PIDS_MAX];
	int n = s->smaps ? rb_freezer_pids(s->freezer, pids, PIDS_MAX, NULL) : 0;

	for (int i = 0; i < n && i < PIDS_MAX; i++) {
		char path[PATH_MAX];

		if (is_big(pids[i]) &&
		    rb_path(path, sizeof(path), "%s/skip/%d.smaps", s->work_dir, (int)pids[i]) == 0)
			rb_smaps_write(s->smaps, pids[i], path, NULL);
	}
}

/* Who is wanted for the dump goes before others: runc answers CRIU, in the same process group, and
 * all that CRIU starts inherits it. All of them end with the dump. */
static void hurry(const struct server *s)
{
	setpriority(PRIO_PROCESS, 0, HURRY_NICE);
	setpriority(PRIO_PGRP, (id_t)s->runc.pid, HURRY_NICE);
	setpriority(PRIO_PROCESS, (id_t)s->criu, HURRY_NICE);
}

/* The worker froze the container: note how its tasks are now, and let CRIU begin. */
/* The worker takes its last look at the memory while CRIU works, and our library has CRIU wait for
 * that: it must really be in it. */
static bool is_not_held(const struct server *s)
{
	_cleanup_buf_ struct rb_buf maps = {};
	char path[PATH_MAX];

	if (rb_path(path, sizeof(path), "%s/skip/lock", s->work_dir) < 0 || access(path, F_OK) < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)s->criu);
	return rb_read_file(path, 0, &maps, NULL) < 0 || !strstr(maps.data, "/reberth-criu.so");
}

static void begin(struct server *s, int fd)
{
	struct rb_wait wait = rb_wait_within(NULL, FREEZE_MS);
	struct rb_err err = {};

	rb_close_fd(&s->client_fd);
	s->client_fd = fd;
	if (s->phase != PARKED) {
		reply(&s->client_fd, "failed 16 the dump has begun already\n");
		return;
	}
	if (is_not_held(s)) {
		rb_err_code(&err, RB_E_CRIU, -ENOTSUP,
			    "CRIU runs without reberth-criu.so (is it linked statically?); use "
			    "--strategy cold");
		fail(s, &err);
		reply(&s->action_fd, "abort\n");
		return;
	}
	hurry(s);
	if (rb_cure_snapshot(s->freezer, &wait, &s->cure, &err) < 0) {
		fail(s, &err);
		reply(&s->action_fd, "abort\n");
		return;
	}
	write_smaps(s);
	s->phase = DUMPING;
	reply(&s->action_fd, "go\n");
}

/* CRIU calls before the first task is touched. From now on its death is seen. */
static void park(struct server *s, int fd, pid_t criu)
{
	if (s->phase != STARTING || criu <= 1 ||
	    ptrace(PTRACE_SEIZE, criu, NULL, (void *)(long)PTRACE_O_TRACEEXIT) < 0) {
		reply(&fd, "abort\n");
		return;
	}
	s->criu = criu;
	s->action_fd = fd;
	s->phase = PARKED;
	report_ready(s, "");
}

/* CRIU has all it wants and holds the tasks by ptrace: they must be frozen before it lets go. */
static void refreeze(struct server *s, int fd)
{
	struct rb_wait wait = rb_wait_within(NULL, FREEZE_MS);
	struct rb_err err = {};

	if (s->phase != DUMPING || rb_freezer_freeze(s->freezer, &wait, &err) < 0) {
		fail(s, &err);
		reply(&fd, "abort\n");
		return;
	}
	s->phase = FROZEN;
	reply(&fd, "go\n");
}

static void accept_line(struct server *s)
{
	struct rb_wait wait = rb_wait_within(NULL, LINE_MS);
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	char line[128] = "";
	int pid = 0;

	if (fd < 0)
		return;
	if (rb_read_line(fd, line, sizeof(line), &wait, NULL) <= 0)
		rb_close_fd(&fd);
	else if (sscanf(line, "pre-dump %d", &pid) == 1)
		park(s, fd, pid);
	else if (sscanf(line, "post-dump %d", &pid) == 1 && pid == s->criu)
		refreeze(s, fd);
	else if (strcmp(line, "dump") == 0)
		begin(s, fd);
	else if (strcmp(line, "stop") == 0) {
		rb_close_fd(&s->client_fd);
		s->client_fd = fd;
		stop(s);
	} else
		reply(&fd, "abort\n");
}

/* CRIU is about to leave. Tasks that hang on it still must not run when it is gone. */
static void before_exit(struct server *s)
{
	struct rb_wait wait = rb_wait_within(NULL, FREEZE_MS);

	if (s->phase >= DUMPING)
		rb_freezer_freeze(s->freezer, &wait, NULL);
}

/* A CRIU that ends well has put everything back, and the worker need not wait for runc, which has
 * nothing more to do than to hear of it. */
static void after_exit(struct server *s, int status)
{
	struct rb_wait wait = rb_wait_within(NULL, FREEZE_MS);
	bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	struct rb_err err = {};

	s->criu = 0;
	if (s->phase >= DUMPING && !good && rb_cure_apply(s->cure, s->freezer, &wait, &err) < 0)
		fail(s, &err);
	if (s->phase == FROZEN && good)
		reply(&s->client_fd, "ok\n");
}

static void criu_stopped(struct server *s, int status)
{
	int event = status >> 16, signal = WSTOPSIG(status);

	if (event == PTRACE_EVENT_EXIT)
		before_exit(s);
	if (event == PTRACE_EVENT_STOP && signal != SIGTRAP)
		ptrace(PTRACE_LISTEN, s->criu, NULL, NULL);
	else
		ptrace(PTRACE_CONT, s->criu, NULL, (void *)(long)(event ? 0 : signal));
}

static void reap(struct server *s)
{
	struct signalfd_siginfo info;
	int status;

	(void)!read(s->signal_fd, &info, sizeof(info));
	while (s->criu > 0 && waitpid(s->criu, &status, __WALL | WNOHANG) == s->criu) {
		if (WIFSTOPPED(status))
			criu_stopped(s, status);
		else
			after_exit(s, status);
	}
	if (!s->runc_ended && waitpid(s->runc.pid, &status, WNOHANG) == s->runc.pid) {
		s->runc_ended = true;
		s->runc_status = status;
		rb_close_fd(&s->runc.pidfd);
		/* without runc CRIU gets no answers; it would find out, but when? */
		if (s->criu > 0 && s->phase != FROZEN)
			kill(s->criu, SIGKILL);
	}
}

static int start_runc(struct server *s, struct rb_err *err)
{
	char runc[PATH_MAX], root[PATH_MAX], images[PATH_MAX], work[PATH_MAX], log[PATH_MAX];
	char env_path[8192];
	const char *const env[] = { rb_criu_env_path(s->work_dir, env_path, sizeof(env_path)),
				    NULL };
	const char *const argv[] = { runc,
				     "--root",
				     root,
				     "checkpoint",
				     "--leave-running",
				     "--tcp-established",
				     "--file-locks",
				     "--image-path",
				     images,
				     "--work-path",
				     work,
				     s->id,
				     NULL };
	_cleanup_close_ int log_fd = -EBADF;
	int r = rb_criu_find_program("runc", runc, sizeof(runc), err);

	if (r < 0)
		return r;
	if (rb_path(root, sizeof(root), "%s/runc", s->work_dir) < 0 ||
	    rb_path(images, sizeof(images), "%s/images", s->work_dir) < 0 ||
	    rb_path(work, sizeof(work), "%s/work", s->work_dir) < 0 ||
	    rb_path(log, sizeof(log), "%s/work/runc.log", s->work_dir) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "use work folder '%s'", s->work_dir);
	log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (log_fd < 0)
		return rb_err_set(err, -errno, "create '%s'", log);
	return rb_spawn(&(struct rb_spawn){ .argv = argv,
					    .env = env,
					    .stderr_fd = log_fd,
					    .new_session = true,
					    .die_with_us = true },
			&s->runc, err);
}

static void conclude(struct server *s)
{
	char text[sizeof(s->err.msg) + 32];
	bool good = s->phase == FROZEN && WIFEXITED(s->runc_status) && !WEXITSTATUS(s->runc_status);

	if (good || s->stopping) {
		report_ready(s, "stopped");
		reply(&s->client_fd, "ok\n");
		return;
	}
	if (s->err.code == RB_OK)
		rb_criu_explain(s->work_dir, "dump.log", s->runc_status, &s->err);
	report_ready(s, s->err.msg);
	snprintf(text, sizeof(text), "failed %d %s\n", s->err.errnum > 0 ? s->err.errnum : EIO,
		 s->err.msg);
	reply(&s->client_fd, text);
}

static void serve(struct server *s)
{
	while (!s->runc_ended || s->criu > 0) {
		struct pollfd fds[] = { { .fd = s->listen_fd, .events = POLLIN },
					{ .fd = s->signal_fd, .events = POLLIN },
					{ .fd = s->worker_pidfd, .events = POLLIN } };

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
			continue;
		if (fds[1].revents)
			reap(s);
		if (fds[0].revents)
			accept_line(s);
		if (fds[2].revents) {
			rb_close_fd(&s->worker_pidfd);
			stop(s);
		}
	}
	conclude(s);
}

static int prepare(struct server *s, pid_t worker, struct rb_err *err)
{
	char path[PATH_MAX];
	sigset_t mask;
	int lock_fd, r = rb_path(path, sizeof(path), "%s/dump.lock", s->work_dir);

	if (r < 0)
		return rb_err_set(err, r, "use work folder '%s'", s->work_dir);
	/* held until we end, see rb_criu_mend() */
	lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock_fd < 0 || flock(lock_fd, LOCK_EX | LOCK_NB) < 0)
		return rb_err_set(err, -errno, "lock '%s'", path);
	s->worker_pidfd = (int)syscall(SYS_pidfd_open, worker, 0);
	if (s->worker_pidfd < 0)
		return rb_err_set(err, -errno, "watch process %d", (int)worker);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	s->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC);
	s->listen_fd = rb_criu_listen_at(s->work_dir, "dump.sock", err);
	if (s->listen_fd < 0)
		return s->listen_fd;
	/* while runc and CRIU start */
	r = start_runc(s, err);
	if (r >= 0)
		rb_smaps_new(&s->smaps, NULL);
	return r;
}

/* The process in the background. */
static void run_server(char **argv, int ready_fd)
{
	struct server s = {
		.work_dir = argv[2],
		.id = argv[3],
		.freezer = argv[4],
		.ready_fd = ready_fd,
		.action_fd = -EBADF,
		.client_fd = -EBADF,
	};
	struct rb_err err = {};
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	for (int fd = 0; fd <= 2; fd++)
		dup2(null_fd, fd);
	if (prepare(&s, (pid_t)atoi(argv[5]), &err) < 0)
		report_ready(&s, err.msg);
	else
		serve(&s);
	_exit(0);
}

int runtime_criu_dump(int argc, char **argv)
{
	char message[700] = "";
	int ready[2];
	ssize_t n;

	if (argc != 6 || !rb_criu_path_valid(argv[2]) || !rb_criu_id_valid(argv[3])) {
		fputs("reberth-runtime: criu-dump is for reberthd only\n", stderr);
		return 2;
	}
	if (pipe2(ready, O_CLOEXEC) < 0) {
		perror("reberth-runtime: pipe");
		return 1;
	}
	switch (fork()) {
	case -1:
		perror("reberth-runtime: fork");
		return 1;
	case 0:
		close(ready[0]);
		run_server(argv, ready[1]);
	}
	close(ready[1]);
	n = rb_read_all(ready[0], message, sizeof(message) - 1);
	if (n == 0)
		return 0;
	fprintf(stderr, "%s\n", message);
	return 1;
}
