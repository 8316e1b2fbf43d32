// SPDX-License-Identifier: Apache-2.0
/*
 * codec.c - the payload of a DATA record, compressed and back
 *
 * Each payload stands for itself: a record that is lost with its round, or sent again, spoils no
 * other.
 *
 * Of zstd it is level 1: where a link is so slow that lz4 does not fill it, what 1 packs more
 * tightly than the negative levels counts for more than the time they save; on a faster one lz4 is
 * there.
 */
#include "codec.h"

#include <errno.h>
#include <stdlib.h>

#include <lz4.h>
#include <zstd.h>

#include "cleanup.h"

#define ZSTD_LEVEL 1

static size_t pack_lz4(struct rb_codec *codec, const void *pages, size_t len, void *out,
		       size_t room)
{
	int n;

	if (!codec->lz4)
		codec->lz4 = malloc((size_t)LZ4_sizeofState());
	if (!codec->lz4)
		return 0;
	n = LZ4_compress_fast_extState(codec->lz4, pages, out, (int)len, (int)room, 1);
	return n > 0 ? (size_t)n : 0;
}

static size_t pack_zstd(struct rb_codec *codec, const void *pages, size_t len, void *out,
			size_t room)
{
	size_t n;

	if (!codec->zstd_pack)
		codec->zstd_pack = ZSTD_createCCtx();
	if (!codec->zstd_pack)
		return 0;
	n = ZSTD_compressCCtx(codec->zstd_pack, out, room, pages, len, ZSTD_LEVEL);
	return ZSTD_isError(n) ? 0 : n;
}

size_t rb_codec_pack(struct rb_codec *codec, enum rb_encoding encoding, const void *pages,
		     size_t len, void *out, size_t room)
{
	if (len > RB_PAGES_PER_BLOCK * RB_PAGE_SIZE)
		return 0;
	if (room > len)
		room = len;
	switch (encoding) {
	case RB_ENCODING_LZ4:
		return pack_lz4(codec, pages, len, out, room);
	case RB_ENCODING_ZSTD:
		return pack_zstd(codec, pages, len, out, room);
	default:
		return 0;
	}
}

int rb_codec_unpack(struct rb_codec *codec, enum rb_encoding encoding, const void *packed,
		    size_t packed_len, void *out, size_t len)
{
	size_t n = 0;

	if (packed_len > RB_BLOCK_SIZE || len > RB_PAGES_PER_BLOCK * RB_PAGE_SIZE)
		return -EBADMSG;
	if (encoding == RB_ENCODING_LZ4) {
		int got = LZ4_decompress_safe(packed, out, (int)packed_len, (int)len);

		n = got > 0 ? (size_t)got : 0;
	} else if (encoding == RB_ENCODING_ZSTD) {
		if (!codec->zstd_unpack)
			codec->zstd_unpack = ZSTD_createDCtx();
		if (!codec->zstd_unpack)
			return -ENOMEM;
		/* at once into @out: no window is allocated, whatever size the frame asks for */
		n = ZSTD_decompressDCtx(codec->zstd_unpack, out, len, packed, packed_len);
	}
	return n == len ? 0 : -EBADMSG;
}

void rb_codec_clear(struct rb_codec *codec)
{
	free(TAKE_PTR(codec->lz4));
	ZSTD_freeCCtx(TAKE_PTR(codec->zstd_pack));
	ZSTD_freeDCtx(TAKE_PTR(codec->zstd_unpack));
}
