// SPDX-License-Identifier: Apache-2.0
/*
 * pager_task.c - what the kernel tells of one process: faults, and changes of its memory
 *
 * The kernel hands out faults before events, but places nothing between the beginning of a change
 * and the reading of its event (EAGAIN). So what was read together is applied in this order: first
 * the events, in theirs, then the faults; and a fault that gets EAGAIN waits here for the event
 * that is to come.
 *
 *   FORK    the child has what its parent has left (pager_fork.c); its own userfaultfd comes with
 *           the event. The guard has it at the same moment, because both have one table of
 *           descriptors.
 *   REMAP   the pages belong to the new address. No page moved that was placed under the old one
 *           after the change: EAGAIN.
 *   REMOVE  (madvise) comes before the pages are gone. They read as zero from then on.
 *   UNMAP   comes after.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "cleanup.h"
#include "pager_internal.h"
#include "store.h"

enum { NEAR_PAGES = 16, AHEAD_PAGES = 64, MESSAGES = 32 };

#define PAGE ((uint64_t)RB_PAGE_SIZE)

int rb_pager_add_task(struct rb_pager *p, int number, int fd)
{
	_cleanup_close_ int own = fd;
	_cleanup_free_ struct rb_pager_task *task = calloc(1, sizeof(*task));
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = task };

	if (!task)
		return -ENOMEM;
	if (p->n_tasks == p->tasks_size) {
		size_t size = p->tasks_size ? p->tasks_size * 2 : 16;
		struct rb_pager_task **tasks =
			reallocarray(p->tasks, size, sizeof(struct rb_pager_task *));

		if (!tasks)
			return -ENOMEM;
		p->tasks = tasks;
		p->tasks_size = size;
	}
	if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, own, &event) < 0)
		return -errno;
	task->number = number;
	task->fd = TAKE_FD(own);
	p->tasks[p->n_tasks++] = TAKE_PTR(task);
	return 0;
}

void rb_pager_remove_task(struct rb_pager *p, size_t index)
{
	struct rb_pager_task *task = p->tasks[index];

	epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, task->fd, NULL);
	close(task->fd);
	rb_store_forget_task(p->store, task->number);
	free(task->faults.list);
	free(task->waits.list);
	free(task);
	p->tasks[index] = p->tasks[--p->n_tasks];
}

struct rb_pager_task *rb_pager_find_task(const struct rb_pager *p, int number)
{
	for (size_t i = 0; i < p->n_tasks; i++)
		if (p->tasks[i]->number == number)
			return p->tasks[i];
	return NULL;
}

int rb_pager_note(struct rb_pager_addrs *addrs, uint64_t addr)
{
	if (addrs->n == addrs->size) {
		size_t size = addrs->size ? addrs->size * 2 : MESSAGES;
		uint64_t *list = reallocarray(addrs->list, size, sizeof(*list));

		if (!list)
			return -ENOMEM;
		addrs->list = list;
		addrs->size = size;
	}
	addrs->list[addrs->n++] = addr;
	return 0;
}

static int has_forked(struct rb_pager *p, struct rb_pager_task *task, int fd)
{
	int child = --p->last_number;
	int r = rb_pager_forked(p, task, child);

	if (r < 0) {
		close(fd);
		return r;
	}
	return rb_pager_add_task(p, child, fd);
}

int rb_pager_retry_waits(struct rb_pager_task *task)
{
	size_t n = task->waits.n;
	int r = 0;

	task->waits.n = 0;
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = rb_pager_note(&task->faults, task->waits.list[i]);
	return r;
}

static int apply(struct rb_pager *p, struct rb_pager_task *task, const struct uffd_msg *msg)
{
	uint64_t start, end;

	/* what a thread waits for may be something else from now on, and not need the source */
	if (msg->event != UFFD_EVENT_PAGEFAULT && rb_pager_retry_waits(task) < 0)
		return -ENOMEM;
	switch (msg->event) {
	case UFFD_EVENT_PAGEFAULT:
		return rb_pager_note(&task->faults, msg->arg.pagefault.address & ~(PAGE - 1));
	case UFFD_EVENT_FORK:
		return has_forked(p, task, (int)msg->arg.fork.ufd);
	case UFFD_EVENT_REMAP:
		return rb_store_move(p->store, task->number, msg->arg.remap.from, msg->arg.remap.to,
				     (msg->arg.remap.len + PAGE - 1) / PAGE, NULL);
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		start = msg->arg.remove.start & ~(PAGE - 1);
		end = msg->arg.remove.end;
		if (end > start)
			rb_store_drop(p->store, task->number, start,
				      (end - start + PAGE - 1) / PAGE);
		return 0;
	default:
		return -EPROTO;
	}
}

/* The page itself was placed: now those that will be wanted next, most likely. */
static void place_near(struct rb_pager *p, struct rb_pager_task *task, uint64_t addr)
{
	uint64_t at = addr & ~(NEAR_PAGES * PAGE - 1), end;

	if (addr == task->expect) {
		at = addr + PAGE;
		task->ahead = task->ahead < AHEAD_PAGES ? task->ahead * 2 : AHEAD_PAGES;
	} else {
		task->ahead = NEAR_PAGES;
	}
	end = at + task->ahead * PAGE;
	task->expect = end;
	while (at < end) {
		int r = rb_pager_place(p, task, at, (size_t)((end - at) / PAGE));

		if (r < 0)
			return; /* nobody waits for it: what is wrong shows up again */
		at += (r ? (uint64_t)r : 1) * PAGE;
	}
}

/* Return: 1 when it was placed from the store, 0 when there is nothing more to do, -EAGAIN: later
 */
static int serve_one(struct rb_pager *p, struct rb_pager_task *task, uint64_t addr)
{
	int r = rb_pager_place(p, task, addr, 1);

	if (r > 0)
		return 1;
	if (r == 0)
		r = rb_pager_zero(task, addr);
	else if (r == -EINPROGRESS)
		return rb_pager_fetch(p, task, addr);
	switch (r) {
	case -ENOENT: /* unmapped meanwhile: the thread finds out by itself */
	case -EINVAL:
		rb_pager_wake(task, addr);
		return 0;
	case -ESRCH:
		task->gone = true;
		return 0;
	default:
		return r < 0 ? r : 0;
	}
}

int rb_pager_serve(struct rb_pager *p, struct rb_pager_task *task)
{
	uint64_t placed[MESSAGES];
	size_t n_placed = 0, left = 0;
	int result = 0;

	for (size_t i = 0; i < task->faults.n; i++) {
		uint64_t addr = task->faults.list[i];
		int r = serve_one(p, task, addr);

		if (r == -EAGAIN)
			task->faults.list[left++] = addr;
		else if (r < 0)
			result = r;
		else if (r > 0 && n_placed < MESSAGES)
			placed[n_placed++] = addr;
	}
	task->faults.n = left;
	/* before the tasks were let go only what is asked for: most likely all will be made again
	 */
	for (size_t i = 0; p->released && i < n_placed; i++)
		place_near(p, task, placed[i]);
	return result;
}

int rb_pager_read_task(struct rb_pager *p, struct rb_pager_task *task)
{
	struct uffd_msg messages[MESSAGES];
	size_t n;

	do {
		ssize_t bytes = read(task->fd, messages, sizeof(messages));
		int r;

		if (bytes < 0) {
			/* out of descriptors for a child: until others are done with theirs */
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
				p->stalls++;
			else if (errno != EAGAIN && errno != EINTR)
				return -errno;
			break;
		}
		p->stalls = 0;
		n = (size_t)bytes / sizeof(*messages);
		for (size_t i = 0; i < n; i++) {
			r = apply(p, task, &messages[i]);
			if (r < 0)
				return r;
		}
		r = rb_pager_serve(p, task);
		if (r < 0)
			return r;
	} while (n == MESSAGES);
	return 0;
}
