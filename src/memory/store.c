// SPDX-License-Identifier: Apache-2.0
/*
 * store.c - pages of arriving processes, until they are placed: the index
 *
 * A task has chunks of 64 pages (chunks.h), each page that is there a slot in the memfd (slots.h).
 * What covers a stretch of addresses walks its chunks by number where it is short, and all chunks
 * of the task where that is less work: processes unmap terabytes of which they have touched little.
 */
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "chunks.h"
#include "cleanup.h"
#include "err.h"
#include "ranges.h"
#include "slots.h"
#include "store_internal.h"

int rb_store_new(struct rb_store **ret, struct rb_err *err)
{
	struct rb_store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return rb_err_set(err, -ENOMEM, "make the page store");
	r = rb_slots_open(&store->slots, err);
	if (r < 0) {
		free(store);
		return r;
	}
	*ret = store;
	return 0;
}

void rb_store_free(struct rb_store *store)
{
	if (!store)
		return;
	for (size_t i = 0; i < store->n_tasks; i++) {
		free(store->tasks[i]->buckets);
		free(store->tasks[i]);
	}
	free(store->tasks);
	rb_chunk_pool_free(&store->pool);
	rb_slots_close(&store->slots);
	free(store);
}

void rb_store_hold(struct rb_store *store, bool hold)
{
	rb_slots_hold(&store->slots, hold);
}

void rb_store_dontfork(struct rb_store *store)
{
	rb_chunk_pool_dontfork(&store->pool);
	madvise(store->slots.map, (size_t)store->slots.limit * RB_PAGE_SIZE, MADV_DONTFORK);
}

int rb_store_fd(const struct rb_store *store)
{
	return store->slots.fd;
}

/* Index of @task, or of where it would have to be. */
static size_t task_place(const struct rb_store *store, int task)
{
	size_t low = 0, high = store->n_tasks;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (store->tasks[middle]->task < task)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct rb_chunk_map *rb_store_find_task(const struct rb_store *store, int task)
{
	size_t at = task_place(store, task);

	return at < store->n_tasks && store->tasks[at]->task == task ? store->tasks[at] : NULL;
}

struct rb_chunk_map *rb_store_make_task(struct rb_store *store, int task)
{
	struct rb_chunk_map *map = rb_store_find_task(store, task);
	size_t at = task_place(store, task);

	if (map)
		return map;
	if (store->n_tasks == store->tasks_size) {
		size_t size = store->tasks_size ? store->tasks_size * 2 : 16;
		struct rb_chunk_map **tasks =
			reallocarray(store->tasks, size, sizeof(struct rb_chunk_map *));

		if (!tasks)
			return NULL;
		store->tasks = tasks;
		store->tasks_size = size;
	}
	map = calloc(1, sizeof(*map));
	if (!map)
		return NULL;
	map->task = task;
	memmove(&store->tasks[at + 1], &store->tasks[at],
		(store->n_tasks - at) * sizeof(struct rb_chunk_map *));
	store->tasks[at] = map;
	store->n_tasks++;
	return map;
}

/* Puts @n pages, of which the chunk has all (alone) or none, in a row of slots each. Return: pages
 * done, at least one. */
static int put_run(struct rb_store *store, struct rb_chunk_map *map, struct rb_chunk *chunk,
		   unsigned int first, unsigned int n, const uint8_t *data)
{
	uint64_t bits;
	uint32_t slot;
	int done;

	done = rb_slots_write(&store->slots, data, n, &slot);
	if (done < 0)
		return done;
	bits = rb_chunk_bits(first, (unsigned int)done);
	for (unsigned int i = first; i < first + (unsigned int)done; i++) {
		if (chunk->present >> i & 1)
			rb_slots_put(&store->slots, chunk->slots[i], 1);
		chunk->slots[i] = slot++;
	}
	n = (unsigned int)__builtin_popcountll(bits & ~chunk->present);
	chunk->present |= bits;
	map->pages += n;
	store->pages += n;
	return done;
}

static bool is_missing(const struct rb_store *store, const struct rb_chunk *chunk,
		       unsigned int page)
{
	return rb_expected_missing(&store->slots.expected, chunk->slots[page]);
}

static bool is_own(const struct rb_store *store, const struct rb_chunk *chunk, unsigned int page)
{
	return (chunk->present >> page & 1) && !is_missing(store, chunk, page) &&
	       !rb_slots_shared(&store->slots, chunk->slots[page]);
}

static int put_in_chunk(struct rb_store *store, struct rb_chunk_map *map, struct rb_chunk *chunk,
			unsigned int first, unsigned int n, const uint8_t *data)
{
	for (unsigned int end = first + n; first < end;) {
		bool own = is_own(store, chunk, first);
		unsigned int run = 1;
		int r;

		while (first + run < end && is_own(store, chunk, first + run) == own &&
		       (!own || chunk->slots[first + run] == chunk->slots[first] + run))
			run++;
		r = own ? rb_slots_overwrite(&store->slots, chunk->slots[first], data, run)
			: put_run(store, map, chunk, first, run, data);
		if (r < 0)
			return r;
		if (!own)
			run = (unsigned int)r;
		first += run;
		data += (size_t)run * RB_PAGE_SIZE;
	}
	return 0;
}

int rb_store_put(struct rb_store *store, int task, uint64_t addr, const void *data, size_t pages,
		 struct rb_err *err)
{
	struct rb_chunk_map *map = rb_store_make_task(store, task);
	const uint8_t *at = data;

	if (!map)
		return rb_err_set(err, -ENOMEM, "keep pages");
	while (pages) {
		struct rb_chunk *chunk = rb_chunk_make(map, &store->pool, RB_CHUNK_KEY(addr));
		unsigned int first = RB_CHUNK_PAGE(addr), n = RB_CHUNK_PAGES - first;
		int r;

		if (!chunk)
			return rb_err_set(err, -ENOMEM, "keep pages");
		if (n > pages)
			n = (unsigned int)pages;
		r = put_in_chunk(store, map, chunk, first, n, at);
		if (!chunk->present)
			rb_chunk_remove(map, &store->pool, chunk);
		else
			rb_chunk_touch(map, chunk);
		if (r < 0)
			return rb_err_set(err, r, "keep pages");
		at += (size_t)n * RB_PAGE_SIZE;
		addr += (uint64_t)n * RB_PAGE_SIZE;
		pages -= n;
	}
	return 0;
}

static uint64_t chunk_addr(const struct rb_chunk *chunk)
{
	return chunk->key << RB_CHUNK_SHIFT;
}

/* Which pages of the chunk lie in [start, end)? */
static uint64_t bits_between(const struct rb_chunk *chunk, uint64_t start, uint64_t end)
{
	uint64_t base = chunk_addr(chunk), last = base + RB_CHUNK_PAGES * RB_PAGE_SIZE;

	if (start < base)
		start = base;
	if (end > last)
		end = last;
	if (start >= end)
		return 0;
	return rb_chunk_bits(RB_CHUNK_PAGE(start), (unsigned int)((end - start) / RB_PAGE_SIZE));
}

/* Takes the slots of @bits (some that are present) out of it, without dropping them. */
static void take_out(struct rb_store *store, struct rb_chunk_map *map, struct rb_chunk *chunk,
		     uint64_t bits)
{
	unsigned int n = (unsigned int)__builtin_popcountll(bits);

	chunk->present &= ~bits;
	map->pages -= n;
	store->pages -= n;
	if (!chunk->present)
		rb_chunk_remove(map, &store->pool, chunk);
}

static void drop_bits(struct rb_store *store, struct rb_chunk_map *map, struct rb_chunk *chunk,
		      uint64_t bits)
{
	bits &= chunk->present;
	for (uint64_t left = bits; left;) {
		unsigned int first = (unsigned int)__builtin_ctzll(left), n = 1;
		unsigned int run = rb_chunk_run(left, first);

		while (n < run && chunk->slots[first + n] == chunk->slots[first] + n)
			n++;
		rb_slots_put(&store->slots, chunk->slots[first], n);
		left &= ~rb_chunk_bits(first, n);
	}
	if (bits)
		take_out(store, map, chunk, bits);
}

/* Calls @fn for each chunk that has pages in [start, end), with these; it may empty the chunk, and
 * add others outside. */
static int for_chunks(struct rb_store *store, struct rb_chunk_map *map, uint64_t start,
		      uint64_t end,
		      int (*fn)(struct rb_store *store, struct rb_chunk_map *map,
				struct rb_chunk *chunk, uint64_t bits, void *arg),
		      void *arg)
{
	uint64_t first = RB_CHUNK_KEY(start), last = RB_CHUNK_KEY(end - 1);
	bool by_key = last - first < map->n;
	struct rb_chunk *chunk = by_key ? NULL : map->newest, *next;

	for (; by_key ? first <= last : chunk != NULL; first++, chunk = next) {
		uint64_t bits;
		int r;

		if (by_key)
			chunk = rb_chunk_find(map, first);
		next = chunk ? chunk->older : NULL;
		bits = chunk ? chunk->present & bits_between(chunk, start, end) : 0;
		r = bits ? fn(store, map, chunk, bits, arg) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int drop_these(struct rb_store *store, struct rb_chunk_map *map, struct rb_chunk *chunk,
		      uint64_t bits, void *arg)
{
	(void)arg;
	drop_bits(store, map, chunk, bits);
	return 0;
}

void rb_store_drop(struct rb_store *store, int task, uint64_t addr, uint64_t pages)
{
	struct rb_chunk_map *map = rb_store_find_task(store, task);

	if (map && pages)
		for_chunks(store, map, addr, addr + pages * RB_PAGE_SIZE, drop_these, NULL);
}

/* Index of the first range that ends above @addr. */
static size_t range_above(const struct rb_ranges *ranges, uint64_t addr)
{
	size_t low = 0, high = ranges->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ranges->list[middle].end <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int rb_store_keep_only(struct rb_store *store, int task, const struct rb_ranges *ranges,
		       struct rb_err *err)
{
	struct rb_chunk_map *map = rb_store_find_task(store, task);

	(void)err; /* nothing here can fail; a different index might */
	for (struct rb_chunk *chunk = map ? map->newest : NULL, *next; chunk; chunk = next) {
		uint64_t keep = 0, end = chunk_addr(chunk) + RB_CHUNK_PAGES * RB_PAGE_SIZE;

		next = chunk->older;
		for (size_t i = range_above(ranges, chunk_addr(chunk));
		     i < ranges->n && ranges->list[i].start < end; i++)
			keep |= bits_between(chunk, ranges->list[i].start, ranges->list[i].end);
		drop_bits(store, map, chunk, ~keep);
	}
	return 0;
}

size_t rb_store_run(const struct rb_store *store, int task, uint64_t addr, size_t max, bool missing,
		    uint32_t *ret_slot)
{
	const struct rb_chunk_map *map = rb_store_find_task(store, task);
	const struct rb_chunk *chunk = map ? rb_chunk_find(map, RB_CHUNK_KEY(addr)) : NULL;
	unsigned int page = RB_CHUNK_PAGE(addr);
	size_t run = 0;

	if (!chunk || !(chunk->present >> page & 1))
		return 0;
	*ret_slot = chunk->slots[page];
	while (run < max && chunk && (chunk->present >> page & 1) &&
	       chunk->slots[page] == *ret_slot + run && is_missing(store, chunk, page) == missing) {
		run++;
		if (++page == RB_CHUNK_PAGES) {
			page = 0;
			chunk = rb_chunk_find(map, chunk->key + 1);
		}
	}
	return run;
}

const void *rb_store_find(const struct rb_store *store, int task, uint64_t addr, size_t max,
			  size_t *ret_run)
{
	uint32_t slot;
	size_t run = rb_store_run(store, task, addr, max, false, &slot);

	if (!run)
		return NULL;
	if (ret_run)
		*ret_run = run;
	return store->slots.map + (size_t)slot * RB_PAGE_SIZE;
}

size_t rb_store_next(const struct rb_store *store, int task, size_t max, uint64_t *ret_addr)
{
	const struct rb_chunk_map *map = rb_store_find_task(store, task);
	unsigned int first, run;

	if (!map || !map->newest)
		return 0;
	first = (unsigned int)__builtin_ctzll(map->newest->present);
	run = rb_chunk_run(map->newest->present, first);
	*ret_addr = chunk_addr(map->newest) + (uint64_t)first * RB_PAGE_SIZE;
	return run < max ? run : max;
}

int rb_store_clone(struct rb_store *store, int parent, int child, struct rb_err *err)
{
	const struct rb_chunk_map *from = rb_store_find_task(store, parent);
	struct rb_chunk_map *to;

	rb_store_forget_task(store, child);
	if (!from || !from->n)
		return 0;
	to = rb_store_make_task(store, child);
	for (const struct rb_chunk *chunk = to ? from->oldest : NULL; chunk; chunk = chunk->newer) {
		struct rb_chunk *copy = rb_chunk_make(to, &store->pool, chunk->key);
		unsigned int n = (unsigned int)__builtin_popcountll(chunk->present);

		if (!copy) {
			rb_store_forget_task(store, child);
			to = NULL;
			break;
		}
		copy->present = chunk->present;
		memcpy(copy->slots, chunk->slots, sizeof(copy->slots));
		for (uint64_t left = chunk->present; left; left &= left - 1)
			rb_slots_get(&store->slots, chunk->slots[__builtin_ctzll(left)]);
		to->pages += n;
		store->pages += n;
	}
	return to ? 0 : rb_err_set(err, -ENOMEM, "share the pages of a process with its child");
}

static int move_these(struct rb_store *store, struct rb_chunk_map *map, struct rb_chunk *chunk,
		      uint64_t bits, void *arg)
{
	uint64_t offset = *(const uint64_t *)arg, moved = 0;

	for (uint64_t left = bits; left; left &= left - 1) {
		unsigned int page = (unsigned int)__builtin_ctzll(left), to_page;
		uint64_t addr = chunk_addr(chunk) + (uint64_t)page * RB_PAGE_SIZE + offset;
		struct rb_chunk *to = rb_chunk_make(map, &store->pool, RB_CHUNK_KEY(addr));

		if (!to)
			break;
		to_page = RB_CHUNK_PAGE(addr);
		to->slots[to_page] = chunk->slots[page];
		to->present |= UINT64_C(1) << to_page;
		map->pages++;
		store->pages++;
		moved |= UINT64_C(1) << page;
	}
	if (moved)
		take_out(store, map, chunk, moved);
	return moved == bits ? 0 : -ENOMEM;
}

int rb_store_move(struct rb_store *store, int task, uint64_t from, uint64_t to, uint64_t pages,
		  struct rb_err *err)
{
	struct rb_chunk_map *map = rb_store_find_task(store, task);
	uint64_t offset = to - from; /* modulo 2^64 */
	int r;

	if (!map || !pages || !offset)
		return 0;
	if (to < from + pages * RB_PAGE_SIZE && from < to + pages * RB_PAGE_SIZE)
		return rb_err_set(err, -EINVAL, "move pages onto themselves");
	rb_store_drop(store, task, to, pages);
	r = for_chunks(store, map, from, from + pages * RB_PAGE_SIZE, move_these, &offset);
	return r < 0 ? rb_err_set(err, r, "move the pages of a process") : 0;
}

bool rb_store_task(const struct rb_store *store, size_t n, int *ret_task)
{
	for (size_t i = 0; i < store->n_tasks; i++)
		if (store->tasks[i]->pages && n-- == 0) {
			*ret_task = store->tasks[i]->task;
			return true;
		}
	return false;
}

void rb_store_forget_task(struct rb_store *store, int task)
{
	struct rb_chunk_map *map = rb_store_find_task(store, task);
	size_t at = task_place(store, task);

	if (!map)
		return;
	while (map->newest)
		drop_bits(store, map, map->newest, ~UINT64_C(0));
	rb_chunk_map_clear(map, &store->pool);
	free(map);
	store->n_tasks--;
	memmove(&store->tasks[at], &store->tasks[at + 1],
		(store->n_tasks - at) * sizeof(struct rb_chunk_map *));
}

uint64_t rb_store_pages(const struct rb_store *store, int task)
{
	const struct rb_chunk_map *map = rb_store_find_task(store, task);

	return map ? map->pages : 0;
}

uint64_t rb_store_total(const struct rb_store *store)
{
	return store->pages;
}

uint64_t rb_store_memory(const struct rb_store *store)
{
	struct stat st;

	return fstat(store->slots.fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}
