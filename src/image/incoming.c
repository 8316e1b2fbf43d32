// SPDX-License-Identifier: Apache-2.0
/*
 * incoming.c - the archive of an image as it comes from a peer
 *
 * Three threads: this one, the caller's, owns the connection, takes frames from it as they come and
 * sends answers; the second puts the archive together (gather.c), which may wait for the disk as
 * long as that takes; the third makes digests of what is complete (gather_check.c).
 *
 * Frames that came and wait for the second thread are bounded by the conversation: a peer has no
 * more than 32 recipes without an answer, so what is asked for is 32 MiB at most. One that sends
 * more than QUEUE_MAX ahead breaks the rules, and is told so.
 */
#include "incoming.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "batch.h"
#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "gather.h"
#include "pause.h"
#include "recipe.h"
#include "wait.h"

#define QUEUE_MAX  ((size_t)64 << 20)
#define NAP_MS	   1000
#define NODE_BYTES 64 /* what one takes besides, about */

struct node {
	struct node *next;
	size_t len;
	uint8_t data[];
};

struct queue {
	struct node *first, **last;
	size_t bytes;
};

/* how a thread ended */
struct end {
	bool ended;
	int r;
	struct rb_err err;
};

struct state {
	struct rb_incoming *incoming;
	struct rb_gather *gather;
	struct rb_wait until_stopped;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int event_fd;
	struct queue frames, wants;
	bool all_came, stopped;
	struct end placed, checked;

	struct rb_conn *conn;
	const struct rb_wait *wait;
	struct rb_pause pause;
	struct rb_err *err;
};

static void put(struct queue *queue, struct node *node)
{
	node->next = NULL;
	*queue->last = node;
	queue->last = &node->next;
	queue->bytes += NODE_BYTES + node->len;
}

static struct node *take(struct queue *queue)
{
	struct node *node = queue->first;

	if (!node)
		return NULL;
	queue->first = node->next;
	if (!queue->first)
		queue->last = &queue->first;
	queue->bytes -= NODE_BYTES + node->len;
	return node;
}

static struct node *new_node(const void *data, size_t len)
{
	struct node *node = malloc(sizeof(*node) + len);

	if (!node)
		return NULL;
	node->len = len;
	memcpy(node->data, data, len);
	return node;
}

static void empty(struct queue *queue)
{
	struct node *node;

	while ((node = take(queue)) != NULL)
		free(node);
}

/* --- the threads --- */

static int on_want(void *arg, const uint8_t *record, size_t len, struct rb_err *err)
{
	struct state *s = arg;
	struct node *node = new_node(record, len);

	if (!node)
		return rb_err_set(err, -ENOMEM, "answer a recipe");
	pthread_mutex_lock(&s->lock);
	put(&s->wants, node);
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->event_fd, 1);
	return 0;
}

/* Return: the next frame; NULL after the last */
static struct node *next_frame(struct state *s, bool *ret_stopped)
{
	struct node *node;

	pthread_mutex_lock(&s->lock);
	while (!s->frames.first && !s->all_came && !s->stopped)
		pthread_cond_wait(&s->changed, &s->lock);
	*ret_stopped = s->stopped;
	node = s->stopped ? NULL : take(&s->frames);
	pthread_mutex_unlock(&s->lock);
	return node;
}

static int place_all(struct state *s, struct rb_err *err)
{
	struct node *node;
	bool stopped;

	if (s->incoming->prepare)
		s->incoming->prepare(s->incoming->arg, &s->until_stopped);
	while ((node = next_frame(s, &stopped)) != NULL) {
		int r = rb_gather_record(s->gather, node->data, node->len, err);

		free(node);
		if (r < 0)
			return r;
	}
	if (stopped)
		return rb_err_code(err, RB_E_CANCELED, -ECANCELED, "cancelled");
	return rb_gather_end(s->gather, err);
}

static void note_end(struct state *s, struct end *end, int r, const struct rb_err *err)
{
	pthread_mutex_lock(&s->lock);
	end->r = r;
	end->err = *err;
	end->ended = true;
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->event_fd, 1);
}

static void *run_place(void *arg)
{
	struct state *s = arg;
	struct rb_err err = {};
	int r = place_all(s, &err);

	note_end(s, &s->placed, r, &err);
	return NULL;
}

static void *run_check(void *arg)
{
	struct state *s = arg;
	struct rb_err err = {};
	int r = rb_gather_check(s->gather, &err);

	note_end(s, &s->checked, r, &err);
	return NULL;
}

static void stop(struct state *s)
{
	pthread_mutex_lock(&s->lock);
	s->stopped = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->until_stopped.cancel_fd, 1);
	rb_gather_stop(s->gather);
}

/* --- the connection --- */

/* Return: 1 when something came */
static int hear(struct state *s)
{
	struct node *node = NULL;
	const void *block;
	ssize_t n;
	int r = 0;

	if (s->all_came || !rb_conn_readable(s->conn))
		return 0;
	n = rb_stream_read(s->conn, &block, s->wait, s->err);
	if (n < 0)
		return (int)n;
	if (n > 0) {
		node = new_node(block, (size_t)n);
		if (!node)
			return rb_err_set(s->err, -ENOMEM, "receive an image");
	}
	pthread_mutex_lock(&s->lock);
	if (node && s->frames.bytes + node->len > QUEUE_MAX)
		r = rb_err_code(s->err, RB_E_PROTOCOL, -EPROTO,
				"node '%s' sends more of an image than was asked for",
				rb_conn_peer(s->conn));
	if (node)
		put(&s->frames, node);
	else
		s->all_came = true;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return r < 0 ? r : 1;
}

/* Return: 1 when there was an answer */
static int answer(struct state *s)
{
	struct node *node;
	int r;

	pthread_mutex_lock(&s->lock);
	node = take(&s->wants);
	pthread_mutex_unlock(&s->lock);
	if (!node)
		return 0;
	r = rb_stream_write(s->conn, node->data, node->len, s->wait, s->err);
	free(node);
	return r < 0 ? r : 1;
}

/* Return: 1 when both threads have ended well, 0, or why one has not */
static int look_at_threads(struct state *s)
{
	const struct end *ends[] = { &s->placed, &s->checked };
	bool all = true;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < ARRAY_SIZE(ends) && r == 0; i++) {
		all = all && ends[i]->ended;
		if (ends[i]->ended && ends[i]->r < 0) {
			r = ends[i]->r;
			if (s->err)
				*s->err = ends[i]->err;
		}
	}
	all = all && !s->wants.first;
	pthread_mutex_unlock(&s->lock);
	return r < 0 ? r : all;
}

static int converse(struct state *s)
{
	for (;;) {
		int r = look_at_threads(s);

		if (r != 0)
			return r < 0 ? r : 0;
		r = answer(s);
		if (r == 0)
			r = hear(s);
		if (r == 0)
			/* behind the stream's end the peer may say something, but not to us */
			r = rb_pause(&s->pause, s->all_came, s->wait, s->err);
		if (r < 0)
			return r;
	}
}

static int run_threads(struct state *s)
{
	pthread_t places, checks;
	int r = rb_out_thread(&places, run_place, s, s->err);

	if (r < 0)
		return r;
	r = rb_out_thread(&checks, run_check, s, s->err);
	if (r == 0) {
		r = converse(s);
		stop(s);
		pthread_join(checks, NULL);
	}
	stop(s);
	pthread_join(places, NULL);
	return r;
}

/* Return: 0, 1 when it has to come again, negative errno */
static int say_result(struct state *s)
{
	struct rb_recipe_record record = { .kind = RB_RECIPE_RESULT };
	unsigned int wrong =
		rb_gather_wrong(s->gather, s->incoming->last ? NULL : &s->incoming->wrong);
	uint8_t bytes[RB_RECIPE_HEADER];
	int r;

	s->incoming->wrong_count = s->incoming->wrong ? wrong : 0;
	if (wrong)
		record.count = s->incoming->last ? 2 : 1;
	rb_recipe_encode_header(bytes, &record);
	r = rb_stream_write(s->conn, bytes, sizeof(bytes), s->wait, s->err);
	if (r < 0 || record.count < 2)
		return r < 0 ? r : record.count;
	return rb_err_code(s->err, RB_E_PROTOCOL, -EBADMSG,
			   "%u files of the image that node '%s' sent do not have the digest that "
			   "they should have; is the image on its disk damaged?",
			   wrong, rb_conn_peer(s->conn));
}

int rb_incoming_run(struct rb_incoming *incoming, struct rb_conn *conn, struct rb_gather **ret,
		    const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_close_ int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	_cleanup_close_ int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct state s = { .incoming = incoming,
			   .until_stopped.cancel_fd = stop_fd,
			   .lock = PTHREAD_MUTEX_INITIALIZER,
			   .changed = PTHREAD_COND_INITIALIZER,
			   .event_fd = event_fd,
			   .conn = conn,
			   .pause = { conn, event_fd, NAP_MS },
			   .wait = wait,
			   .err = err };
	struct rb_gather_options options = *incoming->options;
	int r;

	if (stop_fd < 0 || event_fd < 0)
		return rb_err_set(err, -EMFILE, "receive an image");
	s.frames.last = &s.frames.first;
	s.wants.last = &s.wants.first;
	options.want = on_want;
	options.arg = &s;
	r = rb_gather_new(&options, &s.gather, err);
	if (r < 0)
		return r;
	r = run_threads(&s);
	if (r == 0)
		r = say_result(&s);
	empty(&s.frames);
	empty(&s.wants);
	if (r == 0) {
		*ret = s.gather;
		return 0;
	}
	/* what a full disk does not have room for does not stay on it */
	if (r == -ENOSPC)
		rb_gather_forget(s.gather);
	rb_gather_free(s.gather);
	return r;
}
