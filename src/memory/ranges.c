// SPDX-License-Identifier: Apache-2.0
/*
 * ranges.c - a growing list of address ranges
 */
#include "ranges.h"

#include <errno.h>
#include <stdbool.h>
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

/* A walk along one list. */
struct walk {
	const struct rb_ranges *ranges;
	size_t i;
};

static bool is_in(const struct walk *walk, uint64_t pos)
{
	return walk->i < walk->ranges->n && walk->ranges->list[walk->i].start <= pos;
}

/* where that changes next */
static uint64_t next_edge(const struct walk *walk, uint64_t pos)
{
	if (walk->i == walk->ranges->n)
		return UINT64_MAX;
	return is_in(walk, pos) ? walk->ranges->list[walk->i].end
				: walk->ranges->list[walk->i].start;
}

static void pass(struct walk *walk, uint64_t pos)
{
	while (walk->i < walk->ranges->n && walk->ranges->list[walk->i].end <= pos)
		walk->i++;
}

/* @which: bit (in b) * 2 + (in a) says whether such addresses are taken */
static int combine(struct rb_ranges *ret, const struct rb_ranges *a, const struct rb_ranges *b,
		   unsigned int which)
{
	struct walk in_a = { a, 0 }, in_b = { b, 0 };
	uint64_t pos = 0, next = 0;
	int r = 0;

	while (r == 0 && next != UINT64_MAX) {
		uint64_t edge_a = next_edge(&in_a, pos), edge_b = next_edge(&in_b, pos);

		next = edge_a < edge_b ? edge_a : edge_b;
		if (which >> (is_in(&in_b, pos) * 2 + is_in(&in_a, pos)) & 1)
			r = rb_ranges_add(ret, pos, next);
		pos = next;
		pass(&in_a, pos);
		pass(&in_b, pos);
	}
	return r;
}

int rb_ranges_unite(struct rb_ranges *ret, const struct rb_ranges *a, const struct rb_ranges *b)
{
	return combine(ret, a, b, 1U << 1 | 1U << 2 | 1U << 3);
}

int rb_ranges_intersect(struct rb_ranges *ret, const struct rb_ranges *a, const struct rb_ranges *b)
{
	return combine(ret, a, b, 1U << 3);
}

int rb_ranges_subtract(struct rb_ranges *ret, const struct rb_ranges *a, const struct rb_ranges *b)
{
	return combine(ret, a, b, 1U << 1);
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
