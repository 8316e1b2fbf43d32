// SPDX-License-Identifier: Apache-2.0
/*
 * strategy_precopy.c - memory travels in rounds while the container runs
 *
 * Each round sends what was written during the one before. What the last one leaves travels while
 * the container is frozen; so the rounds end as soon as that would not take long, or when one more
 * would not leave less. On the target nothing of it is read before the tasks run: they get their
 * pages from the pager (memory/pager.h).
 */
#include <errno.h>
#include <string.h>

#include "err.h"
#include "json.h"
#include "log.h"
#include "migration.h"
#include "rounds.h"
#include "slowdown.h"
#include "strategy.h"

enum {
	ROUNDS_MAX = 30,
	USELESS_ROUNDS = 3, /* in a row, each of which left about as much as the one before */
};

#define USEFUL_SHARE 0.8

/* Rounds do not help any more. Return: 1 to go on with rounds, 0 to freeze now, negative errno. */
static int not_converging(struct rb_migration *m, const struct rb_outlook *outlook,
			  struct rb_err *err)
{
	bool allowed = rb_json_bool(m->entry.facts, "allow_post_copy", false);
	const char *what =
		rb_json_str(m->entry.facts, "on_no_convergence", allowed ? "post-copy" : "force");
	int r;

	if (strcmp(what, "abort") == 0)
		return rb_err_code(
			err, RB_E_REFUSED, -EBUSY,
			"'%s' writes its memory faster than it can be sent (%.0f ms of "
			"downtime predicted): allow more with --max-downtime, or slow it "
			"down with --on-no-convergence throttle, or have the rest follow with "
			"--on-no-convergence post-copy",
			m->entry.container, outlook->predicted_ms);
	if (strcmp(what, "post-copy") == 0) {
		rb_info("memory: what is left (%llu MiB) will be fetched from here",
			(unsigned long long)(outlook->dirty >> 20));
		rb_memory_let_stay(m);
		return 0;
	}
	if (strcmp(what, "throttle") != 0)
		return 0;
	r = rb_slowdown_more(m, err);
	return r < 0 ? r : 1;
}

static int rounds(struct rb_migration *m, struct rb_err *err)
{
	struct rb_outlook outlook;
	int useless = 0, r = rb_rounds_begin(m, RB_TRACK_AUTO, &outlook, err);

	for (int i = 0; r >= 0 && i < ROUNDS_MAX; i++) {
		double before_ms = outlook.memory_ms;

		r = rb_round(m, &outlook, err);
		if (r < 0 || rb_round_is_enough(m, &outlook))
			break;
		useless = i > 0 && outlook.memory_ms > before_ms * USEFUL_SHARE ? useless + 1 : 0;
		if (useless < USELESS_ROUNDS && i + 1 < ROUNDS_MAX)
			continue;
		useless = 0;
		r = not_converging(m, &outlook, err);
		if (r <= 0)
			break;
	}
	/* what changed of the files meanwhile */
	return r < 0 ? r : rb_rounds_files(m, &outlook, err);
}

static int last_round(struct rb_migration *m, struct rb_err *err)
{
	int r = rb_rounds_send(m, err);

	/* what is slowed down takes longer to stand still */
	return r < 0 ? r : rb_slowdown_end(m, err);
}

const struct rb_strategy rb_strategy_precopy = {
	.name = "pre-copy",
	.lazy = true,
	.rounds = rounds,
	.last_round = last_round,
	.frozen = rb_rounds_frozen,
	.look = rb_rounds_look,
	.rest = rb_rounds_rest,
};
