// SPDX-License-Identifier: Apache-2.0
/*
 * frame.c - the 16 bytes in front of everything that travels between nodes
 *
 * The layout stands in frame.h. The decoder is what a hostile peer meets first: it refuses whatever
 * it does not know, and no memory is sized by a length that has not passed it.
 */
#include "frame.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "err.h"

static const uint8_t magic[4] = { 'R', 'B', 'T', 'H' };

/* What each type may carry. A JSON text has two bytes at least, "{}". */
static const struct {
	const char *name;
	size_t min_bytes, max_bytes;
} types[] = {
	[RB_FRAME_HELLO] = { "HELLO", 2, RB_FRAME_MAX },
	[RB_FRAME_CALL] = { "CALL", 2, RB_FRAME_MAX },
	[RB_FRAME_REPLY] = { "REPLY", 2, RB_FRAME_MAX },
	[RB_FRAME_ERROR] = { "ERROR", 2, RB_FRAME_MAX },
	/* empty ones are refused: a reader could not tell them from the end */
	[RB_FRAME_DATA] = { "DATA", 1, RB_FRAME_DATA_MAX },
	[RB_FRAME_END] = { "END", 0, 0 },
};
static_assert(sizeof(types) / sizeof(types[0]) == RB_FRAME_TYPE_MAX, "a frame type lacks its row");

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

const char *rb_frame_name(enum rb_frame_type type)
{
	if (type < RB_FRAME_HELLO || type >= RB_FRAME_TYPE_MAX)
		return "unknown";
	return types[type].name;
}

int rb_frame_check_length(enum rb_frame_type type, size_t len, struct rb_err *err)
{
	if (len < types[type].min_bytes)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "a %s frame of %zu bytes; it needs %zu at least",
				   types[type].name, len, types[type].min_bytes);
	if (len > types[type].max_bytes)
		return rb_err_code(err, RB_E_PROTOCOL, -EMSGSIZE,
				   "a %s frame of %zu bytes; %zu are allowed", types[type].name,
				   len, types[type].max_bytes);
	return 0;
}

void rb_frame_encode_header(uint8_t out[RB_FRAME_HEADER], enum rb_frame_type type, size_t len)
{
	memcpy(out, magic, sizeof(magic));
	out[4] = RB_FRAME_VERSION;
	out[5] = (uint8_t)type;
	out[6] = 0;
	out[7] = 0;
	put_be32(out + 8, (uint32_t)len);
	put_be32(out + 12, 0);
}

int rb_frame_decode_header(const uint8_t in[RB_FRAME_HEADER], enum rb_frame_type *ret_type,
			   size_t *ret_len, struct rb_err *err)
{
	size_t len = get_be32(in + 8);
	int r;

	if (memcmp(in, magic, sizeof(magic)) != 0)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "a frame starts with %02x%02x%02x%02x, not with \"RBTH\"", in[0],
				   in[1], in[2], in[3]);
	if (in[4] != RB_FRAME_VERSION)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "a frame of version %u, this one knows %u; install the same "
				   "version of reberth on both nodes",
				   in[4], RB_FRAME_VERSION);
	if (in[5] < RB_FRAME_HELLO || in[5] >= RB_FRAME_TYPE_MAX)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "a frame of unknown type %u",
				   in[5]);
	if (in[6] != 0 || in[7] != 0)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "a frame with unknown flags %02x%02x", in[6], in[7]);
	if (get_be32(in + 12) != 0)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "a frame whose reserved bytes are %08x, not 0",
				   get_be32(in + 12));
	r = rb_frame_check_length((enum rb_frame_type)in[5], len, err);
	if (r < 0)
		return r;
	*ret_type = (enum rb_frame_type)in[5];
	*ret_len = len;
	return 0;
}
