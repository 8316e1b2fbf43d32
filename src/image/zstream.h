/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zstream.h - payloads of records, packed by Zstandard (internal to image/)
 *
 * All packed payloads of one kind in one conversation are one stream, each flushed to its end: what
 * came before serves those that follow as a dictionary. Payloads that are not packed are no part of
 * it. A change of level ends a frame of the stream and begins another one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rb_err;
struct rb_recipe_record;
struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

/* bytes, as a power of two, that are looked back: of blocks, and the most of any frame */
#define RB_ZSTREAM_WINDOW_LOG	    23
#define RB_ZSTREAM_ITEMS_WINDOW_LOG 20

struct rb_zstream {
	struct ZSTD_CCtx_s *zstd;
	int window_log;
	int level; /* of the frame that is open; 0: none is */
};

/** rb_zstream_init - Return: 0 or -ENOMEM; rb_zstream_free() in both cases */
int rb_zstream_init(struct rb_zstream *zstream, int window_log);
void rb_zstream_free(struct rb_zstream *zstream);

/**
 * rb_zstream_pack - a record of @raw
 * @level: of Zstandard; 0: as it is
 * @out: room for RB_RECIPE_RECORD_MAX bytes
 *
 * @record's encoding and payload are filled. What does not become smaller is sent packed all the
 * same, as the stream has it by then; it grows by some bytes at most.
 *
 * Return: bytes at @out, or -ENOMEM: nothing can be packed any more.
 */
int rb_zstream_pack(struct rb_zstream *zstream, int level, struct rb_recipe_record *record,
		    const void *raw, uint8_t *out);

/** rb_zstream_new_decoder - Return: NULL without memory; ZSTD_freeDCtx() */
struct ZSTD_DCtx_s *rb_zstream_new_decoder(void);

/**
 * rb_zstream_unpack - the payload as it was, exactly @record->raw_len bytes, into @out
 *
 * The peer's stream is not believed: it gets no more room than the record says, and the window that
 * RB_ZSTREAM_WINDOW_LOG allows. After an error the stream is of no use any more.
 *
 * Return: 0 or -EPROTO.
 */
int rb_zstream_unpack(struct ZSTD_DCtx_s *zstd, const struct rb_recipe_record *record, uint8_t *out,
		      struct rb_err *err);
