// SPDX-License-Identifier: Apache-2.0
/* test_record.c - the format of pages on their way: golden bytes, and what is refused */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "err.h"
#include "record.h"
#include "ranges.h"
#include "tap.h"

static uint8_t block[RB_BLOCK_SIZE];
static const uint8_t few[RB_PAGE_SIZE];

static size_t put_data(uint8_t fill, uint32_t count)
{
	static uint8_t pages[RB_PAGES_PER_BLOCK * RB_PAGE_SIZE];
	struct rb_record record = { RB_RECORD_DATA, 7,	   0x7f0000001000,
				    count,	    pages, count * RB_PAGE_SIZE };

	memset(pages, fill, sizeof(pages));
	return rb_record_encode(block, &record);
}

static void test_golden(void)
{
	static const uint8_t head[] = {
		1, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0x7f, 0, 0, 0, 0x10, 0, 0, 0, 0, 1, 0, 0, 0x10, 0,
	};
	/* XXH3 of 4096 bytes 0x2a, as `xxhsum -H3` says */
	static const uint8_t sum[] = { 0x05, 0xaa, 0x26, 0xfd, 0xbd, 0xfa, 0x29, 0x72 };

	CHECK_INT(put_data(0x2a, 1), RB_RECORD_HEADER + RB_PAGE_SIZE);
	CHECK_INT(memcmp(block, head, sizeof(head)), 0);
	CHECK_INT(memcmp(block + sizeof(head), sum, sizeof(sum)), 0);
	CHECK_INT(block[RB_RECORD_HEADER], 0x2a);
}

/* what lz4 and zstd make of a page is theirs: here it is only the frame around it */
static void test_golden_encoded(void)
{
	static const uint8_t head[] = {
		1, 2, 0, 0, 0, 0, 0, 7, 0, 0, 0x7f, 0, 0, 0, 0x10, 0, 0, 0, 0, 2, 0, 0, 0, 4,
	};
	/* XXH3 of "abcd" with seed 2 */
	static const uint8_t sum[] = { 0xd8, 0x52, 0xf7, 0x79, 0xf9, 0x35, 0x6f, 0xbc };
	struct rb_record got, record = { RB_RECORD_DATA,    7, 0x7f0000001000,	2,
					 (uint8_t *)"abcd", 4, RB_ENCODING_ZSTD };
	size_t len = rb_record_encode(block, &record);

	CHECK_INT((long long)len, RB_RECORD_HEADER + 4);
	CHECK_INT(memcmp(block, head, sizeof(head)), 0);
	CHECK_INT(memcmp(block + sizeof(head), sum, sizeof(sum)), 0);
	CHECK_INT(rb_record_decode(block, len, &got, NULL), (ssize_t)len);
	CHECK_INT(got.encoding, RB_ENCODING_ZSTD);
	CHECK_INT(got.len, 4);
	CHECK(!got.delta);
	record.delta = true;
	rb_record_encode(block, &record);
	CHECK_INT(block[1], 0x82);
	CHECK_INT(rb_record_decode(block, len, &got, NULL), (ssize_t)len);
	CHECK_INT(got.encoding, RB_ENCODING_ZSTD);
	CHECK(got.delta);
}

static void test_there_and_back(void)
{
	struct rb_record record;
	size_t len = put_data(0x55, RB_PAGES_PER_BLOCK);

	CHECK(len <= sizeof(block));
	CHECK_INT(rb_record_decode(block, len, &record, NULL), (ssize_t)len);
	CHECK_INT(record.kind, RB_RECORD_DATA);
	CHECK_INT(record.task, 7);
	CHECK_INT((long long)record.addr, 0x7f0000001000);
	CHECK_INT(record.count, RB_PAGES_PER_BLOCK);
	CHECK(record.payload == block + RB_RECORD_HEADER);
}

static void test_keep(void)
{
	struct rb_range ranges[] = { { 0x1000, 0x3000 }, { 0x5000, 0x6000 } }, got;
	struct rb_record record = { RB_RECORD_KEEP, 1, 0, 2, block + RB_RECORD_HEADER, 32 };
	size_t len;

	for (uint32_t i = 0; i < 2; i++)
		rb_record_put_range(block + RB_RECORD_HEADER, i, &ranges[i]);
	len = rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &record, NULL), (ssize_t)len);
	got = rb_record_range(&record, 1);
	CHECK_INT((long long)got.start, 0x5000);
	CHECK_INT((long long)got.end, 0x6000);
	/* not in order */
	rb_record_put_range(block + RB_RECORD_HEADER, 1, &ranges[0]);
	rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &record, NULL), -EPROTO);
}

static void test_damage(void)
{
	struct rb_record record;
	struct rb_err err = {};
	size_t len = put_data(1, 2);

	for (size_t cut = 0; cut < len; cut += cut < RB_RECORD_HEADER ? 1 : 997)
		CHECK(rb_record_decode(block, cut, &record, NULL) < 0);
	block[len - 1] ^= 1;
	CHECK_INT(rb_record_decode(block, len, &record, &err), -EBADMSG);
	CHECK_INT(err.code, RB_E_PROTOCOL);
	/* every bit of the header counts */
	for (size_t bit = 0; bit < RB_RECORD_HEADER * 8; bit++) {
		struct rb_record good;

		len = put_data(1, 2);
		CHECK(rb_record_decode(block, len, &good, NULL) > 0);
		block[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (rb_record_decode(block, len, &record, NULL) < 0)
			continue;
		/* another task or address cannot be told; but never more pages than came */
		CHECK_INT(record.count, 2);
		CHECK(record.task != good.task || record.addr != good.addr ||
		      record.shared != good.shared);
	}
}

static void test_object(void)
{
	struct rb_object object = { .inode = 4711, .size = 5000, .name = "name" }, got;
	struct rb_record record = { RB_RECORD_OBJECT, 3, 0, 0, block + RB_RECORD_HEADER, 0,
				    .shared = true };
	struct rb_record again;
	size_t len;

	record.len = rb_record_put_object(block + RB_RECORD_HEADER, &object);
	len = rb_record_encode(block, &record);
	CHECK_INT(len, RB_RECORD_HEADER + 22);
	record = (struct rb_record){};
	CHECK_INT(rb_record_decode(block, len, &record, NULL), (ssize_t)len);
	CHECK(record.shared);
	CHECK_INT(record.task, 3);
	rb_record_object(&record, &got);
	CHECK_INT(got.inode, 4711);
	CHECK_INT(got.size, 5000);
	CHECK_INT(got.kind, RB_OBJECT_MEMFD);
	CHECK_STR(got.name, "name");
	CHECK(!got.known);
	object.known = true;
	rb_record_put_object(block + RB_RECORD_HEADER, &object);
	rb_record_object(&record, &got);
	CHECK(got.known);
	/* of a kind that there is not; what is neither known nor new; a name with an end in it; a
	 * size beyond all measure; not of shared memory */
	record.payload = block + RB_RECORD_HEADER;
	block[RB_RECORD_HEADER + 16] = RB_OBJECT_KIND_MAX;
	rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &again, NULL), -EPROTO);
	block[RB_RECORD_HEADER + 16] = RB_OBJECT_MEMFD;
	block[RB_RECORD_HEADER + 17] = 2;
	rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &again, NULL), -EPROTO);
	block[RB_RECORD_HEADER + 17] = 0;
	record.payload = block + RB_RECORD_HEADER;
	block[len - 2] = '\0';
	rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &again, NULL), -EPROTO);
	object.size = RB_OBJECT_SIZE_MAX + 1;
	rb_record_put_object(block + RB_RECORD_HEADER, &object);
	rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &again, NULL), -EPROTO);
	object.size = 5000;
	rb_record_put_object(block + RB_RECORD_HEADER, &object);
	record.shared = false;
	rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &again, NULL), -EPROTO);
}

static void test_segment(void)
{
	static const uint8_t golden[] = {
		0,    0,    0,	  0,	0,    0x80, 0, 1, /* id */
		0,    0,    0,	  0,	0,    0x10, 0, 3, /* size */
		1,    0,				  /* kind, is it known */
		0xff, 0xff, 0xff, 0xfe,			  /* key */
		0,    0,    1,	  0xa0,			  /* mode */
		0,    0,    0,	  5,	0,    0,    0, 6, /* uid, gid */
		0,    0,    0,	  7,	0xff, 0,    0, 8, /* cuid, cgid */
	};
	struct rb_object object = { .inode = 0x800001,
				    .size = 0x100003,
				    .kind = RB_OBJECT_SEGMENT,
				    .segment = { -2, 0640, 5, 6, 7, 0xff000008 } };
	struct rb_record record = { RB_RECORD_OBJECT, 3, 0, 0, block + RB_RECORD_HEADER, 0,
				    .shared = true };
	struct rb_object got;
	size_t len;

	record.len = rb_record_put_object(block + RB_RECORD_HEADER, &object);
	CHECK_INT(record.len, sizeof(golden));
	CHECK_INT(memcmp(block + RB_RECORD_HEADER, golden, sizeof(golden)), 0);
	len = rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &record, NULL), (ssize_t)len);
	rb_record_object(&record, &got);
	CHECK_INT(got.kind, RB_OBJECT_SEGMENT);
	CHECK_INT(got.inode, object.inode);
	CHECK_INT(got.size, object.size);
	CHECK_INT(memcmp(&got.segment, &object.segment, sizeof(got.segment)), 0);
	/* an id that none has; cut short */
	object.inode = (uint64_t)1 << 31;
	rb_record_put_object(block + RB_RECORD_HEADER, &object);
	rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &record, NULL), -EPROTO);
	object.inode = 0;
	rb_record_put_object(block + RB_RECORD_HEADER, &object);
	record.len--;
	len = rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &record, NULL), -EPROTO);
}

/* by byte offset, and what is no such record */
static void test_tmpfs(void)
{
	static const uint8_t golden[] = "\0\0\0\0\0\0\0\x35shm\0mode=1777";
	struct rb_tmpfs_record tmpfs = { 0x35, "shm", "mode=1777" }, got;
	struct rb_object object = { .inode = 4711,
				    .size = 5000,
				    .kind = RB_OBJECT_FILE,
				    .tmpfs = 9 },
			 file;
	struct rb_record record = { RB_RECORD_TMPFS, 9, 0, 0, block + RB_RECORD_HEADER, 0,
				    .shared = true };
	struct rb_record again;
	size_t len;

	record.len = rb_record_put_tmpfs(block + RB_RECORD_HEADER, &tmpfs);
	CHECK_INT(record.len, sizeof(golden) - 1);
	CHECK(memcmp(block + RB_RECORD_HEADER, golden, record.len) == 0);
	len = rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &record, NULL), (ssize_t)len);
	rb_record_tmpfs(&record, &got);
	CHECK_INT(got.device, 0x35);
	CHECK_STR(got.source, "shm");
	CHECK_STR(got.options, "mode=1777");
	/* no end of the first text, and one too many */
	block[RB_RECORD_HEADER + 11] = 'x';
	rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &again, NULL), -EPROTO);
	block[RB_RECORD_HEADER + 11] = block[RB_RECORD_HEADER + 13] = '\0';
	rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &again, NULL), -EPROTO);
	/* a file of it */
	record = (struct rb_record){ RB_RECORD_OBJECT, 3, 0, 0, block + RB_RECORD_HEADER, 0,
				     .shared = true };
	record.len = rb_record_put_object(block + RB_RECORD_HEADER, &object);
	len = rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &record, NULL), (ssize_t)len);
	rb_record_object(&record, &file);
	CHECK_INT(file.kind, RB_OBJECT_FILE);
	CHECK_INT(file.tmpfs, 9);
	/* of none */
	object.tmpfs = 0;
	rb_record_put_object(block + RB_RECORD_HEADER, &object);
	rb_record_encode(block, &record);
	CHECK_INT(rb_record_decode(block, len, &again, NULL), -EPROTO);
}

static void test_nonsense(void)
{
	static const struct rb_record bad[] = {
		{ RB_RECORD_DATA, 0, 0x1000, 0, NULL, 0 },
		{ RB_RECORD_DATA, 1, 0x1000, 0, NULL, 0 },
		{ RB_RECORD_ZERO, 1, 0x1001, 1, NULL, 0 },
		{ RB_RECORD_ZERO, 1, 0x1000, UINT32_MAX, NULL, 0 },
		{ RB_RECORD_ZERO, 1, UINT64_MAX - 0xfff, 2, NULL, 0 },
		{ RB_RECORD_KEEP, 1, 0x1000, 0, NULL, 0 },
		{ RB_RECORD_KEEP, 1, 0, 1, NULL, 0 },
		{ RB_RECORD_KEEP, 1, 0, 0, NULL, 0, .shared = true },
		{ RB_RECORD_OBJECT, 1, 0, 0, NULL, 0, .shared = true },
		{ RB_RECORD_TMPFS, 1, 0, 0, few, 8, .shared = true },
		{ RB_RECORD_TMPFS, 1, 0, 1, few, 9, .shared = true },
		{ RB_RECORD_TMPFS, 1, 0, 0, few, 9 },
		{ RB_RECORD_KIND_MAX, 1, 0x1000, 1, NULL, 0 },
		{ 0, 1, 0x1000, 1, NULL, 0 },
		/* encoded: shorter than what it becomes, no more than a block, and only DATA */
		{ RB_RECORD_DATA, 1, 0x1000, 1, few, 0, RB_ENCODING_LZ4 },
		{ RB_RECORD_DATA, 1, 0x1000, 1, few, RB_PAGE_SIZE, RB_ENCODING_LZ4 },
		{ RB_RECORD_DATA, 1, 0x1000, 1, few, 9, RB_ENCODING_MAX },
		{ RB_RECORD_DATA, 1, 0x1000, 1, few, 9, RB_ENCODING_NONE },
		{ RB_RECORD_DATA, 1, 0x1000, RB_PAGES_PER_BLOCK + 1, few, 9, RB_ENCODING_ZSTD },
		{ RB_RECORD_DATA, 1, 0x1000, 0, few, 9, RB_ENCODING_ZSTD },
		{ RB_RECORD_DATA, 1, UINT64_MAX - 0xfff, 2, few, 9, RB_ENCODING_ZSTD },
		{ RB_RECORD_ZERO, 1, 0x1000, 1, NULL, 0, RB_ENCODING_LZ4 },
		{ RB_RECORD_ZERO, 1, 0x1000, 1, NULL, 0, RB_ENCODING_NONE, true },
		{ RB_RECORD_KEEP, 1, 0, 0, NULL, 0, RB_ENCODING_NONE, true },
		{ RB_RECORD_DATA, 1, 0x1000, 1, few, 9, RB_ENCODING_NONE, true },
		{ RB_RECORD_DATA, 1, 0x1000, RB_PAGES_PER_BLOCK + 1, few, 9, RB_ENCODING_LZ4,
		  true },
		{ RB_RECORD_KEEP, 1, 0, 0, NULL, 0, RB_ENCODING_LZ4 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct rb_record record;
		size_t len = rb_record_encode(block, &bad[i]);

		CHECK_INT(rb_record_decode(block, len, &record, NULL), -EPROTO);
	}
}

int main(void)
{
	TAP_RUN(test_golden);
	TAP_RUN(test_golden_encoded);
	TAP_RUN(test_there_and_back);
	TAP_RUN(test_keep);
	TAP_RUN(test_object);
	TAP_RUN(test_segment);
	TAP_RUN(test_tmpfs);
	TAP_RUN(test_damage);
	TAP_RUN(test_nonsense);
	return tap_done();
}
