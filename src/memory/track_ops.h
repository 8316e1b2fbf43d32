/* SPDX-License-Identifier: Apache-2.0 */
/*
 * track_ops.h - what a way of tracking consists of
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "track.h"

struct rb_err;
struct rb_ranges;
struct rb_vma;
struct rb_wait;

/** Each sees only its own state (arm's @ret). */
struct rb_tracker_ops {
	const char *name;
	bool (*supported)(void);
	int (*arm)(pid_t pid, void **ret, const struct rb_wait *wait, struct rb_err *err);
	int (*scan)(void *state, bool rearm, struct rb_ranges *ret_dirty, struct rb_err *err);
	int (*look)(void *state, const struct rb_vma *vmas, int count, struct rb_ranges *ret_dirty,
		    struct rb_ranges *ret_populated, struct rb_err *err);
	void (*free)(void *state);
};

extern const struct rb_tracker_ops rb_track_uffd, rb_track_soft_dirty;
