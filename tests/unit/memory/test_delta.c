// SPDX-License-Identifier: Apache-2.0
/*
 * test_delta.c - many rounds of pages through sender and receiver, of which only the difference
 * travels
 *
 * The memory is our own, so that it stands still while it is read, and what was written is known.
 * After each round the receiver's store has to have each page that was sent as it is.
 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block.h"
#include "err.h"
#include "pack.h"
#include "ranges.h"
#include "receive.h"
#include "record.h"
#include "store.h"
#include "tap.h"

enum { TASKS = 2, PAGES = 512 };

static uint8_t *memory[TASKS];
static bool dirty[TASKS][PAGES], gone[TASKS][PAGES];
static uint8_t former[TASKS][PAGES][RB_PAGE_SIZE];

static struct rb_packer *packer;
static struct rb_receiver *receiver;
static struct rb_memory_stats stats;
static struct rb_err err;
static int deltas, encoded, plain;

static int take(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		struct rb_err *why)
{
	const uint8_t *at = block;
	size_t left = len;

	(void)arg;
	(void)wait;
	while (left) {
		struct rb_record record;
		ssize_t n = rb_record_decode(at, left, &record, why);

		if (n < 0)
			return (int)n;
		deltas += record.delta;
		encoded += record.encoding != RB_ENCODING_NONE;
		plain += record.kind == RB_RECORD_DATA && record.encoding == RB_ENCODING_NONE;
		at += n;
		left -= (size_t)n;
	}
	return rb_receiver_take(receiver, block, len, why);
}

static const struct rb_memory_sink sink = { take, NULL };

static uint64_t at(int task, int page)
{
	return (uint64_t)(uintptr_t)memory[task] + (uint64_t)page * RB_PAGE_SIZE;
}

static bool begin(void)
{
	rb_err_clear(&err);
	rb_packer_free(packer);
	rb_receiver_free(receiver);
	packer = NULL;
	receiver = NULL;
	deltas = encoded = plain = 0;
	for (int i = 0; i < TASKS; i++) {
		if (memory[i])
			munmap(memory[i], PAGES * RB_PAGE_SIZE);
		memory[i] = mmap(NULL, PAGES * RB_PAGE_SIZE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	}
	memset(dirty, 0, sizeof(dirty));
	memset(gone, 0, sizeof(gone));
	return rb_packer_new(&packer, &err) == 0 && rb_receiver_new(&receiver, &err) == 0;
}

static int send_pages(struct rb_block *block, bool last)
{
	int r = 0;

	for (int task = 0; task < TASKS; task++) {
		struct rb_ranges keep = {};

		for (int page = 0; r >= 0 && page < PAGES; page++) {
			struct rb_range range = { at(task, page), at(task, page + 1) };

			if (dirty[task][page])
				r = rb_block_add_pages(block, getpid(), task + 1, &range, NULL,
						       &err);
			if (!gone[task][page])
				rb_ranges_add(&keep, range.start, range.end);
		}
		if (r >= 0)
			r = rb_block_flush_pages(block, NULL, &err);
		if (r >= 0 && last)
			r = rb_block_add_keep(block, task + 1, &keep, NULL, &err);
		rb_ranges_free(&keep);
	}
	return r < 0 ? r : rb_block_flush(block, NULL, &err);
}

static int one_round(bool last)
{
	_cleanup_block_ struct rb_block *block = NULL;
	int r = rb_block_new(&sink, packer, &block, &err);

	rb_receiver_begin(receiver, last);
	if (r >= 0)
		r = send_pages(block, last);
	if (r >= 0)
		r = rb_receiver_end(receiver, &err);
	if (r >= 0)
		stats = *rb_block_stats(block);
	if (last)
		rb_packer_forget(packer);
	return r;
}

/* Return: the first page of which the store has something else, -1. What was dropped and not sent
 * is right only after the last round. */
static int compare(bool last)
{
	static const uint8_t zeros[RB_PAGE_SIZE];

	for (int task = 0; task < TASKS; task++)
		for (int page = 0; page < PAGES; page++) {
			const void *got = rb_store_find(rb_receiver_store(receiver), task + 1,
							at(task, page), 1, NULL);

			if (gone[task][page] && !last)
				continue;
			if (memcmp(got ? got : zeros, memory[task] + page * RB_PAGE_SIZE,
				   RB_PAGE_SIZE) != 0)
				return task * PAGES + page;
		}
	memset(dirty, 0, sizeof(dirty));
	return -1;
}

static unsigned int seed;

static int below(int n)
{
	return (int)((unsigned int)rand_r(&seed) % (unsigned int)n);
}

static void fill(uint8_t *page)
{
	bool text = below(2);

	for (int i = 0; i < RB_PAGE_SIZE; i++)
		page[i] = text ? (uint8_t) "a=12;"[i % 5] + (uint8_t)below(2) : (uint8_t)below(256);
}

/* Only what becomes again much as it was, with something else in between, shows whether what is
 * kept was forgotten in time. */
static void change(int task, int page)
{
	uint8_t *bytes = memory[task] + page * RB_PAGE_SIZE;
	int what = below(20);

	if (below(2))
		memcpy(former[task][page], bytes, RB_PAGE_SIZE);

	dirty[task][page] = true;
	gone[task][page] = false;
	if (what == 0)
		fill(bytes);
	else if (what == 1)
		memset(bytes, 0, RB_PAGE_SIZE);
	else if (what == 2)
		memset(bytes + below(RB_PAGE_SIZE), 0, 1); /* perhaps nothing at all */
	else if (what < 8)
		memcpy(bytes, former[task][page], RB_PAGE_SIZE);
	else
		for (int i = below(30); i >= 0; i--)
			bytes[below(RB_PAGE_SIZE)] = (uint8_t)below(256);
}

static void drop(int task, int page)
{
	memcpy(former[task][page], memory[task] + page * RB_PAGE_SIZE, RB_PAGE_SIZE);
	madvise(memory[task] + page * RB_PAGE_SIZE, RB_PAGE_SIZE, MADV_DONTNEED);
	gone[task][page] = true;
	dirty[task][page] = below(4) == 0; /* it may have been found dirty before */
}

/* what happens between two rounds; @heat: how many pages are written */
static void happen(int heat)
{
	for (int i = 0; i < heat; i++) {
		int task = below(TASKS), first = below(PAGES), n = 1 + below(40);

		for (int page = first; page < PAGES && page < first + n; page++)
			if (below(10) == 0)
				drop(task, page);
			else
				change(task, page);
	}
}

static void fill_all(void)
{
	for (int task = 0; task < TASKS; task++)
		for (int page = 0; page < PAGES; page++) {
			fill(memory[task] + page * RB_PAGE_SIZE);
			dirty[task][page] = true;
			gone[task][page] = false;
		}
}

#define STEP(cond)                                                                        \
	do {                                                                              \
		if (!(cond)) {                                                            \
			printf("# %s:%d: not true: %s (%s)\n", __FILE__, __LINE__, #cond, \
			       err.msg);                                                  \
			tap_ok = false;                                                   \
			return;                                                           \
		}                                                                         \
	} while (0)

/* a page of which little is written costs little from the third time on */
static void test_little(void)
{
	seed = 1;
	STEP(begin());
	rb_packer_fix(packer, RB_ENCODING_LZ4);
	fill_all();
	STEP(one_round(false) == 0 && compare(false) == -1);
	for (int i = 0; i < 4; i++) {
		for (int page = 0; page < 100; page++) {
			memory[0][page * RB_PAGE_SIZE + i * 100] ^= 0x55;
			dirty[0][page] = true;
		}
		STEP(one_round(false) == 0 && compare(false) == -1);
		STEP(stats.pages == 100 && stats.raw_bytes == 100 * RB_PAGE_SIZE);
		printf("# round %d: %llu bytes for 100 pages\n", i + 2,
		       (unsigned long long)stats.bytes);
	}
	STEP(stats.bytes < 100 * 100);
	/* and one that was written with what it had nothing */
	for (int page = 0; page < 100; page++)
		dirty[0][page] = true;
	STEP(one_round(false) == 0);
	STEP(stats.bytes == 0 && stats.pages == 100);
	STEP(one_round(true) == 0 && compare(true) == -1);
}

static void test_random(void)
{
	for (unsigned int run = 0; run < 8; run++) {
		seed = 4711 + run;
		STEP(begin());
		fill_all();
		STEP(one_round(false) == 0 && compare(false) == -1);
		for (int i = 0; i < 40; i++) {
			bool last = below(8) == 0;

			/* now and then nothing is compressed any more */
			rb_packer_fix(packer, below(4) ? 1 + below(2) : RB_ENCODING_NONE);
			if (below(12) == 0)
				fill_all();
			else
				happen(1 + below(10));
			STEP(one_round(last) == 0);
			STEP(compare(last) == -1);
		}
		happen(20);
		STEP(one_round(true) == 0);
		STEP(compare(true) == -1);
		printf("# %d differences, %d records encoded, %d as they are\n", deltas, encoded,
		       plain);
		STEP(deltas > 50 && encoded > deltas && plain > 10);
	}
}

int main(void)
{
	TAP_RUN(test_little);
	TAP_RUN(test_random);
	rb_packer_free(packer);
	rb_receiver_free(receiver);
	return tap_done();
}
