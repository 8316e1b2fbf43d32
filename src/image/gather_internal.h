/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gather_internal.h - what the files of an archive that is put together share
 *
 * gather.c        records and items: the order of things
 * gather_find.c   where a chunk is to be had here
 * gather_check.c  digests, and the archive as it is read
 */
#pragma once

#include <pthread.h>
#include <zstd.h>

#include "cdc.h"
#include "gather.h"

#define RB_GATHER_OBJECTS 512
#define RB_GATHER_PARTS	  (2 * RB_GATHER_OBJECTS + 2)
#define RB_GATHER_AROUND  ((uint64_t)64 << 20) /* bytes of the archive around the objects */
#define RB_GATHER_PENDING 128		       /* batches whose chunks have not all come */
#define RB_GATHER_RECENT  (1 << 16)	       /* chunks of this transfer that are remembered */

enum rb_verdict {
	RB_UNKNOWN,
	RB_RIGHT,
	RB_WRONG,
};

struct rb_gather_object {
	uint8_t key[RB_DIGEST_BYTES];
	enum rb_object_form form;
	uint64_t size;
	uint64_t had; /* bytes that an earlier transfer left */
	bool whole;   /* nothing that is here is taken for it */
	int fd;
	enum rb_verdict verdict; /* of the checking thread */
};

struct rb_pending_chunk {
	uint8_t id[RB_CHUNK_ID_BYTES];
	uint32_t len;
	uint32_t object;
	uint64_t offset;
	bool is_copy; /* not asked for: one that was asked for before has the same content, and is
		       */
	uint32_t from_object;
	uint64_t from_offset;
};

/* chunks of one batch that were asked for, and copies of such */
struct rb_pending {
	struct rb_pending *next;
	uint32_t batch;
	uint32_t count, at; /* at: the one that comes next */
	struct rb_pending_chunk chunks[];
};

struct rb_recent {
	uint8_t id[RB_CHUNK_ID_BYTES];
	uint32_t len; /* 0: nothing */
	uint32_t object;
	uint64_t offset;
	bool is_pending; /* asked for, and has not come */
};

struct rb_gather {
	struct rb_gather_options options;

	/* of the thread that hands in records */
	uint64_t offset; /* in the object that is open */
	size_t unasked;	 /* bytes written since the disk was asked for its room */
	bool is_open;
	uint32_t next_batch;
	struct rb_pending *pending, **pending_last;
	unsigned int pending_count;
	struct rb_recent *recent; /* RB_GATHER_RECENT */
	struct rb_digest *digest;
	ZSTD_DCtx *items_zstd, *block_zstd;
	uint8_t *raw;	/* RB_RECIPE_RAW_MAX: a record as it was */
	uint8_t *chunk; /* RB_CHUNK_MAX: one that was found here */

	/* the archive: objects, and what is around them */
	struct rb_gather_object objects[RB_GATHER_OBJECTS];
	int around_fd;
	uint64_t around_len;
	uint64_t objects_len; /* sizes of the objects so far */
	struct {
		int object; /* or -1: around */
		uint64_t len;
	} parts[RB_GATHER_PARTS];
	unsigned int parts_count;

	/* between both threads */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int objects_count;
	unsigned int mark_object; /* up to here everything is in place: all of the objects */
	uint64_t mark_offset;	  /* before it, and of it so much */
	bool ended, stopped;

	/* reading */
	unsigned int read_part;
	uint64_t read_offset, read_around;
	bool gives;
};

enum rb_found {
	RB_FOUND_NOT,
	RB_FOUND,	/* in gather->chunk */
	RB_FOUND_THERE, /* it even is where it belongs */
	RB_FOUND_COMES, /* it was asked for; *ret_from says where it will be */
};

/** rb_gather_find - a chunk that belongs at the open object's offset
 * @ret_from: valid until the next rb_gather_remember() */
enum rb_found rb_gather_find(struct rb_gather *gather, const uint8_t *id, uint32_t len,
			     const struct rb_recent **ret_from);

/** rb_gather_remember - a chunk of this transfer is, or will be, there. One that is remembered
 * stays as it is, so that copies refer to what comes first. */
void rb_gather_remember(struct rb_gather *gather, const uint8_t *id, uint32_t len, uint32_t object,
			uint64_t offset, bool is_pending);

/** rb_gather_has_come - what was remembered as pending is there */
void rb_gather_has_come(struct rb_gather *gather, const struct rb_pending_chunk *chunk);
