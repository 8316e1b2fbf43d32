/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outgoing.h - the archive of an image on its way to a peer (internal to image/)
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

struct rb_conn;
struct rb_err;
struct rb_image_send_options;
struct rb_wait;

struct rb_outgoing {
	const json_t *layers; /* diff IDs of the image, lowest first */
	int skip_layers;      /* how many of them, from the first on, are not wanted */
	/* next block of the archive, valid until the next call; 0 at the end, negative errno.
	 * Called in a thread of its own. */
	ssize_t (*read)(void *arg, const void **ret_block, const struct rb_wait *wait,
			struct rb_err *err);
	void *arg;
	const struct rb_image_send_options *options; /* may be NULL */
	int level; /* 0: by what link and processor do; for benchmarks: 1 + a choice of level.h */
};

/**
 * rb_outgoing_run - send what the peer lacks of an archive, to its end
 *
 * The peer runs rb_incoming_run(). The connection is minded all the time, whatever waits, and a
 * cancel is noticed at once.
 *
 * Return: 0; 1 when the peer has all, but not rightly, and wants it once more as a whole; negative
 * errno.
 */
int rb_outgoing_run(struct rb_outgoing *outgoing, struct rb_conn *conn, const struct rb_wait *wait,
		    struct rb_err *err);
