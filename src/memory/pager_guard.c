// SPDX-License-Identifier: Apache-2.0
/*
 * pager_guard.c - kills the container when its pager dies too early
 *
 * When the last holder of a userfaultfd closes it, pages that are missing read as zero, and nobody
 * hears of it. So a second process holds all of them: the guard shares the pager's table of
 * descriptors (CLONE_FILES), not its memory. A userfaultfd that the kernel puts there, for a
 * process that forks, is the guard's at the same instant, and neither has to tell the other. The
 * table goes when both are gone; that also holds for the lock and for alive_fd.
 *
 * The guard sleeps until the pager's end. An eventfd says how it ended:
 *
 *   0  too early: kill all of the container, and only then end
 *   1  all is placed: the farewell on alive_fd is said by the guard
 *   2  all is said
 *
 * The pager sees the guard's end and makes a new one. When both are killed at once the alive_fd
 * shows an end without a farewell, and who looks after it must kill the container.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "freezer.h"
#include "log.h"
#include "pager_internal.h"
#include "store.h"
#include "wait.h"

enum { KILL_AGAIN_MS = 10 };

void rb_pager_kill(const struct rb_pager *p)
{
	/* without end: as long as one task is left, the descriptors must stay open */
	while (rb_freezer_kill(p->freezer_path, NULL, NULL) < 0)
		rb_wait_ms(KILL_AGAIN_MS, NULL, NULL);
}

void rb_pager_all_placed(const struct rb_pager *p)
{
	eventfd_write(p->done_fd, 1);
}

/* The other one of pager and guard has the lock, too, and may end a little later. Who waits for the
 * lock has the file open, and needs no name any more. */
void rb_pager_unlock(const struct rb_pager *p)
{
	unlink(p->lock_path);
	flock(p->lock_fd, LOCK_UN);
}

void rb_pager_say_farewell(const struct rb_pager *p)
{
	char word = p->unplaced ? RB_PAGER_UNPLACED : RB_PAGER_DONE;

	if (p->alive_fd >= 0)
		(void)!write(p->alive_fd, &word, 1);
	rb_pager_unlock(p);
}

_Noreturn static void guard(const struct rb_pager *p)
{
	struct pollfd pager = { .fd = p->self_fd, .events = POLLIN };
	eventfd_t done = 0;

	prctl(PR_SET_NAME, "reberth-pguard");
	while (poll(&pager, 1, -1) <= 0)
		;
	eventfd_read(p->done_fd, &done);
	if (done == 0) {
		rb_warn("pager: the container is killed: its pager died before all memory was in "
			"place");
		rb_pager_kill(p);
		rb_pager_unlock(p);
	} else if (done == 1) {
		rb_pager_say_farewell(p);
	}
	_exit(0);
}

int rb_pager_guard_start(struct rb_pager *p)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &p->guard_fd };
	long pid;

	if (p->guard_fd >= 0) {
		epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, p->guard_fd, NULL);
		rb_close_fd(&p->guard_fd);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	/* its copies would cost memory with every page that is placed */
	rb_store_dontfork(p->store);
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0)
		guard(p);
	if (pid < 0)
		return -errno;
	p->guard_fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (p->guard_fd < 0)
		return -errno;
	return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->guard_fd, &event) < 0 ? -errno : 0;
}
