// SPDX-License-Identifier: Apache-2.0
/*
 * pages.c - which pages of a range of addresses are in a given state
 *
 * PAGEMAP_SCAN (Documentation/admin-guide/mm/pagemap.rst) walks the page tables of another
 * process; with PM_SCAN_WP_MATCHING it write-protects what it reports under the same page-table
 * lock, so no write falls between. A page table entry that is empty counts as "written" in a
 * userfaultfd's range, and protecting it would allocate page tables for all the address space that
 * a program has reserved and never touched: so only pages with content are asked for. Those that
 * are filled later are unprotected, and so reported.
 *
 * The call ends early when its vector is full, and says in walk_end where to go on. When it fails
 * it does not say how much of the vector it has filled.
 */
#include "pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "ranges.h"
#include "uapi.h"

enum {
	PAGE_BYTES = 4096,
	VEC = 1024,
	ENTRIES = 4096, /* of pagemap, read at a time */
};

#define ENTRY_PRESENT	 (UINT64_C(1) << 63)
#define ENTRY_SWAPPED	 (UINT64_C(1) << 62)
#define ENTRY_SOFT_DIRTY (UINT64_C(1) << 55)

int rb_pages_open(pid_t pid, struct rb_pages *ret, struct rb_err *err)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ESRCH
			       ? -ESRCH
			       : rb_err_set(err, -errno, "open '%s'", path);
	*ret = (struct rb_pages){ .fd = fd };
	return 0;
}

void rb_pages_close(struct rb_pages *pages)
{
	rb_close_fd(&pages->fd);
}

/* What is asked for. */
struct want {
	enum rb_pages_what what;
	struct rb_ranges *ret;
	struct rb_ranges *populated; /* or NULL */
};

static uint64_t category_of(enum rb_pages_what what)
{
	switch (what) {
	case RB_PAGES_WRITTEN:
	case RB_PAGES_REARM:
		return PAGE_IS_WRITTEN;
	case RB_PAGES_SOFT_DIRTY:
		return PAGE_IS_SOFT_DIRTY;
	default:
		return 0;
	}
}

static void prepare(const struct rb_pages *pages, const struct want *want, struct pm_scan_arg *arg)
{
	enum rb_pages_what what = want->what;

	arg->category_inverted = PAGE_IS_PFNZERO | (pages->no_guard ? 0 : PAGE_IS_GUARD);
	arg->category_mask = arg->category_inverted;
	arg->category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
	arg->return_mask = PAGE_IS_PFNZERO; /* alike for all, so that neighbours are one region */
	arg->flags = 0;
	if (what == RB_PAGES_MARKED) {
		arg->category_inverted |= PAGE_IS_WRITTEN;
		arg->category_mask |= PAGE_IS_WRITTEN;
	}
	/* either only these, or all, and it is told which are these */
	if (want->populated)
		arg->return_mask = category_of(what);
	else
		arg->category_mask |= category_of(what);
	if (category_of(what) == PAGE_IS_WRITTEN)
		arg->flags = PM_SCAN_CHECK_WPASYNC;
	if (what == RB_PAGES_REARM)
		arg->flags |= PM_SCAN_WP_MATCHING;
}

/*
 * The kernel gathers regions in a buffer of its own, 512 at a time, and notes in walk_end where it
 * was when that was full; it forgets to set it again when it then comes to the end. So walk_end may
 * lie before regions that it has listed, and protected again. Only with a full vector is there
 * something left.
 */
static uint64_t walked_to(const struct pm_scan_arg *arg, const struct page_region *vec, int n)
{
	if (n < VEC)
		return arg->end;
	return arg->walk_end > vec[n - 1].end ? arg->walk_end : vec[n - 1].end;
}

static int add(const struct want *want, bool matches, uint64_t start, uint64_t end)
{
	int r = want->populated ? rb_ranges_add(want->populated, start, end) : 0;

	return r == 0 && matches ? rb_ranges_add(want->ret, start, end) : r;
}

static int scan(struct rb_pages *pages, const struct want *want, uint64_t *pos, uint64_t end)
{
	struct page_region vec[VEC];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = *pos,
		.end = end,
		.vec = (uint64_t)(uintptr_t)vec,
		.vec_len = VEC,
	};
	int n, r = 0;

	prepare(pages, want, &arg);
	n = ioctl(pages->fd, PAGEMAP_SCAN, &arg);
	if (n < 0)
		return -errno;
	for (int i = 0; r == 0 && i < n; i++)
		r = add(want, !want->populated || (vec[i].categories & arg.return_mask),
			vec[i].start, vec[i].end);
	if (r == 0)
		*pos = walked_to(&arg, vec, n);
	return r;
}

static int read_entries(struct rb_pages *pages, const struct want *want, uint64_t *pos,
			uint64_t end)
{
	uint64_t entries[ENTRIES], mask = ENTRY_PRESENT | ENTRY_SWAPPED;
	uint64_t left = (end - *pos) / PAGE_BYTES;
	enum rb_pages_what what = want->what;
	ssize_t len;
	int r = 0;

	if (what != RB_PAGES_POPULATED && what != RB_PAGES_SOFT_DIRTY)
		return -ENOTSUP;
	len = pread(pages->fd, entries, (left < ENTRIES ? left : ENTRIES) * sizeof(entries[0]),
		    (off_t)(*pos / PAGE_BYTES * sizeof(entries[0])));
	if (len < 0)
		return -errno;
	if ((size_t)len < sizeof(entries[0]))
		return -ESRCH;
	for (size_t i = 0; r == 0 && i < (size_t)len / sizeof(entries[0]); i++) {
		if (entries[i] & mask)
			r = add(want,
				what != RB_PAGES_SOFT_DIRTY || (entries[i] & ENTRY_SOFT_DIRTY),
				*pos, *pos + PAGE_BYTES);
		if (r == 0)
			*pos += PAGE_BYTES;
	}
	return r;
}

static int list(struct rb_pages *pages, const struct want *want, uint64_t *pos, uint64_t end)
{
	while (*pos < end) {
		int r = pages->classic ? read_entries(pages, want, pos, end)
				       : scan(pages, want, pos, end);

		if (r == -EINVAL && !pages->classic && !pages->no_guard) {
			pages->no_guard = true;
			continue;
		}
		if (r == -ENOTTY && !pages->classic) {
			pages->classic = true;
			continue;
		}
		if (r == -EINTR)
			continue;
		if (r < 0)
			return r;
	}
	return 0;
}

int rb_pages_list(struct rb_pages *pages, enum rb_pages_what what, uint64_t *pos, uint64_t end,
		  struct rb_ranges *ret)
{
	return list(pages, &(struct want){ what, ret, NULL }, pos, end);
}

int rb_pages_list_both(struct rb_pages *pages, enum rb_pages_what what, uint64_t *pos, uint64_t end,
		       struct rb_ranges *ret, struct rb_ranges *ret_populated)
{
	return list(pages, &(struct want){ what, ret, ret_populated }, pos, end);
}
