/* SPDX-License-Identifier: Apache-2.0 */
/*
 * send.h - the memory of a container on the source: rounds while it runs, the rest while it is
 * frozen
 *
 * All processes of the container's cgroup that are in its pid namespace are followed (track.h), and
 * what memory they share (shared.h).
 * What travels is written as blocks (record.h) to a sink.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "track.h"

struct rb_err;
struct rb_memory;
struct rb_wait;

/**
 * struct rb_memory_sink - where blocks go
 *
 * Of a round, no page is in two blocks, so it does not matter in which order those that write()
 * gets arrive. What has to be there before that which follows (that there is an object of shared
 * memory, or a tmpfs) comes by write_first(), what has to come behind all that was written (lists
 * of pages) by write_last(), and nothing but that comes after it. Where these are NULL write() gets
 * all, in order.
 */
struct rb_memory_sink {
	int (*write)(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		     struct rb_err *err);
	void *arg;
	bool held_back; /* it waits on purpose: what it takes is not the speed of the link */
	int (*write_first)(void *arg, const void *block, size_t len, const struct rb_wait *wait,
			   struct rb_err *err);
	int (*write_last)(void *arg, const void *block, size_t len, const struct rb_wait *wait,
			  struct rb_err *err);
};

struct rb_memory_stats {
	uint64_t pages;	     /* with content */
	uint64_t zero_pages; /* of which only the address travelled */
	uint64_t raw_bytes;  /* of those with content, as the container has them */
	uint64_t bytes;	     /* written to the sink */
};

/**
 * rb_memory_open - begin with the memory of a container
 * @freezer_path: rb_freezer_find() of its init
 *
 * Needs CAP_SYS_PTRACE. Nothing is done to the container yet.
 */
int rb_memory_open(const char *freezer_path, pid_t init, enum rb_track_method method,
		   struct rb_memory **ret, struct rb_err *err);

/** rb_memory_round - send what was written since the last round, in the first one everything; the
 * container runs. Processes that appeared are followed from the second round on that sees them. */
int rb_memory_round(struct rb_memory *memory, const struct rb_memory_sink *sink,
		    const struct rb_wait *wait, struct rb_memory_stats *ret, struct rb_err *err);

/** rb_memory_round_all - the same for the last round before the freeze: rb_memory_round() leaves
 * what is written in every round for later (defer.h), this one does not, so that the freeze has
 * only that to send which is written in the meantime */
int rb_memory_round_all(struct rb_memory *memory, const struct rb_memory_sink *sink,
			const struct rb_wait *wait, struct rb_memory_stats *ret,
			struct rb_err *err);

/** rb_memory_round_shared - the same, of shared memory alone */
int rb_memory_round_shared(struct rb_memory *memory, const struct rb_memory_sink *sink,
			   const struct rb_wait *wait, struct rb_memory_stats *ret,
			   struct rb_err *err);

/** rb_memory_pending - bytes that are still to be sent: written since the last round, or left for
 * later by it; changes nothing
 * @ret_shared_us: how long it took to look through shared memory, which has to be done once more
 *	when the container stands still */
int rb_memory_pending(struct rb_memory *memory, uint64_t *ret_bytes, int64_t *ret_shared_us,
		      struct rb_err *err);

/** rb_memory_freeze - the container is frozen now, and nobody traces it: note who there is, and
 * where its stacks are */
int rb_memory_freeze(struct rb_memory *memory, struct rb_err *err);

/** rb_memory_look - the same moment; its tasks may be held by ptrace meanwhile, but not be changed:
 * note what is left to send, and what there is; after rb_memory_freeze() */
int rb_memory_look(struct rb_memory *memory, struct rb_err *err);

/** rb_memory_hide - write a file for each process that tells CRIU's filter what it need not see
 * (criu_filter.c), and those for shared memory (rb_shared_hide()); after rb_memory_look()
 * @dir: is made */
int rb_memory_hide(struct rb_memory *memory, const char *dir, struct rb_err *err);

/** rb_memory_send_last - what rb_memory_look() noted; CRIU may hold the tasks meanwhile */
int rb_memory_send_last(struct rb_memory *memory, const struct rb_memory_sink *sink,
			const struct rb_wait *wait, struct rb_memory_stats *ret,
			struct rb_err *err);

/** rb_memory_leave - in place of that: what was written stays here, in the frozen processes, for
 * the target to ask for (frozen.h); it is told what there is, and forgets what it has of it */
int rb_memory_leave(struct rb_memory *memory, const struct rb_memory_sink *sink,
		    const struct rb_wait *wait, struct rb_memory_stats *ret, struct rb_err *err);

/** rb_memory_thaw - the container runs on here: nothing of it is held that the frozen time alone
 * needs. NULL is allowed */
void rb_memory_thaw(struct rb_memory *memory);

/** rb_memory_shared_pending - those of shared memory that rb_memory_pending() found last: how many
 * there are in the end shows only while they are sent */
uint64_t rb_memory_shared_pending(const struct rb_memory *memory);

/** rb_memory_left - bytes that rb_memory_look() found written */
uint64_t rb_memory_left(const struct rb_memory *memory);

/** rb_memory_free - stop following; NULL is allowed */
void rb_memory_free(struct rb_memory *memory);
