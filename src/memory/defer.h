/* SPDX-License-Identifier: Apache-2.0 */
/*
 * defer.h - pages of a process that are written in every round are left for later
 *
 * One that was written before each of the last three rounds will be written again, and what is sent
 * of it now is sent in vain. So it waits: until a round before which it was not written, or one
 * that leaves nothing, or the container is frozen. Its tracker does not tell of it any more unless
 * it is written once more, so here is the only place where it is known that it has to be sent.
 */
#pragma once

#include <stdbool.h>

#include "ranges.h"

/** Begins as {}. */
struct rb_defer {
	struct rb_ranges last;	  /* written before the last round */
	struct rb_ranges twice;	  /* and before the one before it, too */
	struct rb_ranges waiting; /* to be sent */
};

/** How a round is to be. */
enum rb_defer_round {
	RB_DEFER_HOT,	/* leave what is written in every round */
	RB_DEFER_NONE,	/* leave nothing */
	RB_DEFER_WHOLE, /* the same, and the list is of all pages: it says nothing about writing */
};

/**
 * rb_defer_round - choose what is sent in a round
 * @dirty: in: what was written since the last one; out: what is to be sent now
 *
 * Return: 0; -ENOMEM, and nothing was changed.
 */
int rb_defer_round(struct rb_defer *defer, enum rb_defer_round how, struct rb_ranges *dirty);

/**
 * rb_defer_add - what waits is to be sent, too
 * @within: leave out what is not in these; NULL: nothing
 * @dirty: in order, is added to
 *
 * It waits nevertheless, until a round sends it.
 *
 * Return: 0; -ENOMEM, and nothing was changed.
 */
int rb_defer_add(const struct rb_defer *defer, const struct rb_ranges *within,
		 struct rb_ranges *dirty);

/** rb_defer_clear - nothing waits, nothing was written */
void rb_defer_clear(struct rb_defer *defer);
