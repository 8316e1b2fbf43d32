/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_stream.h - what both ends of a tree's stream agree on, see tree.h (inside of fs/ only)
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TREE_HEAD_SIZE 16
#define TREE_MAGIC     "RBTREE2\n"

#define TREE_FILE "file" /* the only entry of a tree that is a single file */

/* attributes of archive entries that are no attributes of files */
#define TREE_SOCKET "reberth.socket" /* of a FIFO that stands for a socket */
#define TREE_KEEP   "reberth.keep"   /* of a file that may be patched in later rounds */
#define TREE_PATCHED                                                                \
	"reberth.patched" /* of a file whose content came as a patch in this stream \
			   */

#define PATCH_HEAD_SIZE	 2
#define PATCH_SIZE_SIZE	 8
#define PATCH_PIECE_SIZE 16
#define PATCH_HOLE	 (UINT64_C(1) << 63) /* in the length of a piece */

static inline void put_be(uint8_t *to, uint64_t value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)(value >> (8 * (len - 1 - i)));
}

static inline uint64_t get_be(const uint8_t *from, size_t len)
{
	uint64_t value = 0;

	for (size_t i = 0; i < len; i++)
		value = value << 8 | from[i];
	return value;
}
