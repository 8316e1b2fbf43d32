/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rounds.h - memory on its way to the target: what the strategies that send it in rounds, or leave
 * it at the source until it is asked for, have in common
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "track.h"

struct rb_err;
struct rb_migration;

/** What is known after a round. */
struct rb_outlook {
	double fixed_ms;     /* of a freeze without any memory */
	uint64_t dirty;	     /* bytes, written during the round */
	double rate;	     /* of sending, bytes of memory per ms, however few travel */
	double memory_ms;    /* to send what is dirty */
	double shared_ms;    /* to look through shared memory, however little is dirty */
	double files_ms;     /* to send what has changed of files; 0: not known yet */
	double predicted_ms; /* downtime if it were frozen now */
};

/** rb_rounds_begin - follow the memory of all members. RB_TRACK_NONE: there will be no rounds */
int rb_rounds_begin(struct rb_migration *m, enum rb_track_method method, struct rb_outlook *ret,
		    struct rb_err *err);

/** rb_round - one round; it is in the report, with what is predicted after it */
int rb_round(struct rb_migration *m, struct rb_outlook *outlook, struct rb_err *err);

/** rb_round_is_enough - would a freeze be as short as was asked for, or as it can be? */
bool rb_round_is_enough(const struct rb_migration *m, const struct rb_outlook *outlook);

/** rb_rounds_send - one more, which nobody hears of */
int rb_rounds_send(struct rb_migration *m, struct rb_err *err);

/** rb_rounds_send_shared - the same, of shared memory alone */
int rb_rounds_send_shared(struct rb_migration *m, struct rb_err *err);

/**
 * rb_rounds_files - what changed of the files meanwhile, in rounds until that is little, or does
 * not get less
 *
 * The same will have to be done once more when the container stands still, so how long the last of
 * them took is part of what is predicted.
 */
int rb_rounds_files(struct rb_migration *m, struct rb_outlook *outlook, struct rb_err *err);

/** rb_rounds_files_only - the same where there are no others (strategy cold) */
int rb_rounds_files_only(struct rb_migration *m, struct rb_err *err);

/** rb_rounds_frozen, rb_rounds_look - see struct rb_strategy: what is left, and CRIU does not see
 * any of it */
int rb_rounds_frozen(struct rb_migration *m, struct rb_err *err);
int rb_rounds_look(struct rb_migration *m, struct rb_err *err);

/** rb_rounds_rest - what is left travels now, or the target is told of it (rb_memory_stays()) */
int rb_rounds_rest(struct rb_migration *m, struct rb_err *err);

/**
 * rb_memory_let_stay - what is left when the container is frozen stays at the source (post-copy)
 *
 * The container runs on the target before its memory is there, which asks for it (memory/pager.h,
 * verb "fetch"). So the frozen tasks are kept until the target has all, and READY does not bind a
 * source that lost them. To be called before stage `freeze`.
 */
void rb_memory_let_stay(struct rb_migration *m);

/** rb_memory_stays - was that said? On either side */
bool rb_memory_stays(const struct rb_migration *m);
