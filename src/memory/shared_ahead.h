/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_ahead.h - threads that hash shared memory from its end on, while who compares it begins at
 * the beginning (inside of memory/ only)
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shared_internal.h"

enum { RB_AHEAD_BYTES = 2 << 20, RB_AHEAD_PAGES = RB_AHEAD_BYTES / RB_PAGE_SIZE };

struct rb_ahead;

/**
 * rb_ahead_start - begin with all objects that are mapped; nobody writes to them
 *
 * The objects stay as they are until rb_ahead_end(). Return: NULL where that does not help, or
 * there is no memory for it.
 */
struct rb_ahead *rb_ahead_start(struct rb_shared *shared);
void rb_ahead_end(struct rb_ahead *ahead); /* NULL is allowed */

/**
 * rb_ahead_hashes - what was found out about a piece of RB_AHEAD_BYTES, the last one less
 * @ahead: NULL is allowed
 *
 * Waits for a thread that is at it.
 *
 * Return: hash of each page, none of which is a hole; NULL: the caller has to look for itself.
 */
const XXH128_hash_t *rb_ahead_hashes(struct rb_ahead *ahead, const struct rb_shared_object *object,
				     size_t piece);
