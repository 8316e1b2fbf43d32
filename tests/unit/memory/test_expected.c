// SPDX-License-Identifier: Apache-2.0
/*
 * test_expected.c - pages that are to come: who asks for which, and each is asked for once
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "expected.h"
#include "ranges.h"
#include "store.h"
#include "tap.h"
#include "wants.h"

#define PAGE ((uint64_t)RB_PAGE_SIZE)
#define BASE UINT64_C(0x10000000)

static void add(struct rb_expected *e, uint32_t slot, uint32_t pages, int task, uint64_t page)
{
	CHECK_INT(rb_expected_add(e, &(struct rb_want){ slot, pages, task, BASE + page * PAGE }),
		  0);
}

static void origins_are_found(void)
{
	struct rb_expected e = {};
	struct rb_want want;

	add(&e, 1000, 10, 1, 0);
	add(&e, 1010, 5, 1, 10); /* goes on where the last one ended */
	add(&e, 1015, 3, 2, 15);
	add(&e, 1018, 200, 2, 500);
	CHECK_INT(e.n, 3);
	CHECK_INT(e.left, 218);
	CHECK(!rb_expected_origin(&e, 999, 1, &want));
	CHECK(!rb_expected_origin(&e, 1218, 1, &want));
	CHECK(rb_expected_origin(&e, 1008, 100, &want));
	CHECK_INT(want.pages, 7);
	CHECK_INT(want.task, 1);
	CHECK_INT(want.addr, BASE + 8 * PAGE);
	CHECK(rb_expected_origin(&e, 1217, 5, &want));
	CHECK_INT(want.pages, 1);
	CHECK_INT(want.addr, BASE + 699 * PAGE);
	rb_expected_free(&e);
}

/* All of it, whatever comes or is dropped meanwhile, and nothing twice. */
static void each_is_asked_for_once(void)
{
	struct rb_expected e = {};
	static uint8_t seen[5000];
	uint32_t cursor = 0, slot = 7, sum = 0;
	struct rb_want wants[5];
	size_t n;

	for (int i = 0; slot < 5000; i++) {
		uint32_t pages = 1 + (uint32_t)rand() % 150;

		if (slot + pages > 5000)
			pages = 5000 - slot;
		add(&e, slot, pages, 1 + i % 3, (uint64_t)i * 1000);
		slot += pages;
	}
	rb_expected_settle(&e, 100, 300);
	CHECK_INT(e.left, 5000 - 7 - 300);
	n = rb_expected_urgent(&e, 350, 100, wants, 5);
	for (size_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < wants[i].pages; k++)
			seen[wants[i].slot + k]++;
	CHECK(seen[399] == 0 && seen[400] == 1 && seen[450] == 0);
	CHECK_INT(rb_expected_urgent(&e, 400, 20, wants, 5), 0);
	cursor = 3000;
	while ((n = rb_expected_next(&e, &cursor, 64, wants, 5)) > 0) {
		uint32_t pages = 0;

		for (size_t i = 0; i < n; i++) {
			pages += wants[i].pages;
			for (uint32_t k = 0; k < wants[i].pages; k++)
				seen[wants[i].slot + k]++;
		}
		CHECK(pages <= 64);
	}
	for (uint32_t i = 7; i < 5000; i++) {
		CHECK_INT(seen[i], i < 100 || i >= 400);
		sum += seen[i];
	}
	CHECK_INT(sum, e.left);
	/* but what was asked for can still be urgent, and all once more when nobody fetches it */
	CHECK(rb_expected_urgent(&e, 2000, 1, wants, 5) == 1);
	rb_expected_forget_asked(&e);
	CHECK_INT(rb_expected_next(&e, &cursor, 1, wants, 5), 1);
	rb_expected_give_back(&e, wants, 1);
	CHECK_INT(rb_expected_urgent(&e, wants[0].slot, 1, wants, 5), 1);
	rb_expected_free(&e);
}

/* In a store: what is moved, shared or dropped before it comes. */
static void places_before_content(void)
{
	_cleanup_(rb_ranges_free) struct rb_ranges all = {};
	struct rb_store *store = NULL;
	struct rb_err err = {};
	struct rb_expected *e;
	static uint8_t page[RB_PAGE_SIZE];
	uint32_t slot;
	size_t run;

	CHECK_INT(rb_store_new(&store, &err), 0);
	memset(page, 1, sizeof(page));
	CHECK_INT(rb_store_put(store, 1, BASE + 3 * PAGE, page, 1, &err), 0);
	CHECK_INT(rb_ranges_add(&all, BASE, BASE + 200 * PAGE), 0);
	CHECK_INT(rb_store_expect(store, 1, &all, &err), 0);
	e = rb_store_expected(store);
	CHECK_INT(rb_store_pages(store, 1), 200);
	CHECK_INT(e->left, 199);
	CHECK(rb_store_find(store, 1, BASE + 3 * PAGE, 1, &run));
	CHECK(!rb_store_find(store, 1, BASE + 4 * PAGE, 1, &run));
	CHECK_INT(rb_store_missing(store, 1, BASE + 3 * PAGE, 9, &slot), 0);
	CHECK_INT(rb_store_missing(store, 1, BASE + 2 * PAGE, 9, &slot), 1);
	CHECK_INT(rb_store_missing(store, 1, BASE + 4 * PAGE, 9, &slot), 9);
	/* a child and its parent have one page, a moved one comes to its new address */
	CHECK_INT(rb_store_clone(store, 1, 2, &err), 0);
	CHECK_INT(rb_store_move(store, 1, BASE + 4 * PAGE, BASE + 1000 * PAGE, 1, &err), 0);
	memset(page, 2, sizeof(page));
	CHECK_INT(pwrite(rb_store_fd(store), page, sizeof(page), (off_t)(slot * PAGE)),
		  RB_PAGE_SIZE);
	CHECK_INT(rb_store_come(store, slot, 1), 0);
	CHECK(!rb_store_find(store, 1, BASE + 4 * PAGE, 1, &run));
	CHECK(*(const uint8_t *)rb_store_find(store, 1, BASE + 1000 * PAGE, 1, &run) == 2);
	CHECK(*(const uint8_t *)rb_store_find(store, 2, BASE + 4 * PAGE, 1, &run) == 2);
	/* what nobody needs any more is not missing, and its content goes when it comes */
	rb_store_forget_task(store, 2);
	CHECK_INT(rb_store_missing(store, 1, BASE + 5 * PAGE, 1, &slot), 1);
	rb_store_drop(store, 1, BASE + 5 * PAGE, 1);
	CHECK_INT(e->left, 197);
	CHECK_INT(pwrite(rb_store_fd(store), page, sizeof(page), (off_t)(slot * PAGE)),
		  RB_PAGE_SIZE);
	CHECK_INT(rb_store_come(store, slot, 1), 0);
	CHECK_INT(rb_store_memory(store), 2 * PAGE);
	/* no slot is used for another page */
	CHECK_INT(rb_store_put(store, 1, BASE + 5 * PAGE, page, 1, &err), 0);
	CHECK_INT(pwrite(rb_store_fd(store), "\7", 1, (off_t)(slot * PAGE)), 1);
	CHECK(*(const uint8_t *)rb_store_find(store, 1, BASE + 5 * PAGE, 1, &run) == 2);
	CHECK_INT(rb_store_come(store, e->end, 1), -EINVAL);
	CHECK_INT(rb_store_come(store, e->end - 1, 2), -EINVAL);
	rb_store_forget_task(store, 1);
	CHECK_INT(e->left, 0);
	rb_store_free(store);
}

static void lists_travel(void)
{
	static const uint8_t golden[RB_WANT_BYTES] = { 0, 0,	0,    7,    0,	  0, 0x10, 1,
						       0, 0x7f, 0x12, 0x34, 0x56, 0, 0x10, 0 };
	struct rb_want want = { 99, 0x1001, 7, 0x7f123456001000 }, back;
	uint8_t bytes[RB_WANT_BYTES];

	rb_want_encode(bytes, &want);
	CHECK(memcmp(bytes, golden, sizeof(bytes)) == 0);
	CHECK_INT(rb_want_decode(bytes, &back, NULL), 0);
	CHECK(back.task == 7 && back.pages == 0x1001 && back.addr == want.addr && back.slot == 0);
	for (int i = 0; i < 100000; i++) {
		for (int k = 0; k < RB_WANT_BYTES; k++)
			bytes[k] = rand() % 3 ? 0 : (uint8_t)rand();
		if (rb_want_decode(bytes, &back, NULL) < 0)
			continue;
		CHECK(back.task > 0 && back.pages > 0 && back.addr % PAGE == 0 &&
		      back.addr + back.pages * PAGE > back.addr);
	}
	memset(bytes, 0xff, sizeof(bytes));
	CHECK_INT(rb_want_decode(bytes, &back, NULL), -EPROTO);
}

int main(void)
{
	TAP_RUN(origins_are_found);
	TAP_RUN(each_is_asked_for_once);
	TAP_RUN(places_before_content);
	TAP_RUN(lists_travel);
	return tap_done();
}
