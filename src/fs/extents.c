// SPDX-License-Identifier: Apache-2.0
/*
 * extents.c - where the blocks of a file are on its disk
 */
#include "extents.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "cleanup.h"

#define BATCH 256

/* The others say how a piece is kept, or that it is the last one of a list. */
#define TELLING                                                                                \
	((uint32_t)(FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_UNWRITTEN | \
		    FIEMAP_EXTENT_ENCODED))
#define ELSEWHERE ((uint32_t)(FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL))

void extents_free(struct extents *extents)
{
	free(extents->list);
	*extents = (struct extents){};
}

static int add(struct extents *extents, const struct fiemap_extent *e)
{
	if (e->fe_flags & ELSEWHERE)
		return -EMEDIUMTYPE;
	if (extents->n == EXTENTS_MAX)
		return -E2BIG;
	if (extents->n == extents->size) {
		size_t size = extents->size ? extents->size * 2 : 16;
		struct extent *list = reallocarray(extents->list, size, sizeof(*list));

		if (!list)
			return -ENOMEM;
		extents->list = list;
		extents->size = size;
	}
	extents->list[extents->n++] = (struct extent){ .logical = e->fe_logical,
						       .physical = e->fe_physical,
						       .len = e->fe_length,
						       .flags = e->fe_flags & TELLING };
	return 0;
}

int extents_read(int fd, struct extents *ret)
{
	_cleanup_(extents_free) struct extents extents = {};
	_cleanup_free_ struct fiemap *map =
		malloc(sizeof(*map) + BATCH * sizeof(struct fiemap_extent));
	uint64_t at = 0;

	if (!map)
		return -ENOMEM;
	for (bool last = false; !last;) {
		*map = (struct fiemap){ .fm_start = at,
					.fm_length = FIEMAP_MAX_OFFSET - at,
					.fm_extent_count = BATCH };
		if (ioctl(fd, FS_IOC_FIEMAP, map) < 0)
			return errno == ENOTTY ? -EOPNOTSUPP : -errno;
		last = map->fm_mapped_extents == 0;
		for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
			const struct fiemap_extent *e = &map->fm_extents[i];
			int r = add(&extents, e);

			if (r < 0)
				return r;
			last |= (e->fe_flags & FIEMAP_EXTENT_LAST) != 0;
			at = e->fe_logical + e->fe_length;
		}
	}
	extents_free(ret);
	*ret = extents;
	extents = (struct extents){};
	return 0;
}

/* What is at @at, and until where: the place, or a hole. Moves *@i to the piece. */
static struct extent piece_at(const struct extents *extents, size_t *i, uint64_t at,
			      uint64_t *ret_end)
{
	const struct extent *e;

	while (*i < extents->n && extents->list[*i].logical + extents->list[*i].len <= at)
		(*i)++;
	if (*i == extents->n) {
		*ret_end = UINT64_MAX;
		return (struct extent){};
	}
	e = &extents->list[*i];
	if (e->logical > at) {
		*ret_end = e->logical;
		return (struct extent){};
	}
	*ret_end = e->logical + e->len;
	return (struct extent){ .physical = e->physical + (at - e->logical),
				.len = 1,
				.flags = e->flags };
}

void extents_differ(const struct extents *before, const struct extents *now, uint64_t block,
		    struct bits *ret)
{
	size_t i = 0, k = 0;

	for (uint64_t at = 0, end; at / block < ret->n; at = end) {
		uint64_t end_before, end_now;
		struct extent a = piece_at(before, &i, at, &end_before);
		struct extent b = piece_at(now, &k, at, &end_now);

		end = end_before < end_now ? end_before : end_now;
		if (a.len != b.len || a.physical != b.physical || a.flags != b.flags)
			bits_add(ret, at / block,
				 end > UINT64_MAX - block ? ret->n : (end + block - 1) / block);
	}
}
