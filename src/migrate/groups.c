// SPDX-License-Identifier: Apache-2.0
/* groups.c - the multicast groups of the container's sockets go along */
#include "groups.h"

#include <stdlib.h>

#include "arrival.h"
#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "json.h"
#include "log.h"
#include "migration.h"
#include "multicast.h"

#define MAX_TASKS 4096
#define HELD_MS	  3000

static int pids_of(const char *freezer, pid_t *ret, struct rb_err *err)
{
	int count = rb_freezer_pids(freezer, ret, MAX_TASKS, err);

	return count > MAX_TASKS ? MAX_TASKS : count;
}

void rb_groups_note(struct rb_member *c)
{
	pid_t pids[MAX_TASKS];
	int count = pids_of(rb_json_str(c->facts, "freezer", ""), pids, NULL);
	struct rb_err why = {};
	json_t *list = NULL;

	if (rb_multicast_save(pids, count, &list, &why) < 0)
		rb_warn("multicast groups will be left: %s", why.msg);
	else
		rb_member_fact(c, "multicast", list);
}

void rb_groups_rejoin(struct rb_member *c, int netns_fd)
{
	struct rb_wait wait = rb_migration_cleanup_wait(HELD_MS);
	const json_t *saved = json_object_get(c->facts, "multicast");
	char freezer[512];
	pid_t pids[MAX_TASKS];
	struct rb_err why = {};
	int init, r;

	if (!json_array_size(saved))
		return;
	r = rb_arrival_wait_held(c->arrival, &init, &wait, &why);
	if (r >= 0)
		r = rb_freezer_find(init, freezer, sizeof(freezer), &why);
	if (r >= 0)
		r = pids_of(freezer, pids, &why);
	if (r >= 0)
		r = rb_multicast_restore(netns_fd, pids, r, saved, &why);
	if (r < 0)
		rb_warn("go: some sockets have left their multicast groups: %s", why.msg);
}

int rb_groups_of(int init_pid, json_t **ret, struct rb_err *err)
{
	char freezer[512];
	pid_t pids[MAX_TASKS];
	int r = rb_freezer_find(init_pid, freezer, sizeof(freezer), err);

	if (r >= 0)
		r = pids_of(freezer, pids, err);
	return r < 0 ? r : rb_multicast_save(pids, r, ret, err);
}
