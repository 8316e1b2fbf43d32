// SPDX-License-Identifier: Apache-2.0
/*
 * netns.c - name network namespaces, and run functions inside of them
 *
 * setns(2) changes the calling task for good (going back can be refused, and would be forgotten on
 * some error path), so whatever has to happen in a namespace happens in a task of its own:
 *
 * A thread (base/thread.h): it enters, calls the function, and is over, in 0.1 ms. Memory and
 * descriptors are ours, so what the function opens it has to close.
 *
 * A child, for what keeps things that are of one namespace in static variables, as libnftables does
 * with names of devices. Its result comes back through a pipe as one write below PIPE_BUF, which is
 * whole or absent.
 */
#include "net.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "thread.h"

struct report {
	int result;
	struct rb_err err;
};
static_assert(sizeof(struct report) <= PIPE_BUF, "a report must arrive in one piece");

const char *rb_mac_text(char ret[RB_MAC_TEXT], const void *mac)
{
	const unsigned char *at = mac;

	snprintf(ret, RB_MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", at[0], at[1], at[2], at[3],
		 at[4], at[5]);
	return ret;
}

int rb_netns_open(int pid, struct rb_err *err)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? rb_err_set(err, -errno, "open '%s'", path) : fd;
}

int rb_netns_inode(int netns_fd, unsigned long *ret, struct rb_err *err)
{
	struct stat st;

	if (fstat(netns_fd, &st) < 0)
		return rb_err_set(err, -errno, "examine a network namespace");
	*ret = st.st_ino;
	return 0;
}

static int run_here(int netns_fd, int (*fn)(void *, struct rb_err *), void *arg, struct rb_err *err)
{
	if (netns_fd != RB_NETNS_OWN && setns(netns_fd, CLONE_NEWNET) < 0)
		return rb_err_set(err, -errno, "enter a network namespace");
	return fn(arg, err);
}

static _Noreturn void child_main(int netns_fd, int (*fn)(void *, struct rb_err *), void *arg,
				 int report_fd)
{
	struct report report = {};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	report.result = run_here(netns_fd, fn, arg, &report.err);
	_exit(rb_write_all(report_fd, &report, sizeof(report)) < 0);
}

static int reap(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 0; /* somebody ignores SIGCHLD: the pipe tells enough */
	return status;
}

int rb_netns_fork(int netns_fd, int (*fn)(void *arg, struct rb_err *err), void *arg,
		  struct rb_err *err)
{
	_cleanup_close_ int report_rd = -EBADF, report_wr = -EBADF;
	struct report report;
	ssize_t got;
	pid_t pid;
	int fds[2], status;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return rb_err_set(err, -errno, "make a pipe");
	report_rd = fds[0], report_wr = fds[1];
	pid = fork();
	if (pid < 0)
		return rb_err_set(err, -errno, "fork");
	if (pid == 0)
		child_main(netns_fd, fn, arg, report_wr);
	rb_close_fd(&report_wr);
	got = rb_read_all(report_rd, &report, sizeof(report));
	status = reap(pid);
	if (got != sizeof(report))
		return rb_err_code(err, RB_E_INTERNAL, -EIO,
				   "a helper in a network namespace died (wait status %d)", status);
	if (report.result < 0)
		rb_err_code(err, report.err.code, report.result, "%s", report.err.msg);
	return report.result;
}

/* --- threads --- */

struct visit {
	int netns_fd;
	int (*fn)(void *arg, struct rb_err *err);
	void *arg;
};

static int visit(void *arg, struct rb_err *err)
{
	const struct visit *to = arg;

	return run_here(to->netns_fd, to->fn, to->arg, err);
}

int rb_netns_run(int netns_fd, int (*fn)(void *arg, struct rb_err *err), void *arg,
		 struct rb_err *err)
{
	struct visit to = { netns_fd, fn, arg };

	return rb_thread_run(visit, &to, err);
}
