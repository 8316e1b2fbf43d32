/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reconnect.h - a move to other addresses (--reconnect)
 *
 * The container gets the addresses that Docker gives it on the target. Its TCP connections are
 * reset for both ends: on the target before READY, while it is held, so that the program finds them
 * reset when it runs; on the source when the frozen tasks are killed, which is after COMMIT, so
 * that a roll-back finds them whole. What arrived meanwhile for the old address is nobody's any
 * more. Listening sockets move.
 *
 * All that is made for it on the target is in the placeholder's network namespace, behind the
 * silence, and gone with it.
 */
#pragma once

#include <stdbool.h>
#include <jansson.h>

struct rb_err;
struct rb_migration;

/** rb_reconnect_wanted - is this such a move? On either side. */
bool rb_reconnect_wanted(const struct rb_migration *m);

/** rb_reconnect_describe - source: into the offer: "reconnect", "old_addresses"; and no address is
 * asked for any more */
void rb_reconnect_describe(json_t *offer, const json_t *inspect);

/** rb_reconnect_lend - target: before the restore, the old addresses into the namespace */
int rb_reconnect_lend(const struct rb_migration *m, int netns_fd, struct rb_err *err);

/** rb_reconnect_reset - target: reset the connections of tasks that are held
 * @init_pid: of their container */
int rb_reconnect_reset(const struct rb_migration *m, int init_pid, struct rb_err *err);

/** rb_reconnect_return - target: after that, take the old addresses away again */
int rb_reconnect_return(const struct rb_migration *m, int netns_fd, struct rb_err *err);

/** rb_reconnect_farewell - source: let the frozen tasks' peers hear of their end when they are
 * killed. No failure of it is one of the move. */
void rb_reconnect_farewell(const struct rb_migration *m, int netns_fd);
