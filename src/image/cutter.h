/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cutter.h - the archive of an image, read and cut into batches (internal to image/)
 */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_err;
struct rb_out;
struct rb_wait;

#define RB_CHUNK_WORTH 256 /* bytes; what is smaller travels as it is */

struct rb_cutter {
	const json_t *layers; /* see struct rb_image_filter */
	int skip_layers;
	/* next block of the archive, valid until the next call; 0 at the end, negative errno */
	ssize_t (*read)(void *arg, const void **ret_block, const struct rb_wait *wait,
			struct rb_err *err);
	void *arg;
	const struct rb_wait *wait; /* for read */
	struct rb_out *out;
};

/** rb_cutter_run - the thread; @arg: struct rb_cutter. All that it has to tell is in its `out`. */
void *rb_cutter_run(void *arg);
