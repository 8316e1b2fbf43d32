/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ranges.h - a growing list of address ranges
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define RB_PAGE_SIZE 4096

struct rb_range {
	uint64_t start, end; /* page-aligned, end exclusive */
};

/* in order, without overlaps, neighbours joined */
struct rb_ranges {
	struct rb_range *list;
	size_t n, size;
};

/** rb_ranges_add - at the end. An empty one is left out. Return: 0; -ERANGE when @start is below
 * the last one's end; -ENOMEM */
int rb_ranges_add(struct rb_ranges *ranges, uint64_t start, uint64_t end);
/** rb_ranges_append - all of @more at the end. Return: as above. */
int rb_ranges_append(struct rb_ranges *ranges, const struct rb_ranges *more);

/** rb_ranges_unite - what is in @a or @b; _intersect: in both; _subtract: in @a and not in @b
 * @ret: empty, and neither of them
 *
 * Return: 0, -ENOMEM
 */
int rb_ranges_unite(struct rb_ranges *ret, const struct rb_ranges *a, const struct rb_ranges *b);
int rb_ranges_intersect(struct rb_ranges *ret, const struct rb_ranges *a,
			const struct rb_ranges *b);
int rb_ranges_subtract(struct rb_ranges *ret, const struct rb_ranges *a, const struct rb_ranges *b);

uint64_t rb_ranges_bytes(const struct rb_ranges *ranges);
void rb_ranges_clear(struct rb_ranges *ranges); /* empty, keeps its memory */
void rb_ranges_free(struct rb_ranges *ranges);	/* for _cleanup_ use, too */
