/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sizes.h - how large the layers of an image are, unpacked
 */
#pragma once

#include <jansson.h>

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
