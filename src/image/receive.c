// SPDX-License-Identifier: Apache-2.0
/*
 * receive.c - feed an image from a peer to `docker load`
 *
 * What arrives is handed on unread: Docker unpacks it in a chroot of its own, and the check that
 * counts comes afterwards, when the image must be there under the ID that was described. A layer
 * that was left out but is gone here by now (somebody removed the other image meanwhile) fails the
 * load.
 */
#include "image.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "engine.h"
#include "err.h"
#include "json.h"

struct receiving {
	struct rb_conn *conn;
	const struct rb_wait *wait;
	const uint8_t *block; /* what is left of the current one */
	size_t left;
	bool ended;	/* END has come */
	int conn_error; /* the connection failed: no draining, no answering */
	struct rb_err *err;
};

static ssize_t feed(void *arg, void *buf, size_t size)
{
	struct receiving *s = arg;

	if (s->left == 0 && !s->ended) {
		const void *block;
		ssize_t n = rb_stream_read(s->conn, &block, s->wait, s->err);

		if (n < 0) {
			s->conn_error = (int)n;
			return n;
		}
		s->ended = n == 0;
		s->left = (size_t)n;
		if (n > 0)
			s->block = block;
	}
	if (s->left == 0)
		return 0;
	if (size > s->left)
		size = s->left;
	memcpy(buf, s->block, size);
	s->block += size;
	s->left -= size;
	return (ssize_t)size;
}

/* `docker load` answers 200 before it starts; what went wrong is a line of its output */
static int check_output(const char *text, struct rb_err *err)
{
	while (text && *text) {
		_cleanup_json_ json_t *line = NULL;
		size_t len = strcspn(text, "\n");
		const char *what;

		if (rb_json_parse(text, len, &line, NULL) == 0) {
			what = rb_json_str(line, "error", NULL);
			if (what && strstr(what, "no space left on device"))
				return rb_err_code(err, RB_E_NO_SPACE, -ENOSPC, "docker load: %s",
						   what);
			if (what)
				return rb_err_code(err, RB_E_ENGINE, -EIO, "docker load: %s", what);
		}
		text += len + (text[len] == '\n');
	}
	return 0;
}

int rb_image_receive(struct rb_engine *engine, const json_t *description, struct rb_conn *conn,
		     const struct rb_wait *wait, struct rb_err *err)
{
	struct receiving s = { .conn = conn, .wait = wait, .err = err };
	_cleanup_free_ char *output = NULL;
	char id[RB_IMAGE_ID_SIZE];
	int r, drained = 0;

	r = rb_engine_upload(engine, "/images/load?quiet=1", "application/x-tar", feed, &s, &output,
			     wait, err);
	if (s.conn_error)
		return s.conn_error;
	/* Docker stops reading at the end of the archive, or where it fails */
	if (!s.ended)
		drained = rb_stream_drain(conn, wait, r < 0 ? NULL : err);
	if (r == 0)
		r = drained;
	if (r == 0)
		r = check_output(output, err);
	if (r == 0)
		r = rb_image_find(engine, description, id, wait, err);
	if (r == -ENOENT)
		return rb_err_code(err, RB_E_ENGINE, -EIO,
				   "docker load succeeded, but image %.19s is not there",
				   rb_json_str(description, "id", ""));
	if (r < 0)
		return r;
	return rb_image_add_tags(engine, id, description, wait, err);
}
