// SPDX-License-Identifier: Apache-2.0
/*
 * source_thaw.c - the way back from the freeze, and whether there is one
 *
 * Nothing here stops at the first container that cannot be given back: each of the others can.
 */
#include <errno.h>
#include <stdio.h>

#include "cleanup.h"
#include "dump.h"
#include "engine.h"
#include "err.h"
#include "freezer.h"
#include "json.h"
#include "log.h"
#include "net.h"
#include "proc.h"
#include "send.h"
#include "source.h"
#include "switchover.h"

#define UNDO_MS	  60000
#define MAX_TASKS 4096

int rb_member_init(const struct rb_member *c)
{
	return (int)rb_json_int(c->facts, "init_pid", 0);
}

const char *rb_member_freezer(const struct rb_member *c)
{
	return rb_json_str(c->facts, "freezer", "");
}

void rb_source_fill_dump(const struct rb_migration *m, const struct rb_member *c,
			 struct rb_dump *ret)
{
	*ret = (struct rb_dump){ .runtime_root = m->node->runtime_root,
				 .container_id = c->container_id,
				 .work_dir = c->work_dir,
				 .freezer_path = rb_member_freezer(c),
				 .init_pid = rb_member_init(c) };
}

bool rb_member_alive(const struct rb_member *c)
{
	return rb_pid_alive(rb_member_init(c),
			    (unsigned long long)rb_json_int(c->facts, "init_start", 0));
}

bool rb_source_all_alive(const struct rb_migration *m)
{
	rb_each_member (c, m)
		if (!rb_member_alive(c))
			return false;
	return true;
}

int rb_source_netns(const struct rb_migration *m, struct rb_err *err)
{
	rb_each_member (c, m)
		if (rb_member_alive(c))
			return rb_netns_open(rb_member_init(c), err);
	return rb_err_code(err, RB_E_CONFLICT, -ESRCH, "'%s' ended", m->entry.container);
}

/* sockets that a killed CRIU left in TCP repair mode would neither send nor acknowledge */
static void leave_repair_mode(const char *freezer)
{
	pid_t pids[MAX_TASKS];
	int n = rb_freezer_pids(freezer, pids, ARRAY_SIZE(pids), NULL);

	for (int i = 0; i < n && i < MAX_TASKS; i++)
		rb_tcp_repair_off(pids[i], NULL);
}

/* All of them, whatever becomes of the others. */
static int thaw_all(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m) {
		struct rb_err why = {};
		int r2 = rb_member_alive(c) ? rb_freezer_thaw(rb_member_freezer(c), &why) : 0;

		if (r2 < 0 && r >= 0) {
			r = r2;
			*err = why;
		}
	}
	return r;
}

/* No undo of the network keeps the tasks from being thawed: a container that runs without it can be
 * helped more easily. */
static int thaw(struct rb_migration *m, int netns, struct rb_err *err)
{
	struct rb_err later = {};
	int r = netns, r2;

	if (netns >= 0) {
		rb_net_mend(netns, NULL);
		if (m->capture)
			rb_switchover_prepare(m, netns);
		/* so that not even their first packet is lost */
		r = rb_silence_speak(netns, NULL);
		if (r < 0)
			r = rb_silence_off(netns, err);
	}
	r2 = thaw_all(m, &later);
	if (netns >= 0 && r >= 0) {
		rb_switchover_open(m, netns, NULL);
		r = rb_silence_off(netns, err);
	}
	if (r2 < 0 && r >= 0 && err)
		*err = later;
	return r < 0 ? r : r2;
}

/* No CRIU holds any of the tasks any more, nor is a socket left as one did. */
static int mend_all(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m) {
		struct rb_dump dump;
		struct rb_err why = {};
		int r2;

		if (!rb_member_alive(c))
			continue;
		rb_source_fill_dump(m, c, &dump);
		r2 = rb_criu_mend(&dump, wait, &why);
		if (r2 < 0 && r >= 0) {
			r = r2;
			if (err)
				*err = why;
		}
	}
	return r;
}

int rb_source_give_back(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(UNDO_MS);
	_cleanup_close_ int netns = -EBADF;
	struct rb_err later = {};
	int r, r2;

	r = mend_all(m, &wait, err);
	rb_each_member (c, m)
		if (rb_member_alive(c))
			leave_repair_mode(rb_member_freezer(c));
	netns = rb_source_netns(m, &later);
	r2 = thaw(m, netns, &later);
	rb_each_member (c, m)
		rb_memory_thaw(c->memory);
	rb_migration_hurry(m, false);
	if (r >= 0 && r2 < 0 && err)
		*err = later;
	return r < 0 ? r : r2;
}

static bool any_alive(const struct rb_migration *m)
{
	rb_each_member (c, m)
		if (rb_member_alive(c))
			return true;
	return false;
}

int rb_source_freeze_undo(struct rb_migration *m, struct rb_err *err)
{
	return any_alive(m) ? rb_source_give_back(m, err) : 0;
}

static int policy_back(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(UNDO_MS);
	const json_t *policy = json_object_get(c->facts, "restart_policy");
	_cleanup_json_ json_t *now = NULL;
	int r = rb_engine_inspect(m->node->engine, c->container_id, &now, &wait, err);

	/* the user may have removed the container meanwhile, or given it another policy */
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	if (rb_engine_policy_restarts(rb_json_path(now, "HostConfig.RestartPolicy")))
		return 0;
	if (!rb_json_bool(json_object_get(now, "State"), "Running", false))
		rb_warn("roll-back: '%s' ended meanwhile; 'docker start' starts it", c->name);
	r = rb_engine_restart_policy(m->node->engine, c->container_id, policy, &wait, err);
	return r == -ENOENT ? 0 : r;
}

int rb_source_policy_back(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m)
		if (r >= 0)
			r = policy_back(m, c, err);
	return r;
}

/* A CRIU that was started early waits for a freeze that does not come. */
int rb_source_arm_undo(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(UNDO_MS);

	return mend_all(m, &wait, err);
}
