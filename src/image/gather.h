/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gather.h - the archive of an image, put together from what a peer sends and what is here
 * (internal to image/)
 *
 * One thread hands in records, another may check digests meanwhile (rb_gather_check()). The archive
 * is read when both are done.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "recipe.h"

struct rb_err;
struct rb_gather;
struct rb_layer_index;
struct rb_spool;

struct rb_gather_options {
	struct rb_spool *spool; /* NULL: nothing is written, only asked what would be wanted */
	struct rb_layer_index *index; /* NULL: there is none */
	const json_t *layers;	      /* diff IDs: what files of the form RB_OBJECT_LEGACY may be */
	uint64_t bytes_max;	      /* of all files; 0: any */
	/* files (by their keys) of which everything is wanted, whatever is here */
	const uint8_t (*whole)[RB_DIGEST_BYTES];
	unsigned int whole_count;
	/* sends a WANT; 0 or negative errno */
	int (*want)(void *arg, const uint8_t *record, size_t len, struct rb_err *err);
	void *arg;
};

int rb_gather_new(const struct rb_gather_options *options, struct rb_gather **ret,
		  struct rb_err *err);
void rb_gather_free(struct rb_gather *gather);

/** rb_gather_stop - both threads end soon; from any thread */
void rb_gather_stop(struct rb_gather *gather);

/** rb_gather_record - what the peer sent as one DATA frame. Return: 0 or negative errno. */
int rb_gather_record(struct rb_gather *gather, const uint8_t *data, size_t len, struct rb_err *err);

/** rb_gather_end - the peer has said that this was all. Return: 0 or negative errno. */
int rb_gather_end(struct rb_gather *gather, struct rb_err *err);

/**
 * rb_gather_check - compare digests of what is complete, until all is
 *
 * Ends after rb_gather_end(), or rb_gather_stop(). Return: 0, negative errno.
 */
int rb_gather_check(struct rb_gather *gather, struct rb_err *err);

/** rb_gather_wrong - objects whose digest is wrong; valid after both have ended
 * @ret: their keys, malloc'd; NULL without any, or without memory; may be NULL
 *
 * Return: how many */
unsigned int rb_gather_wrong(const struct rb_gather *gather, uint8_t (**ret)[RB_DIGEST_BYTES]);

/** rb_gather_read - next bytes of the archive. Return: their number, 0 at the end, negative errno.
 */
ssize_t rb_gather_read(struct rb_gather *gather, void *buf, size_t size);

/** rb_gather_skip - pass over some of the archive. Return: how much; less at its end. */
uint64_t rb_gather_skip(struct rb_gather *gather, uint64_t bytes);

/**
 * rb_gather_object - an object of the archive that has the digest that it should have
 *
 * Return: its number, -ENOENT.
 */
int rb_gather_object(const struct rb_gather *gather, enum rb_object_form form,
		     const uint8_t key[RB_DIGEST_BYTES], uint64_t *ret_size);

/** rb_gather_pread - bytes of an object, from @offset on. Return: their number, negative errno. */
ssize_t rb_gather_pread(struct rb_gather *gather, int object, void *buf, size_t size,
			uint64_t offset);

/** rb_gather_give - what of an object rb_gather_pread() has read from now on is not needed again,
 * nor is what is before it: it goes from the disk */
void rb_gather_give(struct rb_gather *gather);

/** rb_gather_forget - what is in the spool is not needed any more: Docker has it, or there is no
 * room for it */
void rb_gather_forget(struct rb_gather *gather);
