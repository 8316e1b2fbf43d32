// SPDX-License-Identifier: Apache-2.0
/*
 * obstacles_group.c - obstacles that only containers have which move together
 */
#include "obstacles.h"

#include <string.h>

#include "dump.h"
#include "freezer.h"
#include "group.h"
#include "json.h"
#include "sockets.h"

#define MAX_TASKS 4096
#define MAX_PEERS 1024

static const char *name_of(const json_t *inspect)
{
	const char *name = rb_json_str(inspect, "Name", "/");

	return name + (*name == '/');
}

static bool find_freezer(const struct rb_node *node, const json_t *inspect, char *ret, size_t size)
{
	int init;

	return rb_criu_init_pid(node->runtime_root, rb_json_str(inspect, "Id", ""), &init, NULL) >=
		       0 &&
	       rb_freezer_find(init, ret, size, NULL) >= 0;
}

static bool speaks_to(const pid_t *pids, int count, const char *freezer)
{
	for (int i = 0; i < count && i < MAX_TASKS; i++) {
		pid_t peers[MAX_PEERS];
		int n = rb_unix_peers(pids[i], peers, MAX_PEERS);

		for (int k = 0; k < n; k++) {
			char theirs[512];

			if (rb_freezer_find(peers[k], theirs, sizeof(theirs), NULL) >= 0 &&
			    strcmp(theirs, freezer) == 0)
				return true;
		}
	}
	return false;
}

/* Each container is dumped by a CRIU of its own, which knows one end of such a connection only. */
static void check_unix(const struct rb_node *node, const json_t *group, const json_t *inspect,
		       json_t *obstacles)
{
	char freezer[512], theirs[512];
	pid_t pids[MAX_TASKS];
	const json_t *other;
	size_t i;
	int count;

	if (!find_freezer(node, inspect, freezer, sizeof(freezer)))
		return;
	count = rb_freezer_pids(freezer, pids, MAX_TASKS, NULL);
	json_array_foreach (group, i, other)
		if (other != inspect && find_freezer(node, other, theirs, sizeof(theirs)) &&
		    speaks_to(pids, count, theirs))
			rb_obstacle_add(obstacles, "error",
					"close it, or have them speak over 127.0.0.1",
					"the container has a unix socket connected with one of "
					"container '%s', and such connections cannot be moved",
					name_of(other));
}

void rb_obstacles_group(const struct rb_node *node, const json_t *group, const json_t *inspect,
			json_t *obstacles)
{
	if (!rb_group_is_whole(group, inspect))
		rb_obstacle_add(obstacles, "error", "restart it",
				"the container is in the network that '%s' had before it was "
				"started again",
				name_of(json_array_get(group, 0)));
	check_unix(node, group, inspect, obstacles);
}
