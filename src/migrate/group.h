/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group.h - containers that share one network namespace (docker run --network container:NAME), and
 * move together with --group
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "node.h"

struct rb_err;
struct rb_wait;

/** rb_group_joins - does the container of this NetworkMode join the network of that one?
 * @name: with or without Docker's slash before it */
bool rb_group_joins(const char *mode, const char *id, const char *name);

/**
 * rb_group_find - all containers that run and share the network namespace of one of them
 * @inspect: of any of them
 * @ret: array of what Docker's inspect says; the first owns the namespace, each other one comes
 * after the one whose network it joined. One element when nothing is shared.
 *
 * Asks the engine only.
 */
int rb_group_find(const struct rb_node *node, const json_t *inspect, json_t **ret,
		  const struct rb_wait *wait, struct rb_err *err);

/** rb_group_index - position in @group (of inspects) of the container that @inspect has joined, or
 * -1 when it is none of these */
int rb_group_index(const json_t *group, const json_t *inspect);

/** rb_group_has - is the container among those that move? @group may be NULL: none do */
bool rb_group_has(const json_t *group, const char *id);

/**
 * rb_group_is_whole - is the namespace the very one that its owner has? A container goes on in that
 * of an earlier run when the owner was started again.
 */
bool rb_group_is_whole(const json_t *group, const json_t *inspect);
