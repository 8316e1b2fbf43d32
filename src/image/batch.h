/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.h - a batch of chunks from being cut until the target has them (internal to image/)
 *
 * Batches go round between three threads of the source, and there are only so many:
 *
 *	free -> cutter (fills it) -> cut -> main (sends the recipe, hears what is wanted)
 *	     -> wanted -> packer (makes blocks of it) -> free
 *
 * Whoever has to wait for one waits for `changed`, but main never does: it owns the connection, and
 * is woken by the event descriptor.
 */
#pragma once

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "level.h"
#include "recipe.h"

#define RB_OUT_BATCHES (RB_RECIPE_BATCHES + 2) /* one is filled, one goes round */
#define RB_OUT_BLOCKS  8		       /* packed, and not sent yet */
#define RB_OUT_OBJECTS 512

struct rb_batch {
	struct rb_batch *next;
	uint32_t number;
	uint8_t *items; /* RB_RECIPE_ITEMS_MAX */
	size_t items_len;
	uint8_t *frame; /* the recipe's record, RB_RECIPE_RECORD_MAX */
	size_t frame_len;
	uint8_t *data; /* RB_RECIPE_DATA_MAX */
	size_t data_len;
	size_t literal_len; /* bytes of objects that are in the recipe itself */
	uint16_t count;
	struct {
		uint32_t at, len;
		uint16_t object;
	} chunks[RB_RECIPE_CHUNKS_MAX];
	uint8_t want[RB_RECIPE_CHUNKS_MAX / 8];
};

struct rb_batches {
	struct rb_batch *first, **last;
};

struct rb_out {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int event_fd; /* something for main */
	bool stopped; /* all end, whatever they do */

	struct rb_batches free, cut, wanted;
	struct rb_batch all[RB_OUT_BATCHES];
	int under_way; /* batches that are not free */

	struct {
		uint8_t *bytes;
		size_t len, raw_len;
	} blocks[RB_OUT_BLOCKS];
	unsigned int blocks_first, blocks_count;
	struct rb_level level;

	/* the archive has been read, or that failed */
	bool cut_all;
	int cut_error;
	struct rb_err cut_err;
	int pack_error;

	struct {
		uint8_t key[RB_DIGEST_BYTES];
		uint64_t size;
	} objects[RB_OUT_OBJECTS];
	unsigned int objects_count;
	json_t *manifest; /* the archive's, once all is cut; may be NULL */
};

/** rb_out_init - Return: 0 or negative errno; rb_out_free() in both cases */
int rb_out_init(struct rb_out *out, struct rb_err *err);
void rb_out_free(struct rb_out *out);

/** rb_out_stop - whoever waits here waits no more */
void rb_out_stop(struct rb_out *out);

/** rb_out_take - the oldest of a list; NULL when there is none, and none came while it was waited
 * for (with @block) */
struct rb_batch *rb_out_take(struct rb_out *out, struct rb_batches *list, bool block);

/** rb_out_put - to the end of a list */
void rb_out_put(struct rb_out *out, struct rb_batches *list, struct rb_batch *batch);

/** rb_out_wake - something is there for main */
void rb_out_wake(struct rb_out *out);

/** rb_out_thread - pthread_create(3) without signals. Return: 0 or negative errno. */
int rb_out_thread(pthread_t *ret, void *(*fn)(void *arg), void *arg, struct rb_err *err);

/** rb_out_pack - the packer's thread; @arg: struct rb_out */
void *rb_out_pack(void *arg);
