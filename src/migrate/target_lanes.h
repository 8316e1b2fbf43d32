/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target_lanes.h - connections beside the conversation, over which memory comes in rounds: the
 * target
 *
 * Each is served by a process of its own ("lane"), which passes on what comes to the migration's
 * worker, over the socket <run_dir>/migrations/<id>.lanes: no other process of the host's gets
 * there, nor a container with the host's network.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

struct rb_conn;
struct rb_err;
struct rb_migration;
struct rb_node;

/** rb_target_lanes - "lanes" {"count", "fixed"}: the socket is there; answers how many may come */
int rb_target_lanes(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);

/** rb_target_lanes_take - the blocks of a round, from all @count lanes, until each has ended it
 * @take: gets them; the blocks of one lane in their order */
int rb_target_lanes_take(struct rb_migration *m, int count,
			 int (*take)(void *arg, const void *block, size_t len, struct rb_err *err),
			 void *arg, struct rb_err *err);

/** rb_target_lanes_nice - the priority of the processes that have come */
void rb_target_lanes_nice(const struct rb_migration *m, int nice);

/** rb_target_lanes_close - there need be none */
void rb_target_lanes_close(struct rb_migration *m);

/** rb_target_lanes_abandon - in a child: they are the worker's */
void rb_target_lanes_abandon(struct rb_migration *m);

/** rb_target_lanes_remove - the socket, which a worker that was killed may have left */
void rb_target_lanes_remove(const struct rb_node *node, const char *id);

/** rb_target_serve_lane - "lane" {"id"}, as the first call of a connection: pass on what comes,
 * until the source or the worker of the migration needs it no more */
int rb_target_serve_lane(const struct rb_node *node, struct rb_conn *conn, const json_t *args,
			 int cancel_fd, struct rb_err *err);
