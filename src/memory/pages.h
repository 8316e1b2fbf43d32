/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.h - which pages of a range of addresses are in a given state (PAGEMAP_SCAN)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_err;
struct rb_ranges;

/** /proc/PID/pagemap: of the memory that the process had when it was opened, whatever it calls
 * exec(2) for later. */
struct rb_pages {
	int fd;
	bool no_guard; /* the kernel does not tell guard pages (before 6.15) */
	bool classic;  /* the kernel has no PAGEMAP_SCAN (before 6.7): the file is read */
};

enum rb_pages_what {
	RB_PAGES_POPULATED, /* present or swapped, not the zero page, no guard */
	RB_PAGES_WRITTEN,   /* of these, those that are not write-protected by a userfaultfd */
	RB_PAGES_REARM,	    /* the same, and they are write-protected at the same moment */
	RB_PAGES_MARKED, /* of the populated ones, those that are write-protected by one, or were */
	RB_PAGES_SOFT_DIRTY, /* of the populated ones, those with the soft-dirty bit */
};

/** rb_pages_open - Return: 0, -ESRCH */
int rb_pages_open(pid_t pid, struct rb_pages *ret, struct rb_err *err);
void rb_pages_close(struct rb_pages *pages);

/**
 * rb_pages_list - add the pages of [*@pos, @end) that are @what to @ret
 * @pos: how far it came; also on failure, and then nothing beyond it was added
 *
 * With WRITTEN and REARM: -EPERM when there is a mapping in [*@pos, @end) that is
 * not registered with one; pages beyond *@pos may have been protected without being listed then.
 * In classic mode the zero page counts as populated.
 *
 * Return: 0; -ESRCH when the memory is gone; -EPERM; -ENOMEM; -ENOTSUP (what is about a
 * userfaultfd, in classic mode).
 */
int rb_pages_list(struct rb_pages *pages, enum rb_pages_what what, uint64_t *pos, uint64_t end,
		  struct rb_ranges *ret);

/** rb_pages_list_both - the same, and those that are POPULATED, in one walk
 * @what: WRITTEN, SOFT_DIRTY */
int rb_pages_list_both(struct rb_pages *pages, enum rb_pages_what what, uint64_t *pos, uint64_t end,
		       struct rb_ranges *ret, struct rb_ranges *ret_populated);
