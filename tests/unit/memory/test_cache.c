// SPDX-License-Identifier: Apache-2.0
/* test_cache.c - pages that the peer has: what is found is what was put there last, or nothing */
#include <stdint.h>
#include <stdlib.h>

#include "cache.h"
#include "ranges.h"
#include "tap.h"

static struct rb_cache *cache;

static uint64_t at(unsigned int page)
{
	return 0x7f0000000000 + (uint64_t)page * RB_PAGE_SIZE;
}

static void begin(uint64_t limit)
{
	rb_cache_free(cache);
	cache = rb_cache_new();
	rb_cache_begin(cache, limit);
}

static bool put(int task, unsigned int page, uint8_t fill)
{
	uint8_t *room = rb_cache_find(cache, task, at(page));

	if (!room)
		room = rb_cache_add(cache, task, at(page));
	if (room)
		memset(room, fill, RB_PAGE_SIZE);
	return room;
}

/* -1: not there, -2: damaged */
static int get(int task, unsigned int page)
{
	const uint8_t *found = rb_cache_find(cache, task, at(page));

	if (!found)
		return -1;
	return found[0] == found[RB_PAGE_SIZE - 1] ? found[0] : -2;
}

static void test_find(void)
{
	begin(100);
	CHECK_INT(get(1, 0), -1);
	CHECK(put(1, 0, 0x11) && put(2, 0, 0x22) && put(1, 1, 0x33));
	CHECK_INT(get(1, 0), 0x11);
	CHECK_INT(get(2, 0), 0x22);
	CHECK_INT(get(1, 1), 0x33);
	CHECK_INT(get(2, 1), -1);
	rb_cache_drop(cache, 1, at(0));
	rb_cache_drop(cache, 1, at(77));
	CHECK_INT(get(1, 0), -1);
	CHECK_INT(get(2, 0), 0x22);
	CHECK_INT((long long)rb_cache_count(cache), 2);
	rb_cache_clear(cache);
	CHECK_INT((long long)rb_cache_count(cache), 0);
	CHECK_INT(get(2, 0), -1);
	CHECK(put(2, 0, 0x44));
	CHECK_INT(get(2, 0), 0x44);
}

static int count_of(unsigned int from, unsigned int to)
{
	int n = 0;

	for (unsigned int i = from; i < to; i++)
		n += get(1, i) >= 0;
	return n;
}

/* what is written in every round stays, however much else there is */
static void test_full(void)
{
	begin(0);
	CHECK(!put(1, 0, 1));
	begin(50);
	for (unsigned int i = 0; i < 80; i++)
		CHECK(put(1, i, (uint8_t)i) == (i < 50));
	rb_cache_begin(cache, 50);
	CHECK_INT(count_of(0, 30), 30);
	CHECK(!put(1, 90, 1));
	rb_cache_begin(cache, 50);
	CHECK_INT(count_of(0, 30), 30);
	/* 20 were not asked for since the first round */
	for (unsigned int i = 100; i < 200; i++)
		put(1, i, (uint8_t)i);
	CHECK_INT(count_of(0, 30), 30);
	CHECK_INT(count_of(100, 200), 20);
	CHECK_INT((long long)rb_cache_count(cache), 50);
	/* never more than that, whatever is asked for */
	begin(UINT64_MAX);
	for (unsigned int i = 0; i < RB_CACHE_PAGES + 100; i++)
		CHECK(put(1, i, 7) == (i < RB_CACHE_PAGES));
	CHECK_INT((long long)rb_cache_count(cache), RB_CACHE_PAGES);
}

/* against an array */
static void test_random(void)
{
	enum { PAGES = 300, LIMIT = 200 };
	static int model[3][PAGES];
	unsigned int seed = 99;
	int lost = 0;

	memset(model, 0xff, sizeof(model));
	begin(LIMIT);
	for (int i = 0; i < 100000; i++) {
		int task = 1 + rand_r(&seed) % 2, what = rand_r(&seed) % 100;
		unsigned int page = (unsigned int)rand_r(&seed) % PAGES;
		uint8_t fill = (uint8_t)rand_r(&seed);
		int found = get(task, page);

		/* it may have made room for another, but never has another's content */
		CHECK(found == -1 || found == model[task][page]);
		lost += found == -1 && model[task][page] >= 0;
		if (what < 60) {
			model[task][page] = put(task, page, fill) ? fill : -1;
		} else if (what < 98) {
			rb_cache_drop(cache, task, at(page));
			model[task][page] = -1;
		} else {
			rb_cache_begin(cache, LIMIT);
		}
		CHECK(rb_cache_count(cache) <= LIMIT);
	}
	CHECK(lost < 50000);
	rb_cache_free(cache);
}

int main(void)
{
	TAP_RUN(test_find);
	TAP_RUN(test_full);
	TAP_RUN(test_random);
	return tap_done();
}
