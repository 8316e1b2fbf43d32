/* SPDX-License-Identifier: Apache-2.0 */
/*
 * incoming.h - the archive of an image as it comes from a peer (internal to image/)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "digest.h"

struct rb_conn;
struct rb_err;
struct rb_gather;
struct rb_gather_options;
struct rb_wait;

struct rb_incoming {
	const struct rb_gather_options *options; /* `want` and `arg` are filled here */
	/* called in the thread that puts the archive together, before anything is looked up; may be
	 * NULL */
	void (*prepare)(void *arg, const struct rb_wait *wait);
	void *arg;
	bool last; /* one that is wrong is an error; else it is asked for once more */
	/* filled with 1: the files that were wrong, malloc'd */
	uint8_t (*wrong)[RB_DIGEST_BYTES];
	unsigned int wrong_count;
};

/**
 * rb_incoming_run - take what the peer's rb_outgoing_run() sends, to its end, and say how it went
 * @ret: the archive, all of whose digests are right; not with 1
 *
 * The connection is minded all the time, whatever the disk does. Cancelling is noticed at once.
 *
 * Return: 0; 1 when the peer was asked for it once more; negative errno.
 */
int rb_incoming_run(struct rb_incoming *incoming, struct rb_conn *conn, struct rb_gather **ret,
		    const struct rb_wait *wait, struct rb_err *err);
