// SPDX-License-Identifier: Apache-2.0
/*
 * inject.c - a userfaultfd of another process's memory
 *
 * A userfaultfd belongs to the memory of the process that makes it, so the process has to make it
 * itself: by ptrace, in one of its threads. While that lasts the thread has foreign registers, and
 * would run on with them if the tracer were killed. So two processes do it, and only if both are
 * killed at once the target is lost:
 *
 *   guard  the caller. It traces the worker, for its exit only. When the worker dies, even of
 *          SIGKILL, it stops in PTRACE_EVENT_EXIT *before* the kernel takes its tracees from it:
 *          the guard then freezes the target's cgroup and lets the worker go. The target's threads
 *          do not come back to user mode, but freeze. Another worker seizes them, thaws, has them
 *          stopped before they run an instruction (tests/unit/criu/test_cure.c), and puts back what
 *          the first one noted in shared memory. It is guarded in the same way.
 *   worker a child (inject_work.c), in a session of its own. When the guard dies, the kernel only
 *          takes the guard's trace from it: it finishes, and finds nobody to send the descriptor
 * to.
 *
 * What is noted: `foreign` names the thread that is to be mended, from before the first change
 * until after the last one.
 */
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "freezer.h"
#include "io.h"
#include "proc.h"
#include "inject_internal.h"
#include "tracee_call.h"

enum {
	LIMIT_MS = 10000, /* for all of it, unless the caller says less */
	GRACE_MS = 1000,  /* more than the worker has, before it is given up */
	FREEZE_MS = 2000, /* the threads are marked at once; the rest is waiting */
	ATTEMPTS = 3,	  /* a worker that is killed is replaced */
	REPAIRS = 20,
};

typedef int rb_inject_role(struct rb_inject *in, int sock);

static int repair(struct rb_inject *in, int sock)
{
	(void)sock;
	return rb_inject_repair(in);
}

/* A stuck worker must hold nobody's descriptors: trackers end when the last holder closes theirs.
 */
static void close_others(int sock, int cancel_fd)
{
	unsigned int low = (unsigned int)sock, high = low;

	if (cancel_fd > 2) {
		low = cancel_fd < sock ? (unsigned int)cancel_fd : low;
		high = cancel_fd > sock ? (unsigned int)cancel_fd : high;
	}
	if (low > 3)
		syscall(SYS_close_range, 3U, low - 1, 0U);
	if (high > low + 1)
		syscall(SYS_close_range, low + 1, high - 1, 0U);
	syscall(SYS_close_range, high + 1, ~0U, 0U);
}

/* On a busy machine the target must not stand still until it is our turn again; what lets a thread
 * go that computes is put behind it at once. */
static void hurry(void)
{
	struct sched_param param = { .sched_priority = 1 };

	/* not everywhere in a cgroup hierarchy is real time allowed */
	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) < 0)
		setpriority(PRIO_PROCESS, 0, -20);
}

/* The child. Its tracees' stops are signals to it, each of which would have to pass the guard. */
static void run_worker(struct rb_inject *in, rb_inject_role *role, int sock)
{
	sigset_t all;
	char go;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	setsid();
	hurry();
	close_others(sock, in->wait.cancel_fd);
	if (read(sock, &go, 1) != 1)
		_exit(1);
	in->result = role(in, sock);
	_exit(0);
}

/* The worker is about to leave, and still holds the threads. */
static void before_exit(struct rb_inject *in)
{
	struct rb_wait wait = rb_wait_within(NULL, FREEZE_MS);

	if (!atomic_load(&in->foreign))
		return;
	if (!atomic_load(&in->frozen)) {
		in->was_frozen = rb_freezer_is_frozen(in->freezer, NULL) == 1;
		atomic_store(&in->frozen, true);
	}
	rb_freezer_freeze(in->freezer, &wait, NULL);
}

static void go_on(struct rb_inject *in, pid_t worker, int status)
{
	int event = status >> 16;

	if (event == PTRACE_EVENT_EXIT)
		before_exit(in);
	ptrace(PTRACE_CONT, worker, NULL, (void *)(long)(event ? 0 : WSTOPSIG(status)));
}

/* It has been too long. What has changed nothing yet is ended; what has waits for the target to be
 * thawed by whoever froze it, and nobody can do better. */
static void give_up(struct rb_inject *in, pid_t worker)
{
	int status;

	if (!atomic_load(&in->foreign))
		kill(worker, SIGKILL);
	else if (ptrace(PTRACE_INTERRUPT, worker, NULL, NULL) == 0 &&
		 waitpid(worker, &status, __WALL) == worker && WIFSTOPPED(status) &&
		 status >> 16 != PTRACE_EVENT_EXIT)
		ptrace(PTRACE_DETACH, worker, NULL, NULL);
}

/* Return: 0 when it came to an end by itself, -EINTR when it was killed, -ETIMEDOUT. */
static int guard(struct rb_inject *in, pid_t worker)
{
	int64_t deadline_ms = in->wait.deadline_ms + GRACE_MS;

	for (;;) {
		int status;
		pid_t pid = waitpid(worker, &status, __WALL | WNOHANG);

		if (pid == worker && WIFSTOPPED(status)) {
			go_on(in, worker, status);
		} else if (pid == worker) {
			return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EINTR;
		} else if (pid < 0) {
			return -EINTR;
		} else if (rb_now_ms() >= deadline_ms) {
			bool lost = atomic_load(&in->foreign) != 0;

			give_up(in, worker);
			if (lost)
				return rb_err_code(&in->err, RB_E_TIMEOUT, -ETIMEDOUT,
						   "process %d was frozen while it was looked into",
						   (int)in->pid);
			deadline_ms = INT64_MAX;
		} else {
			usleep(30);
		}
	}
}

/* Start a worker and stay with it. @sock: pair, both ends stay with the caller. */
static int run(struct rb_inject *in, rb_inject_role *role, const int sock[2])
{
	pid_t worker = fork();

	if (worker < 0)
		return rb_err_set(&in->err, -errno, "start a process");
	if (worker == 0)
		run_worker(in, role, sock[1]);
	if (ptrace(PTRACE_SEIZE, worker, NULL, (void *)(long)PTRACE_O_TRACEEXIT) < 0 ||
	    send(sock[0], "g", 1, MSG_NOSIGNAL) != 1) {
		int saved = -errno;

		/* it waits for the word, and holds nothing yet */
		kill(worker, SIGKILL);
		guard(in, worker);
		return rb_err_set(&in->err, saved, "watch over process %d", (int)worker);
	}
	return guard(in, worker);
}

static int receive_fd(int sock)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {};
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(sock, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *header = n == 1 ? CMSG_FIRSTHDR(&message) : NULL;
	int fd;

	if (!header || header->cmsg_type != SCM_RIGHTS)
		return -EIO;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

/* Whatever a worker that was killed has left behind. */
static int mend(struct rb_inject *in)
{
	int r = 0;

	for (int i = 0; i < REPAIRS && atomic_load(&in->foreign) && r != -ETIMEDOUT; i++) {
		_cleanup_close_ int near = -EBADF, far = -EBADF;
		int sock[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0)
			return rb_err_set(&in->err, -errno, "mend process %d", (int)in->pid);
		near = sock[0];
		far = sock[1];
		in->wait = rb_wait_within(NULL, LIMIT_MS);
		r = run(in, repair, sock);
	}
	if (atomic_load(&in->foreign))
		return -ETIMEDOUT;
	if (atomic_load(&in->frozen) && !in->was_frozen)
		rb_freezer_thaw(in->freezer, NULL);
	atomic_store(&in->frozen, false);
	return 0;
}

static int attempt(struct rb_inject *in, int *ret_fd)
{
	_cleanup_close_ int near = -EBADF, far = -EBADF;
	int sock[2], r;
	bool late;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0)
		return rb_err_set(&in->err, -errno, "look into process %d", (int)in->pid);
	near = sock[0];
	far = sock[1];
	in->result = -EINTR;
	r = run(in, rb_inject_work, sock);
	late = rb_wait_left_ms(&in->wait) == 0;
	if (r != -ETIMEDOUT && mend(in) < 0)
		return -ETIMEDOUT;
	if (r == -EINTR && late)
		return rb_err_code(&in->err, RB_E_TIMEOUT, -ETIMEDOUT,
				   "process %d does not stand still", (int)in->pid);
	if (r == 0)
		r = in->result;
	if (r == 0)
		r = receive_fd(near);
	if (r < 0)
		return r;
	*ret_fd = r;
	return 0;
}

/* A guard that freezes itself helps nobody. */
static int check_freezer(struct rb_inject *in)
{
	char ours[PATH_MAX];
	size_t len = strlen(in->freezer);
	int r;

	if (rb_freezer_find(getpid(), ours, sizeof(ours), NULL) == 0 &&
	    strncmp(ours, in->freezer, len) == 0 && (!ours[len] || ours[len] == '/'))
		return rb_err_code(&in->err, RB_E_REFUSED, -ENOTSUP,
				   "process %d is in the cgroup of reberth itself", (int)in->pid);
	r = rb_freezer_is_frozen(in->freezer, &in->err);
	if (r > 0)
		return rb_err_code(&in->err, RB_E_CONFLICT, -EBUSY, "process %d is frozen",
				   (int)in->pid);
	return r;
}

static int prepare(struct rb_inject *in, const char *freezer_path)
{
	int r;

	if (freezer_path)
		r = rb_path(in->freezer, sizeof(in->freezer), "%s", freezer_path);
	else
		r = rb_freezer_find(in->pid, in->freezer, sizeof(in->freezer), &in->err);
	if (r < 0)
		return -ENOTSUP;
	r = check_freezer(in);
	if (r == 0)
		r = rb_inject_own_fds(in);
	if (r == 0)
		r = rb_tracee_find_syscall(in->pid, &in->insn, &in->err);
	return r;
}

int rb_inject_userfaultfd(pid_t pid, const char *freezer_path, int *ret_fd,
			  const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_inject *in =
		mmap(NULL, sizeof(*in), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long long starttime = rb_pid_starttime(pid);
	int r;

	if (in == MAP_FAILED)
		return rb_err_set(err, -errno, "look into process %d", (int)pid);
	in->pid = pid;
	r = prepare(in, freezer_path);
	for (int i = 0; r == 0; i++) {
		in->wait = rb_wait_within(wait, LIMIT_MS);
		r = attempt(in, ret_fd);
		if (r != -EINTR || i + 1 == ATTEMPTS)
			break;
		r = 0;
	}
	if (r == -EINTR)
		rb_err_code(&in->err, RB_E_INTERNAL, r, "what looks into process %d is killed",
			    (int)pid);
	/* whatever failed because of that; what has lost its memory is about to end */
	if (r == -ENOENT || (r < 0 && !rb_pid_alive(pid, starttime)))
		r = -ESRCH;
	if (r < 0 && r != -ESRCH && err)
		*err = in->err;
	munmap(in, sizeof(*in));
	return r;
}
