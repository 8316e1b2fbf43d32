// SPDX-License-Identifier: Apache-2.0
/*
 * ranges.c - a growing list of address ranges
 */
#include "ranges.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_SIZE = 64 };

int rb_ranges_add(struct rb_ranges *ranges, uint64_t start, uint64_t end)
{
	struct rb_range *last = ranges->n ? &ranges->list[ranges->n - 1] : NULL;

	if (start >= end)
		return 0;
	if (last && start < last->end)
		return -ERANGE;
	if (last && start == last->end) {
		last->end = end;
		return 0;
	}
	if (ranges->n == ranges->size) {
		size_t size = ranges->size ? ranges->size * 2 : FIRST_SIZE;
		struct rb_range *list = reallocarray(ranges->list, size, sizeof(*list));

		if (!list)
			return -ENOMEM;
		ranges->list = list;
		ranges->size = size;
	}
	ranges->list[ranges->n++] = (struct rb_range){ start, end };
	return 0;
}

int rb_ranges_append(struct rb_ranges *ranges, const struct rb_ranges *more)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < more->n; i++)
		r = rb_ranges_add(ranges, more->list[i].start, more->list[i].end);
	return r;
}

uint64_t rb_ranges_bytes(const struct rb_ranges *ranges)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < ranges->n; i++)
		sum += ranges->list[i].end - ranges->list[i].start;
	return sum;
}

void rb_ranges_clear(struct rb_ranges *ranges)
{
	ranges->n = 0;
}

void rb_ranges_free(struct rb_ranges *ranges)
{
	free(ranges->list);
	*ranges = (struct rb_ranges){};
}
