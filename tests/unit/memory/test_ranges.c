// SPDX-License-Identifier: Apache-2.0
/*
 * test_ranges.c - a growing list of address ranges
 */
#include <errno.h>

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

int main(void)
{
	TAP_RUN(neighbours_are_joined);
	TAP_RUN(order_is_kept);
	TAP_RUN(grows);
	return tap_done();
}
