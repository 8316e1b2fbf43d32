// SPDX-License-Identifier: Apache-2.0
/*
 * strategy_hybrid.c - rounds first, and what they leave follows when the container runs
 *
 * All of the memory travels once while the container runs, as with pre-copy. Rounds go on only as
 * long as each leaves clearly less than the one before; what is left then stays, as with post-copy.
 * So the container waits for few pages, and for a short time: those that it writes all the time.
 * Where so little is left that it can as well travel in the frozen time, it does.
 */
#include "migration.h"
#include "rounds.h"
#include "strategy.h"

#define USEFUL_SHARE 0.5

enum { ROUNDS_MAX = 5 };

static int rounds(struct rb_migration *m, struct rb_err *err)
{
	struct rb_outlook outlook;
	int r = rb_rounds_begin(m, RB_TRACK_AUTO, &outlook, err);
	bool enough = false;

	for (int i = 0; r >= 0 && !enough && i < ROUNDS_MAX; i++) {
		double before_ms = outlook.memory_ms;

		r = rb_round(m, &outlook, err);
		enough = r >= 0 && rb_round_is_enough(m, &outlook);
		if (i > 0 && outlook.memory_ms > before_ms * USEFUL_SHARE)
			break;
	}
	if (!enough)
		rb_memory_let_stay(m);
	return r < 0 ? r : rb_rounds_files(m, &outlook, err);
}

const struct rb_strategy rb_strategy_hybrid = {
	.name = "hybrid",
	.lazy = true,
	.rounds = rounds,
	.last_round = rb_rounds_send,
	.frozen = rb_rounds_frozen,
	.look = rb_rounds_look,
	.rest = rb_rounds_rest,
};
