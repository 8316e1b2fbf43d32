// SPDX-License-Identifier: Apache-2.0
/*
 * pager_place.c - pages of the store into processes
 *
 * What UFFDIO_COPY and UFFDIO_ZEROPAGE say (fs/userfaultfd.c, mm/userfaultfd.c of Linux):
 *
 *   EAGAIN  a thread changes the mappings and its event was not read yet, or not all pages were
 *           placed: the number is in the answer. As long as that lasts nothing can be placed, so
 *           no page comes to an address that means something else by now.
 *   EEXIST  the first page is there already. Who waits for it must be woken by hand.
 *   ENOENT  no mapping that is registered with this userfaultfd has all of the range: it is not
 *           registered yet, was unmapped, or the range goes over a border of two. Since Linux 6.9
 *           the mapping is looked up, and a change of it waited for, before it is known that there
 *           is one: so it may only have moved, and is asked for again. Then a change whose event
 *           was not read is known from the beginning: EAGAIN.
 *   ESRCH   the process is gone (ENOSPC until Linux 4.13).
 *   ENOMEM  memory is short (the container's limit). Later, then.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "pager_internal.h"
#include "ranges.h"
#include "store.h"

enum { BATCH_PAGES = 64, RUNS = 64 };

/* Return: pages that were placed, or negative errno. */
static int copy(int fd, uint64_t addr, const void *data, size_t pages)
{
	struct uffdio_copy copy = {
		.dst = addr,
		.src = (uintptr_t)data,
		.len = pages * RB_PAGE_SIZE,
	};

	if (ioctl(fd, UFFDIO_COPY, &copy) == 0)
		return (int)pages;
	return copy.copy > 0 ? (int)(copy.copy / RB_PAGE_SIZE) : -errno;
}

void rb_pager_wake(const struct rb_pager_task *task, uint64_t addr)
{
	struct uffdio_range range = { .start = addr, .len = RB_PAGE_SIZE };

	ioctl(task->fd, UFFDIO_WAKE, &range);
}

/* The kernel copies with page faults disabled first, and starts over when it meets one. */
static void touch(const volatile uint8_t *data, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		(void)data[i * RB_PAGE_SIZE];
}

static int common_error(int r)
{
	switch (r) {
	case -ENOMEM:
	case -EINTR:
		return -EAGAIN;
	case -ENOSPC:
		return -ESRCH;
	default:
		return r;
	}
}

int rb_pager_place(struct rb_pager *p, struct rb_pager_task *task, uint64_t addr, size_t pages)
{
	size_t run = 0;
	const void *data = rb_store_find(p->store, task->number, addr, pages, &run);
	uint32_t slot;
	int r;

	if (!data)
		return rb_store_missing(p->store, task->number, addr, 1, &slot) ? -EINPROGRESS : 0;
	touch(data, run);
	/* over a border of two mappings: as far as the first one goes */
	while ((r = copy(task->fd, addr, data, run)) == -ENOENT && run > 1)
		run /= 2;
	if (r == -ENOENT)
		r = copy(task->fd, addr, data, run);
	if (r == -EEXIST || r == -EINVAL || (r == -ENOENT && p->finished)) {
		/* written by the process before it was registered, or not its memory at all */
		p->unplaced |= r != -EEXIST && task->number > 0;
		rb_store_drop(p->store, task->number, addr, 1);
		rb_pager_wake(task, addr);
		return 1;
	}
	if (r < 0)
		return common_error(r);
	rb_store_drop(p->store, task->number, addr, (uint64_t)r);
	return r;
}

/* To take a protection away that nobody has set: where there is no such mapping that is ENOENT, and
 * where there is one, too, for they are registered for missing pages only. */
bool rb_pager_is_gone(const struct rb_pager_task *task)
{
	struct uffdio_writeprotect protect = {
		.range = { .start = UINT64_C(1) << 30, .len = RB_PAGE_SIZE },
		.mode = UFFDIO_WRITEPROTECT_MODE_DONTWAKE,
	};

	return ioctl(task->fd, UFFDIO_WRITEPROTECT, &protect) < 0 && errno == ESRCH;
}

int rb_pager_zero(const struct rb_pager_task *task, uint64_t addr)
{
	struct uffdio_zeropage zero = { .range = { .start = addr, .len = RB_PAGE_SIZE } };

	if (ioctl(task->fd, UFFDIO_ZEROPAGE, &zero) == 0)
		return 1;
	if (errno == EEXIST) {
		rb_pager_wake(task, addr);
		return 1;
	}
	return common_error(-errno);
}

static int place_batch(struct rb_pager *p, struct rb_pager_task *task)
{
	int placed = 0;

	while (placed < BATCH_PAGES) {
		uint64_t addr;
		size_t pages = rb_store_next(p->store, task->number, (size_t)(BATCH_PAGES - placed),
					     &addr);
		int r = pages ? rb_pager_place(p, task, addr, pages) : 0;

		if (r <= 0)
			return placed ? placed : r;
		placed += r;
	}
	return placed;
}

/* Return: 1 when there is more */
static int place_these(struct rb_pager *p, struct rb_pager_task *task)
{
	struct rb_range runs[RUNS];
	size_t n = rb_store_here(p->store, task->number, runs, RUNS);

	for (size_t i = 0; i < n; i++)
		for (uint64_t at = runs[i].start; at < runs[i].end;) {
			int r = rb_pager_place(p, task, at,
					       (size_t)((runs[i].end - at) / RB_PAGE_SIZE));

			if (r <= 0)
				return r;
			at += (uint64_t)r * RB_PAGE_SIZE;
		}
	return n == RUNS;
}

int rb_pager_place_here(struct rb_pager *p)
{
	int more = 0;

	for (size_t i = 0; i < p->n_tasks; i++) {
		struct rb_pager_task *task = p->tasks[i];
		int r = task->gone ? 0 : place_these(p, task);

		if (r == -ESRCH)
			task->gone = true;
		else if (r < 0 && r != -EAGAIN)
			return r;
		more |= r > 0;
	}
	return more;
}

int rb_pager_background(struct rb_pager *p)
{
	bool later = false;

	/* each task in its turn; one that cannot be served right now does not hold up the others */
	for (size_t i = 0; i < p->n_tasks; i++) {
		struct rb_pager_task *task = p->tasks[p->turn++ % p->n_tasks];
		int r = task->gone ? 0 : place_batch(p, task);

		if (r == -ESRCH)
			task->gone = true;
		else if (r == -EAGAIN)
			later = true;
		else if (r != 0)
			return r;
	}
	return later ? -EAGAIN : 0;
}
