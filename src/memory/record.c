// SPDX-License-Identifier: Apache-2.0
/* record.c - the format of pages on their way (record.h) */
#include "record.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "ranges.h"

#define RANGE_BYTES   16
#define OBJECT_BYTES  18 /* of all kinds; more follows */
#define SEGMENT_BYTES 24
#define FILE_BYTES    4
#define TMPFS_BYTES   8			  /* without its texts */
#define PAGES_MAX     (UINT32_C(1) << 20) /* in a ZERO record */
#define DELTA	      0x80		  /* in the byte of the encoding */

static void put(uint8_t *at, uint64_t value, size_t size)
{
	uint64_t big = htobe64(value);

	memcpy(at, (const uint8_t *)&big + sizeof(big) - size, size);
}

static uint64_t get(const uint8_t *at, size_t size)
{
	uint64_t big = 0;

	memcpy((uint8_t *)&big + sizeof(big) - size, at, size);
	return be64toh(big);
}

size_t rb_record_encode(uint8_t *out, const struct rb_record *record)
{
	memset(out, 0, RB_RECORD_HEADER);
	out[0] = (uint8_t)record->kind;
	out[1] = (uint8_t)record->encoding | (record->delta ? DELTA : 0);
	out[2] = record->shared;
	put(out + 4, (uint64_t)record->task, 4);
	put(out + 8, record->addr, 8);
	put(out + 16, record->count, 4);
	put(out + 20, record->len, 4);
	put(out + 24, XXH3_64bits_withSeed(record->payload, record->len, out[1]), 8);
	if (record->payload != out + RB_RECORD_HEADER && record->len)
		memcpy(out + RB_RECORD_HEADER, record->payload, record->len);
	return RB_RECORD_HEADER + record->len;
}

/* of DATA: what is encoded is shorter; it, and what a difference is made of, fits in a block */
static bool has_sane_length(const struct rb_record *record)
{
	uint64_t bytes = (uint64_t)record->count * RB_PAGE_SIZE;

	if (record->count > RB_PAGES_PER_BLOCK &&
	    (record->delta || record->encoding != RB_ENCODING_NONE))
		return false;
	if (record->encoding == RB_ENCODING_NONE)
		return record->len == bytes;
	return record->encoding < RB_ENCODING_MAX && record->len > 0 && record->len < bytes;
}

static bool object_is_sane(const struct rb_record *record)
{
	const uint8_t *more = record->payload + OBJECT_BYTES;
	size_t len = record->len - OBJECT_BYTES;

	if (!record->shared || record->addr || record->count || record->len < OBJECT_BYTES ||
	    get(record->payload + 8, 8) > RB_OBJECT_SIZE_MAX || record->payload[17] > 1)
		return false;
	switch (record->payload[16]) {
	case RB_OBJECT_MEMFD:
		return len <= RB_OBJECT_NAME_MAX && !memchr(more, '\0', len);
	case RB_OBJECT_SEGMENT:
		return len == SEGMENT_BYTES && get(record->payload, 8) <= INT_MAX;
	case RB_OBJECT_FILE:
		return len == FILE_BYTES && get(more, 4) > 0 && get(more, 4) <= INT_MAX &&
		       get(record->payload + 8, 8) <= RB_TMPFS_FILE_MAX;
	default:
		return false;
	}
}

static bool tmpfs_is_sane(const struct rb_record *record)
{
	const uint8_t *text = record->payload + TMPFS_BYTES, *end;
	size_t left;

	if (!record->shared || record->addr || record->count || record->len <= TMPFS_BYTES ||
	    record->len > RB_TMPFS_PAYLOAD)
		return false;
	left = record->len - TMPFS_BYTES;
	end = memchr(text, '\0', left);
	if (!end || end - text > RB_TMPFS_TEXT)
		return false;
	left -= (size_t)(end + 1 - text);
	return left <= RB_TMPFS_TEXT && !memchr(end + 1, '\0', left);
}

static bool is_sane(const struct rb_record *record)
{
	uint64_t bytes = (uint64_t)record->count * RB_PAGE_SIZE;

	if (record->task <= 0 || record->addr % RB_PAGE_SIZE)
		return false;
	if (record->kind != RB_RECORD_DATA &&
	    (record->delta || record->encoding != RB_ENCODING_NONE))
		return false;
	switch (record->kind) {
	case RB_RECORD_DATA:
		return record->count > 0 && has_sane_length(record) &&
		       record->addr < UINT64_MAX - bytes;
	case RB_RECORD_ZERO:
		return record->count > 0 && record->count <= PAGES_MAX && record->len == 0 &&
		       record->addr < UINT64_MAX - bytes;
	case RB_RECORD_KEEP:
	case RB_RECORD_KEEP_MORE:
	case RB_RECORD_LATER:
		return !record->shared && record->addr == 0 && record->count <= RB_KEEP_PER_BLOCK &&
		       record->len == record->count * RANGE_BYTES;
	case RB_RECORD_OBJECT:
		return object_is_sane(record);
	case RB_RECORD_TMPFS:
		return tmpfs_is_sane(record);
	default:
		return false;
	}
}

static bool ranges_are_sane(const struct rb_record *record)
{
	uint64_t last = 0;

	for (uint32_t i = 0; i < record->count; i++) {
		struct rb_range range = rb_record_range(record, i);

		if (range.start < last || range.start >= range.end ||
		    (range.start | range.end) % RB_PAGE_SIZE)
			return false;
		last = range.end;
	}
	return true;
}

ssize_t rb_record_decode(const uint8_t *block, size_t len, struct rb_record *ret,
			 struct rb_err *err)
{
	struct rb_record record = {};
	uint64_t task;

	if (len < RB_RECORD_HEADER)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "a record of pages is cut short");
	task = get(block + 4, 4);
	record.kind = block[0];
	record.encoding = block[1] & ~DELTA;
	record.delta = block[1] & DELTA;
	record.task = task > INT_MAX ? 0 : (int)task;
	record.addr = get(block + 8, 8);
	record.count = (uint32_t)get(block + 16, 4);
	record.len = (uint32_t)get(block + 20, 4);
	record.payload = block + RB_RECORD_HEADER;
	record.shared = block[2];
	if (block[2] > 1 || block[3] || record.len > len - RB_RECORD_HEADER || !is_sane(&record))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "a record of pages makes no sense");
	if (XXH3_64bits_withSeed(record.payload, record.len, block[1]) != get(block + 24, 8))
		return rb_err_code(err, RB_E_PROTOCOL, -EBADMSG,
				   "pages of memory arrived with a wrong checksum");
	if (record.kind >= RB_RECORD_KEEP_MORE && record.kind <= RB_RECORD_LATER &&
	    !ranges_are_sane(&record))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "a list of pages makes no sense");
	*ret = record;
	return (ssize_t)(RB_RECORD_HEADER + record.len);
}

struct rb_range rb_record_range(const struct rb_record *record, uint32_t i)
{
	const uint8_t *at = record->payload + (size_t)i * RANGE_BYTES;

	return (struct rb_range){ get(at, 8), get(at + 8, 8) };
}

void rb_record_put_range(uint8_t *payload, uint32_t i, const struct rb_range *range)
{
	uint8_t *at = payload + (size_t)i * RANGE_BYTES;

	put(at, range->start, 8);
	put(at + 8, range->end, 8);
}

static void get_segment(const uint8_t *at, struct rb_segment *ret)
{
	*ret = (struct rb_segment){
		.key = (int32_t)get(at, 4),
		.mode = (uint32_t)get(at + 4, 4),
		.uid = (uint32_t)get(at + 8, 4),
		.gid = (uint32_t)get(at + 12, 4),
		.cuid = (uint32_t)get(at + 16, 4),
		.cgid = (uint32_t)get(at + 20, 4),
	};
}

void rb_record_object(const struct rb_record *record, struct rb_object *ret)
{
	size_t len = record->len - OBJECT_BYTES;

	*ret = (struct rb_object){
		.inode = get(record->payload, 8),
		.size = get(record->payload + 8, 8),
		.kind = (enum rb_object_kind)record->payload[16],
		.known = record->payload[17],
	};
	switch (ret->kind) {
	case RB_OBJECT_SEGMENT:
		get_segment(record->payload + OBJECT_BYTES, &ret->segment);
		break;
	case RB_OBJECT_FILE:
		ret->tmpfs = (int)get(record->payload + OBJECT_BYTES, 4);
		break;
	default:
		memcpy(ret->name, record->payload + OBJECT_BYTES, len);
	}
}

static void put_segment(uint8_t *at, const struct rb_segment *segment)
{
	put(at, (uint32_t)segment->key, 4);
	put(at + 4, segment->mode, 4);
	put(at + 8, segment->uid, 4);
	put(at + 12, segment->gid, 4);
	put(at + 16, segment->cuid, 4);
	put(at + 20, segment->cgid, 4);
}

uint32_t rb_record_put_object(uint8_t *payload, const struct rb_object *object)
{
	size_t len = strlen(object->name);

	put(payload, object->inode, 8);
	put(payload + 8, object->size, 8);
	payload[16] = (uint8_t)object->kind;
	payload[17] = object->known;
	switch (object->kind) {
	case RB_OBJECT_SEGMENT:
		put_segment(payload + OBJECT_BYTES, &object->segment);
		return OBJECT_BYTES + SEGMENT_BYTES;
	case RB_OBJECT_FILE:
		put(payload + OBJECT_BYTES, (uint64_t)object->tmpfs, 4);
		return OBJECT_BYTES + FILE_BYTES;
	default:
		memcpy(payload + OBJECT_BYTES, object->name, len);
		return (uint32_t)(OBJECT_BYTES + len);
	}
}

void rb_record_tmpfs(const struct rb_record *record, struct rb_tmpfs_record *ret)
{
	const char *source = (const char *)record->payload + TMPFS_BYTES;
	size_t source_len = strlen(source);
	size_t len = record->len - TMPFS_BYTES - source_len - 1;

	ret->device = get(record->payload, 8);
	memcpy(ret->source, source, source_len + 1);
	memcpy(ret->options, source + source_len + 1, len);
	ret->options[len] = '\0';
}

uint32_t rb_record_put_tmpfs(uint8_t *payload, const struct rb_tmpfs_record *tmpfs)
{
	size_t source_len = strlen(tmpfs->source) + 1, len = strlen(tmpfs->options);

	put(payload, tmpfs->device, 8);
	memcpy(payload + TMPFS_BYTES, tmpfs->source, source_len);
	memcpy(payload + TMPFS_BYTES + source_len, tmpfs->options, len);
	return (uint32_t)(TMPFS_BYTES + source_len + len);
}
