// SPDX-License-Identifier: Apache-2.0
/*
 * inject_work.c - make a userfaultfd inside of another process, or mend what was left half done
 *
 * This is the part that traces (inject.c says who watches over it). All threads are stopped, though
 * only one makes the calls: the descriptor exists in the process for some microseconds, and a
 * thread that forked meanwhile would leave a copy to its child. CRIU dumps no process that has one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "fault.h"
#include "freezer.h"
#include "inject_internal.h"
#include "stop.h"
#include "tracee_call.h"
#include "uapi.h"

enum {
	FLAGS = O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY,
	LEFT_MAX = 4,
};

static const char link_text[] = "anon_inode:[userfaultfd]";

/* Nobody has spoken to it yet: the second number is what was asked of it ("API: aa:0:..."). */
static bool is_untouched(pid_t pid, int fd)
{
	char path[64], line[128];
	unsigned int features;
	_cleanup_fclose_ FILE *file = NULL;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "API: %*x:%x", &features) == 1)
			return features == 0;
	return false;
}

/* Lists userfaultfds. Return: their number, also when it is greater than @max. */
static int list_fds(pid_t pid, int *ret, int max)
{
	char path[64];
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	int count = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? -ESRCH : -errno;
	while ((entry = readdir(dir))) {
		char target[sizeof(link_text)];
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target));

		if (len != sizeof(link_text) - 1 || memcmp(target, link_text, (size_t)len) != 0)
			continue;
		if (count < max)
			ret[count] = atoi(entry->d_name);
		count++;
	}
	return count;
}

int rb_inject_own_fds(struct rb_inject *in)
{
	int count = list_fds(in->pid, in->own, RB_INJECT_OWN_MAX);

	if (count > RB_INJECT_OWN_MAX)
		return rb_err_code(&in->err, RB_E_REFUSED, -ENOTSUP,
				   "process %d has %d userfaultfds of its own", (int)in->pid,
				   count);
	in->own_count = count < 0 ? 0 : count;
	return count < 0 ? count : 0;
}

static bool is_own(const struct rb_inject *in, int fd)
{
	for (int i = 0; i < in->own_count; i++)
		if (in->own[i] == fd)
			return true;
	return false;
}

/* Closes what the process has too many, by @thread. */
static int close_left(struct rb_inject *in, struct rb_thread *thread)
{
	int fds[RB_INJECT_OWN_MAX + LEFT_MAX];
	int count = list_fds(in->pid, fds, (int)ARRAY_SIZE(fds)), r = count < 0 ? count : 0;

	for (int i = 0; r == 0 && i < count && i < (int)ARRAY_SIZE(fds); i++) {
		const uint64_t args[3] = { (uint64_t)fds[i] };
		long result;

		if (is_own(in, fds[i]) || !is_untouched(in->pid, fds[i]))
			continue;
		r = rb_tracee_call(thread, in->insn, "memory.repair", SYS_close, args, &result,
				   &in->err);
	}
	return r;
}

static int put_back(struct rb_inject *in, struct rb_thread *thread)
{
	int r = rb_tracee_put_back(thread, &in->saved, &in->err);

	if (r == 0 || r == -ESRCH)
		atomic_store(&in->foreign, 0);
	return r;
}

static int refused(struct rb_inject *in, long result)
{
	return rb_err_code(&in->err, RB_E_REFUSED, -ENOTSUP,
			   "process %d cannot make a userfaultfd: %s", (int)in->pid,
			   strerror((int)-result));
}

/* @thread stands still and is noted. */
static int take_fd(struct rb_inject *in, struct rb_thread *thread, int pidfd, int *ret_fd)
{
	const uint64_t open_args[3] = { FLAGS };
	_cleanup_close_ int fd = -EBADF;
	long number = 0, closed;
	int r = rb_tracee_call(thread, in->insn, "memory.open", SYS_userfaultfd, open_args, &number,
			       &in->err);

	if (r == 0 && number < 0)
		return refused(in, number);
	if (r == 0) {
		const uint64_t close_args[3] = { (uint64_t)number };

		fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)number, 0);
		if (fd < 0)
			r = rb_err_set(&in->err, -errno, "take a descriptor of process %d",
				       (int)in->pid);
		else
			r = rb_tracee_call(thread, in->insn, "memory.close", SYS_close, close_args,
					   &closed, &in->err);
	}
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	/* nothing is left whichever step failed */
	else if (r != -ESRCH)
		close_left(in, thread);
	return r;
}

/* All threads stand still. */
static int work_stopped(struct rb_inject *in, const struct rb_stop *stop, int pidfd, int *ret_fd)
{
	struct rb_thread *thread = rb_stop_find(stop, 0);
	int r = rb_fault_point("memory.inject.stopped", &in->wait, &in->err), back;

	if (r == 0 && !rb_tracee_is_syscall(in->pid, in->insn))
		r = rb_tracee_find_syscall(in->pid, &in->insn, &in->err);
	if (r == 0) {
		in->saved = *thread;
		r = rb_tracee_note(&in->saved, &in->err);
	}
	if (r < 0)
		return r;
	atomic_store(&in->foreign, thread->tid);
	r = rb_fault_point("memory.inject.noted", &in->wait, &in->err);
	if (r == 0)
		r = take_fd(in, thread, pidfd, ret_fd);
	back = put_back(in, thread);
	if (r == 0 && back == 0)
		r = rb_fault_point("memory.inject.back", &in->wait, &in->err);
	return r < 0 ? r : back;
}

static int send_fd(int sock, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = { .iov_base = (char[1]){ 'f' }, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	return sendmsg(sock, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int rb_inject_work(struct rb_inject *in, int sock)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, in->pid, 0), fd = -EBADF;
	struct rb_stop stop = {};
	int r;

	if (pidfd < 0)
		return errno == ESRCH
			       ? -ESRCH
			       : rb_err_set(&in->err, -errno, "open process %d", (int)in->pid);
	r = rb_stop_process(in->pid, NULL, &stop, &in->wait, &in->err);
	if (r < 0)
		return r;
	r = work_stopped(in, &stop, pidfd, &fd);
	rb_stop_release(&stop);
	return r < 0 ? r : send_fd(sock, fd);
}

/* The thread to be mended stops for certain, though it may take long when somebody freezes it. */
static struct rb_thread *await_foreign(const struct rb_inject *in, const struct rb_stop *stop)
{
	struct rb_thread *thread = rb_stop_find(stop, atomic_load(&in->foreign));

	if (thread && !thread->stopped && rb_tracee_await(thread, NULL, NULL) < 0)
		return NULL;
	return thread;
}

int rb_inject_repair(struct rb_inject *in)
{
	struct rb_stop stop = {};
	struct rb_thread *thread;
	int r = rb_fault_point("memory.repair.frozen", NULL, &in->err);

	if (r == 0)
		r = rb_stop_process(in->pid, in->freezer, &stop, NULL, &in->err);
	if (r == -ESRCH)
		atomic_store(&in->foreign, 0);
	if (r < 0)
		return r;
	thread = await_foreign(in, &stop);
	if (!thread) {
		atomic_store(&in->foreign, 0);
	} else {
		r = close_left(in, thread);
		if (r != -ESRCH)
			r = put_back(in, thread);
	}
	if (in->was_frozen)
		rb_freezer_freeze(in->freezer, NULL, NULL);
	else
		atomic_store(&in->frozen, false);
	rb_stop_release(&stop);
	return r;
}
