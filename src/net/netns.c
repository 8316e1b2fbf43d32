// SPDX-License-Identifier: Apache-2.0
/*
 * netns.c - name network namespaces, and run functions inside of them
 *
 * setns(2) changes the calling task for good (going back can be refused, and would be forgotten on
 * some error path), so whatever has to happen in a namespace happens in a child of its own. The
 * child shares nothing with us but what it inherited; its result comes back through a pipe as one
 * write below PIPE_BUF, which is whole or absent.
 */
#include "net.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"

enum { LEAVING_MAX = 16 };

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

/* children that have said what there was to say, and are still closing what they had open */
static pid_t leaving[LEAVING_MAX];

static void reap_leaving(void)
{
	for (size_t i = 0; i < LEAVING_MAX; i++)
		if (leaving[i] && waitpid(leaving[i], NULL, WNOHANG) != 0)
			leaving[i] = 0;
}

/* Waits for it only when there are too many. */
static void let_leave(pid_t pid)
{
	for (size_t i = 0; i < LEAVING_MAX; i++)
		if (!leaving[i]) {
			leaving[i] = pid;
			return;
		}
	reap(pid);
}

static int run_child(int netns_fd, int (*fn)(void *arg, struct rb_err *err), void *arg, bool leave,
		     struct rb_err *err)
{
	_cleanup_close_ int report_rd = -EBADF, report_wr = -EBADF;
	struct report report;
	ssize_t got;
	pid_t pid;
	int fds[2], status = 0;

	reap_leaving();
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
	if (leave && got == sizeof(report))
		let_leave(pid);
	else
		status = reap(pid);
	if (got != sizeof(report))
		return rb_err_code(err, RB_E_INTERNAL, -EIO,
				   "a helper in a network namespace died (wait status %d)", status);
	if (report.result < 0)
		rb_err_code(err, report.err.code, report.result, "%s", report.err.msg);
	return report.result;
}

int rb_netns_run(int netns_fd, int (*fn)(void *arg, struct rb_err *err), void *arg,
		 struct rb_err *err)
{
	return run_child(netns_fd, fn, arg, false, err);
}

int rb_netns_run_and_leave(int netns_fd, int (*fn)(void *arg, struct rb_err *err), void *arg,
			   struct rb_err *err)
{
	return run_child(netns_fd, fn, arg, true, err);
}

struct collection {
	int (*fn)(int out_fd, struct rb_err *err);
	int fd;
};

static int run_collection(void *arg, struct rb_err *err)
{
	const struct collection *collection = arg;

	return collection->fn(collection->fd, err);
}

/* A file and not a pipe: the child writes all of it before anybody reads. */
int rb_netns_collect(int netns_fd, int (*fn)(int out_fd, struct rb_err *err), struct rb_buf *ret,
		     struct rb_err *err)
{
	_cleanup_close_ int fd = memfd_create("reberth-netns", MFD_CLOEXEC);
	struct collection collection = { fn, fd };
	char block[4096];
	off_t at = 0;
	ssize_t n;
	int r;

	if (fd < 0)
		return rb_err_set(err, -errno, "make a file in memory");
	r = rb_netns_run(netns_fd, run_collection, &collection, err);
	if (r < 0)
		return r;
	while ((n = pread(fd, block, sizeof(block), at)) > 0) {
		if (rb_buf_add(ret, block, (size_t)n) < 0)
			return rb_err_set(err, -ENOMEM, "read what a helper wrote");
		at += n;
	}
	return n < 0 ? rb_err_set(err, -errno, "read what a helper wrote") : 0;
}

/* --- descriptors --- */

/* room for one descriptor */
union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static struct msghdr message_with(struct iovec *iov, union control *control)
{
	return (struct msghdr){ .msg_iov = iov,
				.msg_iovlen = 1,
				.msg_control = control,
				.msg_controllen = sizeof(*control) };
}

static int send_descriptor(int through, int fd)
{
	union control control = {};
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = message_with(&iov, &control);
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	return sendmsg(through, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int receive_descriptor(int through)
{
	union control control;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = message_with(&iov, &control);
	const struct cmsghdr *head;
	int fd;

	if (recvmsg(through, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
		return -errno;
	head = CMSG_FIRSTHDR(&msg);
	if (!head || head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EPROTO;
	memcpy(&fd, CMSG_DATA(head), sizeof(fd));
	return fd;
}

struct taking {
	int (*open)(void *arg, struct rb_err *err);
	void *arg;
	int through;
};

static int open_and_send(void *arg, struct rb_err *err)
{
	const struct taking *taking = arg;
	_cleanup_close_ int fd = taking->open(taking->arg, err);
	int r = fd < 0 ? fd : send_descriptor(taking->through, fd);

	return fd >= 0 && r < 0 ? rb_err_set(err, r, "hand a descriptor over") : r;
}

int rb_netns_take(int netns_fd, int (*open)(void *arg, struct rb_err *err), void *arg,
		  struct rb_err *err)
{
	_cleanup_close_ int ours = -EBADF, childs = -EBADF;
	struct taking taking = { open, arg, -EBADF };
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return rb_err_set(err, -errno, "make a socket pair");
	ours = pair[0], childs = pair[1];
	taking.through = childs;
	r = rb_netns_run(netns_fd, open_and_send, &taking, err);
	if (r >= 0)
		r = receive_descriptor(ours);
	return r < 0 && err && !*err->msg ? rb_err_set(err, r, "take a descriptor over") : r;
}
