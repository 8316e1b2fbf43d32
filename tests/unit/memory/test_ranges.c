// SPDX-License-Identifier: Apache-2.0
/*
 * test_ranges.c - a growing list of address ranges
 */
#include <errno.h>
#include <stdlib.h>

#include "ranges.h"
#include "tap.h"

static struct rb_ranges ranges;

static void neighbours_are_joined(void)
{
	CHECK_INT(rb_ranges_add(&ranges, 0x1000, 0x3000), 0);
	CHECK_INT(rb_ranges_add(&ranges, 0x3000, 0x4000), 0);
	CHECK_INT(rb_ranges_add(&ranges, 0x5000, 0x6000), 0);
	CHECK_INT(rb_ranges_add(&ranges, 0x7000, 0x7000), 0);
	CHECK_INT(ranges.n, 2);
	CHECK_INT(ranges.list[0].start, 0x1000);
	CHECK_INT(ranges.list[0].end, 0x4000);
	CHECK_INT(ranges.list[1].start, 0x5000);
	CHECK_INT(rb_ranges_bytes(&ranges), 0x4000);
}

static void order_is_kept(void)
{
	CHECK_INT(rb_ranges_add(&ranges, 0x5000, 0x9000), -ERANGE);
	CHECK_INT(rb_ranges_add(&ranges, 0x1000, 0x2000), -ERANGE);
	CHECK_INT(ranges.n, 2);
	CHECK_INT(rb_ranges_bytes(&ranges), 0x4000);
}

static void grows(void)
{
	size_t size;

	rb_ranges_clear(&ranges);
	CHECK_INT(ranges.n, 0);
	CHECK_INT(rb_ranges_bytes(&ranges), 0);
	for (uint64_t i = 0; i < 10000; i++)
		CHECK_INT(rb_ranges_add(&ranges, i * 0x2000, i * 0x2000 + 0x1000), 0);
	CHECK_INT(ranges.n, 10000);
	CHECK_INT(ranges.list[9999].start, 9999 * 0x2000);
	CHECK_INT(rb_ranges_bytes(&ranges), 10000 * 0x1000);
	size = ranges.size;
	rb_ranges_clear(&ranges);
	CHECK_INT(ranges.size, size);
	/* the end of the address space */
	CHECK_INT(rb_ranges_add(&ranges, UINT64_MAX - 0xfff, UINT64_MAX), 0);
	CHECK_INT(rb_ranges_bytes(&ranges), 0xfff);
	rb_ranges_free(&ranges);
	CHECK(!ranges.list && !ranges.n && !ranges.size);
	rb_ranges_free(&ranges);
}

enum { BITS = 64 };

static struct rb_ranges from_bits(uint64_t bits)
{
	struct rb_ranges made = {};

	for (uint64_t i = 0; i < BITS; i++)
		if (bits >> i & 1)
			rb_ranges_add(&made, i << 12, (i + 1) << 12);
	return made;
}

/* @ret_good: they are in order, and neighbours joined */
static uint64_t to_bits(struct rb_ranges *from, bool *ret_good)
{
	uint64_t bits = 0, last = 0;

	for (size_t i = 0; i < from->n; i++) {
		const struct rb_range *range = &from->list[i];

		*ret_good &= range->start < range->end && (i == 0 || range->start > last);
		last = range->end;
		for (uint64_t at = range->start; at < range->end; at += 1 << 12)
			bits |= UINT64_C(1) << (at >> 12);
	}
	rb_ranges_free(from);
	return bits;
}

/* against bits */
static void sets(void)
{
	unsigned int seed = 5;

	for (int i = 0; i < 2000; i++) {
		uint64_t x = 0, y = 0;
		struct rb_ranges a, b, ret = {};
		bool good = true;

		for (int k = 0; k < 4; k++) {
			x = x << 16 ^ (uint64_t)rand_r(&seed);
			y = y << 16 ^ (uint64_t)rand_r(&seed);
		}
		/* nothing, all, long runs */
		x = i % 50 == 0 ? 0 : i % 50 == 1 ? UINT64_MAX : i % 3 ? x & x << 1 : x;
		y = i % 70 == 0 ? 0 : i % 70 == 1 ? UINT64_MAX : i % 5 ? y | y << 1 : y;
		a = from_bits(x);
		b = from_bits(y);
		CHECK_INT(rb_ranges_unite(&ret, &a, &b), 0);
		CHECK(to_bits(&ret, &good) == (x | y));
		CHECK_INT(rb_ranges_intersect(&ret, &a, &b), 0);
		CHECK(to_bits(&ret, &good) == (x & y));
		CHECK_INT(rb_ranges_subtract(&ret, &a, &b), 0);
		CHECK(to_bits(&ret, &good) == (x & ~y));
		CHECK(good);
		rb_ranges_free(&a);
		rb_ranges_free(&b);
	}
}

int main(void)
{
	TAP_RUN(neighbours_are_joined);
	TAP_RUN(order_is_kept);
	TAP_RUN(grows);
	TAP_RUN(sets);
	return tap_done();
}
