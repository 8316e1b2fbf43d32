// SPDX-License-Identifier: Apache-2.0
/* test_codec.c - pages compressed and back, and what a hostile peer may send instead */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <zstd.h>

#include "codec.h"
#include "err.h"
#include "pack.h"
#include "record.h"
#include "tap.h"
#include "unpack.h"

enum { LEN = RB_PAGES_PER_BLOCK * RB_PAGE_SIZE };

static struct rb_codec codec;
static uint8_t pages[LEN], packed[2 * LEN], back[LEN + 64];

static const enum rb_encoding encodings[] = { RB_ENCODING_LZ4, RB_ENCODING_ZSTD };

static void fill_random(void)
{
	unsigned int seed = 7;

	for (size_t i = 0; i < LEN; i++)
		pages[i] = (uint8_t)(rand_r(&seed) >> 8);
}

static void fill_text(void)
{
	for (size_t i = 0; i < LEN; i++)
		pages[i] = (uint8_t) "customer=1;name="[i % 16] ^ (uint8_t)(i / 500);
}

static void test_there_and_back(void)
{
	static const size_t lens[] = { 1, 2, 17, RB_PAGES_PER_BLOCK };

	fill_text();
	for (size_t i = 0; i < 2; i++)
		for (size_t k = 0; k < 4; k++) {
			size_t len = lens[k] * RB_PAGE_SIZE;
			size_t n = rb_codec_pack(&codec, encodings[i], pages, len, packed, len - 1);

			CHECK(n > 0 && n < len);
			memset(back, 0xee, sizeof(back));
			CHECK_INT(rb_codec_unpack(&codec, encodings[i], packed, n, back, len), 0);
			CHECK_INT(memcmp(back, pages, len), 0);
			CHECK_INT(back[len], 0xee);
		}
}

static void test_not_smaller(void)
{
	fill_random();
	for (size_t i = 0; i < 2; i++)
		CHECK_INT(
			(long long)rb_codec_pack(&codec, encodings[i], pages, LEN, packed, LEN - 1),
			0);
	CHECK_INT((long long)rb_codec_pack(&codec, RB_ENCODING_NONE, pages, LEN, packed, LEN), 0);
	CHECK_INT((long long)rb_codec_pack(&codec, RB_ENCODING_MAX, pages, LEN, packed, LEN), 0);
}

/* neither more nor less than what was said, and never a byte beyond it */
static void test_wrong_size(void)
{
	fill_text();
	for (size_t i = 0; i < 2; i++) {
		size_t len = 4 * RB_PAGE_SIZE;
		size_t n = rb_codec_pack(&codec, encodings[i], pages, len, packed, len - 1);

		memset(back, 0xee, sizeof(back));
		CHECK_INT(
			rb_codec_unpack(&codec, encodings[i], packed, n, back, len - RB_PAGE_SIZE),
			-EBADMSG);
		CHECK_INT(back[len - RB_PAGE_SIZE], 0xee);
		CHECK_INT(
			rb_codec_unpack(&codec, encodings[i], packed, n, back, len + RB_PAGE_SIZE),
			-EBADMSG);
		CHECK_INT(rb_codec_unpack(&codec, encodings[i], packed, n, back, LEN + 1),
			  -EBADMSG);
		CHECK_INT(rb_codec_unpack(&codec, encodings[i], packed, n - 1, back, len),
			  -EBADMSG);
		CHECK_INT(rb_codec_unpack(&codec, encodings[i], packed, 0, back, len), -EBADMSG);
	}
	CHECK_INT(rb_codec_unpack(&codec, RB_ENCODING_MAX, packed, 9, back, RB_PAGE_SIZE),
		  -EBADMSG);
}

/* whatever is changed on the way, nothing is written beyond the pages */
static void test_damage(void)
{
	static uint8_t bad[LEN];
	unsigned int seed = 3;

	fill_text();
	for (size_t i = 0; i < 2; i++) {
		size_t len = 3 * RB_PAGE_SIZE;
		size_t n = rb_codec_pack(&codec, encodings[i], pages, len, packed, len - 1);

		for (int k = 0; k < 3000; k++) {
			uint8_t *out = malloc(len); /* so that a sanitizer sees it */

			memcpy(bad, packed, n);
			for (int j = 0; j <= k % 4; j++)
				bad[(size_t)rand_r(&seed) % n] = (uint8_t)rand_r(&seed);
			rb_codec_unpack(&codec, encodings[i], bad, n, out, len);
			free(out);
		}
	}
}

/* a frame that says it needs a window of gigabytes is taken without one */
static void test_large_window(void)
{
	ZSTD_CCtx *other = ZSTD_createCCtx();
	size_t n;

	fill_text();
	ZSTD_CCtx_setParameter(other, ZSTD_c_windowLog, 27);
	ZSTD_CCtx_setParameter(other, ZSTD_c_contentSizeFlag, 0);
	n = ZSTD_compress2(other, packed, sizeof(packed), pages, LEN);
	CHECK(!ZSTD_isError(n));
	CHECK_INT(rb_codec_unpack(&codec, RB_ENCODING_ZSTD, packed, n, back, LEN), 0);
	CHECK_INT(memcmp(back, pages, LEN), 0);
	ZSTD_freeCCtx(other);
}

/* records as the packer makes them, through the format and back */
static void test_records(void)
{
	static uint8_t block[RB_BLOCK_SIZE];
	struct rb_unpacker unpacker = {};
	struct rb_packer *packer = NULL;
	int encoded = 0;

	CHECK_INT(rb_packer_new(&packer, NULL), 0);
	for (int i = 0; i < 40; i++) {
		struct rb_record got,
			record = { RB_RECORD_DATA, 7, 0x1000, 16, pages, 16 * RB_PAGE_SIZE };
		const uint8_t *found;
		size_t len;

		i % 4 ? fill_text() : fill_random();
		CHECK(rb_packer_most(packer) >= 16);
		rb_pack(packer, &record);
		encoded += record.encoding != RB_ENCODING_NONE;
		len = rb_record_encode(block, &record);
		/* a slow link */
		rb_packer_written(packer, RB_BLOCK_SIZE, 1000 + i * 100000, 100000 + i * 100000);
		CHECK_INT(rb_record_decode(block, len, &got, NULL), (ssize_t)len);
		CHECK_INT(rb_unpack(&unpacker, NULL, &got, &found, NULL), 0);
		CHECK_INT(memcmp(found, pages, 16 * RB_PAGE_SIZE), 0);
	}
	CHECK(encoded > 20);
	rb_packer_free(packer);
	rb_unpacker_clear(&unpacker);
}

int main(void)
{
	TAP_RUN(test_there_and_back);
	TAP_RUN(test_not_smaller);
	TAP_RUN(test_wrong_size);
	TAP_RUN(test_damage);
	TAP_RUN(test_large_window);
	TAP_RUN(test_records);
	rb_codec_clear(&codec);
	return tap_done();
}
