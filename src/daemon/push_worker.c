// SPDX-License-Identifier: Apache-2.0
/*
 * push_worker.c - the process that brings an image to nodes
 *
 * To one after the other: they share this host's link and processors, so all at once would not be
 * done sooner, and one by one the first ones have the image earlier. A node that fails does not
 * stop the others; a cancel does.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "image.h"
#include "json.h"
#include "log.h"
#include "node.h"
#include "proc.h"
#include "push.h"
#include "pushes.h"
#include "sizes.h"
#include "wait.h"

#define ENGINE_MS	  20000
#define DIFF_MS		  3600000 /* the image may have to be read; a cancel ends it */
#define PROGRESS_EVERY_MS 100
#define SAVE_EVERY_MS	  500
#define SAVE_TRIES	  1200 /* ten minutes */

struct worker {
	const struct rb_node *node;
	json_t *file;
	json_t *now;   /* the node that it is sent to, in the file */
	double rate;   /* bytes per second dealt with, smoothed */
	int64_t at_ms; /* when progress was written last */
	uint64_t at_bytes;
};

static json_t *error_json(const struct rb_err *err)
{
	return json_pack("{s:s, s:i, s:o}", "code", rb_code_name(err->code), "errno", err->errnum,
			 "message", rb_json_text(err->msg));
}

static void note_figures(json_t *node, const struct rb_image_push *push)
{
	json_object_set_new(node, "bytes_sent", json_integer((json_int_t)push->bytes_sent));
	json_object_set_new(node, "bytes_total", json_integer((json_int_t)push->bytes_total));
	json_object_set_new(node, "bytes_found", json_integer((json_int_t)push->bytes_found));
	json_object_set_new(node, "layers",
			    json_pack("{s:i, s:i}", "present", push->layers_present, "sent",
				      push->layers_sent));
	json_object_set_new(node, "image_present", json_boolean(push->was_there));
	if (push->image_id[0])
		json_object_set_new(node, "image_id", json_string(push->image_id));
	if (push->tags)
		json_object_set(node, "tags", push->tags);
}

static void show_progress(void *arg, const struct rb_image_push *push)
{
	struct worker *w = arg;
	int64_t now_ms = rb_now_ms(), passed_ms = now_ms - w->at_ms;
	uint64_t total = push->bytes_total;
	uint64_t done = push->bytes_done < total ? push->bytes_done : total;
	double eta_ms = -1;

	if (w->at_ms && passed_ms < PROGRESS_EVERY_MS)
		return;
	if (w->at_ms && done >= w->at_bytes) {
		double rate = (double)(done - w->at_bytes) * 1000.0 / (double)passed_ms;

		w->rate = w->rate > 0 ? 0.8 * w->rate + 0.2 * rate : rate;
	}
	if (w->rate > 1)
		eta_ms = (double)(total - done) * 1000.0 / w->rate;
	w->at_ms = now_ms;
	w->at_bytes = done;
	note_figures(w->now, push);
	json_object_set_new(w->file, "progress",
			    json_pack("{s:i, s:I, s:I, s:I, s:I}", "percent",
				      total ? (int)(done * 99 / total) : 0, "bytes_done",
				      (json_int_t)done, "bytes_total", (json_int_t)total,
				      "rate_bytes_s", (json_int_t)w->rate, "eta_ms",
				      (json_int_t)eta_ms));
	rb_pushes_save(w->node, w->file, NULL);
}

static void begin_node(struct worker *w, size_t number, size_t count)
{
	char stage[160], of[64] = "";

	if (count > 1)
		snprintf(of, sizeof(of), " (%zu of %zu)", number + 1, count);
	snprintf(stage, sizeof(stage), "to %s%s", rb_json_str(w->now, "node", "?"), of);
	json_object_set_new(w->file, "stage", json_string(stage));
	json_object_del(w->file, "progress");
	json_object_set_new(w->now, "state", json_string("sending"));
	w->rate = 0;
	w->at_ms = 0;
	w->at_bytes = 0;
	rb_pushes_save(w->node, w->file, NULL);
}

static int push_to(struct worker *w, const json_t *description, const json_t *sizes,
		   const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_image_push push = { .node = w->node,
				      .peer = rb_json_str(w->now, "node", ""),
				      .description = description,
				      .sizes = sizes,
				      .progress = show_progress,
				      .arg = w };
	int64_t began_ms = rb_now_ms();
	int r = rb_image_push(&push, wait, err);

	note_figures(w->now, &push);
	rb_image_push_clear(&push);
	json_object_set_new(w->now, "ms", json_integer(rb_now_ms() - began_ms));
	/* the other side may be cancelled, too: by a host that shuts down, say */
	if (r < 0 && rb_wait_ms(0, wait, NULL) == -ECANCELED)
		r = rb_err_code(err, RB_E_CANCELED, -ECANCELED,
				"it was cancelled: pushed again it goes on where it stopped");
	else if (r == -ECANCELED || (r < 0 && err->code == RB_E_CANCELED))
		r = rb_err_code(err, RB_E_PEER, -ECONNABORTED,
				"node '%s' has ended it: pushed again it goes on where it stopped",
				push.peer);
	json_object_set_new(w->now, "state",
			    json_string(r >= 0		  ? "completed"
					: r == -ECANCELED ? "canceled"
							  : "failed"));
	if (r < 0)
		json_object_set_new(w->now, "error", error_json(err));
	if (r < 0 && r != -ECANCELED)
		rb_warn("push: %s: %s", push.peer, err->msg);
	return r;
}

/* Return: the first failure */
static int push_to_all(struct worker *w, const json_t *description, const json_t *sizes,
		       const struct rb_wait *wait, struct rb_err *err)
{
	json_t *nodes = json_object_get(w->file, "nodes"), *one;
	bool canceled = false;
	int result = 0;
	size_t i;

	json_array_foreach (nodes, i, one) {
		struct rb_err why = {};
		int r;

		if (canceled) {
			json_object_set_new(one, "state", json_string("canceled"));
			continue;
		}
		w->now = one;
		begin_node(w, i, json_array_size(nodes));
		r = push_to(w, description, sizes, wait, &why);
		canceled = r == -ECANCELED;
		/* that it was cancelled is what its user knows */
		if (r < 0 && (result == 0 || canceled)) {
			result = r;
			*err = why;
		}
	}
	return result;
}

/* what the engine says is about itself: who pushed wants to know what to do */
static int describe(const struct rb_node *node, const char *ref, json_t **ret, json_t **ret_sizes,
		    const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_wait within = rb_wait_within(wait, ENGINE_MS);
	int r = rb_image_describe(node->engine, ref, ret, &within, err);

	if (r == -ENOENT)
		return rb_err_code(err, RB_E_NOT_FOUND, r,
				   "there is no image '%.200s' on this host: 'docker images' "
				   "lists those that are",
				   ref);
	return r < 0 ? r : rb_image_sizes(node->engine, *ret, ret_sizes, &within, err);
}

static void sign(struct worker *w)
{
	json_object_set_new(w->file, "worker", json_integer(getpid()));
	json_object_set_new(w->file, "worker_start",
			    json_integer((json_int_t)rb_pid_starttime(getpid())));
	rb_pushes_save(w->node, w->file, NULL);
}

/* Without a result it would be taken for one whose worker was killed, although the nodes may have
 * the image: so there has to be room for it, and until then it is under way. */
static int save_result(struct worker *w, struct rb_err *err)
{
	int r = rb_pushes_save(w->node, w->file, err);

	if (r < 0)
		rb_warn("push: %s: tried again", err->msg);
	for (int i = 0; r < 0 && i < SAVE_TRIES; i++) {
		rb_wait_ms(SAVE_EVERY_MS, NULL, NULL);
		r = rb_pushes_save(w->node, w->file, err);
	}
	return r;
}

static int end(struct worker *w, int r, const struct rb_err *why, struct rb_err *err)
{
	const char *result = r >= 0			  ? "completed"
			     : why->code == RB_E_CANCELED ? "canceled"
							  : "failed";
	struct rb_err save_err = {};
	int saved;

	json_object_del(w->file, "progress");
	json_object_set_new(w->file, "result", json_string(result));
	rb_pushes_end_nodes(w->file, result);
	if (r < 0)
		json_object_set_new(w->file, "error", error_json(why));
	saved = save_result(w, &save_err);
	if (r >= 0 && saved < 0)
		*err = save_err;
	return r < 0 ? r : saved;
}

int rb_push_run(const struct rb_node *node, const char *id, int cancel_fd, struct rb_err *err)
{
	_cleanup_json_ json_t *file = NULL, *description = NULL, *sizes = NULL;
	struct rb_wait wait = { .cancel_fd = cancel_fd };
	struct worker w = { .node = node };
	int r = rb_pushes_load(node, id, &file, err);

	if (r < 0)
		return r;
	w.file = file;
	sign(&w);
	r = describe(node, rb_json_str(file, "image", ""), &description, &sizes, &wait, err);
	if (r >= 0) {
		json_object_set(file, "image_id", json_object_get(description, "id"));
		json_object_set(file, "size", json_object_get(description, "size"));
		r = push_to_all(&w, description, sizes, &wait, err);
	}
	return end(&w, r, err, err);
}

int rb_push_diff(const struct rb_node *node, const json_t *request, int cancel_fd, json_t **ret,
		 struct rb_err *err)
{
	struct rb_wait patient = { .cancel_fd = cancel_fd };
	struct rb_wait wait = rb_wait_within(&patient, DIFF_MS);
	_cleanup_json_ json_t *description = NULL, *sizes = NULL;
	struct rb_image_push push = { .node = node, .peer = rb_json_str(request, "node", "") };
	const char *image = rb_json_str(request, "image", "");
	int r = describe(node, image, &description, &sizes, &wait, err);

	if (r < 0)
		return r;
	push.description = description;
	push.sizes = sizes;
	r = rb_image_diff(&push, ret, &wait, err);
	rb_image_push_clear(&push);
	if (r < 0)
		return r;
	json_object_set_new(*ret, "image", json_string(image));
	json_object_set(*ret, "image_id", json_object_get(description, "id"));
	json_object_set_new(*ret, "source", json_string(node->name));
	json_object_set_new(*ret, "node", json_string(push.peer));
	return 0;
}
