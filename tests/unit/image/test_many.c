// SPDX-License-Identifier: Apache-2.0
/*
 * test_many.c - a layer of a million chunks: what the target keeps of it does not grow with them
 */
#include <malloc.h>
#include <stdlib.h>

#include "cdc.h"
#include "err.h"
#include "gather.h"
#include "io.h"
#include "recipe.h"
#include "spool.h"
#include "tap.h"

#define ASKED  1000000
#define PLACED 250000 /* each is a write */
#define BATCH  1000
#define LEN    16 /* of a chunk: it is their number that counts */
#define AHEAD  8  /* recipes before the first block */
#define MEMORY \
	((size_t)8 << 20) /* less than ids alone would take, 20 bytes each, beside the rest */

static char dir[] = "/var/tmp/reberth-test-many.XXXXXX";
static unsigned int wanted, answers;

static int on_want(void *arg, const uint8_t *record, size_t len, struct rb_err *err)
{
	(void)arg;
	(void)err;
	answers++;
	for (size_t i = RB_RECIPE_HEADER; i < len; i++)
		wanted += (unsigned int)__builtin_popcount(record[i]);
	return 0;
}

/* of the heap; 0 where it is not glibc's, as with ASan */
static size_t memory(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static int say_recipe(struct rb_gather *gather, uint32_t batch, uint32_t batches,
		      struct rb_err *err)
{
	static uint8_t
		bytes[RB_RECIPE_HEADER + RB_ITEM_OBJECT_BYTES + BATCH * RB_ITEM_CHUNK_BYTES + 1];
	struct rb_recipe_record record = { .kind = RB_RECIPE_ITEMS,
					   .batch = batch,
					   .count = BATCH };
	uint8_t id[RB_DIGEST_BYTES] = { 7 };
	size_t len = RB_RECIPE_HEADER;

	if (batch == 0)
		len += rb_item_encode(bytes + len,
				      &(struct rb_item){ .kind = RB_ITEM_OBJECT,
							 .bytes = id,
							 .size = batches * BATCH * LEN });
	for (uint32_t i = 0; i < BATCH; i++) {
		/* spread, as those of real ones are */
		uint64_t number = ((uint64_t)batch * BATCH + i + 1) * 0x9e3779b97f4a7c15ULL;

		memcpy(id, &number, sizeof(number));
		len += rb_item_encode(
			bytes + len,
			&(struct rb_item){ .kind = RB_ITEM_CHUNK, .bytes = id, .len = LEN });
	}
	if (batch == batches - 1)
		len += rb_item_encode(bytes + len, &(struct rb_item){ .kind = RB_ITEM_END });
	record.raw_len = (uint32_t)(len - RB_RECIPE_HEADER);
	rb_recipe_encode_header(bytes, &record);
	return rb_gather_record(gather, bytes, len, err);
}

static int say_block(struct rb_gather *gather, uint32_t batch, struct rb_err *err)
{
	static uint8_t bytes[RB_RECIPE_HEADER + BATCH * LEN];
	struct rb_recipe_record record = {
		.kind = RB_RECIPE_BLOCK, .batch = batch, .count = BATCH, .raw_len = BATCH * LEN
	};

	rb_recipe_encode_header(bytes, &record);
	for (size_t i = 0; i < BATCH * LEN; i++)
		bytes[RB_RECIPE_HEADER + i] = (uint8_t)(batch + i);
	return rb_gather_record(gather, bytes, sizeof(bytes), err);
}

static void check_many(struct rb_spool *spool, uint32_t chunks)
{
	const struct rb_gather_options options = { .spool = spool, .want = on_want };
	uint32_t batches = chunks / BATCH;
	size_t before = memory(), most = 0;
	struct rb_gather *gather;
	struct rb_err err = {};
	int r;

	wanted = answers = 0;
	r = rb_gather_new(&options, &gather, &err);
	CHECK_INT(r, 0);
	for (uint32_t i = 0; r == 0 && i < batches + AHEAD; i++) {
		if (i < batches)
			r = say_recipe(gather, i, batches, &err);
		if (r == 0 && spool && i >= AHEAD)
			r = say_block(gather, i - AHEAD, &err);
		most = memory() > most ? memory() : most;
	}
	CHECK_STR(err.msg, "");
	CHECK_INT(r, 0);
	CHECK_INT(rb_gather_end(gather, &err), 0);
	CHECK_INT(answers, batches);
	CHECK_INT(wanted, chunks);
	printf("# %zu KiB at most\n", (most - before) >> 10);
	CHECK(most - before < MEMORY);
	rb_gather_forget(gather);
	rb_gather_free(gather);
}

static void asking_for_them_takes_no_memory(void)
{
	check_many(NULL, ASKED);
}

static void nor_does_placing_them(void)
{
	struct rb_err err = {};
	struct rb_spool spool;

	CHECK_INT(rb_spool_open(&spool, dir, NULL, &err), 0);
	check_many(&spool, PLACED);
	rb_spool_close(&spool);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	TAP_RUN(asking_for_them_takes_no_memory);
	TAP_RUN(nor_does_placing_them);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
