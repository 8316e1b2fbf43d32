// SPDX-License-Identifier: Apache-2.0
/*
 * track_uffd.c - dirty pages by userfaultfd write-protection
 *
 * The kernel's own way (Documentation/admin-guide/mm/userfaultfd.rst, "WP_ASYNC"): in a registered
 * mapping a scan write-protects what it reports, and the kernel takes the protection off by itself
 * at the first write, so nobody reads events and no write waits for us.
 *
 * What is not registered yet, because it is new or mremap(2) moved it, shows by the scan's EPERM.
 * Then all of the mapping counts as written: it is registered, what protection is left on its pages
 * is taken off, and the scan goes on where it was. The same is right when the mapping was changed
 * in the middle of a scan that had already protected pages and then failed without reporting them.
 * How that is done without losing a write is the business of watch.c.
 *
 * What is asked for is pages with content (pages.c): a page that was dropped is not protected any
 * more, and reported when it has content again. brk(2), mmap(2) and mremap(2) make new mappings or
 * extend registered ones with pages that are not protected; fork(2) gives the child neither
 * registration nor protection. Locked memory is CRIU's; if it was ours it is unregistered, so that
 * it is new, all of it, should it be unlocked.
 *
 * exec(2) gives the process other memory, which the userfaultfd does not know: a new one is made.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "inject.h"
#include "pages.h"
#include "ranges.h"
#include "track_ops.h"
#include "uapi.h"
#include "vmas.h"
#include "wait.h"
#include "watch.h"

enum {
	TRIES = 3,	  /* registering a range that changes all the time */
	INJECT_MS = 2000, /* after an exec, within a scan */
	FEATURES = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED |
		   UFFD_FEATURE_WP_ASYNC,
};

struct state {
	pid_t pid;
	int uffd;
};

/* One pass over all mappings. */
struct scan {
	struct state *state;
	struct rb_pages pages;
	struct rb_vma *vmas;
	int count;
	bool rearm;
	bool known;  /* one is registered: the userfaultfd is of this memory */
	bool failed; /* one could not be registered */
	bool dead;   /* the memory that the userfaultfd is of has ended */
	struct rb_ranges *ret;
};

static int enable(int uffd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };

	return ioctl(uffd, UFFDIO_API, &api) < 0 ? -errno : 0;
}

/* Everything in [pos, end) that has content, and not watched: it will be reported again. */
static int list_all(struct scan *scan, uint64_t pos, uint64_t end)
{
	return rb_pages_list(&scan->pages, RB_PAGES_POPULATED, &pos, end, scan->ret);
}

/* What is mapped in [pos, end) shall be watched. Return: 0 when it is worth another look. */
static int follow(struct scan *scan, uint64_t pos, uint64_t end)
{
	const struct rb_range range = { pos, end };
	int r = rb_watch(scan->state->uffd, scan->state->pid, &scan->pages, &range);

	/* which number it is depends on the call */
	if (r == -ESRCH || r == -ENOMEM)
		scan->dead = true;
	return r;
}

static int scan_vma(struct scan *scan, int i)
{
	const struct rb_vma *vma = &scan->vmas[i];
	enum rb_pages_what what = scan->rearm ? RB_PAGES_REARM : RB_PAGES_WRITTEN;
	uint64_t pos = vma->start;

	for (int tries = 0;; tries++) {
		int r = rb_pages_list(&scan->pages, what, &pos, vma->end, scan->ret);

		if (r == 0)
			scan->known = true;
		if (r != -EPERM)
			return r;
		/* the last: it changes all the time, or the userfaultfd is of other memory, or it
		 * belongs to another userfaultfd, or is none of ours any more */
		if (!scan->rearm || tries == TRIES || follow(scan, pos, vma->end) < 0)
			break;
	}
	scan->failed = true;
	return list_all(scan, pos, vma->end);
}

static int scan_all(struct scan *scan, struct rb_err *err)
{
	int r = rb_pages_open(scan->state->pid, &scan->pages, err);

	if (r < 0)
		return r;
	scan->count = rb_vmas_read(scan->state->pid, &scan->vmas, err);
	if (scan->count < 0)
		return scan->count;
	for (int i = 0; r == 0 && i < scan->count && !scan->dead; i++) {
		if (scan->vmas[i].ours)
			r = scan_vma(scan, i);
		else if (scan->vmas[i].locked && scan->rearm)
			rb_unwatch(scan->state->uffd, &scan->vmas[i], 1);
	}
	if (r == -ESRCH)
		return -EAGAIN;
	return r < 0 ? rb_err_set(err, r, "look for pages that process %d wrote",
				  (int)scan->state->pid)
		     : 0;
}

/* Return: 1 when the process has other memory than the userfaultfd is of, -EAGAIN when it got other
 * memory just now; what was listed is taken back then. */
static int pass(struct state *state, bool rearm, struct rb_ranges *ret_dirty, struct rb_err *err)
{
	struct scan scan = { .state = state, .pages.fd = -EBADF, .rearm = rearm, .ret = ret_dirty };
	size_t n = ret_dirty->n;
	uint64_t last_end = n ? ret_dirty->list[n - 1].end : 0;
	int r = scan_all(&scan, err);

	rb_pages_close(&scan.pages);
	free(scan.vmas);
	if (r == 0 && rearm && (scan.dead || (scan.failed && !scan.known)))
		r = 1;
	if (r != 0) {
		ret_dirty->n = n;
		if (n)
			ret_dirty->list[n - 1].end = last_end;
	}
	return r;
}

/* Closing does it, unless a child of ours has a copy of the descriptor. */
static void let_go(struct state *state)
{
	_cleanup_free_ struct rb_vma *vmas = NULL;
	int count = state->uffd >= 0 ? rb_vmas_read(state->pid, &vmas, NULL) : 0;

	for (int i = 0, n; i < count; i += n) {
		for (n = 0; i + n < count && (vmas[i + n].ours || vmas[i + n].locked); n++)
			;
		if (n)
			rb_unwatch(state->uffd, &vmas[i], n);
		else
			n = 1;
	}
	rb_close_fd(&state->uffd);
}

static int new_uffd(struct state *state, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_close_ int uffd = -EBADF;
	int r;

	rb_close_fd(&state->uffd);
	r = rb_inject_userfaultfd(state->pid, NULL, &uffd, wait, err);
	if (r == 0)
		r = enable(uffd);
	if (r < 0)
		return r == -ESRCH ? r
				   : rb_err_wrap(err, r, "follow the memory of process %d",
						 (int)state->pid);
	state->uffd = TAKE_FD(uffd);
	return 0;
}

static int uffd_scan(void *data, bool rearm, struct rb_ranges *ret_dirty, struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, INJECT_MS);
	struct state *state = data;
	int r;

	for (int tries = 0;; tries++) {
		/* when it fails all is dirty this time, and the next scan tries again */
		if (rearm && state->uffd < 0)
			rearm = new_uffd(state, &wait, NULL) == 0;
		r = pass(state, rearm, ret_dirty, err);
		if (r == 1)
			let_go(state);
		else if (r != -EAGAIN)
			return r;
		if (tries == TRIES)
			rearm = false;
		if (tries == 2 * TRIES)
			return r == 1 ? 0 : -ESRCH;
	}
}

static int uffd_arm(pid_t pid, void **ret, const struct rb_wait *wait, struct rb_err *err)
{
	struct state *state = malloc(sizeof(*state));
	int r;

	if (!state)
		return rb_err_set(err, -ENOMEM, "follow process %d", (int)pid);
	*state = (struct state){ .pid = pid, .uffd = -EBADF };
	r = new_uffd(state, wait, err);
	if (r < 0) {
		free(state);
		return r;
	}
	*ret = state;
	return 0;
}

/* What is not registered was written, all of it: as in scan_vma(). */
static int look_at_vma(struct rb_pages *pages, const struct rb_vma *vma,
		       struct rb_ranges *ret_dirty, struct rb_ranges *ret_populated)
{
	uint64_t pos = vma->start, rest;
	int r = rb_pages_list_both(pages, RB_PAGES_WRITTEN, &pos, vma->end, ret_dirty,
				   ret_populated);

	if (r != -EPERM)
		return r;
	rest = pos;
	r = rb_pages_list(pages, RB_PAGES_POPULATED, &pos, vma->end, ret_populated);
	return r < 0 ? r : rb_pages_list(pages, RB_PAGES_POPULATED, &rest, vma->end, ret_dirty);
}

static int uffd_look(void *data, const struct rb_vma *vmas, int count, struct rb_ranges *ret_dirty,
		     struct rb_ranges *ret_populated, struct rb_err *err)
{
	_cleanup_(rb_pages_close) struct rb_pages pages = { .fd = -EBADF };
	struct state *state = data;
	int r = rb_pages_open(state->pid, &pages, err);

	if (r < 0)
		return r;
	for (int i = 0; r == 0 && i < count; i++)
		if (vmas[i].ours)
			r = look_at_vma(&pages, &vmas[i], ret_dirty, ret_populated);
	return r < 0 && r != -ESRCH
		       ? rb_err_set(err, r, "look for pages that process %d wrote", (int)state->pid)
		       : r;
}

static void uffd_free(void *data)
{
	struct state *state = data;

	let_go(state);
	free(state);
}

/* A page of our own, written, watched, written. */
static bool works(int uffd, unsigned char *page, size_t size)
{
	const uint64_t start = (uint64_t)(uintptr_t)page;
	const struct rb_range range = { start, start + size };
	_cleanup_(rb_pages_close) struct rb_pages pages = { .fd = -EBADF };
	_cleanup_(rb_ranges_free) struct rb_ranges ranges = {};
	bool good = rb_pages_open(getpid(), &pages, NULL) == 0 && enable(uffd) == 0;
	volatile unsigned char *byte = page;

	*byte = 1;
	good = good && rb_watch(uffd, getpid(), &pages, &range) == 0;
	for (int i = 0; good && i < 3; i++) {
		uint64_t pos = start;

		rb_ranges_clear(&ranges);
		good = rb_pages_list(&pages, RB_PAGES_REARM, &pos, range.end, &ranges) == 0 &&
		       rb_ranges_bytes(&ranges) == (i == 1 ? 0 : size);
		/* seen as written at first, and the third time */
		if (i == 1)
			*byte = 2;
	}
	return good;
}

static bool uffd_supported(void)
{
	const size_t size = (size_t)sysconf(_SC_PAGESIZE);
	_cleanup_close_ int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	void *page;
	bool good;

	if (uffd < 0)
		return false;
	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	good = page != MAP_FAILED && works(uffd, page, size);
	if (page != MAP_FAILED)
		munmap(page, size);
	return good;
}

const struct rb_tracker_ops rb_track_uffd = {
	.name = "userfaultfd",
	.supported = uffd_supported,
	.arm = uffd_arm,
	.scan = uffd_scan,
	.look = uffd_look,
	.free = uffd_free,
};
