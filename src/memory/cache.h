/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h - pages that the peer has, as it has them
 *
 * Whoever sends keeps some of what it sent, to send only the difference when a page is written
 * again. So what is here must always equal what is in the peer's store: each page that is sent
 * otherwise, or becomes zero, is dropped or overwritten here in the same moment.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rb_cache;

#define RB_CACHE_PAGES 16384 /* 64 MiB */

/** rb_cache_new - Return: NULL when there is no memory */
struct rb_cache *rb_cache_new(void);
void rb_cache_free(struct rb_cache *cache); /* NULL is allowed */

/** rb_cache_begin - a round begins
 * @pages: how many there may be from now on, at most RB_CACHE_PAGES; those that there are stay */
void rb_cache_begin(struct rb_cache *cache, uint64_t pages);

/** rb_cache_find - content of a page, which may be changed there; or NULL */
uint8_t *rb_cache_find(struct rb_cache *cache, int task, uint64_t addr);

/**
 * rb_cache_add - room for a page that is not there yet
 *
 * Where it is full, one that was not asked for in this round and the one before makes room: a set
 * that is larger than the cache and written in every round would drive itself out otherwise.
 *
 * Return: its content, to be filled; NULL when there is no room.
 */
uint8_t *rb_cache_add(struct rb_cache *cache, int task, uint64_t addr);

/** rb_cache_drop - a page, if it is there */
void rb_cache_drop(struct rb_cache *cache, int task, uint64_t addr);

/** rb_cache_clear - all of them, and give the memory back */
void rb_cache_clear(struct rb_cache *cache);

/** rb_cache_count - pages that are there */
size_t rb_cache_count(const struct rb_cache *cache);
