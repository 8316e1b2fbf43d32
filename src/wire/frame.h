/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h - the framing of everything that travels between nodes
 *
 * offset size
 *      0    4  magic "RBTH"
 *      4    1  version of the framing, 1
 *      5    1  type, enum rb_frame_type
 *      6    2  flags, must be 0
 *      8    4  length of the payload in bytes, big-endian, at most RB_FRAME_MAX
 *     12    4  must be 0
 *     16       payload
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rb_err;

#define RB_FRAME_HEADER	  16
#define RB_FRAME_VERSION  1
#define RB_FRAME_MAX	  ((size_t)4 << 20)   /* control frames: JSON */
#define RB_FRAME_DATA_MAX ((size_t)256 << 10) /* DATA frames */

enum rb_frame_type {
	RB_FRAME_HELLO = 1, /* JSON, first frame of each side */
	RB_FRAME_CALL,	    /* JSON {"do": verb, ...} */
	RB_FRAME_REPLY,	    /* JSON */
	RB_FRAME_ERROR,	    /* JSON {"code", "errno", "stage", "message"} */
	RB_FRAME_DATA,	    /* bytes of a stream */
	RB_FRAME_END,	    /* end of a stream, empty */
	RB_FRAME_TYPE_MAX,
};

struct rb_frame {
	enum rb_frame_type type;
	const uint8_t *payload;
	size_t len;
};

/** rb_frame_encode_header - @len must be within the limit of @type */
void rb_frame_encode_header(uint8_t out[RB_FRAME_HEADER], enum rb_frame_type type, size_t len);

/** rb_frame_decode_header - check everything that can be checked. Return: 0 or -EPROTO/-EMSGSIZE.
 */
int rb_frame_decode_header(const uint8_t in[RB_FRAME_HEADER], enum rb_frame_type *ret_type,
			   size_t *ret_len, struct rb_err *err);

/** rb_frame_check_length - may a frame of this valid @type carry @len bytes? Return: 0, -EPROTO
 * (too few) or -EMSGSIZE. */
int rb_frame_check_length(enum rb_frame_type type, size_t len, struct rb_err *err);

/** rb_frame_name - "CALL"; never NULL */
const char *rb_frame_name(enum rb_frame_type type);
