// SPDX-License-Identifier: Apache-2.0
/*
 * recipe.c - records and items of an image on its way; their layout stands in recipe.h
 *
 * What is decoded here comes from a peer: every length is checked before it is used. Unpacking is
 * zstream.c's.
 */
#include "recipe.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "cdc.h"
#include "conn.h"
#include "err.h"

_Static_assert(RB_RECIPE_RECORD_MAX <= RB_FRAME_DATA_MAX, "a record is a frame");
_Static_assert(RB_RECIPE_ITEMS_MAX <= RB_RECIPE_RAW_MAX, "a recipe is a payload");
_Static_assert(RB_CHUNK_MAX <= RB_RECIPE_RAW_MAX, "a chunk is a payload");

static uint32_t get_be32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return be32toh(value);
}

static void put_be32(uint8_t *at, uint32_t value)
{
	value = htobe32(value);
	memcpy(at, &value, sizeof(value));
}

static int nonsense(struct rb_err *err, const char *what)
{
	return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "the peer sent nonsense about an image: %s",
			   what);
}

/* --- records --- */

void rb_recipe_encode_header(uint8_t out[RB_RECIPE_HEADER], const struct rb_recipe_record *record)
{
	uint16_t count = htobe16(record->count);

	out[0] = (uint8_t)record->kind;
	out[1] = (uint8_t)record->encoding;
	memcpy(out + 2, &count, sizeof(count));
	put_be32(out + 4, record->batch);
	put_be32(out + 8, record->raw_len);
}

static int check_record(const struct rb_recipe_record *record, struct rb_err *err)
{
	bool has_data = record->kind == RB_RECIPE_ITEMS || record->kind == RB_RECIPE_BLOCK;

	if (record->kind < RB_RECIPE_ITEMS || record->kind > RB_RECIPE_RESULT ||
	    record->encoding > RB_RECIPE_ZSTD)
		return nonsense(err, "a record of an unknown kind");
	if (record->count > RB_RECIPE_CHUNKS_MAX)
		return nonsense(err, "more chunks than a batch may have");
	if (!has_data && (record->raw_len || record->encoding != RB_RECIPE_PLAIN))
		return nonsense(err, "data where there is none");
	if (record->kind == RB_RECIPE_WANT && record->len != ((size_t)record->count + 7) / 8)
		return nonsense(err, "a bit for each chunk is what was asked for");
	if (record->kind == RB_RECIPE_RESULT && (record->len || record->count > 2))
		return nonsense(err, "a result that is none");
	if (!has_data)
		return 0;
	if (record->raw_len == 0 || record->raw_len > RB_RECIPE_RAW_MAX || record->len == 0)
		return nonsense(err, "a record of no size, or too large");
	if (record->encoding == RB_RECIPE_PLAIN ? record->len != record->raw_len
						: record->len > RB_RECIPE_PACKED_MAX)
		return nonsense(err, "a record of another size than it says");
	if (record->kind == RB_RECIPE_ITEMS && record->raw_len > RB_RECIPE_ITEMS_MAX)
		return nonsense(err, "a recipe that is too large");
	if (record->kind == RB_RECIPE_BLOCK && record->count == 0)
		return nonsense(err, "a block of no chunk");
	return 0;
}

int rb_recipe_decode(const void *data, size_t len, struct rb_recipe_record *ret, struct rb_err *err)
{
	const uint8_t *at = data;
	uint16_t count;

	if (len < RB_RECIPE_HEADER)
		return nonsense(err, "a record that is cut");
	memcpy(&count, at + 2, sizeof(count));
	*ret = (struct rb_recipe_record){ .kind = at[0],
					  .encoding = at[1],
					  .count = be16toh(count),
					  .batch = get_be32(at + 4),
					  .raw_len = get_be32(at + 8),
					  .payload = at + RB_RECIPE_HEADER,
					  .len = len - RB_RECIPE_HEADER };
	return check_record(ret, err);
}

/* --- items --- */

size_t rb_item_encode(uint8_t *out, const struct rb_item *item)
{
	uint64_t size = htobe64(item->size);

	out[0] = (uint8_t)item->kind;
	switch (item->kind) {
	case RB_ITEM_OBJECT:
		out[1] = (uint8_t)item->form;
		memcpy(out + 2, item->bytes, RB_DIGEST_BYTES);
		memcpy(out + 2 + RB_DIGEST_BYTES, &size, sizeof(size));
		return RB_ITEM_OBJECT_BYTES;
	case RB_ITEM_LITERAL:
		put_be32(out + 1, item->len);
		memcpy(out + RB_ITEM_LITERAL_HEAD, item->bytes, item->len);
		return RB_ITEM_LITERAL_HEAD + item->len;
	case RB_ITEM_CHUNK:
		put_be32(out + 1, item->len);
		memcpy(out + 5, item->bytes, RB_CHUNK_ID_BYTES);
		return RB_ITEM_CHUNK_BYTES;
	default:
		return 1;
	}
}

size_t rb_item_grow(uint8_t *at, const struct rb_item *more, uint32_t len)
{
	memcpy(at + RB_ITEM_LITERAL_HEAD + len - more->len, more->bytes, more->len);
	put_be32(at + 1, len);
	return more->len;
}

static ssize_t decode_object(const uint8_t *data, struct rb_item *ret, struct rb_err *err)
{
	uint64_t size;

	memcpy(&size, data + 2 + RB_DIGEST_BYTES, sizeof(size));
	ret->form = data[1];
	ret->bytes = data + 2;
	ret->size = be64toh(size);
	if (ret->form >= RB_OBJECT_FORMS || ret->size > RB_OBJECT_BYTES_MAX)
		return nonsense(err, "a file of unknown form, or too large");
	return RB_ITEM_OBJECT_BYTES;
}

ssize_t rb_item_decode(const uint8_t *data, size_t len, struct rb_item *ret, struct rb_err *err)
{
	static const size_t heads[] = { [RB_ITEM_OBJECT] = RB_ITEM_OBJECT_BYTES,
					[RB_ITEM_END] = 1,
					[RB_ITEM_LITERAL] = RB_ITEM_LITERAL_HEAD,
					[RB_ITEM_CHUNK] = RB_ITEM_CHUNK_BYTES };
	uint8_t kind = len ? data[0] : 0;

	*ret = (struct rb_item){ .kind = kind };
	if (kind < RB_ITEM_OBJECT || kind > RB_ITEM_CHUNK || len < heads[kind])
		return nonsense(err, "an item that is unknown, or cut");
	if (kind == RB_ITEM_OBJECT)
		return decode_object(data, ret, err);
	if (kind == RB_ITEM_END)
		return 1;
	ret->len = get_be32(data + 1);
	ret->bytes = data + 5;
	if (kind == RB_ITEM_CHUNK) {
		if (ret->len == 0 || ret->len > RB_CHUNK_MAX)
			return nonsense(err, "a chunk of no size, or too large");
		return RB_ITEM_CHUNK_BYTES;
	}
	if (ret->len == 0 || ret->len > len - RB_ITEM_LITERAL_HEAD)
		return nonsense(err, "bytes that are cut");
	return RB_ITEM_LITERAL_HEAD + (ssize_t)ret->len;
}
