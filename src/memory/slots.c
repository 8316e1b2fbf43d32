// SPDX-License-Identifier: Apache-2.0
/*
 * slots.c - the memory of a store: page-sized slots in a memfd, with reference counts
 *
 * Slots are handed out in runs, so that a run of pages that arrived together is one piece to copy
 * from later. A slot without references is first "dirty": used again at once when something is
 * put, else given back to the system (a hole is punched) together with others, BATCH pages at a
 * time; then it is "clean", and gets memory again when it is written. Under hold it is "held", and
 * its content stays, for the index of another process.
 *
 * Slots that are expected to be filled by somebody else, maybe more than once, are never used for
 * another page.
 */
#include "slots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "store.h"

enum { BATCH = 256 };

int rb_slots_open(struct rb_slots *slots, struct rb_err *err)
{
	_cleanup_close_ int fd = memfd_create("reberth-pages", MFD_CLOEXEC);
	struct sysinfo info;
	uint64_t limit;
	void *map;

	if (fd < 0 || sysinfo(&info) < 0)
		return rb_err_set(err, -errno, "make the page store");
	limit = (uint64_t)(info.totalram + info.totalswap) * info.mem_unit / RB_PAGE_SIZE;
	/* pages that came in rounds may all be expected once more; no memory is taken before
	 * something is written */
	limit *= 2;
	if (limit > UINT32_MAX)
		limit = UINT32_MAX;
	if (ftruncate(fd, (off_t)(limit * RB_PAGE_SIZE)) < 0)
		return rb_err_set(err, -errno, "make the page store");
	map = mmap(NULL, limit * RB_PAGE_SIZE, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (map == MAP_FAILED)
		return rb_err_set(err, -errno, "map the page store");
	*slots = (struct rb_slots){ .fd = TAKE_FD(fd), .map = map, .limit = (uint32_t)limit };
	return 0;
}

void rb_slots_close(struct rb_slots *slots)
{
	if (slots->map)
		munmap(slots->map, (size_t)slots->limit * RB_PAGE_SIZE);
	rb_close_fd(&slots->fd);
	free(slots->refs);
	free(slots->held.list);
	free(slots->dirty.list);
	free(slots->clean.list);
	rb_expected_free(&slots->expected);
	*slots = (struct rb_slots){ .fd = -EBADF };
}

static int extents_add(struct rb_extents *extents, uint32_t start, uint32_t pages)
{
	struct rb_extent *last = extents->n ? &extents->list[extents->n - 1] : NULL;

	if (last && last->start + last->pages == start) {
		last->pages += pages;
		return 0;
	}
	if (extents->n == extents->size) {
		size_t size = extents->size ? extents->size * 2 : 64;
		struct rb_extent *list = reallocarray(extents->list, size, sizeof(*list));

		if (!list)
			return -ENOMEM;
		extents->list = list;
		extents->size = size;
	}
	extents->list[extents->n++] = (struct rb_extent){ .start = start, .pages = pages };
	return 0;
}

static void punch(const struct rb_slots *slots, uint32_t start, uint32_t pages)
{
	fallocate(slots->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		  (off_t)start * RB_PAGE_SIZE, (off_t)pages * RB_PAGE_SIZE);
}

static int by_start(const void *a, const void *b)
{
	const struct rb_extent *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* Slots that cannot be noted for lack of memory are not used again; their pages are given back. */
static void give_back(struct rb_slots *slots)
{
	struct rb_extents *dirty = &slots->dirty;

	if (dirty->n > 1)
		qsort(dirty->list, dirty->n, sizeof(*dirty->list), by_start);
	for (size_t i = 0; i < dirty->n;) {
		struct rb_extent extent = dirty->list[i++];

		while (i < dirty->n && dirty->list[i].start == extent.start + extent.pages)
			extent.pages += dirty->list[i++].pages;
		punch(slots, extent.start, extent.pages);
		extents_add(&slots->clean, extent.start, extent.pages);
	}
	dirty->n = 0;
	slots->dirty_pages = 0;
}

static void release(struct rb_slots *slots, uint32_t start, uint32_t pages)
{
	rb_expected_settle(&slots->expected, start, pages);
	if (slots->hold) {
		extents_add(&slots->held, start, pages);
		return;
	}
	if (extents_add(&slots->dirty, start, pages) < 0) {
		punch(slots, start, pages);
		return;
	}
	slots->dirty_pages += pages;
	if (slots->dirty_pages >= BATCH)
		give_back(slots);
}

/* At most @want slots of what is free. Return: their number. */
static uint32_t take(struct rb_slots *slots, struct rb_extents *extents, uint32_t want,
		     uint32_t *ret_slot)
{
	struct rb_extent *last;

	if (!extents->n)
		return 0;
	last = &extents->list[extents->n - 1];
	if (want > last->pages)
		want = last->pages;
	*ret_slot = last->start;
	last->start += want;
	last->pages -= want;
	if (!last->pages)
		extents->n--;
	if (extents == &slots->dirty)
		slots->dirty_pages -= want;
	return want;
}

static int take_unused(struct rb_slots *slots, uint32_t want, uint32_t *ret_slot)
{
	uint32_t left = slots->limit - slots->top;

	if (want > left)
		want = left;
	if (!want)
		return -ENOSPC;
	if (slots->top + want > slots->refs_size) {
		size_t size = slots->refs_size ? slots->refs_size * 2 : 16384;
		uint32_t *refs = reallocarray(slots->refs, size, sizeof(*refs));

		if (!refs)
			return -ENOMEM;
		slots->refs = refs;
		slots->refs_size = size;
		if (want > size - slots->top)
			want = (uint32_t)(size - slots->top);
	}
	*ret_slot = slots->top;
	slots->top += want;
	return (int)want;
}

int rb_slots_write(struct rb_slots *slots, const void *data, uint32_t pages, uint32_t *ret_slot)
{
	bool again = slots->expected.n == 0;
	int n = again ? (int)take(slots, &slots->dirty, pages, ret_slot) : 0, r;

	if (!n && again)
		n = (int)take(slots, &slots->clean, pages, ret_slot);
	if (!n)
		n = take_unused(slots, pages, ret_slot);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++)
		slots->refs[*ret_slot + (uint32_t)i] = 1;
	r = rb_slots_overwrite(slots, *ret_slot, data, (uint32_t)n);
	if (r < 0) {
		rb_slots_put(slots, *ret_slot, (uint32_t)n);
		return r;
	}
	return n;
}

int rb_slots_expect(struct rb_slots *slots, int task, uint64_t addr, uint32_t pages,
		    uint32_t *ret_slot)
{
	int n = take_unused(slots, pages, ret_slot), r;

	if (n < 0)
		return n;
	r = rb_expected_add(&slots->expected,
			    &(struct rb_want){ *ret_slot, (uint32_t)n, task, addr });
	if (r < 0)
		return r;
	for (int i = 0; i < n; i++)
		slots->refs[*ret_slot + (uint32_t)i] = 1;
	return n;
}

void rb_slots_come(struct rb_slots *slots, uint32_t slot, uint32_t pages)
{
	for (uint32_t i = slot, from; i < slot + pages; i++) {
		for (from = i; i < slot + pages && slots->refs[i] == 0; i++)
			;
		if (i > from)
			punch(slots, from, i - from);
	}
	rb_expected_settle(&slots->expected, slot, pages);
}

int rb_slots_overwrite(struct rb_slots *slots, uint32_t slot, const void *data, uint32_t pages)
{
	return rb_pwrite_all(slots->fd, data, (size_t)pages * RB_PAGE_SIZE,
			     (off_t)slot * RB_PAGE_SIZE);
}

void rb_slots_get(struct rb_slots *slots, uint32_t slot)
{
	slots->refs[slot]++;
}

void rb_slots_put(struct rb_slots *slots, uint32_t slot, uint32_t pages)
{
	for (uint32_t i = 0; i < pages;) {
		uint32_t from = i;

		while (i < pages && --slots->refs[slot + i] == 0)
			i++;
		if (i > from)
			release(slots, slot + from, i - from);
		if (i < pages)
			i++; /* that one is still wanted */
	}
}

void rb_slots_hold(struct rb_slots *slots, bool hold)
{
	struct rb_extents held = slots->held;

	slots->hold = hold;
	if (hold)
		return;
	slots->held = (struct rb_extents){};
	for (size_t i = 0; i < held.n; i++)
		release(slots, held.list[i].start, held.list[i].pages);
	free(held.list);
}
