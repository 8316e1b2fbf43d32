// SPDX-License-Identifier: Apache-2.0
/*
 * cache.c - pages that the peer has, as it has them: a hash table with chains
 *
 * An entry's number is its page's number, too. Both are taken in order as they are needed, pages
 * 256 KiB at a time, and from the free list before that.
 */
#include "cache.h"

#include <assert.h>
#include <stdlib.h>

#include "cleanup.h"
#include "ranges.h"

enum {
	BUCKETS = RB_CACHE_PAGES,
	SLAB_PAGES = 64,
	SLABS = RB_CACHE_PAGES / SLAB_PAGES,
	SEARCH = 16, /* entries that are looked at for one to drop */
};

#define NONE UINT32_MAX

struct entry {
	uint64_t addr;
	int task; /* 0: free */
	uint32_t round;
	uint32_t next; /* of its bucket, or of the free ones */
};

struct rb_cache {
	uint32_t buckets[BUCKETS];
	struct entry entries[RB_CACHE_PAGES];
	uint8_t *slabs[SLABS];
	uint32_t taken; /* entries that were ever used */
	uint32_t free, hand;
	uint32_t limit, count, round;
};

static void forget_all(struct rb_cache *cache)
{
	for (uint32_t i = 0; i < BUCKETS; i++)
		cache->buckets[i] = NONE;
	cache->taken = cache->hand = cache->count = 0;
	cache->free = NONE;
}

struct rb_cache *rb_cache_new(void)
{
	struct rb_cache *cache = calloc(1, sizeof(*cache));

	if (cache)
		forget_all(cache);
	return cache;
}

void rb_cache_clear(struct rb_cache *cache)
{
	for (int i = 0; i < SLABS; i++)
		free(TAKE_PTR(cache->slabs[i]));
	forget_all(cache);
}

void rb_cache_free(struct rb_cache *cache)
{
	if (!cache)
		return;
	rb_cache_clear(cache);
	free(cache);
}

void rb_cache_begin(struct rb_cache *cache, uint64_t pages)
{
	cache->limit = pages < RB_CACHE_PAGES ? (uint32_t)pages : RB_CACHE_PAGES;
	cache->round++;
}

static uint32_t *bucket_of(struct rb_cache *cache, int task, uint64_t addr)
{
	uint64_t key = (addr / RB_PAGE_SIZE) ^ ((uint64_t)(uint32_t)task << 40);

	/* Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4) */
	return &cache->buckets[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 50];
}
static_assert(BUCKETS == 1 << (64 - 50), "the hash has as many bits as there are buckets");

static uint8_t *page_of(const struct rb_cache *cache, uint32_t i)
{
	return cache->slabs[i / SLAB_PAGES] + (size_t)(i % SLAB_PAGES) * RB_PAGE_SIZE;
}

/* Return: what points to the entry, or to NONE */
static uint32_t *link_of(struct rb_cache *cache, int task, uint64_t addr)
{
	uint32_t *at = bucket_of(cache, task, addr);

	while (*at != NONE &&
	       (cache->entries[*at].addr != addr || cache->entries[*at].task != task))
		at = &cache->entries[*at].next;
	return at;
}

uint8_t *rb_cache_find(struct rb_cache *cache, int task, uint64_t addr)
{
	uint32_t i = cache->count ? *link_of(cache, task, addr) : NONE;

	if (i == NONE)
		return NULL;
	cache->entries[i].round = cache->round;
	return page_of(cache, i);
}

void rb_cache_drop(struct rb_cache *cache, int task, uint64_t addr)
{
	uint32_t *at, i;

	if (!cache->count)
		return;
	at = link_of(cache, task, addr);
	i = *at;
	if (i == NONE)
		return;
	*at = cache->entries[i].next;
	cache->entries[i].task = 0;
	cache->entries[i].next = cache->free;
	cache->free = i;
	cache->count--;
}

static void make_room(struct rb_cache *cache)
{
	for (int i = 0; i < SEARCH && cache->taken; i++) {
		const struct entry *entry = &cache->entries[cache->hand];

		cache->hand = (cache->hand + 1) % cache->taken;
		if (entry->task && cache->round - entry->round > 1) {
			rb_cache_drop(cache, entry->task, entry->addr);
			return;
		}
	}
}

static uint32_t take_entry(struct rb_cache *cache)
{
	uint32_t i = cache->free;
	uint8_t **slab;

	if (i != NONE) {
		cache->free = cache->entries[i].next;
		return i;
	}
	if (cache->taken == RB_CACHE_PAGES)
		return NONE;
	slab = &cache->slabs[cache->taken / SLAB_PAGES];
	if (!*slab)
		*slab = malloc((size_t)SLAB_PAGES * RB_PAGE_SIZE);
	return *slab ? cache->taken++ : NONE;
}

uint8_t *rb_cache_add(struct rb_cache *cache, int task, uint64_t addr)
{
	uint32_t *bucket = bucket_of(cache, task, addr), i;

	if (cache->count >= cache->limit)
		make_room(cache);
	if (cache->count >= cache->limit)
		return NULL;
	i = take_entry(cache);
	if (i == NONE)
		return NULL;
	cache->entries[i] = (struct entry){ addr, task, cache->round, *bucket };
	*bucket = i;
	cache->count++;
	return page_of(cache, i);
}

size_t rb_cache_count(const struct rb_cache *cache)
{
	return cache->count;
}
