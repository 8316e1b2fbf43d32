// SPDX-License-Identifier: Apache-2.0
/*
 * call.c - calls and their answers
 *
 * One side calls, the other answers each call in its order with exactly one REPLY or ERROR. An
 * ERROR leaves the connection usable. A frame that cannot come now means that the sides disagree on
 * where in the conversation they are, which nothing can mend: the connection is broken.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "conn_internal.h"
#include "err.h"
#include "json.h"

int rb_conn_call(struct rb_conn *conn, const char *verb, const json_t *args,
		 const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_free_ char *text = NULL;
	int r = rb_call_encode(verb, args, &text, err);

	if (r < 0)
		return r;
	r = rb_conn_send(conn, RB_FRAME_CALL, text, strlen(text), wait, err);
	if (r >= 0)
		conn->unanswered++;
	return r;
}

int rb_conn_reply(struct rb_conn *conn, json_t **ret, const struct rb_wait *wait,
		  struct rb_err *err)
{
	_cleanup_json_ json_t *body = NULL;
	struct rb_frame frame;
	int r = rb_conn_recv(conn, &frame, wait, err);

	if (r < 0)
		return r;
	if (conn->unanswered > 0)
		conn->unanswered--;
	if (frame.type == RB_FRAME_ERROR)
		return rb_error_decode(frame.payload, frame.len, conn->label, err);
	if (frame.type != RB_FRAME_REPLY)
		return rb_conn_unexpected(conn, &frame, "REPLY", err);
	r = rb_reply_decode(frame.payload, frame.len, &body, err);
	if (r < 0)
		return rb_err_wrap(err, r, "%s", conn->label);
	if (ret)
		*ret = TAKE_PTR(body);
	return 0;
}

int rb_conn_unanswered(const struct rb_conn *conn)
{
	return conn->unanswered;
}

int rb_conn_next_call(struct rb_conn *conn, const char **ret_verb, json_t **ret_args,
		      const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_frame frame;
	int r = rb_conn_recv_or_eof(conn, &frame, wait, err);

	if (r <= 0)
		return r;
	if (frame.type != RB_FRAME_CALL)
		return rb_conn_unexpected(conn, &frame, "CALL", err);
	r = rb_call_decode(frame.payload, frame.len, ret_verb, ret_args, err);
	return r < 0 ? rb_err_wrap(err, r, "%s", conn->label) : 1;
}

int rb_conn_answer(struct rb_conn *conn, const json_t *body, const struct rb_wait *wait,
		   struct rb_err *err)
{
	_cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : strdup("{}");

	if (!text)
		return rb_err_set(err, -ENOMEM, "encode a reply");
	return rb_conn_send(conn, RB_FRAME_REPLY, text, strlen(text), wait, err);
}

int rb_conn_answer_error(struct rb_conn *conn, const struct rb_err *what,
			 const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_free_ char *text = NULL;
	int r = rb_error_encode(what, &text, err);

	if (r < 0)
		return r;
	return rb_conn_send(conn, RB_FRAME_ERROR, text, strlen(text), wait, err);
}
