// SPDX-License-Identifier: Apache-2.0
/*
 * stream.c - bytes of unknown length: DATA frames, then END
 *
 * A sender that cannot go on sends ERROR instead of END; the reader gets it like an answer. A
 * receiver that cannot go on may answer ERROR at once and drain the rest; a sender can see it
 * coming by rb_conn_readable() between its writes.
 */
#include <errno.h>

#include "conn.h"
#include "conn_internal.h"
#include "err.h"
#include "wait.h"

#define ON_STREAM_EVERY_MS 1000

int rb_stream_write(struct rb_conn *conn, const void *data, size_t len, const struct rb_wait *wait,
		    struct rb_err *err)
{
	const uint8_t *at = data;

	while (len) {
		size_t part = len < RB_FRAME_DATA_MAX ? len : RB_FRAME_DATA_MAX;
		int r = rb_conn_send(conn, RB_FRAME_DATA, at, part, wait, err);

		if (r < 0)
			return r;
		at += part;
		len -= part;
	}
	return 0;
}

int rb_stream_end(struct rb_conn *conn, const struct rb_wait *wait, struct rb_err *err)
{
	return rb_conn_send(conn, RB_FRAME_END, NULL, 0, wait, err);
}

void rb_conn_on_stream(struct rb_conn *conn, void (*fn)(void *arg), void *arg)
{
	conn->on_stream = fn;
	conn->on_stream_arg = arg;
	conn->on_stream_ms = rb_now_ms();
}

static void tell(struct rb_conn *conn)
{
	int64_t now = conn->on_stream ? rb_now_ms() : 0;

	if (!conn->on_stream || now - conn->on_stream_ms < ON_STREAM_EVERY_MS)
		return;
	conn->on_stream_ms = now;
	conn->on_stream(conn->on_stream_arg);
}

ssize_t rb_stream_read(struct rb_conn *conn, const void **ret_block, const struct rb_wait *wait,
		       struct rb_err *err)
{
	struct rb_frame frame;
	int r;

	tell(conn);
	r = rb_conn_recv(conn, &frame, wait, err);
	if (r < 0)
		return r;
	switch (frame.type) {
	case RB_FRAME_DATA:
		*ret_block = frame.payload;
		return (ssize_t)frame.len;
	case RB_FRAME_END:
		return 0;
	case RB_FRAME_ERROR:
		return rb_error_decode(frame.payload, frame.len, conn->label, err);
	default:
		return rb_conn_unexpected(conn, &frame, "DATA or END", err);
	}
}

int rb_stream_drain(struct rb_conn *conn, const struct rb_wait *wait, struct rb_err *err)
{
	const void *block;
	ssize_t n;

	do
		n = rb_stream_read(conn, &block, wait, err);
	while (n > 0);
	return (int)n;
}
