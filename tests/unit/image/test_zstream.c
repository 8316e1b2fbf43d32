// SPDX-License-Identifier: Apache-2.0
/*
 * test_zstream.c - payloads of records as one packed stream, and peers whose stream is none
 */
#include "zstream.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#include "cleanup.h"
#include "err.h"
#include "recipe.h"
#include "tap.h"

#define RAW RB_RECIPE_RAW_MAX

static uint8_t raw[RAW], again[RAW], out[RB_RECIPE_RECORD_MAX];
static uint64_t noise = 1;

static uint8_t next_noise(void)
{
	noise = noise * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint8_t)(noise >> 56);
}

/* Return: bytes on the way of @len bytes of `raw`, which came out as they were; or -1 */
static int there_and_back(struct rb_zstream *packer, ZSTD_DCtx *unpacker, int level, size_t len)
{
	struct rb_recipe_record record = { .kind = RB_RECIPE_BLOCK,
					   .count = 1,
					   .raw_len = (uint32_t)len },
				back;
	struct rb_err err = {};
	int n = rb_zstream_pack(packer, level, &record, raw, out);

	memset(again, 0xee, len);
	if (n < 0 || rb_recipe_decode(out, (size_t)n, &back, &err) < 0 ||
	    rb_zstream_unpack(unpacker, &back, again, &err) < 0) {
		printf("# level %d, %zu bytes: %s\n", level, len, err.msg);
		return -1;
	}
	return memcmp(raw, again, len) == 0 ? n : -1;
}

static void it_comes_out_as_it_was(void)
{
	static const int levels[] = { 3, 3, 0, 3, 9, 0, 0, 2, 6, 2, 2, 0, 9 };
	static const size_t lens[] = { RAW, 1, 1000, RAW, 70000 };
	ZSTD_DCtx *unpacker = rb_zstream_new_decoder();
	struct rb_zstream packer;

	CHECK_INT(rb_zstream_init(&packer, RB_ZSTREAM_WINDOW_LOG), 0);
	for (size_t i = 0; i < ARRAY_SIZE(levels) * ARRAY_SIZE(lens); i++) {
		size_t len = lens[i % ARRAY_SIZE(lens)];
		bool is_noise = i % 3 == 0;
		int level = levels[i % ARRAY_SIZE(levels)], n;

		for (size_t at = 0; at < len; at++)
			raw[at] = is_noise ? next_noise() : (uint8_t)(at / 64 + i);
		n = there_and_back(&packer, unpacker, level, len);
		CHECK(n > 0);
		if (level == 0)
			CHECK_INT(n, RB_RECIPE_HEADER + len);
		else if (len == RAW && !is_noise)
			CHECK(n < (int)RAW / 4);
	}
	rb_zstream_free(&packer);
	ZSTD_freeDCtx(unpacker);
}

/* as far as the window goes back, over other blocks, and over such as are not packed */
static void what_came_before_is_a_dictionary(void)
{
	ZSTD_DCtx *unpacker = rb_zstream_new_decoder();
	_cleanup_free_ uint8_t *first = malloc(RAW);
	struct rb_zstream packer;
	int n = 0;

	CHECK_INT(rb_zstream_init(&packer, RB_ZSTREAM_WINDOW_LOG), 0);
	for (size_t i = 0; i < RAW; i++)
		first[i] = raw[i] = next_noise();
	CHECK(there_and_back(&packer, unpacker, 3, RAW) > (int)RAW);
	for (int i = 0; i < 8; i++) {
		raw[0] = next_noise();
		CHECK(there_and_back(&packer, unpacker, i % 2 ? 0 : 3, RAW / 8) > 0);
	}
	memcpy(raw, first, RAW);
	n = there_and_back(&packer, unpacker, 3, RAW);
	printf("# noise once more: %d bytes\n", n);
	CHECK(n > 0 && n < (int)RAW / 4);
	rb_zstream_free(&packer);
	ZSTD_freeDCtx(unpacker);
}

static void check_refused(const void *payload, size_t len, size_t raw_len)
{
	struct rb_recipe_record record = { .kind = RB_RECIPE_BLOCK,
					   .encoding = RB_RECIPE_ZSTD,
					   .raw_len = (uint32_t)raw_len,
					   .payload = payload,
					   .len = len };
	ZSTD_DCtx *unpacker = rb_zstream_new_decoder();
	struct rb_err err = {};

	memset(again, 0xee, RAW);
	CHECK_INT(rb_zstream_unpack(unpacker, &record, again, &err), -EPROTO);
	CHECK_INT(err.code, RB_E_PROTOCOL);
	for (size_t i = raw_len; i < RAW; i++)
		if (again[i] != 0xee) {
			CHECK_INT(i, RAW); /* nothing behind what it may have */
			break;
		}
	ZSTD_freeDCtx(unpacker);
}

static void streams_that_are_none_are_refused(void)
{
	struct rb_recipe_record record = { .kind = RB_RECIPE_BLOCK, .count = 1, .raw_len = RAW };
	_cleanup_free_ uint8_t *wide = malloc(RAW);
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	ZSTD_inBuffer in = { .src = raw, .size = RAW };
	ZSTD_outBuffer to = { .dst = wide, .size = RAW };
	struct rb_zstream packer;
	int n;

	CHECK_INT(rb_zstream_init(&packer, RB_ZSTREAM_WINDOW_LOG), 0);
	memset(raw, 0, RAW);
	n = rb_zstream_pack(&packer, 3, &record, raw, out);
	CHECK(n > RB_RECIPE_HEADER);
	/* a bomb, one that says one byte less, one that says more, one that is cut, noise */
	check_refused(record.payload, record.len, 100);
	check_refused(record.payload, record.len, RAW - 1);
	check_refused(record.payload, record.len - 4, RAW);
	check_refused(record.payload + 1, record.len - 1, RAW);
	rb_zstream_free(&packer);
	/* a window for which the peer would have us take much memory */
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, RB_ZSTREAM_WINDOW_LOG + 1);
	CHECK(!ZSTD_isError(ZSTD_compressStream2(zstd, &to, &in, ZSTD_e_flush)));
	check_refused(wide, to.pos, RAW);
	ZSTD_freeCCtx(zstd);
}

int main(void)
{
	TAP_RUN(it_comes_out_as_it_was);
	TAP_RUN(what_came_before_is_a_dictionary);
	TAP_RUN(streams_that_are_none_are_refused);
	return tap_done();
}
