// SPDX-License-Identifier: Apache-2.0
/*
 * send.c - stream an image to a peer, without the layers that it has
 *
 * Saved by ID: the archive then names no tags. `docker load` would take a tag away from another
 * image of the target; rb_image_add_tags() there does not.
 */
#include "image.h"

#include <errno.h>
#include <stdio.h>

#include "conn.h"
#include "engine.h"
#include "err.h"
#include "filter.h"
#include "io.h"
#include "json.h"
#include "wait.h"

#define PROGRESS_MS 100

struct sending {
	struct rb_engine_stream *stream;
	struct rb_conn *conn;
	const struct rb_image_send_options *options;
	int64_t shown_ms;
	const struct rb_wait *wait;
};

static ssize_t read_saved(void *arg, const void **ret_block, struct rb_err *err)
{
	struct sending *s = arg;

	return rb_engine_stream_read(s->stream, ret_block, s->wait, err);
}

static int write_conn(void *arg, const void *data, size_t len, struct rb_err *err)
{
	struct sending *s = arg;
	int r = rb_stream_write(s->conn, data, len, s->wait, err);

	if (r < 0 || !s->options)
		return r;
	s->options->stats->bytes_done += len;
	if (rb_now_ms() - s->shown_ms >= PROGRESS_MS) {
		s->shown_ms = rb_now_ms();
		s->options->progress(s->options->arg, s->options->stats);
	}
	return r;
}

int rb_image_send(struct rb_engine *engine, const json_t *description, int skip_layers,
		  struct rb_conn *conn, const struct rb_image_send_options *options,
		  const struct rb_wait *wait, struct rb_err *err)
{
	struct sending s = { .conn = conn, .options = options, .wait = wait };
	struct rb_image_filter filter = { .layers = json_object_get(description, "layers"),
					  .skip_layers = skip_layers,
					  .read = read_saved,
					  .write = write_conn,
					  .arg = &s };
	char escaped[256], path[300];
	const char *id;
	int r;

	r = rb_json_need_str(description, "id", &id, err);
	if (r < 0)
		return r;
	r = rb_engine_escape(id, escaped, sizeof(escaped));
	if (r == 0)
		r = rb_path(path, sizeof(path), "/images/%s/get", escaped);
	if (r < 0)
		return rb_err_set(err, r, "the image ID '%.80s'", id);
	r = rb_engine_stream_open(engine, path, wait, &s.stream, err);
	if (r == 0)
		r = rb_image_filter_run(&filter, err);
	rb_engine_stream_close(s.stream);
	if (r < 0)
		return rb_err_wrap(err, r, "send image %.19s", id);
	return rb_stream_end(conn, wait, err);
}
