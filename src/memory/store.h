/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - pages of arriving processes, until they are placed
 *
 * Pages are kept in a memfd: their memory is given back page by page as they are placed, so that
 * store and container together stay near the container's size. The index is private memory. A
 * process that forks shares the pages with its child, which has an index of its own. From then on
 * only one of both may put or give back pages: the other holds (rb_store_hold()), or is done.
 *
 * Recency is kept for 256 KiB of address space at a time. A dense store takes 9 bytes of index per
 * page, a page alone in its 256 KiB about 300.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ranges.h"

struct rb_err;
struct rb_expected;
struct rb_store;

int rb_store_new(struct rb_store **ret, struct rb_err *err);

/** rb_store_free - NULL is allowed. A forked process that has it too keeps index and pages. */
void rb_store_free(struct rb_store *store);

/** rb_store_hold - while it is in force, the memory of dropped pages is neither given back nor used
 * again, so that another process's index (from before a fork) stays good. Ending it gives all of
 * that back. */
void rb_store_hold(struct rb_store *store, bool hold);

/** rb_store_dontfork - a further fork() shall not copy this process's index: there rb_store_*()
 * must not be called */
void rb_store_dontfork(struct rb_store *store);

/** rb_store_fd - of the memfd, for a process that keeps few descriptors; owned by the store */
int rb_store_fd(const struct rb_store *store);

/** rb_store_put - @pages pages at @addr of task @task (its pid in the container), in place of what
 * was there; makes them the most recent. -ENOMEM/-ENOSPC when there is no memory */
int rb_store_put(struct rb_store *store, int task, uint64_t addr, const void *data, size_t pages,
		 struct rb_err *err);

/** rb_store_drop - they read as zero now, or are placed, or unmapped. Gives their memory back,
 * unless rb_store_hold() is in force: then once it is not. */
void rb_store_drop(struct rb_store *store, int task, uint64_t addr, uint64_t pages);

/** rb_store_keep_only - drop all pages of @task outside of @ranges */
int rb_store_keep_only(struct rb_store *store, int task, const struct rb_ranges *ranges,
		       struct rb_err *err);

/** rb_store_expect - pages of @ranges that @task has not are still at the source: from now on it
 * has them, without their content. -ENOMEM, -ENOSPC */
int rb_store_expect(struct rb_store *store, int task, const struct rb_ranges *ranges,
		    struct rb_err *err);

/** rb_store_expected - what is to come (expected.h) */
struct rb_expected *rb_store_expected(struct rb_store *store);

/** rb_store_come - pages that are expected, or were, were written to rb_store_fd(), at
 * slot * RB_PAGE_SIZE; what nobody needs there goes. Return: 0; -EINVAL: never expected */
int rb_store_come(struct rb_store *store, uint32_t slot, uint32_t pages);

/** rb_store_missing - pages from @addr on that are still to come. Return: how many follow each
 * other in the store, too, at most @max; 0 when the one at @addr is none of these */
size_t rb_store_missing(const struct rb_store *store, int task, uint64_t addr, size_t max,
			uint32_t *ret_slot);

/** rb_store_find - the page at @addr, or NULL (also when it is missing); @ret_run: how many follow
 * each other in the store and in the process from there on, at most @max */
const void *rb_store_find(const struct rb_store *store, int task, uint64_t addr, size_t max,
			  size_t *ret_run);

/** rb_store_next - the first pages of the most recent 256 KiB of @task of which any are left, as a
 * run of at most @max pages that follow each other in the process. Return: pages, 0 when none is
 * left. */
size_t rb_store_next(const struct rb_store *store, int task, size_t max, uint64_t *ret_addr);

/** rb_store_here - pages that are not missing, while others are: runs of them, the most recent
 * 256 KiB first, each in order. Return: how many of @ret were filled */
size_t rb_store_here(const struct rb_store *store, int task, struct rb_range *ret, size_t max);

/** rb_store_clone - @child has what @parent has left (fork) */
int rb_store_clone(struct rb_store *store, int parent, int child, struct rb_err *err);

/** rb_store_move - mremap */
int rb_store_move(struct rb_store *store, int task, uint64_t from, uint64_t to, uint64_t pages,
		  struct rb_err *err);

/** rb_store_task - the @n-th task that has pages, for a loop. Return: false behind the last one */
bool rb_store_task(const struct rb_store *store, size_t n, int *ret_task);

/** rb_store_forget_task - all of its pages */
void rb_store_forget_task(struct rb_store *store, int task);

/** rb_store_pages - of one task that are left, and of all */
uint64_t rb_store_pages(const struct rb_store *store, int task);
uint64_t rb_store_total(const struct rb_store *store);

/** rb_store_memory - bytes of memory that the pages take */
uint64_t rb_store_memory(const struct rb_store *store);
