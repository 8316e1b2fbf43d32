// SPDX-License-Identifier: Apache-2.0
/*
 * source_commit.c - the point of no return, and what the source does beyond it
 *
 * COMMIT is written (and synced) before GO is sent. From then on the source never thaws: it waits,
 * for as long as it takes, until the target's journal says that it let the container go (GO or
 * DONE), and only then kills the frozen tasks, still behind the silence, and removes the container.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "attached.h"
#include "cleanup.h"
#include "conn.h"
#include "engine.h"
#include "err.h"
#include "fault.h"
#include "freezer.h"
#include "io.h"
#include "json.h"
#include "lanes.h"
#include "log.h"
#include "net.h"
#include "peer.h"
#include "ports.h"
#include "proc.h"
#include "reconnect.h"
#include "rounds.h"
#include "source.h"
#include "storage.h"
#include "switchover.h"
#include "sync.h"
#include "travel.h"

#define GO_MS	     20000
#define ASK_EVERY_MS 500
#define CLEANUP_MS   60000
#define FINISHED_MS  20000

int rb_source_wait_target(struct rb_migration *m, struct rb_err *err)
{
	for (;;) {
		struct rb_wait wait = rb_migration_cleanup_wait(10000);
		enum rb_state state = RB_STATE_MAX;
		struct rb_err why = {};
		int r = rb_peer_state(m, &state, &wait, &why);

		if (r >= 0 && (state == RB_DONE || (state == RB_GO && !rb_memory_stays(m))))
			return 0;
		/* it never let the container go, and with this in its journal it never will */
		if (r >= 0 && (state == RB_ABORT || state == RB_ABORTED))
			return rb_err_code(err, RB_E_PEER, -ECANCELED,
					   "node '%s' lost what it had restored and gave up",
					   m->entry.peer);
		if (r >= 0 && state == RB_STATE_MAX)
			return rb_err_code(
				err, RB_E_IN_DOUBT, -EUCLEAN,
				"committed, but node '%s' knows nothing of migration "
				"%s: the container stays frozen here. If it runs nowhere "
				"else, 'docker kill' and 'docker start' give it a fresh "
				"start here",
				m->entry.peer, m->entry.id);
		if (r >= 0 && state == RB_GO)
			rb_progress_say(m, "it runs on node '%s', and fetches its memory from here",
					m->entry.peer);
		else
			rb_migration_doubt(m, "in doubt until node '%s' answers that it runs: %s",
					   m->entry.peer, r < 0 ? why.msg : rb_state_name(state));
		rb_wait_ms(ASK_EVERY_MS, NULL, NULL);
	}
}

/* A user who killed, removed or thawed it meanwhile has cancelled the move; or who connected it to
 * a network. */
static int still_frozen(struct rb_migration *m, struct rb_err *err)
{
	rb_each_member (c, m)
		if (!rb_member_alive(c) || rb_freezer_is_frozen(rb_member_freezer(c), NULL) != 1)
			return rb_err_code(
				err, RB_E_CANCELED, -ECANCELED,
				"'%s' was killed or thawed here during the move, which cancels it",
				c->name);
	return rb_attached_still(m, err);
}

/* @send: writes the stream that follows the call, or NULL */
static int call(struct rb_migration *m, const char *verb,
		int (*send)(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err),
		struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(GO_MS);
	int r = rb_conn_call(m->conn, verb, NULL, &wait, err);

	if (r >= 0 && send)
		r = send(m, &wait, err);
	if (r >= 0 && send)
		r = rb_stream_end(m->conn, &wait, err);
	return r < 0 ? r : rb_conn_reply(m->conn, NULL, &wait, err);
}

/* What siblings on this host send goes to the new place from here on; what they sent before was
 * caught. */
static void hide(const struct rb_migration *m)
{
	_cleanup_close_ int netns = rb_source_netns(m, NULL);

	if (netns >= 0)
		rb_park(netns, NULL);
}

int rb_source_commit(struct rb_migration *m, struct rb_err *err)
{
	struct rb_err why = {};
	int r;

	r = still_frozen(m, err);
	/* the last moment in which a cancel or the time limit counts */
	if (r >= 0)
		r = rb_wait_ms(0, &m->wait, err);
	if (r >= 0)
		r = rb_travel_leave(
			m->node, rb_json_path(m->entry.facts, "inspect.NetworkSettings.Networks"),
			m->entry.peer, err);
	if (r < 0)
		return r;
	r = rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_FROZEN), RB_COMMIT, err);
	if (r < 0)
		return r;
	m->entry.state = RB_COMMIT;
	/* from here on neither the user nor the clock can stop it */
	m->wait = (struct rb_wait){ .cancel_fd = -EBADF };
	rb_fault_point("source.commit.written", NULL, NULL);
	/* what came for the old address is nobody's any more */
	if (rb_reconnect_wanted(m))
		rb_switchover_close(m);
	r = call(m, "go", NULL, &why);
	if (r >= 0)
		r = call(m, "running", NULL, &why);
	if (r >= 0)
		m->downtime_ms = (rb_now_us() - m->frozen_us + 500) / 1000;
	if (r >= 0)
		r = call(m, "frames", rb_switchover_send, &why);
	if (r >= 0)
		hide(m);
	if (r >= 0)
		r = call(m, "settle", rb_switchover_send_stragglers, &why);
	rb_migration_hurry(m, false);
	rb_switchover_close(m);
	rb_lanes_close(m);
	if (r >= 0)
		return 0;
	rb_warn("commit: no answer to GO: %s", why.msg);
	rb_migration_hang_up(m);
	return rb_source_wait_target(m, err);
}

/* Nothing of their end is seen on the network, but for the RSTs of connections that did not move
 * along. */
static int shut_network(struct rb_migration *m, struct rb_err *err)
{
	struct rb_err why = {};
	_cleanup_close_ int netns = rb_source_netns(m, &why);
	int r;

	/* none of them is there any more */
	if (netns == -ESRCH)
		return 0;
	if (netns < 0) {
		*err = why;
		return netns;
	}
	/* it is on already, unless somebody flushed the rules */
	r = rb_silence_on(netns, err);
	rb_park(netns, NULL);
	if (r >= 0)
		rb_reconnect_farewell(m, netns);
	return r;
}

static int kill_frozen(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	int r = shut_network(m, err);

	rb_each_member (c, m) {
		if (r >= 0 && rb_member_alive(c))
			r = rb_freezer_kill(rb_member_freezer(c), wait, err);
		else if (r >= 0)
			/* somebody may have started it by hand after a reboot; it runs elsewhere
			 * now */
			rb_engine_kill(m->node->engine, c->container_id, "KILL", wait, NULL);
	}
	rb_each_member (c, m)
		if (r >= 0)
			r = rb_engine_wait_stopped(m->node->engine, c->container_id, wait, err);
	return r;
}

/* --keep-source: it stays for inspection, stopped, off the network and under another name */
static int keep_container(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
			  struct rb_err *err)
{
	const json_t *networks =
		rb_json_path(json_object_get(c->facts, "inspect"), "NetworkSettings.Networks");
	const char *network;
	json_t *value;
	char name[320];
	int r;

	snprintf(name, sizeof(name), "%s-moved-%s", c->name, m->entry.id);
	r = rb_engine_rename(m->node->engine, c->container_id, name, wait, err);
	if (r < 0 && r != -ENOENT)
		return r;
	json_object_foreach ((json_t *)networks, network, value)
		rb_engine_network_disconnect(m->node->engine, network, c->container_id, true, wait,
					     NULL);
	return 0;
}

/* Volumes move with the container: what stays behind would be stale and in the way of coming back.
 */
static void remove_volumes(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait)
{
	const json_t *volumes = json_object_get(c->facts, "volumes");
	const json_t *volume;
	size_t i;

	json_array_foreach (volumes, i, volume) {
		const char *name = rb_json_str(volume, "name", "");
		struct rb_err why = {};
		int r = rb_storage_is_shared(volume)
				? 0
				: rb_engine_volume_remove(m->node->engine, name, wait, &why);

		if (r < 0 && r != -ENOENT)
			rb_warn("finish: volume '%s' stays here: %s", name, why.msg);
	}
}

/* Docker removes anonymous volumes with the container; not if one of them is not ours alone. */
static bool has_shared(const struct rb_member *c)
{
	const json_t *volume;
	size_t i;

	json_array_foreach (json_object_get(c->facts, "volumes"), i, volume)
		if (rb_storage_is_shared(volume))
			return true;
	return false;
}

/* All containers before the first volume, which several may use. */
static int remove_all(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	bool keep = rb_json_bool(m->entry.facts, "keep_source", false);
	int r = 0;

	rb_each_member (c, m) {
		if (r >= 0 && keep)
			r = keep_container(m, c, wait, err);
		else if (r >= 0)
			r = rb_engine_remove(m->node->engine, c->container_id, true, !has_shared(c),
					     wait, err);
	}
	if (r >= 0)
		r = rb_ports_leave(m, err);
	if (r < 0)
		return r;
	rb_each_member (c, m)
		if (!keep)
			remove_volumes(m, c, wait);
	return 0;
}

/* The container has its name and its restart policy there once the target has finished. It does so
 * by itself, too, and tries again what fails: "completed" only waits for it, within limits. */
static void wait_finished(struct rb_migration *m)
{
	struct rb_wait wait = rb_migration_cleanup_wait(CLEANUP_MS);
	enum rb_state theirs = RB_STATE_MAX;
	struct rb_err why = {};
	_cleanup_json_ json_t *args = json_pack("{s:o}", "energy", rb_energy_json(&m->energy));
	_cleanup_json_ json_t *answer = NULL;
	int r = -ENOTCONN;

	if (m->conn)
		r = rb_conn_call(m->conn, "finish", args, &wait, &why);
	if (m->conn && r >= 0)
		r = rb_conn_reply(m->conn, &answer, &wait, &why);
	if (json_is_object(json_object_get(answer, "energy")))
		m->their_energy = json_incref(json_object_get(answer, "energy"));
	if (m->conn && r < 0)
		rb_warn("finish: node '%s' could not finish at once: %s", m->entry.peer, why.msg);
	if (r >= 0)
		return;
	rb_migration_hang_up(m);
	rb_progress_say(m, "it runs on node '%s', which is asked whether all is done there",
			m->entry.peer);
	wait = rb_migration_cleanup_wait(FINISHED_MS);
	for (r = 0; r >= 0; r = rb_wait_ms(ASK_EVERY_MS, &wait, NULL))
		if (rb_peer_state(m, &theirs, &wait, NULL) >= 0 && theirs == RB_DONE)
			return;
	rb_warn("finish: '%s' runs on node '%s', which has not given it its name and restart "
		"policy yet",
		m->entry.container, m->entry.peer);
}

int rb_source_finish(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(CLEANUP_MS);
	int r;

	rb_storage_note_left(m);
	/* those that could not be removed at once */
	rb_storage_remove_tokens(m);
	rb_migration_save(m, NULL);
	/* nobody has to hear of each file that is removed now */
	rb_each_member (c, m)
		rb_sync_free(TAKE_PTR(c->sync));
	r = rb_ports_keep(m, err);
	rb_fault_point("source.finish.kept", NULL, NULL);
	if (r >= 0)
		r = kill_frozen(m, &wait, err);
	if (r >= 0)
		r = remove_all(m, &wait, err);
	if (r >= 0)
		r = rb_migration_save(m, err);
	if (r >= 0)
		r = rb_migration_remove_work(m, err);
	if (r < 0)
		return r;
	wait_finished(m);
	return 0;
}
