/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recipe.h - what two hosts say to each other about an image on its way (internal to image/)
 *
 * Each DATA frame is one record, numbers are big-endian:
 *
 * offset size
 *      0    1  kind, enum rb_recipe_kind
 *      1    1  encoding of the payload: 0 none; 1 Zstandard: all such payloads of RECIPEs are one
 *              stream, those of BLOCKs another one, each payload flushed to its end (zstream.h)
 *      2    2  count, see below
 *      4    4  batch, see below
 *      8    4  raw: bytes of the payload before it was encoded
 *     12       payload
 *
 * RECIPE  source: a batch of items, numbered from 0 on; count: chunks among them
 * WANT    target: the answer to batch's recipe, in their order: a bit for each of its count chunks,
 *         lowest first, which is 1 if it has to be sent; raw 0, no encoding
 * BLOCK   source: contents of the next count wanted chunks of this batch, one after the other.
 *         Batches come in their order.
 * RESULT  target, once the source has said END: count 0: all is there. 1: a digest is wrong; all
 *         again, from the beginning, and this time as a whole. 2: the same, and there will be no
 *         third time: an ERROR follows.
 *
 * Items of a recipe. What is not in an object belongs to the archive around the objects.
 *
 *   1  OBJECT   1 form, 32 key, 8 size       a file of the archive (a layer, as a rule) begins
 *   2  END                                   it ends
 *   3  LITERAL  4 length, bytes              these bytes
 *   4  CHUNK    4 length, 20 id              the chunk with this id; in objects only
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "digest.h"

struct rb_err;

#define RB_RECIPE_HEADER     12
#define RB_RECIPE_RAW_MAX    ((size_t)248 << 10) /* of a payload */
#define RB_RECIPE_PACKED_MAX ((size_t)252 << 10) /* of a payload on its way: noise grows */
#define RB_RECIPE_RECORD_MAX (RB_RECIPE_HEADER + RB_RECIPE_PACKED_MAX)
#define RB_RECIPE_ITEMS_MAX  ((size_t)192 << 10) /* of a recipe's items */
#define RB_RECIPE_CHUNKS_MAX 1024		 /* of a batch */
#define RB_RECIPE_DATA_MAX   ((size_t)1 << 20)	 /* bytes that a batch's chunks stand for */
#define RB_RECIPE_BATCHES    32			 /* not wholly answered yet, at most: 32 MiB */
#define RB_RECIPE_WANT_MAX   (RB_RECIPE_HEADER + RB_RECIPE_CHUNKS_MAX / 8)
#define RB_OBJECT_BYTES_MAX  ((uint64_t)1 << 42)

enum rb_recipe_kind {
	RB_RECIPE_ITEMS = 1,
	RB_RECIPE_WANT,
	RB_RECIPE_BLOCK,
	RB_RECIPE_RESULT,
};

enum rb_recipe_encoding {
	RB_RECIPE_PLAIN,
	RB_RECIPE_ZSTD,
};

struct rb_recipe_record {
	enum rb_recipe_kind kind;
	enum rb_recipe_encoding encoding;
	uint16_t count;
	uint32_t batch;
	uint32_t raw_len;
	const uint8_t *payload;
	size_t len;
};

/** rb_recipe_encode_header - of a record whose payload the caller has put behind it */
void rb_recipe_encode_header(uint8_t out[RB_RECIPE_HEADER], const struct rb_recipe_record *record);

/** rb_recipe_decode - what a peer sent as one DATA frame; the payload points into it. Return: 0 or
 * -EPROTO. */
int rb_recipe_decode(const void *data, size_t len, struct rb_recipe_record *ret,
		     struct rb_err *err);

/* --- items --- */

enum rb_item_kind {
	RB_ITEM_OBJECT = 1,
	RB_ITEM_END,
	RB_ITEM_LITERAL,
	RB_ITEM_CHUNK,
};

enum rb_object_form {
	RB_OBJECT_BLOB,	  /* its SHA-256 is the key */
	RB_OBJECT_LEGACY, /* the key is a folder's name (legacy.h); its SHA-256 is one of the
			     image's layers */
	RB_OBJECT_FORMS,
};

#define RB_ITEM_OBJECT_BYTES (1 + 1 + RB_DIGEST_BYTES + 8)
#define RB_ITEM_CHUNK_BYTES  (1 + 4 + RB_CHUNK_ID_BYTES)
#define RB_ITEM_LITERAL_HEAD (1 + 4)

struct rb_item {
	enum rb_item_kind kind;
	enum rb_object_form form; /* OBJECT */
	uint64_t size;		  /* OBJECT */
	const uint8_t *bytes;	  /* OBJECT: the key, LITERAL: they, CHUNK: the id */
	uint32_t len;		  /* LITERAL, CHUNK */
};

/** rb_item_encode - append an item at @out, where there is room for it. Return: its length. */
size_t rb_item_encode(uint8_t *out, const struct rb_item *item);

/** rb_item_grow - more bytes for a LITERAL that is encoded at @at, with room behind it
 * @len: with those of @more
 *
 * Return: by how much it grew. */
size_t rb_item_grow(uint8_t *at, const struct rb_item *more, uint32_t len);

/** rb_item_decode - the item at the beginning of @len bytes. Return: its length or -EPROTO. */
ssize_t rb_item_decode(const uint8_t *data, size_t len, struct rb_item *ret, struct rb_err *err);
