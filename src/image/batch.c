// SPDX-License-Identifier: Apache-2.0
/*
 * batch.c - batches that go round, and the thread that packs what is wanted of them
 */
#include "batch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "cleanup.h"
#include "zstream.h"

static void list_init(struct rb_batches *list)
{
	list->first = NULL;
	list->last = &list->first;
}

/* Buffers get their memory when they are written first: a small image needs few. */
static int make_buffers(struct rb_out *out)
{
	for (int i = 0; i < RB_OUT_BATCHES; i++) {
		struct rb_batch *batch = &out->all[i];

		batch->items = malloc(RB_RECIPE_ITEMS_MAX);
		batch->frame = malloc(RB_RECIPE_RECORD_MAX);
		batch->data = malloc(RB_RECIPE_DATA_MAX);
		if (!batch->items || !batch->frame || !batch->data)
			return -ENOMEM;
		rb_out_put(out, &out->free, batch);
	}
	for (int i = 0; i < RB_OUT_BLOCKS; i++) {
		out->blocks[i].bytes = malloc(RB_RECIPE_RECORD_MAX);
		if (!out->blocks[i].bytes)
			return -ENOMEM;
	}
	return 0;
}

int rb_out_init(struct rb_out *out, struct rb_err *err)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_init(&out->lock, NULL);
	pthread_cond_init(&out->changed, NULL);
	list_init(&out->free);
	list_init(&out->cut);
	list_init(&out->wanted);
	rb_level_init(&out->level);
	out->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (out->event_fd < 0)
		return rb_err_set(err, -errno, "send an image");
	if (make_buffers(out) < 0)
		return rb_err_set(err, -ENOMEM, "send an image");
	out->under_way = 0;
	return 0;
}

void rb_out_free(struct rb_out *out)
{
	rb_close_fd(&out->event_fd);
	for (int i = 0; i < RB_OUT_BATCHES; i++) {
		free(out->all[i].items);
		free(out->all[i].frame);
		free(out->all[i].data);
	}
	for (int i = 0; i < RB_OUT_BLOCKS; i++)
		free(out->blocks[i].bytes);
	json_decref(out->manifest);
	pthread_cond_destroy(&out->changed);
	pthread_mutex_destroy(&out->lock);
}

void rb_out_wake(struct rb_out *out)
{
	eventfd_write(out->event_fd, 1);
}

void rb_out_stop(struct rb_out *out)
{
	pthread_mutex_lock(&out->lock);
	out->stopped = true;
	pthread_cond_broadcast(&out->changed);
	pthread_mutex_unlock(&out->lock);
}

struct rb_batch *rb_out_take(struct rb_out *out, struct rb_batches *list, bool block)
{
	struct rb_batch *batch;

	pthread_mutex_lock(&out->lock);
	while (block && !list->first && !out->stopped)
		pthread_cond_wait(&out->changed, &out->lock);
	batch = out->stopped ? NULL : list->first;
	if (batch) {
		list->first = batch->next;
		if (!list->first)
			list->last = &list->first;
		batch->next = NULL;
		if (list == &out->free)
			out->under_way++;
	}
	pthread_mutex_unlock(&out->lock);
	return batch;
}

void rb_out_put(struct rb_out *out, struct rb_batches *list, struct rb_batch *batch)
{
	pthread_mutex_lock(&out->lock);
	batch->next = NULL;
	*list->last = batch;
	list->last = &batch->next;
	if (list == &out->free)
		out->under_way--;
	pthread_cond_broadcast(&out->changed);
	pthread_mutex_unlock(&out->lock);
	rb_out_wake(out);
}

int rb_out_thread(pthread_t *ret, void *(*fn)(void *arg), void *arg, struct rb_err *err)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r ? rb_err_set(err, -r, "start a thread") : 0;
}

/* --- packing --- */

struct state {
	struct rb_out *out;
	struct rb_zstream packer;
	struct rb_level_block times; /* of the next block, so far */
	uint8_t *raw;		     /* RB_RECIPE_RAW_MAX */
};

static double now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static bool is_wanted(const struct rb_batch *batch, unsigned int i)
{
	return batch->want[i / 8] & (1 << i % 8);
}

/* Return: where to put the next block; NULL when stopped */
static uint8_t *wait_for_room(struct state *s)
{
	double began = now_ns(CLOCK_MONOTONIC);
	struct rb_out *out = s->out;
	uint8_t *bytes = NULL;

	pthread_mutex_lock(&out->lock);
	while (out->blocks_count == RB_OUT_BLOCKS && !out->stopped)
		pthread_cond_wait(&out->changed, &out->lock);
	if (!out->stopped)
		bytes = out->blocks[(out->blocks_first + out->blocks_count) % RB_OUT_BLOCKS].bytes;
	pthread_mutex_unlock(&out->lock);
	s->times.full_ns = now_ns(CLOCK_MONOTONIC) - began;
	return bytes;
}

static int choose_level(struct rb_out *out)
{
	int choice;

	pthread_mutex_lock(&out->lock);
	choice = rb_level_choose(&out->level);
	pthread_mutex_unlock(&out->lock);
	return choice;
}

static int pack_block(struct state *s, struct rb_recipe_record *record)
{
	uint8_t *bytes = wait_for_room(s);
	int choice = choose_level(s->out), len;
	double began, began_on_processor;
	struct rb_out *out = s->out;
	unsigned int last;

	if (!bytes)
		return -ECANCELED;
	began = now_ns(CLOCK_MONOTONIC);
	began_on_processor = now_ns(CLOCK_THREAD_CPUTIME_ID);
	len = rb_zstream_pack(&s->packer, rb_level_zstd(choice), record, s->raw, bytes);
	if (len < 0)
		return len;
	s->times.processor_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - began_on_processor;
	s->times.pack_ns = now_ns(CLOCK_MONOTONIC) - began;
	s->times.raw = record->raw_len;
	s->times.packed = record->len;
	pthread_mutex_lock(&out->lock);
	rb_level_packed(&out->level, choice, &s->times);
	last = (out->blocks_first + out->blocks_count++) % RB_OUT_BLOCKS;
	out->blocks[last].len = (size_t)len;
	out->blocks[last].raw_len = record->raw_len;
	pthread_mutex_unlock(&out->lock);
	s->times = (struct rb_level_block){};
	rb_out_wake(out);
	return 0;
}

static int pack_batch(struct state *s, const struct rb_batch *batch)
{
	struct rb_recipe_record record = { .kind = RB_RECIPE_BLOCK, .batch = batch->number };

	for (unsigned int i = 0; i < batch->count; i++) {
		uint32_t len = batch->chunks[i].len;

		if (!is_wanted(batch, i))
			continue;
		if (record.raw_len + len > RB_RECIPE_RAW_MAX) {
			int r = pack_block(s, &record);

			if (r < 0)
				return r;
			record.count = 0;
			record.raw_len = 0;
		}
		memcpy(s->raw + record.raw_len, batch->data + batch->chunks[i].at, len);
		record.raw_len += len;
		record.count++;
	}
	return record.count ? pack_block(s, &record) : 0;
}

/* Return: the next batch; NULL when stopped */
static struct rb_batch *wait_for_batch(struct state *s, bool is_first)
{
	double began = now_ns(CLOCK_MONOTONIC);
	struct rb_batch *batch = rb_out_take(s->out, &s->out->wanted, true);

	/* Docker's preparations say nothing of how fast it reads */
	if (!is_first)
		s->times.empty_ns += now_ns(CLOCK_MONOTONIC) - began;
	return batch;
}

static int pack_all(struct state *s)
{
	struct rb_batch *batch = wait_for_batch(s, true);
	int r = 0;

	while (batch && r == 0) {
		r = pack_batch(s, batch);
		rb_out_put(s->out, &s->out->free, batch);
		batch = r == 0 ? wait_for_batch(s, false) : NULL;
	}
	return r;
}

void *rb_out_pack(void *arg)
{
	struct rb_out *out = arg;
	struct state s = { .out = out, .raw = malloc(RB_RECIPE_RAW_MAX) };
	int r = rb_zstream_init(&s.packer, RB_ZSTREAM_WINDOW_LOG);

	r = r < 0 || !s.raw ? -ENOMEM : pack_all(&s);
	if (r < 0 && r != -ECANCELED) {
		pthread_mutex_lock(&out->lock);
		out->pack_error = r;
		pthread_mutex_unlock(&out->lock);
		rb_out_wake(out);
	}
	rb_zstream_free(&s.packer);
	free(s.raw);
	return NULL;
}
