// SPDX-License-Identifier: Apache-2.0
/*
 * defer.c - pages of a process that are written in every round are left for later
 *
 * Always: what was written and not sent since is in `waiting`, or its tracker tells of it.
 */
#include "defer.h"

#include "cleanup.h"
#include "ranges.h"

static void move(struct rb_ranges *to, struct rb_ranges *from)
{
	rb_ranges_free(to);
	*to = *from;
	*from = (struct rb_ranges){};
}

static int remember(struct rb_ranges *ret_last, struct rb_ranges *ret_twice,
		    const struct rb_defer *defer, const struct rb_ranges *dirty)
{
	int r = rb_ranges_append(ret_last, dirty);

	return r < 0 ? r : rb_ranges_intersect(ret_twice, dirty, &defer->last);
}

int rb_defer_round(struct rb_defer *defer, enum rb_defer_round how, struct rb_ranges *dirty)
{
	_cleanup_(rb_ranges_free) struct rb_ranges hot = {}, all = {}, send = {};
	_cleanup_(rb_ranges_free) struct rb_ranges last = {}, twice = {};
	int r = rb_ranges_unite(&all, dirty, &defer->waiting);

	if (r >= 0 && how == RB_DEFER_HOT)
		r = rb_ranges_intersect(&hot, dirty, &defer->twice);
	if (r >= 0)
		r = rb_ranges_subtract(&send, &all, &hot);
	if (r >= 0 && how != RB_DEFER_WHOLE)
		r = remember(&last, &twice, defer, dirty);
	if (r < 0)
		return r;
	move(&defer->waiting, &hot);
	move(&defer->last, &last);
	move(&defer->twice, &twice);
	move(dirty, &send);
	return 0;
}

int rb_defer_add(const struct rb_defer *defer, const struct rb_ranges *within,
		 struct rb_ranges *dirty)
{
	_cleanup_(rb_ranges_free) struct rb_ranges there = {}, all = {};
	const struct rb_ranges *add = &defer->waiting;
	int r = 0;

	if (!add->n)
		return 0;
	if (within) {
		r = rb_ranges_intersect(&there, add, within);
		add = &there;
	}
	if (r >= 0)
		r = rb_ranges_unite(&all, dirty, add);
	if (r < 0)
		return r;
	move(dirty, &all);
	return 0;
}

void rb_defer_clear(struct rb_defer *defer)
{
	rb_ranges_free(&defer->last);
	rb_ranges_free(&defer->twice);
	rb_ranges_free(&defer->waiting);
}
