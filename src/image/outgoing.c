// SPDX-License-Identifier: Apache-2.0
/*
 * outgoing.c - the archive of an image on its way to a peer
 *
 * Three threads: the cutter reads the archive and cuts it into batches (cutter.c), the packer
 * compresses what is wanted of them (batch.c), and this one, the caller's, owns the connection. It
 * sends recipes, at most RB_RECIPE_BATCHES ahead of what the peer has, hears which chunks are
 * wanted, and sends these. So all that is in memory stands for 32 MiB at most, and the peer has no
 * more to keep either.
 *
 * This thread waits for the connection, the other threads and the cancel at once, and looks after
 * the connection each second: a peer whose disk is slow is not a peer that is gone. Blocks go
 * before recipes, or what was asked for would wait behind new questions.
 */
#include "outgoing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "batch.h"
#include "cleanup.h"
#include "conn.h"
#include "cutter.h"
#include "image.h"
#include "pause.h"
#include "recipe.h"
#include "wait.h"

#define PROGRESS_MS 100

struct state {
	struct rb_out out;
	struct rb_conn *conn;
	const struct rb_wait *wait;
	const struct rb_image_send_options *options;
	struct rb_image_stats *stats; /* the caller's, or: */
	struct rb_image_stats own_stats;
	uint64_t missing[RB_OUT_OBJECTS]; /* bytes of each object that the peer wants */
	struct rb_batches asked;	  /* recipes without an answer, oldest first */
	unsigned int sent_recipes, open;  /* open: of these, not free again */
	struct rb_pause pause;
	int64_t shown_ms, sent_us;
	struct rb_err *err;
};

static bool is_dry_run(const struct state *s)
{
	return s->options && s->options->dry_run;
}

/* --- what the peer says --- */

static void count_batch(struct state *s, const struct rb_batch *batch)
{
	struct rb_image_stats *stats = s->stats;

	stats->bytes_done += batch->literal_len;
	stats->bytes_missing += batch->literal_len;
	for (unsigned int i = 0; i < batch->count; i++) {
		uint32_t len = batch->chunks[i].len;

		if (batch->want[i / 8] & (1 << i % 8)) {
			stats->bytes_missing += len;
			s->missing[batch->chunks[i].object] += len;
			/* what is sent is done when it is */
			stats->bytes_done += is_dry_run(s) ? len : 0;
		} else {
			stats->bytes_found += len;
			stats->bytes_done += len;
		}
	}
}

static bool wants_none(const struct rb_batch *batch)
{
	for (size_t i = 0; i < ((size_t)batch->count + 7) / 8; i++)
		if (batch->want[i])
			return false;
	return true;
}

static int take_want(struct state *s, const struct rb_recipe_record *record)
{
	struct rb_batch *batch = s->asked.first;

	if (!batch || record->kind != RB_RECIPE_WANT || record->batch != batch->number ||
	    record->count != batch->count)
		return rb_err_code(s->err, RB_E_PROTOCOL, -EPROTO,
				   "node '%s' answered what it was not asked",
				   rb_conn_peer(s->conn));
	memset(batch->want, 0, sizeof(batch->want));
	memcpy(batch->want, record->payload, record->len);
	s->asked.first = batch->next;
	if (!s->asked.first)
		s->asked.last = &s->asked.first;
	count_batch(s, batch);
	rb_out_put(&s->out, is_dry_run(s) || wants_none(batch) ? &s->out.free : &s->out.wanted,
		   batch);
	return 0;
}

static int hear_record(struct state *s, struct rb_recipe_record *ret)
{
	const void *block;
	ssize_t n = rb_stream_read(s->conn, &block, s->wait, s->err);

	if (n < 0)
		return (int)n;
	return rb_recipe_decode(block, (size_t)n, ret, s->err);
}

/* Return: 1 when something came */
static int hear(struct state *s)
{
	struct rb_recipe_record record;
	int r;

	if (!rb_conn_readable(s->conn))
		return 0;
	r = hear_record(s, &record);
	if (r == 0)
		r = take_want(s, &record);
	return r < 0 ? r : 1;
}

/* --- what we say --- */

/* Return: 1 when there was a block */
static int send_block(struct state *s)
{
	struct rb_out *out = &s->out;
	const uint8_t *bytes = NULL;
	size_t len = 0, raw_len = 0;
	int64_t began_us, ended_us;
	int r;

	pthread_mutex_lock(&out->lock);
	if (out->blocks_count) {
		bytes = out->blocks[out->blocks_first].bytes;
		len = out->blocks[out->blocks_first].len;
		raw_len = out->blocks[out->blocks_first].raw_len;
	}
	pthread_mutex_unlock(&out->lock);
	if (!bytes)
		return 0;
	began_us = rb_now_us();
	r = rb_stream_write(s->conn, bytes, len, s->wait, s->err);
	if (r < 0)
		return r;
	ended_us = rb_now_us();
	s->stats->bytes_packed += len;
	s->stats->bytes_done += raw_len;
	pthread_mutex_lock(&out->lock);
	out->blocks_first = (out->blocks_first + 1) % RB_OUT_BLOCKS;
	out->blocks_count--;
	rb_level_sent(&out->level, len,
		      (double)(ended_us - (s->sent_us ? s->sent_us : began_us)) * 1000,
		      (double)(ended_us - began_us) * 1000);
	pthread_cond_broadcast(&out->changed);
	pthread_mutex_unlock(&out->lock);
	s->sent_us = ended_us;
	return 1;
}

static unsigned int batches_open(struct state *s)
{
	int n;

	pthread_mutex_lock(&s->out.lock);
	n = s->out.under_way;
	for (const struct rb_batch *batch = s->out.cut.first; batch; batch = batch->next)
		n--;
	n -= !s->out.cut_all; /* the one that is being filled */
	pthread_mutex_unlock(&s->out.lock);
	return n > 0 ? (unsigned int)n : 0;
}

/* Return: 1 when there was a recipe, and it may go */
static int send_recipe(struct state *s)
{
	struct rb_batch *batch;
	int r;

	if (batches_open(s) >= RB_RECIPE_BATCHES)
		return 0;
	batch = rb_out_take(&s->out, &s->out.cut, false);
	if (!batch)
		return 0;
	r = rb_stream_write(s->conn, batch->frame, batch->frame_len, s->wait, s->err);
	s->stats->bytes_packed += batch->frame_len;
	batch->next = NULL;
	*s->asked.last = batch;
	s->asked.last = &batch->next;
	return r < 0 ? r : 1;
}

/* --- the loop --- */

/* Return: 1 when all is sent, 0, or why the cutter or the packer failed */
static int look_at_threads(struct state *s)
{
	struct rb_out *out = &s->out;
	int r = 0;

	pthread_mutex_lock(&out->lock);
	if (out->cut_all && out->cut_error < 0) {
		r = out->cut_error;
		if (s->err)
			*s->err = out->cut_err;
	} else if (out->pack_error < 0) {
		r = rb_err_set(s->err, out->pack_error, "send an image");
	} else if (out->cut_all && out->under_way == 0 && out->blocks_count == 0) {
		r = 1;
	}
	pthread_mutex_unlock(&out->lock);
	return r;
}

static void show(struct state *s)
{
	struct rb_image_stats *stats = s->stats;
	uint64_t announced = 0;
	int64_t now = rb_now_ms();

	if (!s->options || !s->options->progress || now < s->shown_ms + PROGRESS_MS)
		return;
	s->shown_ms = now;
	pthread_mutex_lock(&s->out.lock);
	for (unsigned int i = 0; i < s->out.objects_count; i++)
		announced += s->out.objects[i].size;
	if (s->out.cut_all || announced > stats->bytes_total)
		stats->bytes_total = announced;
	stats->exact = s->out.cut_all;
	pthread_mutex_unlock(&s->out.lock);
	s->options->progress(s->options->arg, stats);
}

static int converse(struct state *s)
{
	for (;;) {
		int r = look_at_threads(s);

		if (r != 0)
			return r < 0 ? r : 0;
		r = hear(s);
		if (r == 0)
			r = send_block(s);
		if (r == 0)
			r = send_recipe(s);
		if (r == 0)
			r = rb_pause(&s->pause, false, s->wait, s->err);
		if (r < 0)
			return r;
		show(s);
	}
}

/* the peer checks the digests, and says how that went */
static int hear_result(struct state *s)
{
	struct rb_recipe_record record;
	int r = rb_stream_end(s->conn, s->wait, s->err);

	while (r == 0 && !rb_conn_readable(s->conn)) {
		r = rb_pause(&s->pause, false, s->wait, s->err);
		show(s);
	}
	if (r == 0)
		r = hear_record(s, &record);
	if (r < 0)
		return r;
	if (record.kind != RB_RECIPE_RESULT)
		return rb_err_code(s->err, RB_E_PROTOCOL, -EPROTO,
				   "node '%s' does not say whether it has the image",
				   rb_conn_peer(s->conn));
	if (record.count < 2)
		return record.count;
	/* its words follow */
	r = hear_record(s, &record);
	return r < 0 ? r : rb_err_code(s->err, RB_E_PROTOCOL, -EPROTO, "an error was announced");
}

static int run_threads(struct state *s, struct rb_cutter *cutter)
{
	pthread_t reads, packs;
	int r = rb_out_thread(&reads, rb_cutter_run, cutter, s->err);

	if (r < 0)
		return r;
	r = rb_out_thread(&packs, rb_out_pack, &s->out, s->err);
	if (r == 0) {
		r = converse(s);
		rb_out_stop(&s->out);
		eventfd_write(cutter->wait->cancel_fd, 1);
		pthread_join(packs, NULL);
	}
	rb_out_stop(&s->out);
	eventfd_write(cutter->wait->cancel_fd, 1);
	pthread_join(reads, NULL);
	return r < 0 ? r : hear_result(s);
}

/* which layer a file of the archive is, as its manifest says: its diff ID or NULL */
static json_t *diff_id_of(const struct state *s, const char *hex, const json_t *layers)
{
	const json_t *files = json_object_get(json_array_get(s->out.manifest, 0), "Layers");
	const json_t *file;
	size_t i;

	json_array_foreach (files, i, file)
		if (json_is_string(file) && strstr(json_string_value(file), hex))
			return json_array_get(layers, i);
	return NULL;
}

static void fill_stats(struct state *s, const struct rb_outgoing *outgoing)
{
	struct rb_image_stats *stats = s->stats;

	stats->bytes_total = 0;
	stats->exact = true;
	stats->layers_sent = 0;
	stats->layers_present = outgoing->skip_layers > 0 ? outgoing->skip_layers : 0;
	json_decref(stats->layers);
	stats->layers = json_array();
	for (unsigned int i = 0; i < s->out.objects_count; i++) {
		char hex[RB_DIGEST_DIGITS + 1];
		json_t *diff_id;

		rb_hex_encode(s->out.objects[i].key, hex);
		diff_id = diff_id_of(s, hex, outgoing->layers);
		stats->layers_sent += diff_id != NULL;
		stats->bytes_total += s->out.objects[i].size;
		json_array_append_new(stats->layers,
				      json_pack("{s:o, s:O*, s:I, s:I}", "id",
						json_sprintf("sha256:%s", hex), "diff_id", diff_id,
						"size", (json_int_t)s->out.objects[i].size,
						"missing_bytes", (json_int_t)s->missing[i]));
	}
}

int rb_outgoing_run(struct rb_outgoing *outgoing, struct rb_conn *conn, const struct rb_wait *wait,
		    struct rb_err *err)
{
	_cleanup_close_ int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct rb_wait until_stopped = { .cancel_fd = stop_fd };
	_cleanup_free_ struct state *s = calloc(1, sizeof(*s));
	struct rb_cutter cutter = { .layers = outgoing->layers,
				    .skip_layers = outgoing->skip_layers,
				    .read = outgoing->read,
				    .arg = outgoing->arg,
				    .wait = &until_stopped };
	int r;

	if (!s || stop_fd < 0)
		return rb_err_set(err, -ENOMEM, "send an image");
	s->conn = conn;
	s->wait = wait;
	s->err = err;
	s->options = outgoing->options;
	s->stats = s->options && s->options->stats ? s->options->stats : &s->own_stats;
	s->stats->bytes_done = s->stats->bytes_found = s->stats->bytes_missing = 0;
	s->asked.last = &s->asked.first;
	cutter.out = &s->out;
	r = rb_out_init(&s->out, err);
	s->pause = (struct rb_pause){ conn, s->out.event_fd, PROGRESS_MS };
	s->out.level.fixed = outgoing->level;
	if (r == 0)
		r = run_threads(s, &cutter);
	if (r >= 0)
		fill_stats(s, outgoing);
	rb_out_free(&s->out);
	json_decref(s->own_stats.layers);
	return r;
}
