/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks_internal.h - the hashes of one file at work (inside of fs/ only)
 */
#pragma once

#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "bits.h"
#include "blocks.h"

#define BLOCKS_MIN_FILE ((uint64_t)1 << 20)
#define BLOCKS_READ	((size_t)256 << 10) /* at once; a larger block is a piece of its own */

struct block_file;

/** blocks_begin - a send begins: what was sent and not committed is forgotten */
void blocks_begin(struct rb_blocks *blocks);

/**
 * blocks_add - the file will be sent: know it, if there is room
 * @fd: open for reading
 *
 * Return: 1; 0 if it has to travel without; negative errno.
 */
int blocks_add(struct rb_blocks *blocks, int fd);

/** blocks_touch - before blocks_prune(): this file is in the tree, by whatever path */
void blocks_touch(struct rb_blocks *blocks, dev_t dev, ino_t ino);

/** blocks_prune - before more are added: those that were not touched, and are gone from where they
 * were, take no room any more */
void blocks_prune(struct rb_blocks *blocks,
		  bool (*is_gone)(void *arg, const char *path, dev_t dev, ino_t ino), void *arg);

/** blocks_watch - all were added: let the kernel tell of them from now on */
void blocks_watch(struct rb_blocks *blocks);

/** blocks_drain - between reads, so that the kernel's notes do not overflow; NULL is allowed */
void blocks_drain(struct rb_blocks *blocks);

/** blocks_find - a file that was added, or NULL */
struct block_file *blocks_find(struct rb_blocks *blocks, dev_t dev, ino_t ino);

/** blocks_drop - the file travels without; NULL is allowed */
void blocks_drop(struct rb_blocks *blocks, struct block_file *file);

/** blocks_is_sent - does the receiver have this file at @path? */
bool blocks_is_sent(const struct block_file *file, const char *path);

/**
 * blocks_start - look at the file now, before it is read
 * @fd: open for reading
 * @whole: it travels whole, and the receiver will keep it in mind: then blocks_feed() follows for
 * all of it, else blocks_differs()
 * @ret: blocks that have to be compared; all, where it is not known. Not with @whole.
 *
 * Return: 0; 1 when the kernel has told; negative errno, -EFBIG when it has become too large for
 * this, or the receiver has too much to keep in mind.
 */
int blocks_start(struct rb_blocks *blocks, struct block_file *file, int fd, uint64_t size,
		 bool whole, struct bits *ret);

/** blocks_size - bytes of a block */
uint64_t blocks_size(const struct block_file *file);

/** blocks_differs - is block @i, whose content is @data, another than the receiver has? It is taken
 * to be sent if so. */
bool blocks_differs(struct rb_blocks *blocks, struct block_file *file, size_t i, const void *data,
		    size_t len);

/** blocks_differs_zeros - the same for a block of zeros, without any data */
bool blocks_differs_zeros(struct rb_blocks *blocks, struct block_file *file, size_t i, size_t len);

/** blocks_feed - the next data of a file that travels whole; what is left out is a hole */
void blocks_feed(struct rb_blocks *blocks, struct block_file *file, uint64_t offset,
		 const void *data, size_t len);

/** blocks_done - all of it was put into the stream, as @path. Return: 0 or -ENOMEM */
int blocks_done(struct rb_blocks *blocks, struct block_file *file, const char *path);
