/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pushes.h - images on their way to other nodes: `reberth image push`
 *
 * Each push is worked on by a process of its own, as a migration is. But there is nothing to undo
 * or to finish when one is killed, so no journal knows of it: all there is is a file,
 * <run_dir>/pushes/<id>.json, which the daemon makes, and from then on the worker replaces a few
 * times a second while bytes travel. It is kept for an hour after the end, for who comes back to
 *ask, but shorter where there are more than a hundred.
 *
 *   {"id", "image", "started_ms", "nodes": [node...], "worker", "worker_start",
 *    "image_id", "stage", "progress": {...}, "result", "error"}
 *   node: {"node", "state": "waiting" "sending" "completed" "failed" "canceled", "bytes_sent",
 *	    "bytes_total", "bytes_found", "layers": {"present", "sent"}, "image_present",
 *"image_id", "tags": {"given", "taken"}, "ms", "error"}
 *
 * "result" is "completed" (everywhere), "failed" (somewhere) or "canceled"; without one it is under
 * way, or its worker was killed.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "journal.h"

struct rb_err;
struct rb_node;

/**
 * rb_pushes_begin - check a request, and make the file that a worker can work on
 * @request: {"image", "nodes": [...]}
 */
int rb_pushes_begin(const struct rb_node *node, const json_t *request, char ret_id[RB_ID_LEN + 1],
		    struct rb_err *err);

/** rb_pushes_find - the whole id of which @id is the beginning */
int rb_pushes_find(const struct rb_node *node, const char *id, char ret_id[RB_ID_LEN + 1],
		   struct rb_err *err);

/** rb_pushes_load - the file as it is. Return: 0, -ENOENT/RB_E_NOT_FOUND. */
int rb_pushes_load(const struct rb_node *node, const char *id, json_t **ret, struct rb_err *err);

/** rb_pushes_save - the worker's: replace the file */
int rb_pushes_save(const struct rb_node *node, const json_t *push, struct rb_err *err);

/** rb_pushes_remove - one that nobody can work on is forgotten */
void rb_pushes_remove(const struct rb_node *node, const char *id);

/** rb_pushes_worker - who works on it. Return: pid, 0: nobody (any more, or not yet) */
pid_t rb_pushes_worker(const json_t *push);

/** rb_pushes_end_nodes - nodes that are waiting or sending in a push that has ended so are not any
 * more
 * @result: the push's: "failed" or "canceled" */
void rb_pushes_end_nodes(json_t *push, const char *result);

/** rb_pushes_each - the ids of all that are known; ends with the first that is not 0 */
int rb_pushes_each(const struct rb_node *node, int (*fn)(void *arg, const char *id), void *arg);

/** rb_pushes_sweep - forget those that ended an hour ago, and what a worker left that was killed
 * while it wrote; cheap where there are none */
void rb_pushes_sweep(const struct rb_node *node);

/**
 * rb_push_run - the worker: to one node after the other
 * @cancel_fd: readable when it is to end
 *
 * Return: 0 when all nodes have it; the first failure, which is in the file, too.
 */
int rb_push_run(const struct rb_node *node, const char *id, int cancel_fd, struct rb_err *err);

/** rb_push_diff - {"image", "node"} -> what would be sent: rb_image_diff(), and "image",
 * "image_id", "node"
 * @cancel_fd: readable when nobody wants to know any more */
int rb_push_diff(const struct rb_node *node, const json_t *request, int cancel_fd, json_t **ret,
		 struct rb_err *err);
