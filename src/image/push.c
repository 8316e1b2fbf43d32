// SPDX-License-Identifier: Apache-2.0
/*
 * push.c - an image goes to another node without a migration
 *
 * The mark that it is a user's (kept.h) is left before anything travels: a migration that brings
 * the same image meanwhile, and is rolled back then, would take it away between its arrival and the
 * mark. It is removed again when nothing arrived.
 */
#include "push.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "fault.h"
#include "image.h"
#include "json.h"
#include "kept.h"
#include "node.h"
#include "wait.h"

#define CONNECT_MS	15000
#define ASK_MS		60000
#define ENGINE_MS	60000
#define MARK_MAX_AGE_MS (INT64_C(24) * 3600 * 1000)

/* --- source --- */

static int open_conn(const struct rb_image_push *push, struct rb_conn **ret,
		     const struct rb_wait *wait, struct rb_err *err)
{
	const char *address = rb_json_str(push->node->peers, push->peer, NULL);
	struct rb_wait within = rb_wait_within(wait, CONNECT_MS);

	if (!address)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
				   "node '%s' is not known here: 'reberth node' lists those that "
				   "are",
				   push->peer);
	return rb_conn_connect(push->node->tls, address, push->peer, &within, ret, err);
}

static int ask(const struct rb_image_push *push, struct rb_conn *conn, const char *verb,
	       json_t **ret, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *args = json_pack("{s:O}", "image", push->description);
	struct rb_wait within = rb_wait_within(wait, ASK_MS);
	int r = rb_conn_call(conn, verb, args, &within, err);

	return r < 0 ? r : rb_conn_reply(conn, ret, &within, err);
}

/* how many of the first layers the peer has; all of them when it has the image */
static size_t present_of(const struct rb_image_push *push, const json_t *answer)
{
	int64_t present = rb_json_int(answer, "layers_present", 0);
	size_t all = json_array_size(json_object_get(push->description, "layers"));

	return present < 0 || (size_t)present > all ? all : (size_t)present;
}

static int64_t size_of(const struct rb_image_push *push, size_t layer)
{
	const json_t *size = json_array_get(push->sizes, layer);

	return size ? json_integer_value(size) : -1;
}

/* what is known of layers @from to @to, unpacked */
static uint64_t bytes_of(const struct rb_image_push *push, size_t from, size_t to)
{
	uint64_t bytes = 0;

	for (size_t i = from; i < to; i++)
		bytes += size_of(push, i) > 0 ? (uint64_t)size_of(push, i) : 0;
	return bytes;
}

struct sending {
	struct rb_image_push *push;
	struct rb_conn *conn;
};

static void note(struct rb_image_push *push, const struct rb_image_stats *stats)
{
	push->layers_sent = stats->layers_sent;
	push->bytes_total = stats->bytes_total;
	push->bytes_done = stats->bytes_done;
	push->bytes_found = stats->bytes_found;
	push->bytes_missing = stats->bytes_missing;
}

static void show(void *arg, const struct rb_image_stats *stats)
{
	const struct sending *s = arg;
	struct rb_image_push *push = s->push;

	note(push, stats);
	push->bytes_sent = rb_conn_bytes_sent(s->conn);
	if (push->progress)
		push->progress(push->arg, push);
}

static int send_missing(struct rb_image_push *push, size_t present, bool dry_run,
			struct rb_conn *conn, const struct rb_wait *wait, struct rb_err *err)
{
	size_t all = json_array_size(json_object_get(push->description, "layers"));
	struct rb_image_stats stats = { .bytes_total = bytes_of(push, present, all) };
	struct sending sending = { push, conn };
	struct rb_image_send_options options = {
		.dry_run = dry_run, .stats = &stats, .progress = show, .arg = &sending
	};
	int r;

	show(&sending, &stats);
	r = rb_fault_point("push.send", wait, err);
	if (r >= 0)
		r = rb_image_send(push->node->engine, push->description, (int)present, conn,
				  &options, wait, err);
	/* Docker there may take long */
	if (r >= 0)
		r = rb_conn_reply(conn, NULL, wait, err);
	note(push, &stats);
	push->layers = TAKE_PTR(stats.layers);
	rb_image_stats_clear(&stats);
	return r;
}

/* @ret_here: the very image is there */
static int push_or_ask(struct rb_image_push *push, bool dry_run, bool *ret_here,
		       const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *answer = NULL;
	struct rb_conn *conn = NULL;
	size_t present;
	int r = open_conn(push, &conn, wait, err);

	if (r >= 0)
		r = ask(push, conn, dry_run ? "image-ask" : "image-push", &answer, wait, err);
	if (r >= 0) {
		present = present_of(push, answer);
		push->layers_present = (int)present;
		*ret_here = rb_json_int(answer, "layers_present", 0) < 0;
		if (!*ret_here)
			r = send_missing(push, present, dry_run, conn, wait, err);
	}
	if (conn)
		push->bytes_sent = rb_conn_bytes_sent(conn);
	rb_conn_free(conn);
	return r < 0 ? r : 0;
}

int rb_image_push(struct rb_image_push *push, const struct rb_wait *wait, struct rb_err *err)
{
	bool here;
	int r = push_or_ask(push, false, &here, wait, err);

	json_decref(push->layers);
	push->layers = NULL;
	return r;
}

/* Return: bytes of a layer that would be sent, 0: none, since the peer has it */
static int64_t missing_of(const struct rb_image_push *push, const json_t *diff_id)
{
	const json_t *layer;
	size_t i;

	json_array_foreach (push->layers, i, layer)
		if (json_equal(json_object_get(layer, "diff_id"), diff_id))
			return rb_json_int(layer, "missing_bytes", 0);
	return 0;
}

int rb_image_diff(struct rb_image_push *push, json_t **ret, const struct rb_wait *wait,
		  struct rb_err *err)
{
	const json_t *ids = json_object_get(push->description, "layers");
	_cleanup_json_ json_t *layers = json_array();
	size_t present, all = json_array_size(ids);
	bool here = false;
	int r = push_or_ask(push, true, &here, wait, err);

	if (r < 0)
		return r;
	present = (size_t)push->layers_present;
	for (size_t i = 0; i < all; i++)
		json_array_append_new(
			layers,
			json_pack("{s:O, s:I, s:b, s:I}", "diff_id", json_array_get(ids, i), "size",
				  (json_int_t)size_of(push, i), "present", i < present,
				  "bytes_missing",
				  (json_int_t)(i < present ? 0
							   : missing_of(push,
									json_array_get(ids, i)))));
	json_decref(push->layers);
	push->layers = NULL;
	*ret = json_pack("{s:b, s:O, s:I, s:I, s:I, s:I, s:I, s:I}", "image_present", here,
			 "layers", layers, "layers_present", (json_int_t)present, "layers_missing",
			 (json_int_t)(all - present), "bytes_total", (json_int_t)push->bytes_total,
			 "bytes_present", (json_int_t)bytes_of(push, 0, present), "bytes_found",
			 (json_int_t)push->bytes_found, "bytes_missing",
			 (json_int_t)push->bytes_missing);
	return *ret ? 0 : rb_err_set(err, -ENOMEM, "compare the image");
}

/* --- target --- */

/* The image is here, and from now on the user's. Return: 0, -ENOENT: it is not here. */
static int keep_what_is_here(const struct rb_node *node, const json_t *description,
			     const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_close_ int lock = rb_images_lock(node, wait, err);
	char id[RB_IMAGE_ID_SIZE];
	int r = lock;

	if (r >= 0)
		r = rb_image_find(node->engine, description, id, wait, err);
	if (r >= 0)
		r = rb_image_keep(node, id, err);
	return r < 0 ? r : rb_image_add_tags(node->engine, id, description, NULL, wait, err);
}

static int receive(const struct rb_node *node, struct rb_conn *conn, const json_t *description,
		   const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_wait engine = rb_wait_within(wait, ENGINE_MS);
	int r = rb_fault_point("push.receive", wait, err);

	if (r >= 0)
		r = rb_image_receive(node, description, false, conn, wait, err);
	if (r >= 0)
		r = rb_fault_point("push.loaded", wait, err);
	/* where the stores differ its ID is another one, and known only now */
	return r < 0 ? r : keep_what_is_here(node, description, &engine, err);
}

/* Nothing has arrived: a mark that we left stands for nothing. */
static void take_mark_back(const struct rb_node *node, const json_t *description)
{
	struct rb_wait wait = rb_wait_within(NULL, ENGINE_MS);
	_cleanup_close_ int lock = rb_images_lock(node, &wait, NULL);
	char id[RB_IMAGE_ID_SIZE];

	if (lock >= 0 && rb_image_find(node->engine, description, id, &wait, NULL) == -ENOENT)
		rb_image_unkeep(node, rb_json_str(description, "id", ""));
}

static int serve_missing(const struct rb_node *node, struct rb_conn *conn,
			 const json_t *description, const json_t *answer, int cancel_fd,
			 struct rb_err *err)
{
	struct rb_wait patient = { .cancel_fd = cancel_fd };
	struct rb_wait wait = rb_wait_within(&patient, ASK_MS);
	const char *id = rb_json_str(description, "id", "");
	bool was_kept = rb_image_is_kept(node, id);
	int r = rb_image_keep(node, id, err);

	if (r >= 0)
		r = rb_conn_answer(conn, answer, &wait, err);
	if (r >= 0)
		r = receive(node, conn, description, &patient, err);
	if (r < 0 && !was_kept)
		take_mark_back(node, description);
	wait = rb_wait_within(&patient, ASK_MS);
	return r < 0 ? r : rb_conn_answer(conn, NULL, &wait, err);
}

static int serve_ask(const struct rb_node *node, struct rb_conn *conn, const json_t *description,
		     const json_t *answer, int cancel_fd, struct rb_err *err)
{
	struct rb_wait patient = { .cancel_fd = cancel_fd };
	struct rb_wait wait = rb_wait_within(&patient, ASK_MS);
	int r = rb_conn_answer(conn, answer, &wait, err);

	if (r >= 0)
		r = rb_image_receive(node, description, true, conn, &patient, err);
	wait = rb_wait_within(&patient, ASK_MS);
	return r < 0 ? r : rb_conn_answer(conn, NULL, &wait, err);
}

int rb_image_serve(const struct rb_node *node, struct rb_conn *conn, const char *verb,
		   const json_t *args, int cancel_fd, struct rb_err *err)
{
	struct rb_wait wait = { .cancel_fd = cancel_fd };
	const json_t *description = json_object_get(args, "image");
	bool push = strcmp(verb, "image-push") == 0;
	_cleanup_json_ json_t *answer = NULL;
	int present = 0, r;

	wait = rb_wait_within(&wait, ASK_MS);
	if (push)
		rb_images_forget(node, MARK_MAX_AGE_MS, &wait, NULL);
	r = rb_image_present(node->engine, description, &present, &wait, err);
	if (r < 0)
		return r;
	answer = json_pack("{s:i}", "layers_present", present);
	if (present >= 0)
		return (push ? serve_missing : serve_ask)(node, conn, description, answer,
							  cancel_fd, err);
	if (push)
		r = keep_what_is_here(node, description, &wait, err);
	return r < 0 ? r : rb_conn_answer(conn, answer, &wait, err);
}
