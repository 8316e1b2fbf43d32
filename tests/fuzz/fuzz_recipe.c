// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_recipe.c - what a peer sends of an image
 *
 * The input is a row of records, each after its length (2 bytes, little-endian). Whatever it is,
 * nothing is written but to the spool and within the sizes that were announced, each recipe that is
 * taken has one answer, and what was not sent wholly is no archive.
 */
#include <stdlib.h>
#include <string.h>

#include "cdc.h"
#include "fuzz.h"
#include "gather.h"
#include "io.h"
#include "recipe.h"
#include "spool.h"

static unsigned int answers;

static int on_want(void *arg, const uint8_t *record, size_t len, struct rb_err *err)
{
	struct rb_recipe_record want;

	(void)arg;
	FUZZ_NEED(rb_recipe_decode(record, len, &want, err) == 0);
	FUZZ_NEED(want.kind == RB_RECIPE_WANT && want.batch == answers);
	answers++;
	return 0;
}

static void check_items(const uint8_t *data, size_t len)
{
	struct rb_item item;
	ssize_t n;

	for (size_t at = 0; at < len; at += (size_t)n) {
		uint8_t again[RB_ITEM_LITERAL_HEAD + 65536];

		n = rb_item_decode(data + at, len - at, &item, NULL);
		if (n < 0)
			return;
		FUZZ_NEED((size_t)n <= len - at && n > 0);
		FUZZ_NEED((size_t)n <= sizeof(again));
		FUZZ_NEED(rb_item_encode(again, &item) == (size_t)n);
		FUZZ_NEED(memcmp(again, data + at, (size_t)n) == 0);
	}
}

static char dir[] = "/tmp/reberth-fuzz.XXXXXX";

static void remove_dir(void)
{
	rb_rm_rf(dir, NULL);
}

static struct rb_spool *the_spool(void)
{
	static struct rb_spool spool;
	static bool is_open;

	if (!is_open) {
		FUZZ_NEED(mkdtemp(dir) && atexit(remove_dir) == 0);
		FUZZ_NEED(rb_spool_open(&spool, dir, NULL, NULL) == 0);
		is_open = true;
	}
	return &spool;
}

static void read_archive(struct rb_gather *gather)
{
	char buf[4096];
	ssize_t n;

	while ((n = rb_gather_read(gather, buf, sizeof(buf))) > 0)
		;
	FUZZ_NEED(n == 0);
}

static void gather(const uint8_t *data, size_t len, struct rb_spool *spool)
{
	const struct rb_gather_options options = { .spool = spool, .want = on_want };
	struct rb_gather *gather;
	unsigned int recipes = 0;
	int r = 0;

	answers = 0;
	FUZZ_NEED(rb_gather_new(&options, &gather, NULL) == 0);
	while (r == 0 && len >= 2) {
		size_t part = data[0] | (size_t)data[1] << 8;

		data += 2;
		len -= 2;
		if (part > len)
			part = len;
		r = rb_gather_record(gather, data, part, NULL);
		recipes += r == 0 && part && data[0] == RB_RECIPE_ITEMS;
		data += part;
		len -= part;
	}
	if (r == 0)
		FUZZ_NEED(recipes == answers);
	if (r == 0 && rb_gather_end(gather, NULL) == 0) {
		FUZZ_NEED(rb_gather_check(gather, NULL) == 0);
		if (rb_gather_wrong(gather, NULL) == 0 && spool)
			read_archive(gather);
	}
	if (spool)
		rb_gather_forget(gather);
	rb_gather_free(gather);
	if (spool)
		rb_spool_sweep(spool, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	check_items(data, len);
	gather(data, len, NULL);
	gather(data, len, the_spool());
	return 0;
}
