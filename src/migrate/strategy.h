/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strategy.h - how memory travels
 *
 * A strategy is one file, and a row in the table of strategy.c. Its functions are called by the
 * source's stages, in this order; those that it has no use for are NULL:
 *
 *	rounds	   stage memory: the container runs
 *	last_round stage freeze: it runs for some more milliseconds
 *	frozen	   stage dump: it stands still, CRIU has not looked at it yet; again after a thaw
 *	look	   stage dump: CRIU has begun, and waits for this before it looks at memory
 *	rest	   stage dump: while CRIU dumps
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct rb_err;
struct rb_member;
struct rb_migration;
struct rb_wait;

struct rb_strategy {
	const char *name;
	bool lazy; /* CRIU restores no memory of its own: the pager does (memory/pager.h) */
	int (*rounds)(struct rb_migration *m, struct rb_err *err);
	int (*last_round)(struct rb_migration *m, struct rb_err *err);
	int (*frozen)(struct rb_migration *m, struct rb_err *err);
	int (*look)(struct rb_migration *m, struct rb_err *err);
	int (*rest)(struct rb_migration *m, struct rb_err *err);
};

extern const struct rb_strategy rb_strategy_cold, rb_strategy_precopy, rb_strategy_postcopy,
	rb_strategy_hybrid;

/** rb_strategy_known - is it the name of one, or "auto"? */
bool rb_strategy_known(const char *name);

/**
 * rb_strategy_choose - settle which one it will be
 * @peer_lazy: the target can restore without memory
 *
 * "auto" takes the best that both hosts can do; one that was asked for by name and cannot be had
 * is refused with the reason.
 */
int rb_strategy_choose(struct rb_migration *m, bool peer_lazy, struct rb_err *err);

/** rb_strategy_hoped - name of the one that it will be if the target can do it */
const char *rb_strategy_hoped(struct rb_migration *m);

/** rb_strategy_warn - of what it does to the container; before one is chosen, once it is measured
 */
void rb_strategy_warn(struct rb_migration *m, json_t *obstacles);

/** rb_strategy_may_fetch - may it be that memory is fetched by the target when the container runs
 * there? Before the target was asked */
bool rb_strategy_may_fetch(struct rb_migration *m);

/** rb_strategy_lets_stay - does all private memory stay at the source with this one (its name),
 * until the container runs on the target? */
bool rb_strategy_lets_stay(const char *name);

/** rb_strategy_of - the one that was settled */
const struct rb_strategy *rb_strategy_of(const struct rb_migration *m);

/** rb_placing_lock - path of the file that a pager holds locked until all memory of the container
 * that it serves is placed: "<run_dir>/pagers/<container id>"; its folder is made */
int rb_placing_lock(const char *run_dir, const char *container_id, char *ret, size_t size,
		    struct rb_err *err);

/** rb_fetching_lock - the same, of one that it holds as long as memory is to be fetched from the
 * source: "<...>.source" */
int rb_fetching_lock(const char *run_dir, const char *container_id, char *ret, size_t size,
		     struct rb_err *err);

/** rb_wait_placed - a container that arrived a moment ago may not have all of its memory yet, and
 * cannot be dumped before; nor restored again, where a pager is just ending it
 * @only: one container, or NULL: all */
int rb_wait_placed(struct rb_migration *m, const struct rb_member *only, const struct rb_wait *wait,
		   struct rb_err *err);

/** rb_lazy_restore_works - can this host restore without memory? */
bool rb_lazy_restore_works(void);
