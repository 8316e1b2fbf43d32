// SPDX-License-Identifier: Apache-2.0
/* test_defer.c - pages that are written in every round: when they are sent, and that they are */
#include <stdint.h>
#include <stdlib.h>

#include "cleanup.h"
#include "defer.h"
#include "ranges.h"
#include "tap.h"

enum { PAGES = 400 };

static struct rb_defer defer;
static struct rb_ranges dirty;

static void add(unsigned int from, unsigned int to)
{
	CHECK_INT(rb_ranges_add(&dirty, (uint64_t)from * RB_PAGE_SIZE, (uint64_t)to * RB_PAGE_SIZE),
		  0);
}

static bool has(const struct rb_ranges *ranges, unsigned int page)
{
	uint64_t at = (uint64_t)page * RB_PAGE_SIZE;

	for (size_t i = 0; i < ranges->n; i++)
		if (ranges->list[i].start <= at && at < ranges->list[i].end)
			return true;
	return false;
}

static unsigned int pages_of(const struct rb_ranges *ranges)
{
	return (unsigned int)(rb_ranges_bytes(ranges) / RB_PAGE_SIZE);
}

/* 0-9 are written in every round, and @from-@to. Return: pages that are sent */
static unsigned int one_round(enum rb_defer_round how, unsigned int from, unsigned int to)
{
	rb_ranges_clear(&dirty);
	add(0, 10);
	add(from, to);
	return rb_defer_round(&defer, how, &dirty) < 0 ? UINT32_MAX : pages_of(&dirty);
}

static void begin(void)
{
	rb_defer_clear(&defer);
	CHECK_INT(one_round(RB_DEFER_WHOLE, 10, PAGES), PAGES);
}

static void test_hot(void)
{
	begin();
	/* the first list says nothing */
	CHECK_INT(one_round(RB_DEFER_HOT, 20, 30), 20);
	CHECK_INT(one_round(RB_DEFER_HOT, 40, 50), 20);
	CHECK_INT(one_round(RB_DEFER_HOT, 60, 70), 10);
	CHECK(!has(&dirty, 5) && has(&dirty, 65));
	CHECK_INT(one_round(RB_DEFER_HOT, 61, 62), 1);
	/* what waits is to be sent */
	rb_ranges_clear(&dirty);
	add(5, 15);
	CHECK_INT(rb_defer_add(&defer, NULL, &dirty), 0);
	CHECK_INT(pages_of(&dirty), 15);
	/* but not what is not there any more */
	{
		_cleanup_(rb_ranges_free) struct rb_ranges within = {};

		rb_ranges_add(&within, 2 * RB_PAGE_SIZE, 4 * RB_PAGE_SIZE);
		rb_ranges_clear(&dirty);
		CHECK_INT(rb_defer_add(&defer, &within, &dirty), 0);
		CHECK_INT(pages_of(&dirty), 2);
		CHECK(has(&dirty, 2) && has(&dirty, 3));
	}
}

/* what is not written any more is sent in the next round, the rest waits on */
static void test_cools(void)
{
	begin();
	for (unsigned int i = 0; i < 4; i++)
		one_round(RB_DEFER_HOT, 20, 21);
	CHECK(pages_of(&dirty) == 0);
	rb_ranges_clear(&dirty);
	add(0, 3);
	CHECK_INT(rb_defer_round(&defer, RB_DEFER_HOT, &dirty), 0);
	CHECK_INT(pages_of(&dirty), 8);
	CHECK(!has(&dirty, 2) && has(&dirty, 3) && has(&dirty, 20));
	rb_ranges_clear(&dirty);
	CHECK_INT(rb_defer_round(&defer, RB_DEFER_HOT, &dirty), 0);
	CHECK_INT(pages_of(&dirty), 3);
	CHECK_INT(rb_defer_round(&defer, RB_DEFER_HOT, &dirty), 0);
	rb_ranges_clear(&dirty);
	CHECK_INT(rb_defer_add(&defer, NULL, &dirty), 0);
	CHECK_INT(pages_of(&dirty), 0);
}

static void test_all(void)
{
	begin();
	for (unsigned int i = 0; i < 4; i++)
		one_round(RB_DEFER_HOT, 20, 21);
	CHECK_INT(one_round(RB_DEFER_NONE, 30, 31), 12);
	/* still known to be hot */
	CHECK_INT(one_round(RB_DEFER_HOT, 30, 31), 1);
	CHECK_INT(one_round(RB_DEFER_WHOLE, 10, PAGES), PAGES);
	/* and now it is not */
	CHECK_INT(one_round(RB_DEFER_HOT, 30, 31), 11);
	CHECK_INT(one_round(RB_DEFER_HOT, 30, 31), 11);
	CHECK_INT(one_round(RB_DEFER_HOT, 30, 31), 0);
}

static unsigned int ours[PAGES], theirs[PAGES], sent_hot, sent;
static bool written[PAGES];

static void write_some(unsigned int *seed)
{
	for (unsigned int page = 0; page < PAGES; page++) {
		/* some nearly always, some often, most seldom */
		int percent = page % 10 == 0 ? 99 : page % 10 == 1 ? 60 : 5;

		if (rand_r(seed) % 100 >= percent)
			continue;
		ours[page]++;
		written[page] = true;
	}
}

/* what its tracker tells: each page that was written, once */
static void list_written(void)
{
	rb_ranges_clear(&dirty);
	for (unsigned int page = 0; page < PAGES; page++) {
		if (written[page])
			add(page, page + 1);
		written[page] = false;
	}
}

static void send_dirty(void)
{
	for (unsigned int page = 0; page < PAGES; page++) {
		if (!has(&dirty, page))
			continue;
		theirs[page] = ours[page];
		sent++;
		sent_hot += page % 10 == 0;
	}
}

/* whatever is written, after the last look all is there; and what is not is known to wait */
static void test_random(void)
{
	unsigned int seed = 31;

	for (int run = 0; run < 20; run++) {
		rb_defer_clear(&defer);
		memset(written, 1, sizeof(written));
		sent = sent_hot = 0;
		for (int i = 0; i < 30; i++) {
			enum rb_defer_round how = i == 0   ? RB_DEFER_WHOLE
						  : i % 11 ? RB_DEFER_HOT
							   : RB_DEFER_NONE;

			list_written();
			CHECK_INT(rb_defer_round(&defer, how, &dirty), 0);
			send_dirty();
			for (unsigned int page = 0; page < PAGES; page++)
				CHECK((theirs[page] != ours[page]) == has(&defer.waiting, page));
			write_some(&seed);
		}
		list_written();
		CHECK_INT(rb_defer_add(&defer, NULL, &dirty), 0);
		send_dirty();
		CHECK_INT(memcmp(ours, theirs, sizeof(ours)), 0);
	}
	printf("# %u pages sent in 30 rounds, of those that are always written %u\n", sent,
	       sent_hot);
	/* 40 of them: less than half of the time */
	CHECK(sent_hot < 40 * 15);
}

int main(void)
{
	TAP_RUN(test_hot);
	TAP_RUN(test_cools);
	TAP_RUN(test_all);
	TAP_RUN(test_random);
	rb_defer_clear(&defer);
	rb_ranges_free(&dirty);
	return tap_done();
}
