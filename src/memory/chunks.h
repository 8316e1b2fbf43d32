/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunks.h - which page of one task lies in which slot
 *
 * Internal to the store. A chunk is 64 pages of address space, found by a hash table, and in a list
 * by when it was last written.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define RB_CHUNK_PAGES	 64
#define RB_CHUNK_SHIFT	 18 /* of addresses: 256 KiB */
#define RB_CHUNK_KEY(a)	 ((a) >> RB_CHUNK_SHIFT)
#define RB_CHUNK_PAGE(a) ((unsigned int)((a) >> 12) & (RB_CHUNK_PAGES - 1))

struct rb_chunk {
	uint64_t key;	  /* address >> RB_CHUNK_SHIFT */
	uint64_t present; /* bit per page */
	struct rb_chunk *hash_next;
	struct rb_chunk *newer, *older;
	uint32_t slots[RB_CHUNK_PAGES];
};

/** Where chunks come from: mappings of their own, which a fork can be told to leave out. */
struct rb_chunk_pool {
	struct rb_chunk *free; /* linked by hash_next */
	void **blocks;
	size_t n_blocks;
};

struct rb_chunk_map {
	int task;
	uint64_t pages;
	struct rb_chunk **buckets; /* a power of two of them */
	size_t n_buckets, n;
	struct rb_chunk *newest, *oldest;
};

/** rb_chunk_find - the chunk with @key, or NULL */
struct rb_chunk *rb_chunk_find(const struct rb_chunk_map *map, uint64_t key);

/** rb_chunk_make - the chunk with @key, made (empty, as the newest) if it is not there. NULL: no
 * memory */
struct rb_chunk *rb_chunk_make(struct rb_chunk_map *map, struct rb_chunk_pool *pool, uint64_t key);

/** rb_chunk_touch - make it the newest */
void rb_chunk_touch(struct rb_chunk_map *map, struct rb_chunk *chunk);

/** rb_chunk_remove - take an empty one out */
void rb_chunk_remove(struct rb_chunk_map *map, struct rb_chunk_pool *pool, struct rb_chunk *chunk);

void rb_chunk_map_clear(struct rb_chunk_map *map, struct rb_chunk_pool *pool);
void rb_chunk_pool_free(struct rb_chunk_pool *pool);
void rb_chunk_pool_dontfork(const struct rb_chunk_pool *pool);

/** rb_chunk_bits - @n pages from @first on, n > 0 */
static inline uint64_t rb_chunk_bits(unsigned int first, unsigned int n)
{
	return (n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << first;
}

/** rb_chunk_run - how many bits of @bits are set in a row from @first on */
static inline unsigned int rb_chunk_run(uint64_t bits, unsigned int first)
{
	uint64_t gaps = ~(bits >> first);

	return gaps ? (unsigned int)__builtin_ctzll(gaps) : 64;
}
