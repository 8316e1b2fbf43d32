/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expected.h - slots of a store whose pages are still at the source
 *
 * Internal to the store. Such a slot has its place before it has its content, so that whatever a
 * process does with its memory meanwhile (mremap, fork, munmap) is done to slots. Where the
 * content is to be had is what the page was at the source when it stood still: task and address.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Pages that follow each other, in slots that follow each other. */
struct rb_want {
	uint32_t slot, pages;
	int task;
	uint64_t addr;
};

struct rb_expected {
	uint32_t first, end;	 /* slots; first == end: none was ever expected */
	struct rb_want *origins; /* by slot, without gaps */
	size_t n, size;
	uint64_t *missing; /* a bit per slot from @first on: its page is needed, and not here */
	uint64_t *asked;   /* somebody fetches it */
	uint64_t *urgent;  /* and a thread waits for it */
	size_t words;
	uint64_t left; /* that are missing */
};

void rb_expected_free(struct rb_expected *expected);

/** rb_expected_add - @want's slots are the next ones. Return: 0, -ENOMEM */
int rb_expected_add(struct rb_expected *expected, const struct rb_want *want);

static inline bool rb_expected_missing(const struct rb_expected *expected, uint32_t slot)
{
	uint32_t at = slot - expected->first;

	return slot >= expected->first && slot < expected->end &&
	       (expected->missing[at / 64] >> at % 64 & 1);
}

/** rb_expected_settle - these pages have come, or are not needed any more; others are passed over
 */
void rb_expected_settle(struct rb_expected *expected, uint32_t slot, uint32_t pages);

/** rb_expected_origin - the first of @pages slots, and those that follow it there, too. Return:
 * false when @slot was never expected */
bool rb_expected_origin(const struct rb_expected *expected, uint32_t slot, uint32_t pages,
			struct rb_want *ret);

/**
 * rb_expected_next - pages that nobody fetches yet, from slot *@cursor on, and from the first one
 * when there are none; from now on somebody does
 * @max_pages: in all
 *
 * Return: how many of @ret were filled.
 */
size_t rb_expected_next(struct rb_expected *expected, uint32_t *cursor, uint32_t max_pages,
			struct rb_want *ret, size_t max);

/** rb_expected_urgent - of the @pages slots from @slot on those that are missing, and were not
 * urgent before; from now on they are. Return: how many of @ret were filled. */
size_t rb_expected_urgent(struct rb_expected *expected, uint32_t slot, uint32_t pages,
			  struct rb_want *ret, size_t max);

/** rb_expected_give_back - they are not fetched after all */
void rb_expected_give_back(struct rb_expected *expected, const struct rb_want *wants, size_t n);

/** rb_expected_forget_asked - who fetched them is gone */
void rb_expected_forget_asked(struct rb_expected *expected);
