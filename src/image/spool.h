/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.h - where an image's files wait until all of them are there (internal to image/)
 *
 * <state_dir>/images/spool/<64 digits>: one file for each object that is on its way, or was when
 * its transfer was cut. Nothing in it is believed: what is there is compared with what should be
 * before it is used. So there is no list of what is complete, and a file that somebody damaged is
 * mended.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "digest.h"

struct rb_err;

#define RB_SPOOL_RESERVE_BYTES ((uint64_t)64 << 20) /* of the disk, left to others */
#define RB_SPOOL_KEEP_S	       (24 * 3600)	    /* after the last write */

struct rb_spool {
	int dir_fd;
	char path[512];
	int docker_fd;	    /* Docker's folder, or negative */
	uint64_t announced; /* bytes of objects that Docker is to load */
	int patience_ms;    /* that are left for rb_spool_await() */
	bool gives;	    /* what Docker has taken can be given up, to its use */
};

/**
 * rb_spool_open - make the folder if need be
 * @docker_root: Docker's folder, which has to have room, too; NULL: nothing is to be received
 *
 * Return: 0 or negative errno.
 */
int rb_spool_open(struct rb_spool *spool, const char *state_dir, const char *docker_root,
		  struct rb_err *err);
void rb_spool_close(struct rb_spool *spool);

/** rb_spool_is_receiving - does somebody have it open to receive an image? Not by @spool itself,
 * which must not. */
bool rb_spool_is_receiving(struct rb_spool *spool);

/**
 * rb_spool_object - the file of an object, locked by us; another one without a name when somebody
 * else has that
 * @size: that it will have. Refused with RB_E_NO_SPACE when the disk would then have less than
 * RB_SPOOL_RESERVE_BYTES, or Docker's not enough to load all that was announced so far: it unpacks
 * the archive, and then the layers
 * @fresh: what is in it is thrown away
 * @ret_had: bytes from the beginning on that may be of use
 *
 * Return: descriptor or negative errno.
 */
int rb_spool_object(struct rb_spool *spool, const uint8_t key[RB_DIGEST_BYTES], uint64_t size,
		    bool fresh, uint64_t *ret_had, struct rb_err *err);

/**
 * rb_spool_await - give somebody else who has the object's file some seconds to end, before
 * rb_spool_object()
 * @stop: asked often; true: wait no longer
 */
void rb_spool_await(struct rb_spool *spool, const uint8_t key[RB_DIGEST_BYTES],
		    bool (*stop)(void *arg), void *arg);

/** rb_spool_has_room - does the disk have RB_SPOOL_RESERVE_BYTES still? Others write to it, too.
 * Return: 0, -ENOSPC/RB_E_NO_SPACE, another negative errno. */
int rb_spool_has_room(struct rb_spool *spool, struct rb_err *err);

/** rb_spool_must_give - is there room to load what was announced only if the files go meanwhile? */
bool rb_spool_must_give(const struct rb_spool *spool);

/** rb_spool_give - the first @bytes of an object are not needed any more, but the rest is */
void rb_spool_give(int fd, uint64_t bytes);

/** rb_spool_nameless - a file that ends with its descriptor. Return: descriptor, negative errno. */
int rb_spool_nameless(struct rb_spool *spool, struct rb_err *err);

/** rb_spool_forget - the object that @fd is open on is not needed any more */
void rb_spool_forget(struct rb_spool *spool, const uint8_t key[RB_DIGEST_BYTES], int fd);

/** rb_spool_tidy - what is older than RB_SPOOL_KEEP_S goes, and the oldest when all is
 * more than a quarter of the disk, but for what came in the last hour */
void rb_spool_tidy(struct rb_spool *spool);

/** rb_spool_sweep - remove what nobody has locked, or written to for @age_s seconds */
void rb_spool_sweep(struct rb_spool *spool, int64_t age_s);
