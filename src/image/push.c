// SPDX-License-Identifier: Apache-2.0
/*
 * push.c - an image goes to another node without a migration
 *
 * The target holds the image (kept.h) from before it is loaded, or looked for, until it is marked
 * as a user's: a migration that has brought the same image, and is rolled back then, would take it
 * away between the two. Nothing but that mark is left when it is done, and nothing when it fails.
 */
#include "push.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "digest.h"
#include "err.h"
#include "fault.h"
#include "image.h"
#include "io.h"
#include "json.h"
#include "kept.h"
#include "node.h"
#include "wait.h"

#define CONNECT_MS 15000
#define ASK_MS	   60000
#define ENGINE_MS  60000

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

/* what is told of the peer's answer is shown to a person: an ID that is one, and of the names that
 * we sent those that another image has there */
static void note_names(struct rb_image_push *push, const json_t *answer)
{
	const char *id = rb_json_str(answer, "image_id", "");
	uint8_t digest[RB_DIGEST_BYTES];
	const json_t *taken = rb_json_path(answer, "tags.taken");
	_cleanup_json_ json_t *ours = json_array(), *theirs = json_array();
	json_t *name, *other;
	size_t i, j;

	json_array_foreach (json_object_get(push->description, "tags"), i, name) {
		bool is_taken = false;

		json_array_foreach (taken, j, other)
			is_taken |= json_equal(name, other);
		json_array_append(is_taken ? theirs : ours, name);
	}
	json_decref(push->tags);
	push->tags = json_pack("{s:O, s:O}", "given", ours, "taken", theirs);
	if (strncmp(id, "sha256:", 7) == 0 && strlen(id) == 7 + RB_DIGEST_DIGITS &&
	    rb_hex_decode(id + 7, digest))
		rb_path(push->image_id, sizeof(push->image_id), "%s", id);
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
			struct rb_conn *conn, json_t **ret_answer, const struct rb_wait *wait,
			struct rb_err *err)
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
		r = rb_conn_reply(conn, ret_answer, wait, err);
	note(push, &stats);
	push->layers = TAKE_PTR(stats.layers);
	rb_image_stats_clear(&stats);
	return r;
}

static int push_or_ask(struct rb_image_push *push, bool dry_run, const struct rb_wait *wait,
		       struct rb_err *err)
{
	_cleanup_json_ json_t *answer = NULL, *last = NULL;
	struct rb_conn *conn = NULL;
	size_t present;
	int r = open_conn(push, &conn, wait, err);

	if (r >= 0)
		r = ask(push, conn, dry_run ? "image-ask" : "image-push", &answer, wait, err);
	if (r >= 0) {
		present = present_of(push, answer);
		push->layers_present = (int)present;
		push->was_there = rb_json_int(answer, "layers_present", 0) < 0;
		if (!push->was_there)
			r = send_missing(push, present, dry_run, conn, &last, wait, err);
	}
	if (r >= 0 && !dry_run)
		note_names(push, push->was_there ? answer : last);
	if (conn)
		push->bytes_sent = rb_conn_bytes_sent(conn);
	rb_conn_free(conn);
	return r < 0 ? r : 0;
}

int rb_image_push(struct rb_image_push *push, const struct rb_wait *wait, struct rb_err *err)
{
	return push_or_ask(push, false, wait, err);
}

void rb_image_push_clear(struct rb_image_push *push)
{
	json_decref(push->layers);
	json_decref(push->tags);
	push->layers = push->tags = NULL;
}

/* bytes of the layer with that diff ID that would be sent. A layer that comes twice, as empty ones
 * do, travels once: the figure is the first one's, which is marked as @told */
static int64_t missing_of(json_t *layers, const json_t *diff_id)
{
	json_t *layer;
	size_t i;

	json_array_foreach (layers, i, layer)
		if (json_equal(json_object_get(layer, "diff_id"), diff_id) &&
		    !rb_json_bool(layer, "told", false)) {
			json_object_set_new(layer, "told", json_true());
			return rb_json_int(layer, "missing_bytes", 0);
		}
	return 0;
}

static json_t *diff_of_layer(const struct rb_image_push *push, size_t number)
{
	const json_t *id = json_array_get(json_object_get(push->description, "layers"), number);
	bool present = number < (size_t)push->layers_present;

	return json_pack("{s:O, s:I, s:b, s:I}", "diff_id", id, "size",
			 (json_int_t)size_of(push, number), "present", present, "bytes_missing",
			 (json_int_t)(present ? 0 : missing_of(push->layers, id)));
}

/* -1: of one of them it is not known */
static json_int_t bytes_present(const struct rb_image_push *push)
{
	for (int i = 0; i < push->layers_present; i++)
		if (size_of(push, (size_t)i) < 0)
			return -1;
	return (json_int_t)bytes_of(push, 0, (size_t)push->layers_present);
}

int rb_image_diff(struct rb_image_push *push, json_t **ret, const struct rb_wait *wait,
		  struct rb_err *err)
{
	size_t all = json_array_size(json_object_get(push->description, "layers"));
	_cleanup_json_ json_t *layers = json_array();
	int r = push_or_ask(push, true, wait, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < all; i++)
		json_array_append_new(layers, diff_of_layer(push, i));
	*ret = json_pack("{s:b, s:O, s:i, s:I, s:I, s:I, s:I, s:I}", "image_present",
			 push->was_there, "layers", layers, "layers_present", push->layers_present,
			 "layers_missing", (json_int_t)all - push->layers_present, "bytes_total",
			 (json_int_t)push->bytes_total, "bytes_present", bytes_present(push),
			 "bytes_found", (json_int_t)push->bytes_found, "bytes_missing",
			 (json_int_t)push->bytes_missing);
	return *ret ? 0 : rb_err_set(err, -ENOMEM, "compare the image");
}

/* --- target --- */

/* the image is here, and named: the user hears which names are another image's there */
static int answer_names(const struct rb_node *node, struct rb_conn *conn, const json_t *description,
			const char *id, json_t *answer, const struct rb_wait *wait,
			struct rb_err *err)
{
	json_t *tags = NULL;
	int r = rb_image_add_tags(node->engine, id, description, &tags, wait, err);

	if (r < 0)
		return r;
	json_object_set_new(answer, "image_id", json_string(id));
	json_object_set_new(answer, "tags", tags);
	return rb_conn_answer(conn, answer, wait, err);
}

/* From now on it is the user's. Who calls holds the image. Return: 0, -ENOENT: it is not here. */
static int keep(const struct rb_node *node, const json_t *description, char id[RB_IMAGE_ID_SIZE],
		const struct rb_wait *wait, struct rb_err *err)
{
	int r = rb_image_find(node->engine, description, id, wait, err);

	return r < 0 ? r : rb_image_keep(node, description, id, err);
}

static int receive_and_keep(const struct rb_node *node, struct rb_conn *conn,
			    const json_t *description, char id[RB_IMAGE_ID_SIZE],
			    const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_close_ int hold = -EBADF;
	struct rb_wait engine;
	int r = rb_fault_point("push.receive", wait, err);

	if (r >= 0)
		r = rb_image_receive(node, description, false, &hold, conn, wait, err);
	if (r >= 0)
		r = rb_fault_point("push.loaded", wait, err);
	engine = rb_wait_within(wait, ENGINE_MS);
	return r < 0 ? r : keep(node, description, id, &engine, err);
}

static int serve_missing(const struct rb_node *node, struct rb_conn *conn,
			 const json_t *description, json_t *answer, int cancel_fd,
			 struct rb_err *err)
{
	struct rb_wait patient = { .cancel_fd = cancel_fd };
	struct rb_wait wait = rb_wait_within(&patient, ASK_MS);
	_cleanup_json_ json_t *last = json_object();
	char id[RB_IMAGE_ID_SIZE];
	int r = rb_conn_answer(conn, answer, &wait, err);

	if (r >= 0)
		r = receive_and_keep(node, conn, description, id, &patient, err);
	wait = rb_wait_within(&patient, ASK_MS);
	return r < 0 ? r : answer_names(node, conn, description, id, last, &wait, err);
}

static int serve_ask(const struct rb_node *node, struct rb_conn *conn, const json_t *description,
		     json_t *answer, int cancel_fd, struct rb_err *err)
{
	struct rb_wait patient = { .cancel_fd = cancel_fd };
	struct rb_wait wait = rb_wait_within(&patient, ASK_MS);
	int r = rb_conn_answer(conn, answer, &wait, err);

	if (r >= 0)
		r = rb_image_receive(node, description, true, NULL, conn, &patient, err);
	wait = rb_wait_within(&patient, ASK_MS);
	return r < 0 ? r : rb_conn_answer(conn, NULL, &wait, err);
}

static int serve_push(const struct rb_node *node, struct rb_conn *conn, const json_t *description,
		      int cancel_fd, struct rb_err *err)
{
	struct rb_wait patient = { .cancel_fd = cancel_fd };
	struct rb_wait wait = rb_wait_within(&patient, ASK_MS);
	_cleanup_close_ int hold = rb_image_hold(node, description, &wait, err);
	_cleanup_json_ json_t *answer = NULL;
	char id[RB_IMAGE_ID_SIZE];
	int present = 0, r = hold;

	/* held: one that is here is not removed by a roll-back before it is marked. A user may do
	 * that, and then it is one that is missing */
	for (int i = 0; i < 2 && r >= 0; i++) {
		r = rb_image_present(node->engine, description, &present, &wait, err);
		if (r < 0 || present >= 0)
			break;
		r = keep(node, description, id, &wait, err);
		if (r != -ENOENT || i > 0)
			break;
		rb_err_clear(err);
		r = 0;
	}
	rb_close_fd(&hold);
	if (r < 0)
		return r;
	answer = json_pack("{s:i}", "layers_present", present);
	return present < 0 ? answer_names(node, conn, description, id, answer, &wait, err)
			   : serve_missing(node, conn, description, answer, cancel_fd, err);
}

int rb_image_serve(const struct rb_node *node, struct rb_conn *conn, const char *verb,
		   const json_t *args, int cancel_fd, struct rb_err *err)
{
	const json_t *description = json_object_get(args, "image");
	struct rb_wait wait = { .cancel_fd = cancel_fd };
	_cleanup_json_ json_t *answer = NULL;
	int present = 0, r;

	if (strcmp(verb, "image-push") == 0)
		return serve_push(node, conn, description, cancel_fd, err);
	wait = rb_wait_within(&wait, ASK_MS);
	r = rb_image_present(node->engine, description, &present, &wait, err);
	if (r < 0)
		return r;
	answer = json_pack("{s:i}", "layers_present", present);
	return present < 0 ? rb_conn_answer(conn, answer, &wait, err)
			   : serve_ask(node, conn, description, answer, cancel_fd, err);
}
