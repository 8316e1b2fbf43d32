// SPDX-License-Identifier: Apache-2.0
/*
 * strategy_postcopy.c - memory stays where it is until the container runs on the target
 *
 * The freeze is as short as can be, whatever the size of the memory and however fast it is written,
 * and each page travels once. But until the last one has arrived the container needs both hosts,
 * and is as slow as the link where it touches what is not there yet. So nobody gets this who has
 * not asked for it.
 *
 * Shared memory, which CRIU has to have at once, travels in rounds.
 */
#include "migration.h"
#include "rounds.h"
#include "strategy.h"

static int rounds(struct rb_migration *m, struct rb_err *err)
{
	struct rb_outlook outlook;
	int r = rb_rounds_begin(m, RB_TRACK_NONE, &outlook, err);

	rb_memory_let_stay(m);
	if (r >= 0)
		r = rb_rounds_send_shared(m, err);
	return r < 0 ? r : rb_rounds_files(m, &outlook, err);
}

const struct rb_strategy rb_strategy_postcopy = {
	.name = "post-copy",
	.lazy = true,
	.rounds = rounds,
	.last_round = rb_rounds_send_shared,
	.frozen = rb_rounds_frozen,
	.look = rb_rounds_look,
	.rest = rb_rounds_rest,
};
