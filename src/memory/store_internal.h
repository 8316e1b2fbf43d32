/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_internal.h - what the files of the store share
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chunks.h"
#include "slots.h"

struct rb_store {
	struct rb_slots slots;
	struct rb_chunk_pool pool;
	struct rb_chunk_map **tasks; /* by task number */
	size_t n_tasks, tasks_size;
	uint64_t pages;
};

/** rb_store_find_task - the index of a task, or NULL */
struct rb_chunk_map *rb_store_find_task(const struct rb_store *store, int task);

/** rb_store_make_task - the same, made if it is not there. NULL: no memory */
struct rb_chunk_map *rb_store_make_task(struct rb_store *store, int task);

/** rb_store_run - pages that follow each other in the store and in the process, from @addr on, and
 * are all missing or all here. Return: their number, 0 when that at @addr is no such page */
size_t rb_store_run(const struct rb_store *store, int task, uint64_t addr, size_t max, bool missing,
		    uint32_t *ret_slot);
