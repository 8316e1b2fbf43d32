// SPDX-License-Identifier: Apache-2.0
/*
 * send.c - send an image to a peer, as far as the peer lacks it
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
#include "io.h"
#include "json.h"
#include "log.h"
#include "outgoing.h"

#define ROUNDS 2 /* the second one as a whole */

static ssize_t read_saved(void *arg, const void **ret_block, const struct rb_wait *wait,
			  struct rb_err *err)
{
	return rb_engine_stream_read(arg, ret_block, wait, err);
}

static int saved_path(const json_t *description, char *ret, size_t size, struct rb_err *err)
{
	char escaped[256];
	const char *id;
	int r;

	r = rb_json_need_str(description, "id", &id, err);
	if (r < 0)
		return r;
	r = rb_engine_escape(id, escaped, sizeof(escaped));
	if (r == 0)
		r = rb_path(ret, size, "/images/%s/get", escaped);
	return r < 0 ? rb_err_set(err, r, "the image ID '%.80s'", id) : 0;
}

int rb_image_send(struct rb_engine *engine, const json_t *description, int skip_layers,
		  struct rb_conn *conn, const struct rb_image_send_options *options,
		  const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_outgoing outgoing = { .layers = json_object_get(description, "layers"),
					.skip_layers = skip_layers,
					.read = read_saved,
					.options = options };
	const char *id = rb_json_str(description, "id", "");
	char path[300];
	int r = saved_path(description, path, sizeof(path), err);

	for (int i = 0; i < ROUNDS && r >= 0; i++) {
		struct rb_engine_stream *stream = NULL;

		r = rb_engine_stream_open(engine, path, wait, &stream, err);
		outgoing.arg = stream;
		if (r >= 0)
			r = rb_outgoing_run(&outgoing, conn, wait, err);
		rb_engine_stream_close(stream);
		if (r == 0)
			return 0;
		if (r > 0)
			rb_warn("image %.19s did not come out right on node '%s': it is sent again "
				"as a whole",
				id, rb_conn_peer(conn));
	}
	if (r > 0)
		r = rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "node '%s' wants it a third time",
				rb_conn_peer(conn));
	return rb_err_wrap(err, r, "send image %.19s", id);
}

void rb_image_stats_clear(struct rb_image_stats *stats)
{
	json_decref(stats->layers);
	*stats = (struct rb_image_stats){};
}
