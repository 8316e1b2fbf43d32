/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - of an image only that travels which the target has nowhere
 *
 * An image is the list of its layers' diff IDs. The target says how many of the first layers some
 * image of its own starts with: those are left out, and `docker load` there completes them from its
 * own store (it looks a layer up by its chain ID before it opens the archive's file).
 *
 * Of all other layers their files' content is cut into chunks, and only their ids travel at first.
 * The target looks for these in its own layers, wherever they are in an image, and in what an
 * earlier transfer has left, and asks for the rest (recipe.h). It has the very archive in the end,
 * checks all digests, and only then has Docker load it.
 *
 * Engines that keep images in containerd's store (new installations from Docker 29 on) need every
 * layer in the archive, and call the same image by another ID than the others do.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct rb_conn;
struct rb_engine;
struct rb_err;
struct rb_node;
struct rb_wait;

/* copies of an image's layers that Docker has at once while it loads them: the archive, unpacked,
 * and what becomes of it. Our own has gone by then where room is short (spool.h). */
#define RB_IMAGE_LOAD_TIMES 2
#define RB_IMAGE_ID_SIZE    80	/* "sha256:", 64 digits and NUL fit well */
#define RB_IMAGE_TAGS_MAX   256 /* that travel with it; each costs calls on Docker */

/**
 * rb_image_describe - what the peer must know of an image
 * @ref: name or ID
 *
 * Return in @ret: {"id","tags":[...],"layers":[diff IDs],"size","architecture","os","created",
 * "config": digest of what containers inherit, "store": "layers" or "containerd"}
 */
int rb_image_describe(struct rb_engine *engine, const char *ref, json_t **ret,
		      const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_image_find - target: the ID by which this engine knows the very image
 *
 * That is the described ID, or where source and target keep images in different stores, the ID of
 * an image with the same layers, platform, date and configuration.
 *
 * Return: 0, -ENOENT/RB_E_NOT_FOUND, or -EPROTO for a description of too many layers or tags.
 */
int rb_image_find(struct rb_engine *engine, const json_t *description,
		  char ret_id[RB_IMAGE_ID_SIZE], const struct rb_wait *wait, struct rb_err *err);

/** rb_image_present - target: number of leading layers that are here; -1 in @ret_layers when the
 * very image (see rb_image_find()) is here and nothing needs to travel */
int rb_image_present(struct rb_engine *engine, const json_t *description, int *ret_layers,
		     const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_image_add_tags - target: give an image those of its tags that nobody has here; one that names
 * another image stays as it is
 * @ret: {"given": those that name the image now, "taken": those that name another}; may be NULL
 */
int rb_image_add_tags(struct rb_engine *engine, const char *id, const json_t *description,
		      json_t **ret, const struct rb_wait *wait, struct rb_err *err);

/** What a transfer has done so far. Zero-initialise; release with rb_image_stats_clear(). */
struct rb_image_stats {
	int layers_present;   /* left out, as Docker there completes them by itself */
	int layers_sent;      /* that travel, wholly or as references */
	uint64_t bytes_total; /* uncompressed, of files that travel; grows until `exact` */
	bool exact;
	uint64_t bytes_done;	/* of those: dealt with */
	uint64_t bytes_found;	/* of bytes_done: were there already */
	uint64_t bytes_missing; /* of bytes_done: had to be sent, or would have with `dry_run` */
	uint64_t bytes_packed;	/* what those became, before TLS */
	/* filled at the end: the archive's files, [{"id", "diff_id" (of layers), "size",
	 * "missing_bytes"}] */
	json_t *layers;
};

void rb_image_stats_clear(struct rb_image_stats *stats);

struct rb_image_send_options {
	bool dry_run; /* only ids travel, and nothing is written there */
	struct rb_image_stats *stats;
	/* about ten times a second, between calls on the connection; from the caller's thread */
	void (*progress)(void *arg, const struct rb_image_stats *stats);
	void *arg;
};

/**
 * rb_image_send - source: send what the target lacks of an image
 * @skip_layers: these Docker there has, and they are left out
 * @options: NULL: none
 *
 * The target is in rb_image_receive(), with the same `dry_run`. Its reply to the call is next.
 */
int rb_image_send(struct rb_engine *engine, const json_t *description, int skip_layers,
		  struct rb_conn *conn, const struct rb_image_send_options *options,
		  const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_image_receive - target: take the image, check all digests, have `docker load` load it, check
 * that the image that was described is there now, and rb_image_add_tags()
 * @ret_hold: gets rb_image_hold() (kept.h) before it is loaded, to be closed also when this fails.
 *	Loading is given up when the peer hangs up, but Docker may go on. NULL: neither
 *
 * What has come when this fails stays in <state_dir>/images/spool, and need not come again.
 */
int rb_image_receive(const struct rb_node *node, const json_t *description, bool dry_run,
		     int *ret_hold, struct rb_conn *conn, const struct rb_wait *wait,
		     struct rb_err *err);

/**
 * rb_image_index - target: note what this host's layers hold, so that it need not be sent to it
 * @budget_ms: 0: until all is noted
 * @hold: called often; true ends it for now. May be NULL
 *
 * For times when nothing else is to do. When nothing is new it costs next to nothing. Also removes
 * what transfers that nobody took up again have left.
 *
 * Return: 0; -EBUSY when somebody else is at it.
 */
int rb_image_index(const struct rb_node *node, int64_t budget_ms, bool (*hold)(void *arg),
		   void *arg, const struct rb_wait *wait, struct rb_err *err);
