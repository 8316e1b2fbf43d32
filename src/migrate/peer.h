/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - ask the peer's journal
 */
#pragma once

#include "state.h"

struct rb_err;
struct rb_migration;
struct rb_wait;

/** rb_peer_state - the state of this migration in the peer's journal, over a connection of its own
 * and whether the peer was restarted since it said so, in m->peer_rebooted
 * @ret_state: RB_STATE_MAX when the peer does not know the migration */
int rb_peer_state(struct rb_migration *m, enum rb_state *ret_state, const struct rb_wait *wait,
		  struct rb_err *err);
