// SPDX-License-Identifier: Apache-2.0
/* test_receive.c - rounds of pages become what the container has in the end */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "codec.h"
#include "err.h"
#include "expected.h"
#include "record.h"
#include "ranges.h"
#include "receive.h"
#include "store.h"
#include "tap.h"

enum { TASK = 1, OTHER = 9 };

static struct rb_receiver *receiver;
static uint8_t block[RB_BLOCK_SIZE];
static size_t used;

static uint64_t at(unsigned int page)
{
	return 0x10000000 + (uint64_t)page * RB_PAGE_SIZE;
}

static void data(int task, unsigned int page, uint32_t count, uint8_t fill)
{
	static uint8_t pages[RB_PAGES_PER_BLOCK * RB_PAGE_SIZE];
	struct rb_record record = { RB_RECORD_DATA, task,  at(page),
				    count,	    pages, count * RB_PAGE_SIZE };

	memset(pages, fill, record.len);
	used += rb_record_encode(block + used, &record);
}

static void zero(int task, unsigned int page, uint32_t count)
{
	struct rb_record record = { RB_RECORD_ZERO, task, at(page), count, NULL, 0 };

	used += rb_record_encode(block + used, &record);
}

static void keep(enum rb_record_kind kind, int task, unsigned int from, unsigned int to)
{
	struct rb_range range = { at(from), at(to) };
	struct rb_record record = { kind, task, 0, 1, block + used + RB_RECORD_HEADER, 16 };

	rb_record_put_range(block + used + RB_RECORD_HEADER, 0, &range);
	used += rb_record_encode(block + used, &record);
}

static int take(void)
{
	int r = rb_receiver_take(receiver, block, used, NULL);

	used = 0;
	return r;
}

/* what byte does a page begin with? -1: it reads as zero */
static int first_byte(int task, unsigned int page)
{
	size_t run;
	const uint8_t *found = rb_store_find(rb_receiver_store(receiver), task, at(page), 1, &run);

	return found ? *found : -1;
}

static void begin(void)
{
	rb_receiver_free(receiver);
	receiver = NULL;
	rb_receiver_new(&receiver, NULL);
	used = 0;
}

static void test_rounds(void)
{
	begin();
	rb_receiver_begin(receiver, false);
	data(TASK, 0, 10, 0x11);
	data(OTHER, 0, 2, 0x99);
	CHECK_INT(take(), 0);
	CHECK_INT(rb_receiver_end(receiver, NULL), 0);
	CHECK(!rb_receiver_complete(receiver));
	rb_receiver_begin(receiver, false);
	data(TASK, 3, 2, 0x22);
	zero(TASK, 7, 1);
	CHECK_INT(take(), 0);
	CHECK_INT(rb_receiver_end(receiver, NULL), 0);
	rb_receiver_begin(receiver, true);
	data(TASK, 4, 1, 0x33);
	keep(RB_RECORD_KEEP_MORE, TASK, 0, 2);
	keep(RB_RECORD_KEEP, TASK, 3, 9);
	CHECK_INT(take(), 0);
	CHECK_INT(rb_receiver_end(receiver, NULL), 0);
	CHECK(rb_receiver_complete(receiver));
	CHECK_INT(first_byte(TASK, 0), 0x11);
	CHECK_INT(first_byte(TASK, 2), -1); /* dropped by the process */
	CHECK_INT(first_byte(TASK, 3), 0x22);
	CHECK_INT(first_byte(TASK, 4), 0x33);
	CHECK_INT(first_byte(TASK, 7), -1); /* became zero */
	CHECK_INT(first_byte(TASK, 8), 0x11);
	CHECK_INT(first_byte(TASK, 9), -1);
	CHECK_INT(first_byte(OTHER, 0), -1); /* the process ended */
	CHECK_INT((long long)rb_store_total(rb_receiver_store(receiver)), 7);
}

/* a freeze that had to be repeated: the second last round is the one that counts */
static void test_last_twice(void)
{
	begin();
	rb_receiver_begin(receiver, true);
	data(TASK, 0, 4, 0x11);
	keep(RB_RECORD_KEEP, TASK, 0, 4);
	CHECK_INT(take(), 0);
	CHECK_INT(rb_receiver_end(receiver, NULL), 0);
	rb_receiver_begin(receiver, true);
	CHECK(!rb_receiver_complete(receiver));
	data(TASK, 5, 1, 0x22);
	keep(RB_RECORD_KEEP, TASK, 1, 6);
	CHECK_INT(take(), 0);
	CHECK_INT(rb_receiver_end(receiver, NULL), 0);
	CHECK_INT(first_byte(TASK, 0), -1);
	CHECK_INT(first_byte(TASK, 1), 0x11);
	CHECK_INT(first_byte(TASK, 5), 0x22);
}

/* only what is there at one time counts */
static void test_limit(void)
{
	struct rb_err err = {};

	begin();
	rb_receiver_limit(receiver, 20 * RB_PAGE_SIZE);
	for (uint8_t i = 0; i < 10; i++) {
		rb_receiver_begin(receiver, false);
		data(TASK, 0, 15, i);
		data(OTHER, 0, 5, i);
		CHECK_INT(take(), 0);
		CHECK_INT(rb_receiver_end(receiver, NULL), 0);
	}
	rb_receiver_begin(receiver, false);
	zero(TASK, 3, 2);
	data(TASK, 100, 2, 0x11);
	CHECK_INT(take(), 0);
	data(TASK, 200, 1, 0x11);
	CHECK_INT(rb_receiver_take(receiver, block, used, &err), -ENOSPC);
	CHECK_INT(err.code, RB_E_REFUSED);
	/* the other containers of a group have become smaller */
	rb_receiver_limit(receiver, 30 * RB_PAGE_SIZE);
	CHECK_INT(take(), 0);
}

/* whatever the encoding says, only whole pages get into the store */
static void test_encoded(void)
{
	static const struct {
		enum rb_encoding encoding;
		size_t cut;
		int want;
	} cases[] = {
		{ RB_ENCODING_LZ4, 0, 0 },
		{ RB_ENCODING_ZSTD, 0, 0 },
		{ RB_ENCODING_LZ4, 3, -EBADMSG },
		{ RB_ENCODING_ZSTD, 3, -EBADMSG },
	};
	static uint8_t pages[4 * RB_PAGE_SIZE], packed[sizeof(pages)];
	struct rb_codec codec = {};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rb_record record = { RB_RECORD_DATA, TASK, at(0), 4, packed };

		begin();
		memset(pages, 0x40 + (int)i, sizeof(pages));
		record.encoding = cases[i].encoding;
		record.len = (uint32_t)(rb_codec_pack(&codec, record.encoding, pages, sizeof(pages),
						      packed, sizeof(packed)) -
					cases[i].cut);
		used = rb_record_encode(block, &record);
		rb_receiver_begin(receiver, false);
		CHECK_INT(take(), cases[i].want);
		for (unsigned int k = 0; k < 4; k++)
			CHECK_INT(first_byte(TASK, k), cases[i].want ? -1 : 0x40 + (int)i);
	}
	rb_codec_clear(&codec);
}

/* a difference is to what there is, and to nothing else */
static void test_difference(void)
{
	static uint8_t pages[4 * RB_PAGE_SIZE], packed[sizeof(pages)];
	struct rb_codec codec = {};
	struct rb_record record = { RB_RECORD_DATA, TASK, at(2), 4, pages, sizeof(pages) };

	record.delta = true;
	memset(pages, 0x0f, sizeof(pages));
	begin();
	rb_receiver_begin(receiver, false);
	data(TASK, 0, 4, 0x10);
	data(TASK, 4, 2, 0x20);
	used += rb_record_encode(block + used, &record);
	CHECK_INT(take(), 0);
	CHECK_INT(first_byte(TASK, 1), 0x10);
	CHECK_INT(first_byte(TASK, 3), 0x1f);
	CHECK_INT(first_byte(TASK, 4), 0x2f);
	record.encoding = RB_ENCODING_LZ4;
	record.len = (uint32_t)rb_codec_pack(&codec, RB_ENCODING_LZ4, pages, sizeof(pages), packed,
					     sizeof(packed));
	record.payload = packed;
	used = rb_record_encode(block, &record);
	CHECK_INT(take(), 0);
	CHECK_INT(first_byte(TASK, 3), 0x10);
	CHECK_INT(first_byte(TASK, 5), 0x20);
	/* the last of these became zero, and is not there any more */
	zero(TASK, 5, 1);
	used += rb_record_encode(block + used, &record);
	CHECK_INT(take(), -EPROTO);
	CHECK_INT(first_byte(TASK, 4), 0x20);
	record.task = OTHER;
	used = rb_record_encode(block, &record);
	CHECK_INT(take(), -EPROTO);
	rb_codec_clear(&codec);
}

/* pages that stay where they are: what came of them before is old */
static void test_later(void)
{
	begin();
	rb_receiver_limit(receiver, 100 * RB_PAGE_SIZE);
	rb_receiver_begin(receiver, false);
	data(TASK, 0, 4, 0x10);
	CHECK_INT(take(), 0);
	keep(RB_RECORD_LATER, TASK, 0, 1);
	CHECK_INT(take(), -EPROTO);
	rb_receiver_begin(receiver, true);
	keep(RB_RECORD_LATER, TASK, 2, 3);
	keep(RB_RECORD_LATER, TASK, 10, 20);
	keep(RB_RECORD_KEEP_MORE, TASK, 0, 3);
	keep(RB_RECORD_KEEP, TASK, 10, 20);
	CHECK_INT(take(), 0);
	CHECK_INT(rb_receiver_end(receiver, NULL), 0);
	CHECK_INT(rb_store_expected(rb_receiver_store(receiver))->left, 11);
	CHECK_INT(rb_store_pages(rb_receiver_store(receiver), TASK), 13);
	CHECK_INT(first_byte(TASK, 1), 0x10);
	CHECK_INT(first_byte(TASK, 2), -1);
	/* as many as are allowed, and no place is made for more */
	rb_receiver_begin(receiver, true);
	keep(RB_RECORD_LATER, TASK, 10, 1000000000);
	CHECK_INT(take(), -ENOSPC);
	CHECK(rb_store_total(rb_receiver_store(receiver)) < 100);
	keep(RB_RECORD_KEEP_MORE, TASK, 0, 1);
	keep(RB_RECORD_LATER, TASK, 3, 4);
	CHECK_INT(take(), -EPROTO);
}

static void test_nonsense(void)
{
	begin();
	/* a list of what is kept belongs to the last round */
	rb_receiver_begin(receiver, false);
	keep(RB_RECORD_KEEP, TASK, 0, 1);
	CHECK_INT(take(), -EPROTO);
	/* is not mixed with another task's */
	rb_receiver_begin(receiver, true);
	keep(RB_RECORD_KEEP_MORE, TASK, 0, 1);
	keep(RB_RECORD_KEEP, OTHER, 0, 1);
	CHECK_INT(take(), -EPROTO);
	/* is in order */
	rb_receiver_begin(receiver, true);
	keep(RB_RECORD_KEEP_MORE, TASK, 5, 6);
	keep(RB_RECORD_KEEP, TASK, 0, 1);
	CHECK_INT(take(), -EPROTO);
	/* and ends */
	rb_receiver_begin(receiver, true);
	keep(RB_RECORD_KEEP_MORE, TASK, 5, 6);
	CHECK_INT(take(), 0);
	CHECK_INT(rb_receiver_end(receiver, NULL), -EPROTO);
	CHECK(!rb_receiver_complete(receiver));
	rb_receiver_free(receiver);
	receiver = NULL;
}

int main(void)
{
	TAP_RUN(test_rounds);
	TAP_RUN(test_last_twice);
	TAP_RUN(test_limit);
	TAP_RUN(test_encoded);
	TAP_RUN(test_difference);
	TAP_RUN(test_later);
	TAP_RUN(test_nonsense);
	return tap_done();
}
