/* SPDX-License-Identifier: Apache-2.0 */
/*
 * track.h - which pages of a running process were written since the last look
 *
 * A tracker belongs to one process (not thread) and follows all of its mappings that are `ours`
 * (vmas.h). How it is done is behind rb_tracker_ops; today: userfaultfd write-protection with
 * PAGEMAP_SCAN (default), soft-dirty bits where only those exist, and "none": everything is dirty.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_err;
struct rb_ranges;
struct rb_tracker;
struct rb_vma;
struct rb_wait;

enum rb_track_method {
	RB_TRACK_AUTO, /* the first of these that works here */
	RB_TRACK_UFFD_WP,
	RB_TRACK_SOFT_DIRTY,
	RB_TRACK_NONE,
};

/** rb_track_method_name - "userfaultfd", "soft-dirty", "none" */
const char *rb_track_method_name(enum rb_track_method method);

/** rb_track_supported - can this kernel do it? Tries it on this process; changes nothing. */
bool rb_track_supported(enum rb_track_method method);

/**
 * rb_tracker_arm - begin to follow a process
 *
 * The process stands still for about half a millisecond: one system call (userfaultfd) is made in
 * one of its threads. Afterwards it has the same registers, memory, signals and descriptors as
 * before; also when this process is killed anywhere in the middle.
 *
 * Needs CAP_SYS_PTRACE and CAP_SYS_ADMIN (to hold off its seccomp filter), and a cgroup of the
 * process that can be frozen and is not ours (inject.h); not while the process is frozen by its
 * cgroup or traced by somebody.
 *
 * Return: 0; -ESRCH when it is gone; -EBUSY when it is traced; -ENOTSUP.
 */
int rb_tracker_arm(pid_t pid, enum rb_track_method method, struct rb_tracker **ret,
		   const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_tracker_scan - what was written since the last scan (the first one: all that is populated)
 * @ret_dirty: populated pages of `ours` mappings that were written, added in order; pages that read
 *	as zero because nobody touched them, or that map the zero page, are not listed
 * @rearm: watch these pages from now on (atomically per page); false: look only. With false it may
 *	be called while the process is frozen, and nothing in the process changes.
 *
 * Mappings that appeared since (mmap, brk, mremap, exec) are all dirty, and followed from now on
 * when @rearm. Works on a frozen process, too.
 *
 * Return: 0; -ESRCH when the process is gone.
 */
int rb_tracker_scan(struct rb_tracker *tracker, bool rearm, struct rb_ranges *ret_dirty,
		    struct rb_err *err);

/**
 * rb_tracker_look - what was written since the last scan, and all pages that have content
 * (rb_populated()), of a process that stands still; changes nothing
 * @tracker: NULL: all of them were written
 * @vmas: its mappings as they are now
 *
 * Return: 0; -ESRCH when the process is gone.
 */
int rb_tracker_look(struct rb_tracker *tracker, pid_t pid, const struct rb_vma *vmas, int count,
		    struct rb_ranges *ret_dirty, struct rb_ranges *ret_populated,
		    struct rb_err *err);

/**
 * rb_populated - all pages of `ours` mappings that have content (present or swapped, not the zero
 * page); what is not listed reads as zero. Needs no tracker.
 */
int rb_populated(pid_t pid, struct rb_ranges *ret, struct rb_err *err);

/** rb_tracker_free - stop following; the process has nothing left of it (no uffd flags in VmFlags).
 * The same happens when this process dies. NULL is allowed. */
void rb_tracker_free(struct rb_tracker *tracker);
