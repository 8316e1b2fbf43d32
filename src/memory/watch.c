// SPDX-License-Identifier: Apache-2.0
/*
 * watch.c - mappings of a process are registered with a userfaultfd, and no write stays unseen
 *
 * A page that is protected in a mapping which lost its registration becomes writable with the next
 * write and keeps its mark: registered again like that, all that is written to it stays unseen for
 * ever. A mapping loses it when it is moved; but also when another one is moved to its side, for
 * the kernel first makes one of the two and then lets go of it, all of it
 * (mremap_userfaultfd_prep() in fs/userfaultfd.c). The process does that while we look, so it
 * cannot be known of a mapping that is registered now whether it still is in a moment. Hence the
 * rule: what is registered already is never registered again, and of all that is, marks are taken
 * off. What loses its registration shows by the EPERM of the next scan.
 *
 * And a mapping that is registered to one half becomes two, which mremap(2) refuses (EFAULT). So
 * mappings are looked at just before, a region reaches from one that is registered, or of another
 * kind, to the next such, and includes what is free between them; and where something lies across
 * its edge nevertheless, the rest of it is registered at once: the kernel makes one of them again.
 * (mremap(2) over what a program has mapped by several calls may be refused while it is followed,
 * and after that: the kernel does not join a new mapping to one that is registered.)
 */
#include "watch.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/ioctl.h>

#include "cleanup.h"
#include "pages.h"
#include "ranges.h"
#include "uapi.h"
#include "vmas.h"

enum { TRIES = 8 };

#define KERNELS (1ULL << 63) /* addresses of the kernel's; of [vsyscall], too */

static int unregister(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_range range = { start, end - start };

	return ioctl(uffd, UFFDIO_UNREGISTER, &range) < 0 ? -errno : 0;
}

/* All of it, or nothing: the kernel may have begun when there is no memory for the rest. */
static int register_all(int uffd, const struct rb_range *region)
{
	struct uffdio_register reg = { .range = { region->start, region->end - region->start },
				       .mode = UFFDIO_REGISTER_MODE_WP };
	int r = ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;

	if (r < 0)
		unregister(uffd, region->start, region->end);
	return r;
}

static int unprotect(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_writeprotect off = { .range = { start, end - start } };

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &off) < 0 ? -errno : 0;
}

/* The kernel stops at the first page that is not registered, so then each is asked for by itself.
 * One that is not registered by now shows by the next scan, and is registered anew. */
static int unprotect_all(int uffd, const struct rb_range *range)
{
	int r = unprotect(uffd, range->start, range->end);

	if (r != -ENOENT)
		return r;
	for (uint64_t at = range->start; at < range->end; at += RB_PAGE_SIZE) {
		r = unprotect(uffd, at, at + RB_PAGE_SIZE);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

/* There hardly are any marks, and taking them off costs more than ten times as much as looking. */
static int clear_marks(int uffd, struct rb_pages *pages, const struct rb_range *region)
{
	_cleanup_(rb_ranges_free) struct rb_ranges marked = {};
	uint64_t pos = region->start;
	int r = rb_pages_list(pages, RB_PAGES_MARKED, &pos, region->end, &marked);

	for (size_t i = 0; r == 0 && i < marked.n; i++)
		r = unprotect_all(uffd, &marked.list[i]);
	return r;
}

/* Is there a mapping at @addr, and is it not registered? */
static bool is_unwatched(struct rb_pages *pages, uint64_t addr)
{
	_cleanup_(rb_ranges_free) struct rb_ranges none = {};

	return rb_pages_list(pages, RB_PAGES_WRITTEN, &addr, addr + RB_PAGE_SIZE, &none) == -EPERM;
}

/* Mappings @from to @to, with what is free around them. */
static struct rb_range region_of(const struct rb_vma *vmas, int count, int from, int to)
{
	bool is_last = to + 1 == count || vmas[to + 1].start >= KERNELS;

	return (struct rb_range){
		.start = from > 0 ? vmas[from - 1].end : vmas[from].start,
		.end = is_last ? vmas[to].end : vmas[to + 1].start,
	};
}

static int find_unwatched(struct rb_pages *pages, const struct rb_vma *vmas, int count,
			  const struct rb_range *range)
{
	for (int i = 0; i < count && vmas[i].start < range->end; i++)
		if (vmas[i].ours && vmas[i].end > range->start &&
		    is_unwatched(pages, vmas[i].start))
			return i;
	return -1;
}

static bool is_other(const struct rb_vma *vmas, int count, uint64_t addr)
{
	for (int i = 0; i < count && vmas[i].start <= addr; i++)
		if (vmas[i].end > addr)
			return !vmas[i].ours;
	return false;
}

/* Does something lie across an edge, at page @ret, that was not there when mappings were looked at?
 * It is free there, or registered, or of another kind. */
static bool find_across(struct rb_pages *pages, const struct rb_vma *vmas, int count,
			const struct rb_range *region, struct rb_range *ret)
{
	const uint64_t before = region->start - RB_PAGE_SIZE, behind = region->end;

	if (!is_other(vmas, count, before) && is_unwatched(pages, before))
		ret->start = before;
	else if (!is_other(vmas, count, behind) && is_unwatched(pages, behind))
		ret->start = behind;
	else
		return false;
	ret->end = ret->start + RB_PAGE_SIZE;
	return true;
}

static bool is_refused(int r)
{
	return r == -EINVAL || r == -EPERM || r == -EBUSY;
}

/* What cannot be registered is refused with all of its region: so less is tried, half of what lies
 * behind mapping @i, and in the end that alone. The rest comes when the scan is there.
 * Return: -EAGAIN when mappings are others by now, and something lies @across an edge;
 * @ret is what was registered nevertheless. */
static int register_around(int uffd, struct rb_pages *pages, const struct rb_vma *vmas, int count,
			   int i, struct rb_range *across, struct rb_range *ret)
{
	struct rb_range region;
	int from = i, to = i, r;

	while (from > 0 && vmas[from - 1].ours && is_unwatched(pages, vmas[from - 1].start))
		from--;
	while (to + 1 < count && vmas[to + 1].ours && is_unwatched(pages, vmas[to + 1].start))
		to++;
	region = region_of(vmas, count, from, to);
	if (find_across(pages, vmas, count, &region, across))
		return -EAGAIN;
	r = register_all(uffd, &region);
	if (r == 0) {
		*ret = region;
		return find_across(pages, vmas, count, &region, across) ? -EAGAIN : 0;
	}
	while (is_refused(r) && (from < i || to > i)) {
		from = i;
		to = i + (to - i) / 2;
		region = region_of(vmas, count, from, to);
		r = register_all(uffd, &region);
	}
	if (r == 0)
		*ret = region;
	return r;
}

/* @range: in which something is to be registered; on -EAGAIN it is another one */
static int register_one(int uffd, pid_t pid, struct rb_pages *pages, struct rb_range *range,
			struct rb_range *ret)
{
	_cleanup_free_ struct rb_vma *vmas = NULL;
	int count = rb_vmas_outline(pid, &vmas, NULL), i;

	*ret = (struct rb_range){};
	if (count < 0)
		return count;
	i = find_unwatched(pages, vmas, count, range);
	return i < 0 ? 0 : register_around(uffd, pages, vmas, count, i, range, ret);
}

int rb_watch(int uffd, pid_t pid, struct rb_pages *pages, const struct rb_range *range)
{
	struct rb_range regions[TRIES], missing = *range;
	int n = 0, done = 0, r = -EAGAIN;

	while (r == -EAGAIN && n < TRIES) {
		r = register_one(uffd, pid, pages, &missing, &regions[n]);
		done += regions[n++].end > 0;
	}
	/* what lies across may be what cannot be registered */
	if (done && (r == -EAGAIN || is_refused(r)))
		r = 0;
	if (r == 0)
		r = clear_marks(uffd, pages, range);
	for (int i = 0; i < n && r == 0; i++)
		r = clear_marks(uffd, pages, &regions[i]);
	for (int i = 0; i < n && r < 0; i++)
		unregister(uffd, regions[i].start, regions[i].end);
	return r;
}

void rb_unwatch(int uffd, const struct rb_vma *vmas, int count)
{
	struct rb_range all;

	if (!count)
		return;
	all = region_of(vmas, count, 0, count - 1);
	/* something among them cannot be registered, and so cannot be the opposite either */
	if (unregister(uffd, all.start, all.end) == -EINVAL)
		for (int i = 0; i < count; i++)
			unregister(uffd, vmas[i].start, vmas[i].end);
}
