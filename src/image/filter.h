/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h - take layers out of the archive that `docker save` writes (internal to image/)
 */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "recipe.h"

struct rb_err;

struct rb_image_filter {
	const json_t *layers; /* diff IDs of the image, lowest first */
	int skip_layers;      /* how many of them, from the first on, are not wanted */

	/* next block of the archive, valid until the next call; 0 at the end, negative errno */
	ssize_t (*read)(void *arg, const void **ret_block, struct rb_err *err);
	/* takes the filtered archive; 0 or negative errno */
	int (*write)(void *arg, const void *data, size_t len, struct rb_err *err);
	/* Optional: files of the archive that are known by a digest, layers above all, are handed
	 * out here, between what is written before and behind them (headers, padding). */
	int (*object)(void *arg, enum rb_object_form form, const uint8_t *key, uint64_t size,
		      struct rb_err *err);
	int (*object_data)(void *arg, const void *data, size_t len, struct rb_err *err);
	int (*object_end)(void *arg, struct rb_err *err);
	void *arg;

	uint64_t dropped_bytes; /* filled: size of what was left out */
	int dropped_files;
	json_t *manifest; /* filled: manifest.json, owned by the caller; NULL when it is none */
};

/** rb_image_filter_run - archive of one image in, archive out. Return: 0 or negative errno. */
int rb_image_filter_run(struct rb_image_filter *filter, struct rb_err *err);
