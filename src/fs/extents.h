/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extents.h - where the blocks of a file are on its disk (inside of fs/ only)
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "bits.h"

struct extent {
	uint64_t logical, physical, len; /* bytes */
	uint32_t flags; /* FIEMAP_EXTENT_*, those that say something of the content */
};

struct extents {
	struct extent *list; /* in order */
	size_t n, size;
};

void extents_free(struct extents *extents);

/**
 * extents_read - the map of @fd, by FIEMAP, without having anything written
 *
 * Return: 0 or negative errno: -EOPNOTSUPP where the file system has none, -E2BIG for a map of more
 * than EXTENTS_MAX pieces, -EMEDIUMTYPE when content is kept elsewhere than in blocks.
 */
#define EXTENTS_MAX 65536
int extents_read(int fd, struct extents *ret);

/** extents_differ - add the blocks (of @block bytes) whose place differs to @ret */
void extents_differ(const struct extents *before, const struct extents *now, uint64_t block,
		    struct bits *ret);
