// SPDX-License-Identifier: Apache-2.0
/*
 * zstream.c - payloads of records, packed by Zstandard
 */
#include "zstream.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>

#include "err.h"
#include "recipe.h"

_Static_assert(ZSTD_COMPRESSBOUND(RB_RECIPE_RAW_MAX) + 64 <= RB_RECIPE_PACKED_MAX,
	       "noise, and the ends of frames, fit");

static int nonsense(struct rb_err *err, const char *what)
{
	return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "the peer sent nonsense about an image: %s",
			   what);
}

int rb_zstream_init(struct rb_zstream *zstream, int window_log)
{
	*zstream = (struct rb_zstream){ .zstd = ZSTD_createCCtx(), .window_log = window_log };
	return zstream->zstd ? 0 : -ENOMEM;
}

void rb_zstream_free(struct rb_zstream *zstream)
{
	ZSTD_freeCCtx(zstream->zstd);
	zstream->zstd = NULL;
}

static int add(struct rb_zstream *zstream, ZSTD_outBuffer *out, const void *raw, size_t len,
	       ZSTD_EndDirective how)
{
	ZSTD_inBuffer in = { .src = raw, .size = len };
	size_t left;

	do {
		left = ZSTD_compressStream2(zstream->zstd, out, &in, how);
		/* it asks for memory when a frame begins */
		if (ZSTD_isError(left) || (left && out->pos == out->size))
			return -ENOMEM;
	} while (left);
	return 0;
}

static int change_level(struct rb_zstream *zstream, int level, ZSTD_outBuffer *out)
{
	int r = zstream->level ? add(zstream, out, NULL, 0, ZSTD_e_end) : 0;

	if (r < 0)
		return r;
	zstream->level = level;
	ZSTD_CCtx_setParameter(zstream->zstd, ZSTD_c_compressionLevel, level);
	ZSTD_CCtx_setParameter(zstream->zstd, ZSTD_c_windowLog, zstream->window_log);
	return 0;
}

int rb_zstream_pack(struct rb_zstream *zstream, int level, struct rb_recipe_record *record,
		    const void *raw, uint8_t *out)
{
	ZSTD_outBuffer packed = { .dst = out + RB_RECIPE_HEADER, .size = RB_RECIPE_PACKED_MAX };
	int r = 0;

	record->payload = out + RB_RECIPE_HEADER;
	record->encoding = level > 0 ? RB_RECIPE_ZSTD : RB_RECIPE_PLAIN;
	if (level > 0 && level != zstream->level)
		r = change_level(zstream, level, &packed);
	if (level > 0 && r == 0)
		r = add(zstream, &packed, raw, record->raw_len, ZSTD_e_flush);
	if (r < 0)
		return r;
	if (level <= 0)
		memcpy(out + RB_RECIPE_HEADER, raw, record->raw_len);
	record->len = level > 0 ? packed.pos : record->raw_len;
	rb_recipe_encode_header(out, record);
	return (int)(RB_RECIPE_HEADER + record->len);
}

struct ZSTD_DCtx_s *rb_zstream_new_decoder(void)
{
	ZSTD_DCtx *zstd = ZSTD_createDCtx();

	if (zstd)
		ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, RB_ZSTREAM_WINDOW_LOG);
	return zstd;
}

/* Return: true when the decoder has more than the record says */
static bool has_more(ZSTD_DCtx *zstd)
{
	char byte;
	ZSTD_inBuffer in = {};
	ZSTD_outBuffer out = { .dst = &byte, .size = 1 };
	size_t n = ZSTD_decompressStream(zstd, &out, &in);

	return ZSTD_isError(n) || out.pos;
}

int rb_zstream_unpack(struct ZSTD_DCtx_s *zstd, const struct rb_recipe_record *record, uint8_t *out,
		      struct rb_err *err)
{
	ZSTD_inBuffer in = { .src = record->payload, .size = record->len };
	ZSTD_outBuffer raw = { .dst = out, .size = record->raw_len };

	if (record->encoding == RB_RECIPE_PLAIN) {
		memcpy(out, record->payload, record->raw_len);
		return 0;
	}
	while (in.pos < in.size) {
		size_t taken = in.pos, made = raw.pos;
		size_t n = ZSTD_decompressStream(zstd, &raw, &in);

		if (ZSTD_isError(n) || (in.pos == taken && raw.pos == made))
			return nonsense(err, "a record that does not unpack to what it says");
	}
	if (raw.pos != record->raw_len || has_more(zstd))
		return nonsense(err, "a record that does not unpack to what it says");
	return 0;
}
