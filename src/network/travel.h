/* SPDX-License-Identifier: Apache-2.0 */
/*
 * travel.h - the addresses of a container that moves in networks of reberth's
 *
 * @networks: {"name": {"IPAddress": "10.20.0.5", ...}, ...}: of the container; networks that are
 * none of reberth's here are left out. All calls are idempotent and work on this node's journal.
 */
#pragma once

#include <jansson.h>

struct rb_err;
struct rb_node;

/** rb_travel_arrive - on the target, before Docker's `create`: it may have these addresses,
 * although they are taken. -EADDRINUSE/RB_E_CONFLICT: by somebody else. */
int rb_travel_arrive(const struct rb_node *node, const json_t *networks, const char *migration,
		     const char *source, struct rb_err *err);

/** rb_travel_turn_back - on the target, when nothing of the container is left there */
int rb_travel_turn_back(const struct rb_node *node, const json_t *networks, const char *migration,
			struct rb_err *err);

/** rb_travel_settle - on the target, when it is there for good */
int rb_travel_settle(const struct rb_node *node, const json_t *networks, const char *migration,
		     struct rb_err *err);

/** rb_travel_leave - on the source, before COMMIT: what Docker releases is the target's */
int rb_travel_leave(const struct rb_node *node, const json_t *networks, const char *target,
		    struct rb_err *err);

/** rb_travel_stay - on the source, after ABORT */
int rb_travel_stay(const struct rb_node *node, const json_t *networks, struct rb_err *err);

/** rb_travel_neighbours - on the target: in what the container knows of its neighbours, give the
 * gateway the hardware address of this node's bridge */
void rb_travel_neighbours(const struct rb_node *node, json_t *neighbours);
