/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks.h - what the other side has of the large files of a tree, so that only what differs
 * travels
 *
 * The sender keeps, for each large file that it sent, a hash of every block (4 KiB in a file of up
 * to 1 GiB). When the file is sent again only blocks whose hash differs travel, and they are
 * written into the file that the receiver has. Which blocks have to be read at all is told by the
 * kernel (dirty.h); where it cannot tell, all are.
 *
 * Memory: 16 bytes a block, at most 4 MiB a file when it is sent first (so a file of 1 TiB has
 * blocks of 4 MiB, and costs 4 MiB), 64 MiB a tree. Files that have no room in it travel whole, as
 * do files of less than 1 MiB and those with several names.
 *
 * The hash is XXH3-128 with a random secret of each object: nobody can make two blocks that have
 * the same one, though the hash is not a cryptographic one, without knowing the secret, which never
 * leaves this process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define RB_BLOCKS_PROMISES 60000 /* from there on large files travel whole each time */

struct rb_blocks;
struct rb_err;

/**
 * rb_blocks_new - for the rounds of one tree; handed to each rb_tree_send() of it
 * @promised: files that any tree of this migration ever sent so that the receiver has to keep them
 * in mind; it is counted up, and lives longer than this. The receiver's table is one for all trees.
 *
 * Return: 0 or negative errno.
 */
int rb_blocks_new(size_t *promised, struct rb_blocks **ret, struct rb_err *err);

/** rb_blocks_free - NULL is allowed */
void rb_blocks_free(struct rb_blocks *blocks);

/** rb_blocks_frozen - does who writes to the tree stand still? Then files are not written to disk
 * before they are sent, which would only make a later round cheaper. NULL is allowed. */
void rb_blocks_frozen(struct rb_blocks *blocks, bool frozen);

/**
 * rb_blocks_commit - the receiver has answered that it has what rb_tree_send() sent
 *
 * Without it the files of that send travel whole in the next one. NULL is allowed.
 */
void rb_blocks_commit(struct rb_blocks *blocks);

/** rb_blocks_why - why the kernel does not tell here what was written, or NULL if it does */
const char *rb_blocks_why(const struct rb_blocks *blocks);
