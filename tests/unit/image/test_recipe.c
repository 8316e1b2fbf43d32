// SPDX-License-Identifier: Apache-2.0
/*
 * test_recipe.c - what hosts say to each other about an image, byte by byte, and what is refused
 */
#include "recipe.h"

#include <errno.h>

#include "cdc.h"
#include "cleanup.h"
#include "err.h"
#include "tap.h"

static void records_are_golden(void)
{
	static const uint8_t want[] = { 2, 0, 0, 9, 0, 0, 1, 2, 0, 0, 0, 0 };
	const struct rb_recipe_record record = { .kind = RB_RECIPE_WANT, .count = 9, .batch = 258 };
	uint8_t out[RB_RECIPE_HEADER + 2] = {};
	struct rb_recipe_record back;

	rb_recipe_encode_header(out, &record);
	CHECK(memcmp(out, want, sizeof(want)) == 0);
	CHECK_INT(rb_recipe_decode(out, sizeof(out), &back, NULL), 0);
	CHECK_INT(back.kind, RB_RECIPE_WANT);
	CHECK_INT(back.count, 9);
	CHECK_INT(back.batch, 258);
	CHECK_INT(back.len, 2);
}

static void items_are_golden(void)
{
	static const uint8_t bytes[RB_DIGEST_BYTES] = { 0xaa, [19] = 0xbb, [31] = 0xcc };
	const struct rb_item items[] = {
		{ .kind = RB_ITEM_OBJECT, .form = RB_OBJECT_LEGACY, .size = 0x102, .bytes = bytes },
		{ .kind = RB_ITEM_LITERAL, .len = 3, .bytes = bytes },
		{ .kind = RB_ITEM_CHUNK, .len = 0x8001, .bytes = bytes },
		{ .kind = RB_ITEM_END },
	};
	static const uint8_t heads[][6] = {
		{ 1, 1, 0xaa, 0 }, { 3, 0, 0, 0, 3, 0xaa }, { 4, 0, 0, 0x80, 1, 0xaa }, { 2 }
	};
	static const size_t lens[] = { 42, 8, 25, 1 };

	for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
		uint8_t out[64];
		struct rb_item back;
		size_t n = rb_item_encode(out, &items[i]);

		CHECK_INT(n, lens[i]);
		CHECK(memcmp(out, heads[i], n < 6 ? n : 6) == 0);
		CHECK_INT(rb_item_decode(out, n, &back, NULL), n);
		CHECK_INT(back.kind, items[i].kind);
		CHECK_INT(back.form, items[i].form);
		CHECK_INT(back.len, items[i].len);
		CHECK(back.size == items[i].size);
		for (size_t cut = 0; cut < n; cut++)
			CHECK_INT(rb_item_decode(out, cut, &back, NULL), -EPROTO);
	}
}

static void literals_grow(void)
{
	uint8_t out[64];
	const struct rb_item first = { .kind = RB_ITEM_LITERAL,
				       .len = 3,
				       .bytes = (const uint8_t *)"abc" };
	const struct rb_item more = { .kind = RB_ITEM_LITERAL,
				      .len = 2,
				      .bytes = (const uint8_t *)"de" };
	struct rb_item back;
	size_t n = rb_item_encode(out, &first);

	n += rb_item_grow(out, &more, 5);
	CHECK_INT(rb_item_decode(out, n, &back, NULL), n);
	CHECK_INT(back.len, 5);
	CHECK(memcmp(back.bytes, "abcde", 5) == 0);
}

static void silly_items_are_refused(void)
{
	static const uint8_t silly[][RB_ITEM_OBJECT_BYTES] = {
		{ 0 },
		{ 5 },
		{ 255 },
		{ RB_ITEM_OBJECT, RB_OBJECT_FORMS },
		{ RB_ITEM_OBJECT, 0, [34] = 0xff },
		{ RB_ITEM_LITERAL },
		{ RB_ITEM_LITERAL, 0, 0, 0, 200 },
		{ RB_ITEM_LITERAL, 0xff, 0xff, 0xff, 0xff },
		{ RB_ITEM_CHUNK },
		{ RB_ITEM_CHUNK, 0, 2, 0, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(silly); i++) {
		struct rb_err err = {};
		struct rb_item item;

		CHECK_INT(rb_item_decode(silly[i], sizeof(silly[i]), &item, &err), -EPROTO);
		CHECK_INT(err.code, RB_E_PROTOCOL);
	}
}

static void silly_records_are_refused(void)
{
	const struct {
		struct rb_recipe_record record;
		size_t payload;
	} silly[] = {
		{ { .kind = 0 }, 0 },
		{ { .kind = 5 }, 0 },
		{ { .kind = RB_RECIPE_BLOCK, .encoding = 2, .count = 1, .raw_len = 1 }, 1 },
		{ { .kind = RB_RECIPE_BLOCK, .count = 0, .raw_len = 1 }, 1 },
		{ { .kind = RB_RECIPE_BLOCK, .count = 1025, .raw_len = 1 }, 1 },
		{ { .kind = RB_RECIPE_BLOCK, .count = 1, .raw_len = 2 }, 1 },
		{ { .kind = RB_RECIPE_BLOCK, .count = 1, .raw_len = 0, .encoding = 1 }, 1 },
		{ { .kind = RB_RECIPE_BLOCK, .count = 1, .raw_len = 1U << 31, .encoding = 1 }, 1 },
		{ { .kind = RB_RECIPE_ITEMS, .raw_len = RB_RECIPE_ITEMS_MAX + 1, .encoding = 1 },
		  1 },
		{ { .kind = RB_RECIPE_ITEMS, .raw_len = 1 }, 0 },
		{ { .kind = RB_RECIPE_WANT, .count = 9 }, 1 },
		{ { .kind = RB_RECIPE_WANT, .count = 8 }, 2 },
		{ { .kind = RB_RECIPE_WANT, .count = 8, .raw_len = 1 }, 1 },
		{ { .kind = RB_RECIPE_RESULT, .count = 3 }, 0 },
		{ { .kind = RB_RECIPE_RESULT }, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(silly); i++) {
		uint8_t bytes[RB_RECIPE_HEADER + 2] = {};
		struct rb_recipe_record back;
		struct rb_err err = {};

		rb_recipe_encode_header(bytes, &silly[i].record);
		CHECK_INT(rb_recipe_decode(bytes, RB_RECIPE_HEADER + silly[i].payload, &back, &err),
			  -EPROTO);
		CHECK_INT(err.code, RB_E_PROTOCOL);
		for (size_t cut = 0; cut < RB_RECIPE_HEADER; cut++)
			CHECK_INT(rb_recipe_decode(bytes, cut, &back, NULL), -EPROTO);
	}
}

int main(void)
{
	TAP_RUN(records_are_golden);
	TAP_RUN(items_are_golden);
	TAP_RUN(literals_grow);
	TAP_RUN(silly_items_are_refused);
	TAP_RUN(silly_records_are_refused);
	return tap_done();
}
