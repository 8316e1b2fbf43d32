// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_record.c - blocks of pages from a peer, and lists of those that it wants
 *
 * Whatever the input, a record that is taken lies within it and says what its kind allows. The
 * checksum is made right first, or nothing would ever be taken.
 */
#include <endian.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cleanup.h"
#include "codec.h"
#include "fuzz.h"
#include "record.h"
#include "ranges.h"
#include "store.h"
#include "unpack.h"
#include "wants.h"

static void mend_checksum(uint8_t *record, size_t len)
{
	uint32_t size;
	uint64_t sum;

	memcpy(&size, record + 20, sizeof(size));
	size = be32toh(size);
	if (size > len - RB_RECORD_HEADER)
		return;
	sum = htobe64(XXH3_64bits_withSeed(record + RB_RECORD_HEADER, size, record[1]));
	memcpy(record + 24, &sum, sizeof(sum));
}

/* The same as the receiver does it, with a store that has some pages, and not others. */
static void check_difference(const struct rb_record *record)
{
	static struct rb_store *store;
	struct rb_unpacker unpacker = {};
	const uint8_t *pages;

	if (!store) {
		static const uint8_t some[4 * RB_PAGE_SIZE] = { 1 };

		FUZZ_NEED(rb_store_new(&store, NULL) == 0);
		FUZZ_NEED(rb_store_put(store, 7, 0x1000, some, 4, NULL) == 0);
	}
	if (rb_unpack(&unpacker, store, record, &pages, NULL) >= 0)
		FUZZ_NEED(!record->delta || record->task == 7);
	rb_unpacker_clear(&unpacker);
}

/* What is encoded is not believed either: its pages are of just that size, so that a sanitizer sees
 * what is written beyond. */
static void check_pages(const struct rb_record *record)
{
	size_t len = record->count * (size_t)RB_PAGE_SIZE;
	_cleanup_free_ uint8_t *pages = NULL;
	struct rb_codec codec = {};

	if (record->encoding == RB_ENCODING_NONE && !record->delta) {
		FUZZ_NEED(record->len == len);
		return;
	}
	FUZZ_NEED(record->len <= len && record->count <= RB_PAGES_PER_BLOCK);
	pages = malloc(len);
	FUZZ_NEED(pages);
	rb_codec_unpack(&codec, record->encoding, record->payload, record->len, pages, len);
	rb_codec_clear(&codec);
	check_difference(record);
}

static void check_wants(const uint8_t *data, size_t len)
{
	for (size_t at = 0; at + RB_WANT_BYTES <= len; at += RB_WANT_BYTES) {
		struct rb_want want;

		if (rb_want_decode(data + at, &want, NULL) < 0)
			continue;
		FUZZ_NEED(want.task > 0 && want.pages > 0 && want.addr % RB_PAGE_SIZE == 0);
		FUZZ_NEED(want.addr + (uint64_t)want.pages * RB_PAGE_SIZE > want.addr);
	}
}

/* What is read of them is what would be written, and texts end where the payload does. */
static void check_names(const struct rb_record *record)
{
	uint8_t again[RB_OBJECT_PAYLOAD];
	struct rb_tmpfs_record tmpfs;
	struct rb_object object;

	FUZZ_NEED(record->shared);
	if (record->kind == RB_RECORD_OBJECT) {
		rb_record_object(record, &object);
		FUZZ_NEED(object.tmpfs >= 0 && object.size <= RB_OBJECT_SIZE_MAX);
		FUZZ_NEED(rb_record_put_object(again, &object) == record->len &&
			  memcmp(again, record->payload, record->len) == 0);
	} else {
		rb_record_tmpfs(record, &tmpfs);
		FUZZ_NEED(8 + strlen(tmpfs.source) + 1 + strlen(tmpfs.options) == record->len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	_cleanup_free_ uint8_t *input = malloc(len ? len : 1);
	size_t at = 0;

	FUZZ_NEED(input);
	if (len)
		memcpy(input, data, len);
	check_wants(data, len);
	while (at < len) {
		struct rb_record record;
		ssize_t n;

		if (len - at >= RB_RECORD_HEADER)
			mend_checksum(input + at, len - at);
		n = rb_record_decode(input + at, len - at, &record, NULL);
		if (n < 0)
			break;
		FUZZ_NEED((size_t)n == RB_RECORD_HEADER + record.len && (size_t)n <= len - at);
		FUZZ_NEED(record.payload == input + at + RB_RECORD_HEADER);
		FUZZ_NEED(record.task > 0 && record.addr % RB_PAGE_SIZE == 0);
		if (record.kind == RB_RECORD_DATA)
			check_pages(&record);
		if (record.kind == RB_RECORD_OBJECT || record.kind == RB_RECORD_TMPFS) {
			check_names(&record);
			at += (size_t)n;
			continue;
		}
		for (uint32_t i = 0; record.kind >= RB_RECORD_KEEP_MORE && i < record.count; i++) {
			struct rb_range range = rb_record_range(&record, i);

			FUZZ_NEED(range.start < range.end);
		}
		at += (size_t)n;
	}
	return 0;
}
