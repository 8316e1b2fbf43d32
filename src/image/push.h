/* SPDX-License-Identifier: Apache-2.0 */
/*
 * push.h - an image goes to another node without a migration
 *
 * Two calls on a connection of its own (wire/conn.h), both with {"image": description}:
 *
 *   "image-push"  the image is to be a user's there (kept.h). The answer has "layers_present", how
 *                 many layers the peer has, -1: the very image. If it lacks any, the streams of
 *                 rb_image_send() follow, and another answer. The last one has "image_id", by which
 *                 the peer knows it, and "tags" of rb_image_add_tags()
 *   "image-ask"   the same as a dry run, which changes nothing there
 *
 * An image that arrives while its push is cancelled may be there all the same.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "image.h"

struct rb_conn;
struct rb_err;
struct rb_node;
struct rb_wait;

/** A push to one node; what came of it is filled in as it goes. */
struct rb_image_push {
	const struct rb_node *node;
	const char *peer;	   /* a node that node->peers has */
	const json_t *description; /* of rb_image_describe() */
	const json_t *sizes;	   /* of rb_image_sizes() */

	/* called from within, about ten times a second while bytes travel; may be NULL */
	void (*progress)(void *arg, const struct rb_image_push *push);
	void *arg;

	bool was_there;	    /* the very image */
	int layers_present; /* that are there already */
	int layers_sent;
	uint64_t bytes_total;	/* of the layers that are not, unpacked; an estimate at first */
	uint64_t bytes_done;	/* of these: dealt with */
	uint64_t bytes_found;	/* of bytes_done: not sent, since they are there in other layers */
	uint64_t bytes_missing; /* of bytes_done: sent, or what a push would send */
	uint64_t bytes_sent;	/* over the network, in all */
	char image_id[RB_IMAGE_ID_SIZE]; /* by which it is known there; "" if it does not say */
	/* of the names: {"given": those that it has there, "taken": those that another image has */
	json_t *tags;
	json_t *layers; /* as in struct rb_image_stats; internal */
};

/** rb_image_push_clear - release what a push or diff has filled in; the figures stay */
void rb_image_push_clear(struct rb_image_push *push);

/**
 * rb_image_push - have the image at the peer when this returns, under those of its tags that
 * nothing else has there
 *
 * What was sent when it fails is counted, too.
 */
int rb_image_push(struct rb_image_push *push, const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_image_diff - what rb_image_push() would send
 * @ret: {"image_present", "layers": [{"diff_id", "size", "present", "bytes_missing"}],
 *	"layers_present", "layers_missing", "bytes_total" (of the layers that are missing),
 *	"bytes_present", "bytes_found", "bytes_missing" (of bytes_total: in other layers there, and
 *	to be sent)}; sizes are of unpacked files, -1: unknown
 */
int rb_image_diff(struct rb_image_push *push, json_t **ret, const struct rb_wait *wait,
		  struct rb_err *err);

/**
 * rb_image_serve - target: answer "image-ask" or "image-push"
 * @cancel_fd: readable when this shall end, or -EBADF
 *
 * Return: 0 when it was answered; negative errno: answer with that.
 */
int rb_image_serve(const struct rb_node *node, struct rb_conn *conn, const char *verb,
		   const json_t *args, int cancel_fd, struct rb_err *err);
