// SPDX-License-Identifier: Apache-2.0
/*
 * track.c - which pages of a running process were written since the last look
 *
 * The order that loses no write: a page is watched again first, and read afterwards. What is
 * written between the two is read now and reported once more. So a page may come too often, and
 * whatever is in doubt (a mapping that changed while one looked) is reported as a whole.
 */
#include "track.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "pages.h"
#include "ranges.h"
#include "track_ops.h"
#include "vmas.h"

enum { EXEC_TRIES = 3 };

struct rb_tracker {
	const struct rb_tracker_ops *ops;
	void *state;
	pid_t pid;
	int pidfd; /* to know that the number still means this process */
};

/* Nothing is watched, everything is dirty. */
static bool none_supported(void)
{
	return true;
}

static int none_arm(pid_t pid, void **ret, const struct rb_wait *wait, struct rb_err *err)
{
	pid_t *state = malloc(sizeof(*state));

	(void)wait;
	if (!state)
		return rb_err_set(err, -ENOMEM, "follow process %d", (int)pid);
	*state = pid;
	*ret = state;
	return 0;
}

static int none_scan(void *state, bool rearm, struct rb_ranges *ret_dirty, struct rb_err *err)
{
	(void)rearm;
	return rb_populated(*(pid_t *)state, ret_dirty, err);
}

static int none_look(void *state, const struct rb_vma *vmas, int count, struct rb_ranges *ret_dirty,
		     struct rb_ranges *ret_populated, struct rb_err *err)
{
	return rb_tracker_look(NULL, *(pid_t *)state, vmas, count, ret_dirty, ret_populated, err);
}

static const struct rb_tracker_ops track_none = {
	.name = "none",
	.supported = none_supported,
	.arm = none_arm,
	.scan = none_scan,
	.look = none_look,
	.free = free,
};

static const struct rb_tracker_ops *find_ops(enum rb_track_method method)
{
	switch (method) {
	case RB_TRACK_UFFD_WP:
		return &rb_track_uffd;
	case RB_TRACK_SOFT_DIRTY:
		return &rb_track_soft_dirty;
	case RB_TRACK_NONE:
		return &track_none;
	case RB_TRACK_AUTO:
		break;
	}
	return rb_track_uffd.supported()	 ? &rb_track_uffd
	       : rb_track_soft_dirty.supported() ? &rb_track_soft_dirty
						 : &track_none;
}

const char *rb_track_method_name(enum rb_track_method method)
{
	return find_ops(method)->name;
}

bool rb_track_supported(enum rb_track_method method)
{
	return find_ops(method)->supported();
}

/* Return: 0, -ESRCH when it was reaped: then its number may mean another process. */
static int check_alive(int pidfd)
{
	return syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0 && errno == ESRCH ? -ESRCH : 0;
}

int rb_tracker_arm(pid_t pid, enum rb_track_method method, struct rb_tracker **ret,
		   const struct rb_wait *wait, struct rb_err *err)
{
	const struct rb_tracker_ops *ops = find_ops(method);
	struct rb_tracker *tracker;
	int r;

	if (!ops->supported())
		return rb_err_code(err, RB_E_REFUSED, -ENOTSUP,
				   "this kernel cannot follow memory by %s", ops->name);
	tracker = malloc(sizeof(*tracker));
	if (!tracker)
		return rb_err_set(err, -ENOMEM, "follow process %d", (int)pid);
	*tracker = (struct rb_tracker){ .ops = ops, .pid = pid };
	tracker->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	r = tracker->pidfd >= 0 ? 0
	    : errno == ESRCH	? -ESRCH
				: rb_err_set(err, -errno, "follow process %d", (int)pid);
	if (r == 0)
		r = ops->arm(pid, &tracker->state, wait, err);
	if (r == 0)
		r = check_alive(tracker->pidfd);
	if (r < 0) {
		rb_tracker_free(tracker);
		return r;
	}
	*ret = tracker;
	return 0;
}

int rb_tracker_scan(struct rb_tracker *tracker, bool rearm, struct rb_ranges *ret_dirty,
		    struct rb_err *err)
{
	int r = tracker->ops->scan(tracker->state, rearm, ret_dirty, err), alive;

	/* asked afterwards: what was looked at was it then */
	alive = check_alive(tracker->pidfd);
	return alive < 0 ? alive : r;
}

static int list_in(struct rb_pages *pages, const struct rb_vma *vmas, int count,
		   struct rb_ranges *ret)
{
	int r = 0;

	for (int i = 0; r == 0 && i < count; i++) {
		uint64_t pos = vmas[i].start;

		if (vmas[i].ours)
			r = rb_pages_list(pages, RB_PAGES_POPULATED, &pos, vmas[i].end, ret);
	}
	return r;
}

static int look_at_all(pid_t pid, const struct rb_vma *vmas, int count, struct rb_ranges *ret_dirty,
		       struct rb_ranges *ret_populated, struct rb_err *err)
{
	_cleanup_(rb_pages_close) struct rb_pages pages = { .fd = -EBADF };
	int r = rb_pages_open(pid, &pages, err);

	if (r < 0)
		return r;
	r = list_in(&pages, vmas, count, ret_populated);
	if (r == 0)
		r = rb_ranges_append(ret_dirty, ret_populated);
	return r < 0 && r != -ESRCH ? rb_err_set(err, r, "list the pages of process %d", (int)pid)
				    : r;
}

int rb_tracker_look(struct rb_tracker *tracker, pid_t pid, const struct rb_vma *vmas, int count,
		    struct rb_ranges *ret_dirty, struct rb_ranges *ret_populated,
		    struct rb_err *err)
{
	int r, alive;

	if (!tracker)
		return look_at_all(pid, vmas, count, ret_dirty, ret_populated, err);
	r = tracker->ops->look(tracker->state, vmas, count, ret_dirty, ret_populated, err);
	alive = check_alive(tracker->pidfd);
	return alive < 0 ? alive : r;
}

static int list_populated(pid_t pid, struct rb_ranges *ret, struct rb_err *err)
{
	_cleanup_free_ struct rb_vma *vmas = NULL;
	_cleanup_(rb_pages_close) struct rb_pages pages = { .fd = -EBADF };
	int r = rb_pages_open(pid, &pages, err), count;

	if (r < 0)
		return r;
	count = rb_vmas_read(pid, &vmas, err);
	if (count < 0)
		return count;
	r = list_in(&pages, vmas, count, ret);
	/* the memory that was opened has gone, but maybe by exec(2) */
	return r == -ESRCH ? -EAGAIN : r;
}

int rb_populated(pid_t pid, struct rb_ranges *ret, struct rb_err *err)
{
	size_t n = ret->n;
	uint64_t last_end = n ? ret->list[n - 1].end : 0;
	int r = -EAGAIN;

	for (int tries = 0; r == -EAGAIN && tries < EXEC_TRIES; tries++) {
		ret->n = n;
		if (n)
			ret->list[n - 1].end = last_end;
		r = list_populated(pid, ret, err);
	}
	if (r == -EAGAIN)
		return -ESRCH;
	return r < 0 && r != -ESRCH ? rb_err_set(err, r, "list the pages of process %d", (int)pid)
				    : r;
}

void rb_tracker_free(struct rb_tracker *tracker)
{
	if (!tracker)
		return;
	if (tracker->state)
		tracker->ops->free(tracker->state);
	rb_close_fd(&tracker->pidfd);
	free(tracker);
}
