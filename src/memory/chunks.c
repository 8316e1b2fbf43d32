// SPDX-License-Identifier: Apache-2.0
/*
 * chunks.c - which page of one task lies in which slot
 */
#include "chunks.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { BLOCK_CHUNKS = 512, FIRST_BUCKETS = 64 };

#define BLOCK_BYTES (BLOCK_CHUNKS * sizeof(struct rb_chunk))

static struct rb_chunk **bucket(const struct rb_chunk_map *map, uint64_t key)
{
	uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15);

	return &map->buckets[(hash >> 32) & (map->n_buckets - 1)];
}

struct rb_chunk *rb_chunk_find(const struct rb_chunk_map *map, uint64_t key)
{
	struct rb_chunk *chunk = map->n_buckets ? *bucket(map, key) : NULL;

	while (chunk && chunk->key != key)
		chunk = chunk->hash_next;
	return chunk;
}

static struct rb_chunk *pool_take(struct rb_chunk_pool *pool)
{
	struct rb_chunk *chunk;

	if (!pool->free) {
		void **blocks = reallocarray(pool->blocks, pool->n_blocks + 1, sizeof(*blocks));
		void *block;

		if (!blocks)
			return NULL;
		pool->blocks = blocks;
		block = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);
		if (block == MAP_FAILED)
			return NULL;
		pool->blocks[pool->n_blocks++] = block;
		for (size_t i = BLOCK_CHUNKS; i-- > 0;) {
			chunk = (struct rb_chunk *)block + i;
			chunk->hash_next = pool->free;
			pool->free = chunk;
		}
	}
	chunk = pool->free;
	pool->free = chunk->hash_next;
	return chunk;
}

/* Return: false only where there is no table at all; a crowded one is still good. */
static bool grow(struct rb_chunk_map *map)
{
	size_t n = map->n_buckets ? map->n_buckets * 2 : FIRST_BUCKETS;
	struct rb_chunk **buckets = calloc(n, sizeof(struct rb_chunk *));

	if (!buckets)
		return map->n_buckets > 0;
	free(map->buckets);
	map->buckets = buckets;
	map->n_buckets = n;
	for (struct rb_chunk *chunk = map->newest; chunk; chunk = chunk->older) {
		struct rb_chunk **head = bucket(map, chunk->key);

		chunk->hash_next = *head;
		*head = chunk;
	}
	return true;
}

static void list_add(struct rb_chunk_map *map, struct rb_chunk *chunk)
{
	chunk->newer = NULL;
	chunk->older = map->newest;
	if (map->newest)
		map->newest->newer = chunk;
	else
		map->oldest = chunk;
	map->newest = chunk;
}

static void list_remove(struct rb_chunk_map *map, const struct rb_chunk *chunk)
{
	if (chunk->newer)
		chunk->newer->older = chunk->older;
	else
		map->newest = chunk->older;
	if (chunk->older)
		chunk->older->newer = chunk->newer;
	else
		map->oldest = chunk->newer;
}

struct rb_chunk *rb_chunk_make(struct rb_chunk_map *map, struct rb_chunk_pool *pool, uint64_t key)
{
	struct rb_chunk *chunk = rb_chunk_find(map, key), **head;

	if (chunk)
		return chunk;
	if (map->n >= map->n_buckets && !grow(map))
		return NULL;
	chunk = pool_take(pool);
	if (!chunk)
		return NULL;
	head = bucket(map, key);
	chunk->key = key;
	chunk->present = 0;
	chunk->hash_next = *head;
	*head = chunk;
	list_add(map, chunk);
	map->n++;
	return chunk;
}

void rb_chunk_touch(struct rb_chunk_map *map, struct rb_chunk *chunk)
{
	if (map->newest == chunk)
		return;
	list_remove(map, chunk);
	list_add(map, chunk);
}

void rb_chunk_remove(struct rb_chunk_map *map, struct rb_chunk_pool *pool, struct rb_chunk *chunk)
{
	struct rb_chunk **link = bucket(map, chunk->key);

	while (*link != chunk)
		link = &(*link)->hash_next;
	*link = chunk->hash_next;
	list_remove(map, chunk);
	map->n--;
	chunk->hash_next = pool->free;
	pool->free = chunk;
}

void rb_chunk_map_clear(struct rb_chunk_map *map, struct rb_chunk_pool *pool)
{
	while (map->newest)
		rb_chunk_remove(map, pool, map->newest);
	free(map->buckets);
	*map = (struct rb_chunk_map){ .task = map->task };
}

void rb_chunk_pool_free(struct rb_chunk_pool *pool)
{
	for (size_t i = 0; i < pool->n_blocks; i++)
		munmap(pool->blocks[i], BLOCK_BYTES);
	free(pool->blocks);
	*pool = (struct rb_chunk_pool){};
}

void rb_chunk_pool_dontfork(const struct rb_chunk_pool *pool)
{
	for (size_t i = 0; i < pool->n_blocks; i++)
		madvise(pool->blocks[i], BLOCK_BYTES, MADV_DONTFORK);
}
