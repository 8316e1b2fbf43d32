/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - an image travels without the layers that the target already has
 *
 * An image is the list of its layers' diff IDs. The target says how many of the first layers some
 * image of its own starts with; `docker save` on the source is filtered on the fly so that those
 * layers' archives are left out, and `docker load` on the target completes them from its own store
 * (it looks a layer up by its chain ID before it opens the archive's file).
 *
 * Engines that keep images in containerd's store (new installations from Docker 29 on) need every
 * layer in the archive, and call the same image by another ID than the others do.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

struct rb_conn;
struct rb_engine;
struct rb_err;
struct rb_wait;

#define RB_IMAGE_ID_SIZE 80 /* "sha256:", 64 digits and NUL fit well */

/**
 * rb_image_describe - what the peer must know of an image
 * @ref: name or ID
 *
 * Return in @ret: {"id","tags":[...],"layers":[diff IDs],"size","architecture","os","created",
 * "store": "layers" or "containerd"}
 */
int rb_image_describe(struct rb_engine *engine, const char *ref, json_t **ret,
		      const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_image_find - target: the ID by which this engine knows the very image
 *
 * That is the described ID, or where source and target keep images in different stores, the ID of
 * an image with the same layers, platform and date.
 *
 * Return: 0, or -ENOENT/RB_E_NOT_FOUND.
 */
int rb_image_find(struct rb_engine *engine, const json_t *description,
		  char ret_id[RB_IMAGE_ID_SIZE], const struct rb_wait *wait, struct rb_err *err);

/** rb_image_present - target: number of leading layers that are here; -1 in @ret_layers when the
 * very image (see rb_image_find()) is here and nothing needs to travel */
int rb_image_present(struct rb_engine *engine, const json_t *description, int *ret_layers,
		     const struct rb_wait *wait, struct rb_err *err);

/** rb_image_add_tags - target: give an image those of its tags that nobody has here; one that names
 * another image stays as it is */
int rb_image_add_tags(struct rb_engine *engine, const char *id, const json_t *description,
		      const struct rb_wait *wait, struct rb_err *err);

/** What was sent; filled as it goes. */
struct rb_image_stats {
	int layers_sent;
	uint64_t bytes_total; /* unpacked, of layers that travel; what the caller knows of it */
	uint64_t bytes_done;  /* of those */
};

struct rb_image_send_options {
	struct rb_image_stats *stats;
	/* about ten times a second, between calls on the connection */
	void (*progress)(void *arg, const struct rb_image_stats *stats);
	void *arg;
};

/**
 * rb_image_send - source: stream `docker save` without the first @skip_layers layers, then END
 * @options: NULL: none
 */
int rb_image_send(struct rb_engine *engine, const json_t *description, int skip_layers,
		  struct rb_conn *conn, const struct rb_image_send_options *options,
		  const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_image_receive - target: feed the stream to `docker load`, check that the image that was
 * described is there now, and rb_image_add_tags()
 *
 * When Docker refuses, the rest of the stream is read and dropped, so that the error can be
 * answered.
 */
int rb_image_receive(struct rb_engine *engine, const json_t *description, struct rb_conn *conn,
		     const struct rb_wait *wait, struct rb_err *err);
