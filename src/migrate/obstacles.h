/* SPDX-License-Identifier: Apache-2.0 */
/*
 * obstacles.h - what stands in the way of a migration, found before anything is changed
 *
 * An obstacle is {"severity": "error" | "warning", "what", "remedy"}. A new one is a function and a
 * row in the table of obstacles_source.c or obstacles_target.c.
 */
#pragma once

#include <jansson.h>

#include "node.h"

struct rb_err;
struct rb_wait;

/** rb_obstacles_source - what the source can tell from `inspect`; adds to @obstacles */
int rb_obstacles_source(const struct rb_node *node, const json_t *inspect, json_t *obstacles,
			const struct rb_wait *wait, struct rb_err *err);

/** rb_obstacles_target - what the target can tell from the source's offer */
int rb_obstacles_target(const struct rb_node *node, const json_t *offer, json_t *obstacles,
			const struct rb_wait *wait, struct rb_err *err);

/** rb_obstacles_refuse - 0 when there are only warnings; else RB_E_REFUSED with the first error and
 * the number of the others */
int rb_obstacles_refuse(const json_t *obstacles, struct rb_err *err);

/** rb_obstacle_add - @remedy may be NULL */
void rb_obstacle_add(json_t *obstacles, const char *severity, const char *remedy, const char *fmt,
		     ...) __attribute__((format(printf, 4, 5)));
