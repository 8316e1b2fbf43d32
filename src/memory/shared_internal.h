/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_internal.h - between what looks for shared memory (shared.c), and what looks for changes
 * in it (shared_walk.c)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define XXH_STATIC_LINKING_ONLY
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "ranges.h"
#include "record.h"

enum { RB_SHARED_MAX = 256, RB_SHARED_CHUNK = 64 };

struct rb_shared_object {
	dev_t device;
	struct rb_object is;
	int number, fd;
	bool seen;
	/* as the target has it */
	XXH128_hash_t *sent; /* of each page; all zero: it reads as zero */
	size_t pages;
	struct rb_ranges content, next; /* where there may be other pages; of a walk under way */
	uint8_t *map;			/* when it stands still, or NULL */
	size_t map_len;
};

struct rb_shared {
	dev_t device; /* of all such objects */
	int last_number;
	struct rb_shared_object *list[RB_SHARED_MAX];
	size_t n;
	XXH128_hash_t zero; /* hash of a page of zeros */
	uint8_t secret[XXH3_SECRET_DEFAULT_SIZE];
	uint8_t chunk[RB_SHARED_CHUNK * RB_PAGE_SIZE] __attribute__((aligned(64)));
};

/** rb_shared_hash - of a page */
static inline XXH128_hash_t rb_shared_hash(const struct rb_shared *shared, const uint8_t *page)
{
	return XXH3_128bits_withSecret(page, RB_PAGE_SIZE, shared->secret, sizeof(shared->secret));
}
