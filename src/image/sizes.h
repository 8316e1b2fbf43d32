/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sizes.h - how large the layers of an image are, unpacked
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

struct rb_engine;
struct rb_err;
struct rb_wait;

/**
 * rb_image_sizes - bytes of the files in each layer
 * @description: of rb_image_describe()
 * @ret: array of integers, lowest layer first; -1 where it is not known, as with images in
 *	containerd's store
 */
int rb_image_sizes(struct rb_engine *engine, const json_t *description, json_t **ret,
		   const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_image_bytes_missing - target: bytes of the files in the layers that are not here
 * @description: with "layer_bytes", as of rb_image_sizes(); without them the image's size counts
 * @present: the first layers that are here; -1: all of it
 */
uint64_t rb_image_bytes_missing(const json_t *description, int present);
