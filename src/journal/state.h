/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - the states of a migration in the journals of its two hosts
 *
 *   source:  PREPARING -> FROZEN -> COMMIT -> DONE		target:  PREPARING -> READY -> GO ->
 *DONE \	    |						\	   |
 *		   `-> ABORT <-' -> ABORTED				 `-> ABORT <-' -> ABORTED
 *
 * Before COMMIT only the source may run the container, after it only the target. The source alone
 * decides: COMMIT and ABORT there exclude each other, because a state changes by compare-and-swap.
 * A target that is READY may not decide; it asks the source. DONE and ABORTED are final. The
 * protocol is checked by the model in model/.
 */
#pragma once

enum rb_role { RB_SOURCE, RB_TARGET, RB_ROLE_MAX };

enum rb_state {
	RB_PREPARING,
	RB_FROZEN,  /* source: may be frozen; written before the freeze begins */
	RB_COMMIT,  /* source: decided, the target runs or will run */
	RB_READY,   /* target: restored, held, everything on disk */
	RB_GO,	    /* target: runs, or is just being let go */
	RB_ABORT,   /* decided, undo under way */
	RB_DONE,    /* final: moved */
	RB_ABORTED, /* final: undone */
	RB_STATE_MAX,
};

#define RB_IN(state) (1u << (state))

const char *rb_role_name(enum rb_role role);
const char *rb_state_name(enum rb_state state);
/** Return: the state, or RB_STATE_MAX when the name is unknown (or NULL). */
enum rb_state rb_state_parse(const char *name);

static inline int rb_state_is_final(enum rb_state state)
{
	return state == RB_DONE || state == RB_ABORTED;
}
