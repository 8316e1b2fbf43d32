// SPDX-License-Identifier: Apache-2.0
/*
 * watch.c - mappings of a process are registered with a userfaultfd, and no write stays unseen
 *
 * A page that is protected in a mapping which lost its registration becomes writable with the next
 * write and keeps its mark: registered again like that, all that is written to it stays unseen for
 * ever. So marks are taken off wherever a mapping may have been without registration. It is, when
 * it is new or was moved; but also when another mapping was moved to its side, for the kernel first
 * makes one of the two and then lets go of it, all of it (mremap_userfaultfd_prep() in
 * fs/userfaultfd.c).
 *
 * The kernel does not say what of a range it has just registered was registered before, and the
 * process goes on meanwhile. So mappings are looked at before and after: one that was registered
 * before, and then is the same, or is together with its neighbours exactly what the kernel makes
 * one mapping of when all of them are registered, was registered all the time. What would deceive
 * us is a mapping that is joined, written to and cut off again at the same place within those
 * microseconds.
 */
#include "watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "cleanup.h"
#include "pages.h"
#include "uapi.h"
#include "vmas.h"

static int register_region(int uffd, struct rb_range region)
{
	struct uffdio_register reg = { .range = { region.start, region.end - region.start },
				       .mode = UFFDIO_REGISTER_MODE_WP };

	return ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

void rb_unwatch(int uffd, struct rb_range region)
{
	struct uffdio_range range = { region.start, region.end - region.start };

	ioctl(uffd, UFFDIO_UNREGISTER, &range);
}

static int unprotect(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_writeprotect off = { .range = { start, end - start } };

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &off) < 0 ? -errno : 0;
}

/* The kernel stops at the first page that is not registered, so then each is asked for by itself.
 * One that is not registered by now shows by the next scan, and is registered anew. */
static int unprotect_all(int uffd, uint64_t start, uint64_t end)
{
	int r = unprotect(uffd, start, end);

	if (r != -ENOENT)
		return r;
	for (uint64_t at = start; at < end; at += RB_PAGE_SIZE) {
		r = unprotect(uffd, at, at + RB_PAGE_SIZE);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

/* There hardly are any marks, and taking them off costs more than ten times as much as looking. */
static int clear_marks(int uffd, struct rb_pages *pages, const struct rb_range *range)
{
	_cleanup_(rb_ranges_free) struct rb_ranges marked = {};
	uint64_t pos = range->start;
	int r = rb_pages_list(pages, RB_PAGES_MARKED, &pos, range->end, &marked);

	for (size_t i = 0; r == 0 && i < marked.n; i++)
		r = unprotect_all(uffd, marked.list[i].start, marked.list[i].end);
	return r;
}

/* The mappings of a process at one time. */
struct look {
	struct rb_vma *vmas;
	int count;
	bool *watched; /* of each; before only */
};

static void free_look(struct look *look)
{
	free(look->vmas);
	free(look->watched);
}

static bool is_watched(struct rb_pages *pages, uint64_t addr)
{
	_cleanup_(rb_ranges_free) struct rb_ranges watched = {};

	return rb_pages_list(pages, RB_PAGES_WATCHED, &addr, addr + RB_PAGE_SIZE, &watched) == 0 &&
	       watched.n > 0;
}

static bool overlaps(const struct rb_vma *vma, struct rb_range region)
{
	return vma->end > region.start && vma->start < region.end;
}

static int look_before(pid_t pid, struct rb_pages *pages, struct rb_range region, struct look *ret)
{
	ret->count = rb_vmas_outline(pid, &ret->vmas, NULL);
	if (ret->count < 0)
		return ret->count;
	ret->watched = calloc((size_t)ret->count, sizeof(*ret->watched));
	if (!ret->watched)
		return -ENOMEM;
	for (int i = 0; i < ret->count; i++)
		ret->watched[i] = overlaps(&ret->vmas[i], region) &&
				  is_watched(pages, ret->vmas[i].start);
	return 0;
}

/* Is @vma made of whole mappings of @before, from the @first on? */
static bool is_made_of(const struct rb_vma *vma, const struct look *before, int first)
{
	uint64_t at = vma->start;

	for (int i = first; at < vma->end && i < before->count; i++) {
		if (before->vmas[i].start != at || !before->vmas[i].ours)
			return false;
		at = before->vmas[i].end;
	}
	return at == vma->end;
}

/* What in the region may have been without registration. */
static int find_doubtful(const struct look *before, const struct look *after,
			 struct rb_range region, struct rb_ranges *ret)
{
	int first = 0, r = 0;

	for (int i = 0; r == 0 && i < after->count; i++) {
		const struct rb_vma *vma = &after->vmas[i];

		if (!vma->ours || !overlaps(vma, region))
			continue;
		while (first < before->count && before->vmas[first].end <= vma->start)
			first++;
		if (!is_made_of(vma, before, first)) {
			r = rb_ranges_add(ret, vma->start, vma->end);
			continue;
		}
		for (; r == 0 && first < before->count && before->vmas[first].end <= vma->end;
		     first++)
			if (!before->watched[first])
				r = rb_ranges_add(ret, before->vmas[first].start,
						  before->vmas[first].end);
	}
	return r;
}

static int take_off_marks(int uffd, pid_t pid, struct rb_pages *pages, const struct look *before,
			  struct rb_range region, struct rb_range written)
{
	struct rb_ranges one = { .list = &written, .n = 1 };
	_cleanup_(rb_ranges_free) struct rb_ranges doubtful = {}, all = {};
	_cleanup_(free_look) struct look after = {};
	int r;

	after.count = rb_vmas_outline(pid, &after.vmas, NULL);
	if (after.count < 0)
		return after.count;
	r = find_doubtful(before, &after, region, &doubtful);
	if (r == 0)
		r = rb_ranges_unite(&all, &doubtful, &one);
	for (size_t i = 0; r == 0 && i < all.n; i++)
		r = clear_marks(uffd, pages, &all.list[i]);
	return r;
}

int rb_watch(int uffd, pid_t pid, struct rb_pages *pages, struct rb_range region,
	     struct rb_range written)
{
	_cleanup_(free_look) struct look before = {};
	int r = look_before(pid, pages, region, &before);

	if (r == 0)
		r = register_region(uffd, region);
	if (r < 0)
		return r;
	r = take_off_marks(uffd, pid, pages, &before, region, written);
	if (r < 0)
		rb_unwatch(uffd, region);
	return r;
}
