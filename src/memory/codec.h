/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec.h - the payload of a DATA record (record.h), compressed and back
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "record.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

/** What the libraries need, made when it is needed first. Begins as {}. */
struct rb_codec {
	void *lz4;
	struct ZSTD_CCtx_s *zstd_pack;
	struct ZSTD_DCtx_s *zstd_unpack;
};

/**
 * rb_codec_pack - @len bytes of pages, at most RB_PAGES_PER_BLOCK of them
 * @room: of @out
 *
 * Return: bytes at @out; 0 when it does not fit in @room, or there is no memory for it.
 */
size_t rb_codec_pack(struct rb_codec *codec, enum rb_encoding encoding, const void *pages,
		     size_t len, void *out, size_t room);

/**
 * rb_codec_unpack - what a peer has sent; hostile input
 * @len: bytes that it has to become, neither more nor less; room at @out
 *
 * Never more than @len bytes are written. Return: 0, -EBADMSG, -ENOMEM.
 */
int rb_codec_unpack(struct rb_codec *codec, enum rb_encoding encoding, const void *packed,
		    size_t packed_len, void *out, size_t len);

/** rb_codec_clear - gives back what it needs */
void rb_codec_clear(struct rb_codec *codec);
