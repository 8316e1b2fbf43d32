// SPDX-License-Identifier: Apache-2.0
/* store_expect.c - pages of a store that are still at the source */
#include <errno.h>

#include "chunks.h"
#include "err.h"
#include "ranges.h"
#include "slots.h"
#include "store.h"
#include "store_internal.h"

/* Up to the end of its chunk: pages that the task has not follow each other for how long? */
static unsigned int absent_run(const struct rb_chunk *chunk, unsigned int first, uint64_t pages)
{
	unsigned int n = rb_chunk_run(~chunk->present, first);

	if (n > RB_CHUNK_PAGES - first)
		n = RB_CHUNK_PAGES - first;
	return n < pages ? n : (unsigned int)pages;
}

static int expect_in_chunk(struct rb_store *store, struct rb_chunk_map *map, struct rb_chunk *chunk,
			   uint64_t addr, unsigned int n)
{
	unsigned int first = RB_CHUNK_PAGE(addr);
	uint32_t slot;
	int done = rb_slots_expect(&store->slots, map->task, addr, n, &slot);

	for (int i = 0; i < done; i++)
		chunk->slots[first + (unsigned int)i] = slot + (uint32_t)i;
	if (done <= 0)
		return done;
	chunk->present |= rb_chunk_bits(first, (unsigned int)done);
	map->pages += (uint64_t)done;
	store->pages += (uint64_t)done;
	return done;
}

static int expect_range(struct rb_store *store, struct rb_chunk_map *map,
			const struct rb_range *range)
{
	for (uint64_t addr = range->start; addr < range->end;) {
		uint64_t left = (range->end - addr) / RB_PAGE_SIZE;
		struct rb_chunk *chunk = rb_chunk_make(map, &store->pool, RB_CHUNK_KEY(addr));
		unsigned int first = RB_CHUNK_PAGE(addr), n;
		int r;

		if (!chunk)
			return -ENOMEM;
		n = chunk->present >> first & 1 ? 0 : absent_run(chunk, first, left);
		r = n ? expect_in_chunk(store, map, chunk, addr, n) : 1;
		if (r < 0) {
			if (!chunk->present)
				rb_chunk_remove(map, &store->pool, chunk);
			return r;
		}
		addr += (uint64_t)r * RB_PAGE_SIZE;
	}
	return 0;
}

int rb_store_expect(struct rb_store *store, int task, const struct rb_ranges *ranges,
		    struct rb_err *err)
{
	struct rb_chunk_map *map = ranges->n ? rb_store_make_task(store, task) : NULL;
	int r = map || !ranges->n ? 0 : -ENOMEM;

	for (size_t i = 0; r >= 0 && i < ranges->n; i++)
		r = expect_range(store, map, &ranges->list[i]);
	return r < 0 ? rb_err_set(err, r, "note the pages that are still to come") : 0;
}

struct rb_expected *rb_store_expected(struct rb_store *store)
{
	return &store->slots.expected;
}

int rb_store_come(struct rb_store *store, uint32_t slot, uint32_t pages)
{
	const struct rb_expected *expected = &store->slots.expected;

	if (slot < expected->first || slot >= expected->end || pages > expected->end - slot)
		return -EINVAL;
	rb_slots_come(&store->slots, slot, pages);
	return 0;
}

size_t rb_store_missing(const struct rb_store *store, int task, uint64_t addr, size_t max,
			uint32_t *ret_slot)
{
	return rb_store_run(store, task, addr, max, true, ret_slot);
}

static size_t here_in_chunk(const struct rb_store *store, const struct rb_chunk *chunk,
			    struct rb_range *ret, size_t max)
{
	uint64_t base = chunk->key << RB_CHUNK_SHIFT;
	size_t n = 0;
	bool on = false;

	for (unsigned int i = 0; i < RB_CHUNK_PAGES; i++) {
		uint64_t addr = base + (uint64_t)i * RB_PAGE_SIZE;
		bool here = (chunk->present >> i & 1) &&
			    !rb_expected_missing(&store->slots.expected, chunk->slots[i]);

		if (here && !on && n == max)
			return n;
		if (here && !on)
			ret[n++].start = addr;
		if (here)
			ret[n - 1].end = addr + RB_PAGE_SIZE;
		on = here;
	}
	return n;
}

size_t rb_store_here(const struct rb_store *store, int task, struct rb_range *ret, size_t max)
{
	const struct rb_chunk_map *map = rb_store_find_task(store, task);
	size_t n = 0;

	for (const struct rb_chunk *chunk = map ? map->newest : NULL; chunk && n < max;
	     chunk = chunk->older)
		n += here_in_chunk(store, chunk, ret + n, max - n);
	return n;
}
