/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h - fills blocks (record.h) with pages of processes, and writes them to a sink
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "send.h"

struct rb_block;
struct rb_object;
struct rb_packer;
struct rb_range;
struct rb_ranges;
struct rb_tmpfs_record;

/** rb_block_new - for a round; @packer outlives it */
int rb_block_new(const struct rb_memory_sink *sink, struct rb_packer *packer, struct rb_block **ret,
		 struct rb_err *err);
void rb_block_free(struct rb_block *block);

static inline void rb_block_free_ptr(struct rb_block **block)
{
	rb_block_free(*block);
}
#define _cleanup_block_ __attribute__((cleanup(rb_block_free_ptr)))

/** rb_block_add_pages - pages of a process; those that cannot be read any more are passed over.
 * They are read a few at a time: rb_block_flush_pages() after the last of a process */
int rb_block_add_pages(struct rb_block *block, pid_t pid, int task, const struct rb_range *range,
		       const struct rb_wait *wait, struct rb_err *err);
int rb_block_flush_pages(struct rb_block *block, const struct rb_wait *wait, struct rb_err *err);

/** rb_block_missed - was there a page since the last call that has content, and could not be read?
 */
bool rb_block_missed(struct rb_block *block);

/** rb_block_add_keep - all pages that a task has */
int rb_block_add_keep(struct rb_block *block, int task, const struct rb_ranges *ranges,
		      const struct rb_wait *wait, struct rb_err *err);

/** rb_block_add_later - pages that stay here, until the target asks for them */
int rb_block_add_later(struct rb_block *block, int task, const struct rb_ranges *ranges,
		       const struct rb_wait *wait, struct rb_err *err);

/** rb_block_add_object - that an object of shared memory is there (record.h) */
int rb_block_add_object(struct rb_block *block, int number, const struct rb_object *object,
			const struct rb_wait *wait, struct rb_err *err);

/** rb_block_add_tmpfs - that a tmpfs is there, before its files (record.h) */
int rb_block_add_tmpfs(struct rb_block *block, int number, const struct rb_tmpfs_record *tmpfs,
		       const struct rb_wait *wait, struct rb_err *err);

/** rb_block_add_copy - a page of such an object, that was read already; NULL: it reads as zero.
 * rb_block_flush_copies() after the last of an object */
int rb_block_add_copy(struct rb_block *block, int number, uint64_t offset, const uint8_t *page,
		      const struct rb_wait *wait, struct rb_err *err);
int rb_block_flush_copies(struct rb_block *block, const struct rb_wait *wait, struct rb_err *err);

/** rb_block_flush - write what is left */
int rb_block_flush(struct rb_block *block, const struct rb_wait *wait, struct rb_err *err);

const struct rb_memory_stats *rb_block_stats(const struct rb_block *block);
