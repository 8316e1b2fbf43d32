// SPDX-License-Identifier: Apache-2.0
/*
 * test_frame.c - the header of a frame, byte by byte
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "err.h"
#include "frame.h"
#include "tap.h"

/* Written by hand from the table in frame.h. When this differs, the format has changed: that needs
 * another RB_FRAME_VERSION. */
static const struct {
	enum rb_frame_type type;
	size_t len;
	uint8_t bytes[RB_FRAME_HEADER];
} golden[] = {
	{ RB_FRAME_HELLO,
	  2,
	  { 0x52, 0x42, 0x54, 0x48, 1, 1, 0, 0, 0x00, 0x00, 0x00, 0x02, 0, 0, 0, 0 } },
	{ RB_FRAME_CALL,
	  0x010203,
	  { 0x52, 0x42, 0x54, 0x48, 1, 2, 0, 0, 0x00, 0x01, 0x02, 0x03, 0, 0, 0, 0 } },
	{ RB_FRAME_REPLY,
	  RB_FRAME_MAX,
	  { 0x52, 0x42, 0x54, 0x48, 1, 3, 0, 0, 0x00, 0x40, 0x00, 0x00, 0, 0, 0, 0 } },
	{ RB_FRAME_ERROR,
	  0x0fff,
	  { 0x52, 0x42, 0x54, 0x48, 1, 4, 0, 0, 0x00, 0x00, 0x0f, 0xff, 0, 0, 0, 0 } },
	{ RB_FRAME_DATA,
	  RB_FRAME_DATA_MAX,
	  { 0x52, 0x42, 0x54, 0x48, 1, 5, 0, 0, 0x00, 0x04, 0x00, 0x00, 0, 0, 0, 0 } },
	{ RB_FRAME_END,
	  0,
	  { 0x52, 0x42, 0x54, 0x48, 1, 6, 0, 0, 0x00, 0x00, 0x00, 0x00, 0, 0, 0, 0 } },
};

static void test_encode_golden(void)
{
	for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
		uint8_t out[RB_FRAME_HEADER + 1];

		memset(out, 0xee, sizeof(out));
		rb_frame_encode_header(out, golden[i].type, golden[i].len);
		for (size_t k = 0; k < RB_FRAME_HEADER; k++)
			CHECK_INT(out[k], golden[i].bytes[k]);
		CHECK_INT(out[RB_FRAME_HEADER], 0xee);
	}
}

static void test_decode_golden(void)
{
	for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
		enum rb_frame_type type = RB_FRAME_TYPE_MAX;
		size_t len = 77;

		CHECK_INT(rb_frame_decode_header(golden[i].bytes, &type, &len, NULL), 0);
		CHECK_INT(type, golden[i].type);
		CHECK_INT(len, golden[i].len);
	}
}

/* a good CALL header with one byte changed */
static int decode_changed(size_t at, uint8_t value, struct rb_err *err)
{
	uint8_t in[RB_FRAME_HEADER];
	enum rb_frame_type type = RB_FRAME_TYPE_MAX;
	size_t len = 77;
	int r;

	memcpy(in, golden[1].bytes, sizeof(in));
	in[at] = value;
	r = rb_frame_decode_header(in, &type, &len, err);
	/* outputs stay untouched on failure */
	return r < 0 && (type != RB_FRAME_TYPE_MAX || len != 77) ? -EUCLEAN : r;
}

static void test_decode_refuses_each_fixed_byte(void)
{
	for (size_t at = 0; at < RB_FRAME_HEADER; at++) {
		struct rb_err err = {};

		if (at >= 8 && at < 12) /* the length */
			continue;
		CHECK_INT(decode_changed(at, 0x77, &err), -EPROTO);
		CHECK_INT(err.code, RB_E_PROTOCOL);
	}
}

static void test_decode_names_what_is_wrong(void)
{
	struct rb_err err = {};

	decode_changed(0, 'X', &err);
	CHECK_STR(err.msg, "a frame starts with 58425448, not with \"RBTH\"");
	decode_changed(4, 2, &err);
	CHECK_STR(err.msg, "a frame of version 2, this one knows 1; install the same version of "
			   "reberth on both nodes");
	decode_changed(5, 0, &err);
	CHECK_STR(err.msg, "a frame of unknown type 0");
	decode_changed(5, RB_FRAME_TYPE_MAX, &err);
	CHECK_STR(err.msg, "a frame of unknown type 7");
	decode_changed(7, 1, &err);
	CHECK_STR(err.msg, "a frame with unknown flags 0001");
	decode_changed(15, 1, &err);
	CHECK_STR(err.msg, "a frame whose reserved bytes are 00000001, not 0");
}

static int decode_length(enum rb_frame_type type, size_t len, struct rb_err *err)
{
	uint8_t in[RB_FRAME_HEADER];
	enum rb_frame_type got_type;
	size_t got_len;

	rb_frame_encode_header(in, type, len);
	return rb_frame_decode_header(in, &got_type, &got_len, err);
}

static void test_decode_limits(void)
{
	struct rb_err err = {};

	for (int type = RB_FRAME_HELLO; type <= RB_FRAME_ERROR; type++) {
		CHECK_INT(decode_length(type, RB_FRAME_MAX, NULL), 0);
		CHECK_INT(decode_length(type, RB_FRAME_MAX + 1, NULL), -EMSGSIZE);
		CHECK_INT(decode_length(type, UINT32_MAX, NULL), -EMSGSIZE);
		CHECK_INT(decode_length(type, 2, NULL), 0);
		CHECK_INT(decode_length(type, 1, NULL), -EPROTO);
	}
	CHECK_INT(decode_length(RB_FRAME_DATA, RB_FRAME_DATA_MAX, NULL), 0);
	CHECK_INT(decode_length(RB_FRAME_DATA, 1, NULL), 0);
	CHECK_INT(decode_length(RB_FRAME_DATA, 0, NULL), -EPROTO);
	CHECK_INT(decode_length(RB_FRAME_END, 1, NULL), -EMSGSIZE);
	CHECK_INT(decode_length(RB_FRAME_DATA, RB_FRAME_DATA_MAX + 1, &err), -EMSGSIZE);
	CHECK_INT(err.code, RB_E_PROTOCOL);
	CHECK_STR(err.msg, "a DATA frame of 262145 bytes; 262144 are allowed");
}

static void test_names(void)
{
	CHECK_STR(rb_frame_name(RB_FRAME_HELLO), "HELLO");
	CHECK_STR(rb_frame_name(RB_FRAME_END), "END");
	CHECK_STR(rb_frame_name(0), "unknown");
	CHECK_STR(rb_frame_name(RB_FRAME_TYPE_MAX), "unknown");
}

int main(void)
{
	TAP_RUN(test_encode_golden);
	TAP_RUN(test_decode_golden);
	TAP_RUN(test_decode_refuses_each_fixed_byte);
	TAP_RUN(test_decode_names_what_is_wrong);
	TAP_RUN(test_decode_limits);
	TAP_RUN(test_names);
	return tap_done();
}
