// SPDX-License-Identifier: Apache-2.0
/*
 * target_go.c - the target's verbs from held tasks to the container that runs
 *
 * go	    GO is written, the network speaks and says where it is now, the tasks are let go
 * running  they run, as CRIU says
 * frames   what they missed is heard
 * settle   what came to the old place since is heard, and what came here
 * finish   runc has ended; name, restart policy; nothing of the migration is left
 *
 * Past GO there is no way back: what cannot be let go is restored once more, and what ran and ended
 * is started afresh, as Docker would after a power loss.
 */
#include <errno.h>
#include <string.h>

#include "arrival.h"
#include "cleanup.h"
#include "dump.h"
#include "engine.h"
#include "err.h"
#include "fault.h"
#include "groups.h"
#include "io.h"
#include "json.h"
#include "log.h"
#include "net.h"
#include "ports.h"
#include "report.h"
#include "storage.h"
#include "strategy.h"
#include "switchover.h"
#include "target.h"
#include "target_lanes.h"
#include "travel.h"
#include "workdir.h"

#define ENGINE_MS     60000
#define RESTORE_MS    120000
#define RESTORE_TRIES 3
#define AGAIN_MS      100
#define HELD_MS	      3000

static int open_arrival(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	if (c->arrival)
		return 0;
	return rb_arrival_open(m->node->run_dir, m->entry.id, c->container_id, c->work_dir,
			       &c->arrival, err);
}

static int open_arrivals(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m)
		if (r >= 0)
			r = open_arrival(m, c, err);
	return r;
}

/* The word "go" was passed on: the tasks run, or are about to, or did. */
static bool was_released(const struct rb_migration *m, const struct rb_member *c)
{
	return rb_arrival_was_released(m->node->run_dir, c->container_id);
}

static size_t count_released(const struct rb_migration *m)
{
	size_t n = 0;

	rb_each_member (c, m)
		n += was_released(m, c);
	return n;
}

/* Switches that the first answers pass would know of the new place, and others not yet: what these
 * still send to the old place a switch there would drop, for it came from where it is to go. So all
 * hear of it before the first answer. */
static void announce_in(int netns)
{
	if (rb_announce(netns, 1, NULL) < 0)
		rb_warn("go: the new place of the addresses could not be announced");
}

/* The network speaks, then the tasks run: CRIU needs some time for that. What arrives is caught. */
static int let_go(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(RESTORE_MS);
	_cleanup_close_ int netns = rb_target_netns(m, err);
	int r;

	if (netns < 0)
		return netns;
	r = open_arrivals(m, err);
	if (r < 0)
		return r;
	rb_target_prepare_switchover(m);
	/* tables that somebody flushed need not be opened */
	if (rb_silence_speak(netns, NULL) < 0)
		r = rb_silence_off(netns, err);
	if (r >= 0)
		r = rb_target_unhide(m, netns, err);
	if (r >= 0)
		announce_in(netns);
	rb_each_member (c, m)
		if (r >= 0 && !was_released(m, c))
			rb_groups_rejoin(c, netns);
	/* one GO for all of them */
	rb_each_member (c, m)
		if (r >= 0 && !was_released(m, c))
			r = rb_arrival_release(c->arrival, true, &wait, err);
	return r;
}

/* Are there tasks, and somebody who holds them? CRIU may have been killed, or still be on its way
 * back to a worker that has just taken over. */
static bool is_held(struct rb_migration *m, struct rb_member *c)
{
	struct rb_wait wait = rb_migration_cleanup_wait(HELD_MS);
	int init;

	/* without the placeholder they are about to end; without the first one's, they are in a
	 * network namespace that nobody cares for */
	if (rb_criu_placeholder_pid(m->node->run_dir, m->entry.container_id) <= 0 ||
	    rb_criu_placeholder_pid(m->node->run_dir, c->container_id) <= 0)
		return false;
	if (rb_arrival_probe(m->node->run_dir, m->node->runtime_root, c->container_id, NULL) != 1 ||
	    rb_arrival_lost(c->arrival))
		return false;
	return rb_arrival_wait_held(c->arrival, &init, &wait, NULL) >= 0;
}

/* the first that is not held, and was not let go either */
static struct rb_member *find_lost(struct rb_migration *m)
{
	rb_each_member (c, m)
		if (!was_released(m, c) && !is_held(m, c) && !was_released(m, c))
			return c;
	return NULL;
}

/*
 * What may have run is not restored from images again: they are older. So when some of a group run
 * already, only the others can be, one by one; and none of them when it is the first that is lost,
 * for then those that run have lost their network.
 */
static int restore_lost(struct rb_migration *m, struct rb_member *lost, struct rb_err *err)
{
	if (!count_released(m))
		return rb_target_restore_again(m, NULL, err);
	if (rb_member_number(m, lost) == 0)
		return rb_err_code(err, RB_E_CRIU, -EIO,
				   "'%s' is lost, and others of its group run already", lost->name);
	return rb_target_restore_again(m, lost, err);
}

/* Have held tasks: those that are there, or restored once more from the images. */
static int ensure_held(struct rb_migration *m, struct rb_err *err)
{
	int r = open_arrivals(m, err), tries = 0;
	struct rb_member *lost;

	if (r < 0)
		return r;
	while ((lost = find_lost(m))) {
		if (tries++ == RESTORE_TRIES)
			return r < 0 ? r
				     : rb_err_code(err, RB_E_CRIU, -EIO,
						   "what was restored does not stay");
		r = restore_lost(m, lost, err);
		if (r >= 0)
			continue;
		rb_warn("restore: %s", err->msg);
		/* whoever listened may be gone */
		if (open_arrivals(m, NULL) < 0)
			return r;
	}
	return 0;
}

/* Return: 1 when it runs already, by what the processes say */
static bool stand_alone(struct rb_migration *m, struct rb_member *c)
{
	bool runs = rb_arrival_probe(m->node->run_dir, m->node->runtime_root, c->container_id,
				     NULL) == 2;

	rb_arrival_close(TAKE_PTR(c->arrival), true);
	rb_arrival_forget(m->node->run_dir, c->container_id);
	return runs;
}

/* What Docker takes for the container may be a placeholder, or tasks that are held for ever. */
static int end_one(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
		   struct rb_err *err)
{
	rb_engine_kill(m->node->engine, c->container_id, "KILL", wait, NULL);
	return rb_engine_wait_stopped(m->node->engine, c->container_id, wait, err);
}

/* All that can be done is what Docker would do for any container after a power loss. Who shares the
 * network of one that gets a new one would be left without. */
int rb_target_start_fresh(struct rb_migration *m, struct rb_member *lost, bool for_certain,
			  struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ENGINE_MS);
	bool fresh[RB_MEMBERS_MAX] = {};
	int r;

	rb_each_member (c, m) {
		size_t number = rb_member_number(m, c);

		if (rb_member_number(m, lost) != 0 && c != lost)
			continue;
		fresh[number] = !stand_alone(m, c) || fresh[0] || (for_certain && c == lost);
		if (fresh[number])
			rb_warn("recovery: '%s' ran here and ended before the migration did: "
				"starting it afresh",
				c->name);
		rb_member_fact(c, "runs", json_true());
	}
	/* it gets a network of its own */
	if (rb_member_number(m, lost) == 0)
		rb_switchover_close(m);
	r = rb_engine_wait_ready(m->node->engine, &wait, err);
	rb_each_member (c, m)
		if (r >= 0 && fresh[rb_member_number(m, c)])
			r = end_one(m, c, &wait, err);
	/* a pager that still ends its container would take the new one for it */
	rb_each_member (c, m)
		if (r >= 0 && fresh[rb_member_number(m, c)])
			r = rb_wait_placed(m, c, &wait, err);
	rb_each_member (c, m)
		if (r >= 0 && fresh[rb_member_number(m, c)])
			r = rb_engine_start(m->node->engine, c->container_id, &wait, err);
	rb_each_member (c, m)
		if (r >= 0 && fresh[rb_member_number(m, c)])
			rb_target_forget_lost(m, c);
	return r;
}

static bool all_run(struct rb_migration *m)
{
	rb_each_member (c, m)
		if (!rb_json_bool(c->facts, "runs", false))
			return false;
	return true;
}

static int start_afresh(struct rb_migration *m, struct rb_member *lost, struct rb_err *err)
{
	int r = rb_target_start_fresh(m, lost, false, err);

	if (r >= 0 && all_run(m))
		rb_migration_fact(m, "running", json_true());
	return r;
}

static bool has_ended(const struct rb_migration *m, const struct rb_member *c)
{
	return rb_arrival_has_ended(m->node->run_dir, c->container_id);
}

static int see_it_run(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	/* a worker that did not pass it on itself knows less of who may still answer */
	struct rb_wait wait = rb_migration_cleanup_wait(m->conn ? RESTORE_MS : HELD_MS);
	int init, r;

	if (has_ended(m, c))
		return 0;
	r = open_arrival(m, c, err);
	if (r >= 0)
		r = rb_arrival_wait_running(c->arrival, &init, &wait, err);
	/* its placeholder went with it */
	return r < 0 && has_ended(m, c) ? 0 : r;
}

/* GO stands in the journal: from here on the containers run here, one way or the other */
static int release_containers(struct rb_migration *m, bool rebooted, struct rb_err *err)
{
	int r = -EIO;

	for (int i = 0; r < 0 && !rebooted && i < RESTORE_TRIES; i++) {
		r = ensure_held(m, err);
		if (r >= 0 && count_released(m) == m->members_count)
			return 0;
		if (r >= 0)
			r = let_go(m, err);
		if (r < 0) {
			rb_warn("go: %s", err->msg);
			rb_wait_ms(AGAIN_MS, NULL, NULL);
		}
	}
	return r < 0 ? start_afresh(m, &m->members[0], err) : 0;
}

int rb_target_go(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	bool rebooted = m->entry.state == RB_GO && rb_migration_rebooted(m);
	struct rb_err ignored = {};
	int r;

	(void)args;
	(void)ret;
	if (m->entry.state == RB_READY) {
		r = ensure_held(m, err);
		/* nothing to let go: the source, told so by our journal, takes the container back
		 */
		if (r < 0) {
			rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_READY), RB_ABORT,
					&ignored);
			return r;
		}
	}
	r = rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_READY), RB_GO, err);
	if (r < 0)
		return r;
	m->entry.state = RB_GO;
	rb_target_end_sync(m);
	m->wait = (struct rb_wait){ .cancel_fd = -EBADF };
	rb_fault_point("target.go.written", NULL, NULL);
	r = release_containers(m, rebooted, err);
	rb_target_lanes_close(m);
	return r;
}

/* Return: the first that is not seen running, and why; NULL: all are */
static struct rb_member *find_missing(struct rb_migration *m, struct rb_err *err)
{
	rb_each_member (c, m) {
		if (rb_json_bool(c->facts, "runs", false))
			continue;
		if (see_it_run(m, c, err) < 0)
			return c;
		rb_member_fact(c, "runs", json_true());
	}
	return NULL;
}

int rb_target_confirm_running(struct rb_migration *m, struct rb_err *err)
{
	struct rb_member *missing;
	int r;

	if (rb_json_bool(m->entry.facts, "running", false))
		return 0;
	for (int i = 0; (missing = find_missing(m, err)); i++) {
		if (i >= RESTORE_TRIES || was_released(m, missing)) {
			r = start_afresh(m, missing, err);
		} else {
			/* told to run, and gone before they did */
			rb_warn("go: %s", err->msg);
			r = release_containers(m, false, err);
		}
		if (r < 0)
			return r;
	}
	rb_migration_fact(m, "running", json_true());
	rb_target_forget_memory(m);
	return 0;
}

static int see_it_resumed(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(RESTORE_MS);
	int r = has_ended(m, c) ? 0 : open_arrival(m, c, err);

	if (r >= 0 && c->arrival)
		r = rb_arrival_wait_resumed(c->arrival, &wait, err);
	return r < 0 && has_ended(m, c) ? 0 : r;
}

/* The tasks were let go. From when they run every moment counts for what comes next, and runc has
 * much to tidy up: its word is waited for when we finish. */
int rb_target_running(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	struct rb_err why = {};
	/* only a source waits for that word */
	int r = m->conn ? 0 : -ENOTCONN;

	(void)args;
	(void)ret;
	rb_each_member (c, m)
		if (r >= 0 && !rb_json_bool(c->facts, "runs", false))
			r = see_it_resumed(m, c, &why);
	if (r < 0)
		return rb_target_confirm_running(m, err);
	rb_target_let_go_of_memory(m);
	return 0;
}

/* Of the placeholder, or of a container that was started afresh. */
static int open_netns(struct rb_migration *m)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ENGINE_MS);
	_cleanup_json_ json_t *inspect = NULL;
	int netns = rb_target_netns(m, NULL);

	if (netns >= 0)
		return netns;
	if (rb_engine_inspect(m->node->engine, m->entry.container_id, &inspect, &wait, NULL) < 0 ||
	    !rb_json_bool(json_object_get(inspect, "State"), "Running", false))
		return -ESRCH;
	return rb_netns_open((int)rb_json_int(json_object_get(inspect, "State"), "Pid", 0), NULL);
}

static void announce(struct rb_migration *m)
{
	_cleanup_close_ int netns = open_netns(m);

	if (netns >= 0)
		announce_in(netns);
}

/* What was caught on the source. It is announced once more: an announcement may get lost. */
int rb_target_frames(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	(void)args;
	(void)ret;
	(void)err;
	rb_switchover_receive(m);
	announce(m);
	return 0;
}

/* What came to the old place since, then what came here; then the container hears by itself. */
int rb_target_settle(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	_cleanup_close_ int netns = rb_target_netns(m, NULL);

	(void)args;
	(void)ret;
	(void)err;
	rb_switchover_receive(m);
	if (netns >= 0 && rb_switchover_open(m, netns, NULL) >= 0)
		m->settled = true;
	rb_switchover_close(m);
	rb_migration_hurry(m, false);
	return 0;
}

void rb_target_end_silence(struct rb_migration *m)
{
	/* it may have ended since, and its namespace with it */
	_cleanup_close_ int netns = open_netns(m);
	struct rb_err why = {};

	rb_migration_hurry(m, false);
	if (netns >= 0 && rb_json_bool(m->entry.facts, "macvlans", false) &&
	    rb_unpark(netns, &why) < 0)
		rb_warn("go: %s", why.msg);
	if (netns >= 0 && !m->settled) {
		announce(m);
		rb_switchover_open(m, netns, NULL);
	}
	m->settled = true;
	rb_switchover_close(m);
	if (netns >= 0 && rb_silence_off(netns, NULL) < 0)
		rb_warn("go: rules of the silence stay in the container's network namespace");
}

/* It ended before its restart policy was given back: Docker would have started it again. */
static int start_if_owed(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
			 struct rb_err *err)
{
	const json_t *policy = rb_json_path(c->facts, "offer.restart_policy"), *state;
	_cleanup_json_ json_t *inspect = NULL;
	int r;

	if (!rb_engine_policy_restarts(policy))
		return 0;
	r = rb_engine_inspect(m->node->engine, c->container_id, &inspect, wait, err);
	if (r < 0)
		return r;
	state = json_object_get(inspect, "State");
	if (rb_json_bool(state, "Running", false) ||
	    (strcmp(rb_json_str(policy, "Name", ""), "on-failure") == 0 &&
	     rb_json_int(state, "ExitCode", 0) == 0))
		return 0;
	return rb_engine_start(m->node->engine, c->container_id, wait, err);
}

/* name and restart policy; or removed by its user by now */
static int make_ordinary(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
			 struct rb_err *err)
{
	int r;

	rb_arrival_close(TAKE_PTR(c->arrival), true);
	rb_arrival_forget(m->node->run_dir, c->container_id);
	r = rb_engine_rename(m->node->engine, c->container_id, c->name, wait, err);
	if (r == -EBUSY)
		rb_warn("finish: the name '%s' was taken here meanwhile; container %.12s has "
			"another: 'docker rename' it",
			c->name, c->container_id);
	if (r == -EBUSY || r == -ENOENT)
		r = 0;
	if (r >= 0)
		r = rb_engine_restart_policy(m->node->engine, c->container_id,
					     rb_json_path(c->facts, "offer.restart_policy"), wait,
					     err);
	if (r >= 0)
		r = start_if_owed(m, c, wait, err);
	return r == -ENOENT ? 0 : r;
}

/* Works also when another finish was cut short anywhere. */
int rb_target_finish(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ENGINE_MS);
	struct rb_err why = {};
	int r;

	if (json_is_object(json_object_get(args, "energy"))) {
		json_decref(m->their_energy);
		m->their_energy = json_incref(json_object_get(args, "energy"));
	}
	r = rb_target_confirm_running(m, err);
	if (r < 0)
		return r;
	rb_target_end_silence(m);
	r = rb_migration_save(m, err);
	if (r < 0)
		return r;
	rb_each_member (c, m)
		if (r >= 0)
			r = make_ordinary(m, c, &wait, err);
	if (r < 0)
		return r;
	r = rb_travel_settle(m->node, rb_json_path(m->entry.facts, "offer.networks"), m->entry.id,
			     err);
	if (r < 0)
		return r;
	if (rb_ports_home(m, &why) < 0)
		rb_warn("finish: %s; 'reberth forward ls' shows what stays", why.msg);
	rb_guard_off(m->entry.id, NULL);
	rb_each_member (c, m)
		rb_criu_remove_scratch(c->work_dir);
	rb_each_member (c, m)
		rb_binds_settle(m, c);
	/* DONE lets the source go */
	r = rb_target_wait_fetched(m, err);
	if (r >= 0)
		r = rb_migration_remove_work(m, err);
	if (r >= 0)
		r = rb_report_save(m, "completed", NULL, err);
	if (r >= 0)
		r = rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_GO), RB_DONE, err);
	if (r >= 0) {
		m->entry.state = RB_DONE;
		rb_info("done: '%s' arrived from node '%s'", m->entry.container, m->entry.peer);
	}
	if (ret)
		*ret = json_pack("{s:o}", "energy", rb_energy_json(&m->energy));
	return r;
}
