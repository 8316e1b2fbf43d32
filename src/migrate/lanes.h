/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanes.h - connections beside the conversation, over which memory travels in rounds: the source
 *
 * One connection is encrypted by one processor. So a round may go over several, each of which has
 * a process on both sides (target_lanes.c). Blocks of one round overtake each other then, those of
 * different lanes.
 */
#pragma once

#include <stddef.h>

struct rb_err;
struct rb_migration;
struct rb_wait;

/** rb_lanes_open - as many as were asked for (fact "connections"), or are good for both hosts;
 * m->lanes stays NULL where that is one, or they cannot be had. Before the first round.
 *
 * Return: 0, negative errno when the conversation broke.
 */
int rb_lanes_open(struct rb_migration *m, struct rb_err *err);

/** rb_lanes_close - ends their processes; there need be none */
void rb_lanes_close(struct rb_migration *m);

/** rb_lanes_nice - the priority of their processes */
void rb_lanes_nice(const struct rb_migration *m, int nice);

/** rb_lanes_count - 0 where there are none */
int rb_lanes_count(const struct rb_migration *m);

/** rb_lanes_write - one block of the round, over whichever has room for it */
int rb_lanes_write(struct rb_migration *m, const void *block, size_t len,
		   const struct rb_wait *wait, struct rb_err *err);

/** rb_lanes_write_each - the same block over each of them: on none of them it is overtaken */
int rb_lanes_write_each(struct rb_migration *m, const void *block, size_t len,
			const struct rb_wait *wait, struct rb_err *err);

/** rb_lanes_end - all of the round was written. What is written to the conversation after that is
 * read after it. */
int rb_lanes_end(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err);

/** rb_lanes_settle - after the answer to the round: what the lanes have sent is in m->bytes_sent */
int rb_lanes_settle(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err);
