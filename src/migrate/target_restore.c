// SPDX-License-Identifier: Apache-2.0
/*
 * target_restore.c - the target's verbs from the placeholder to tasks that are held
 *
 * start    Docker starts the placeholder; its network is silent
 * restore  CRIU begins to restore into what the placeholder holds: namespaces, mounts
 * ready    the pages are here; the tasks are made and stand still (held by CRIU's post-restore
 *	    script); READY
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arrival.h"
#include "cleanup.h"
#include "conn.h"
#include "dump.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "log.h"
#include "neighbours.h"
#include "net.h"
#include "overlay.h"
#include "ports.h"
#include "proc.h"
#include "reconnect.h"
#include "rounds.h"
#include "spec.h"
#include "storage.h"
#include "strategy.h"
#include "switchover.h"
#include "target.h"
#include "target_lanes.h"
#include "travel.h"
#include "tree.h"
#include "workdir.h"

#define ENGINE_MS  60000
#define RESTORE_MS 120000

/* What Docker attached is silent on layer 2, too, from here on; so the guard may go. */
static int silence(struct rb_migration *m, int netns, struct rb_err *err)
{
	int r = rb_silence_on(netns, err);

	return r < 0 ? r : rb_guard_off(m->entry.id, err);
}

/* Now, so that eth1, eth2, ... come in their order. */
static int attach_more(struct rb_migration *m, int placeholder, struct rb_wait *wait,
		       struct rb_err *err)
{
	const json_t *more = rb_json_path(m->entry.facts, "offer.more_networks");
	_cleanup_close_ int netns = rb_netns_open(placeholder, err), seen = -EBADF;
	int r = netns;

	if (r >= 0 && json_array_size(more))
		seen = rb_passon_open(netns, NULL);
	if (r >= 0)
		r = rb_engine_connect_missing(m->node->engine, m->entry.container_id, more, wait,
					      err);
	if (r >= 0)
		r = rb_park(netns, err);
	if (r < 0)
		return r;
	rb_migration_fact(m, "macvlans", json_boolean(r > 0));
	if (r > 0 && seen >= 0)
		rb_passon_end(netns, seen, NULL);
	return silence(m, netns, err);
}

/* Those that join the first one's network find it silent. */
static int start_placeholder(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, ENGINE_MS);
	bool first = rb_member_number(m, c) == 0;
	int pid, r;

	r = rb_arrival_open(m->node->run_dir, m->entry.id, c->container_id, c->work_dir,
			    &c->arrival, err);
	if (r >= 0 && first)
		r = rb_guard_on(m->entry.id, rb_json_path(m->entry.facts, "offer.macs"), err);
	if (r >= 0)
		r = rb_engine_start(m->node->engine, c->container_id, &wait, err);
	if (r >= 0)
		r = rb_arrival_wait_placeholder(c->arrival, &pid, &wait, err);
	return r < 0 || !first ? r : attach_more(m, pid, &wait, err);
}

/* which addresses Docker gave it */
static int tell_addresses(struct rb_migration *m, json_t **ret, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, ENGINE_MS);
	_cleanup_json_ json_t *inspect = NULL, *addresses = NULL;
	int r = rb_engine_inspect(m->node->engine, m->entry.container_id, &inspect, &wait, err);

	if (r >= 0)
		r = rb_spec_addresses(inspect, &addresses, err);
	if (r >= 0)
		*ret = json_pack("{s:O}", "addresses", addresses);
	return r;
}

static int sync_files(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	int r = rb_sync_system(-EBADF, rb_json_str(c->facts, "upper", "/"), &m->wait, err);

	return r < 0 ? r : rb_target_sync_storage(c, &m->wait, err);
}

int rb_target_start(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	int r = 0;

	(void)args;
	/* what came so far is on disk before the freeze: the sync inside it has little left to do
	 */
	rb_each_member (c, m)
		if (r >= 0)
			r = sync_files(m, c, err);
	rb_each_member (c, m)
		if (r >= 0)
			r = start_placeholder(m, c, err);
	return r >= 0 && rb_reconnect_wanted(m) ? tell_addresses(m, ret, err) : r;
}

/*
 * READY may last: a source that cannot be reached lets us wait for its word. So the images reach
 * the disk, and then a mark that they have: after a power loss without the mark the target gives
 * up, and the source takes the container back. Not at once, though (target.c): commonly the word
 * comes in some milliseconds, and until then the disk belongs to the journal, and the time to the
 * container. After GO nobody needs the images.
 */
void rb_target_begin_sync(struct rb_migration *m)
{
	char images[600], mark[600];
	int r = 0;

	if (!m->sync_due)
		return;
	rb_path(mark, sizeof(mark), "%s/images.synced", m->work_dir);
	m->sync_pid = fork();
	/* tried again when there is no process to be had */
	m->sync_due = m->sync_pid < 0;
	if (m->sync_pid != 0)
		return;
	/* neither the lock nor the connection may outlive the worker in a child that only syncs */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	rb_target_lanes_abandon(m);
	rb_migration_hurry(m, false);
	close(m->lock_fd);
	if (m->conn)
		close(rb_conn_fd(m->conn));
	rb_each_member (c, m) {
		rb_path(images, sizeof(images), "%s/images", c->work_dir);
		if (r >= 0)
			r = rb_criu_images_to_disk(c->work_dir, NULL);
		if (r >= 0)
			r = rb_tree_sync_files(images, NULL);
	}
	if (r >= 0)
		r = rb_write_file(mark, "", 0, 0600, true, NULL);
	_exit(r < 0);
}

void rb_target_end_sync(struct rb_migration *m)
{
	m->sync_due = false;
	if (m->sync_pid <= 0)
		return;
	/* it may be deep in the disk, and nobody waits for it */
	kill(m->sync_pid, SIGKILL);
	waitpid(m->sync_pid, NULL, WNOHANG);
	m->sync_pid = 0;
}

static bool images_usable(const struct rb_migration *m)
{
	char mark[600], boot_id[37] = "";

	rb_boot_id(boot_id, NULL);
	rb_path(mark, sizeof(mark), "%s/images.synced", m->work_dir);
	return strcmp(rb_json_str(m->entry.facts, "ready_boot", ""), boot_id) == 0 ||
	       access(mark, F_OK) == 0;
}

/* CRIU kills what it holds; what does not listen goes with the container's cgroup */
static void let_die(struct rb_migration *m, struct rb_member *c)
{
	struct rb_wait brief = rb_migration_cleanup_wait(2000);

	if (!c->arrival)
		rb_arrival_open(m->node->run_dir, m->entry.id, c->container_id, c->work_dir,
				&c->arrival, NULL);
	if (c->arrival &&
	    rb_arrival_probe(m->node->run_dir, m->node->runtime_root, c->container_id, NULL) == 1)
		rb_arrival_release(c->arrival, false, &brief, NULL);
}

static void forget(struct rb_migration *m, struct rb_member *c)
{
	rb_criu_remove_scratch(c->work_dir);
	rb_target_forget_lost(m, c);
	rb_arrival_close(TAKE_PTR(c->arrival), true);
	rb_arrival_forget(m->node->run_dir, c->container_id);
	if (c->detached) {
		rb_overlay_free(c->detached);
		free(TAKE_PTR(c->detached));
	}
}

int rb_target_start_undo(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ENGINE_MS);
	int r = 0;

	rb_target_forget_memory(m);
	rb_target_end_sync(m);
	rb_switchover_close(m);
	rb_each_member (c, m)
		let_die(m, c);
	/* removed here already, for the guard must not go before what it guards */
	rb_each_member (c, m)
		if (r >= 0)
			r = rb_engine_remove(m->node->engine, c->container_id, true, false, &wait,
					     err);
	if (r < 0)
		return r;
	rb_each_member (c, m)
		forget(m, c);
	r = rb_guard_off(m->entry.id, err);
	return r < 0 ? r : rb_ports_arrive_undo(m, err);
}

int rb_target_netns(const struct rb_migration *m, struct rb_err *err)
{
	return rb_netns_open(rb_criu_placeholder_pid(m->node->run_dir, m->entry.container_id), err);
}

/* CRIU makes namespaces and mounts; it waits for the pages before it makes tasks
 * @only: this one, while others run already; NULL: all */
static int begin_restore(struct rb_migration *m, struct rb_member *only, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, RESTORE_MS);
	_cleanup_close_ int netns = rb_target_netns(m, err);
	int r = 0;

	if (netns < 0)
		return netns;
	/* connections of the container to itself, or within a group: not a packet before both ends
	 * are whole */
	if (!only)
		r = rb_silence_loopback(netns, err);
	if (r >= 0)
		r = rb_reconnect_lend(m, netns, err);
	rb_each_member (c, m) {
		if (only && c != only)
			continue;
		if (r >= 0)
			r = rb_target_hand_over_places(c, err);
		if (r >= 0)
			r = rb_target_start_restore(c, &wait, err);
		if (r >= 0)
			r = rb_arrival_images(c->arrival, err);
	}
	return r;
}

static int end_restore(struct rb_migration *m, struct rb_member *only, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, RESTORE_MS);
	_cleanup_close_ int netns = rb_target_netns(m, err);
	int init, r = 0;

	if (netns < 0)
		return netns;
	rb_each_member (c, m) {
		if (only && c != only)
			continue;
		if (r >= 0)
			r = rb_arrival_wait_held(c->arrival, &init, &wait, err);
		if (r >= 0)
			r = rb_reconnect_reset(m, init, err);
	}
	return r < 0 ? r : rb_reconnect_return(m, netns, err);
}

/* memory and the files with pages are here, too */
static int tell_pages(struct rb_migration *m, struct rb_member *only, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m) {
		if (only && c != only)
			continue;
		if (r >= 0)
			r = rb_target_start_pager(m, c, err);
		if (r >= 0)
			r = rb_arrival_pages(c->arrival, err);
	}
	return r;
}

/* A CRIU without our library fills segments of System V before it waits. */
static bool waits_for_pages(void)
{
	return rb_criu_can_skip();
}

int rb_target_restore(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	int r = 0;

	(void)ret;
	rb_migration_hurry(m, true);
	rb_migration_fact(m, "strategy", json_string(rb_json_str(args, "strategy", "cold")));
	if (rb_json_bool(args, "stays", false))
		rb_memory_let_stay(m);
	if (!rb_target_has_memory(m))
		r = rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				"the container is to be restored without memory, but none came");
	rb_each_member (c, m)
		if (r >= 0)
			r = rb_target_close_rootfs(m, c, err);
	return r < 0 || !waits_for_pages() ? r : begin_restore(m, NULL, err);
}

void rb_target_prepare_switchover(struct rb_migration *m)
{
	_cleanup_close_ int netns = -EBADF;

	/* commonly all is there since READY, and the tasks wait */
	if (m->injector)
		return;
	netns = rb_target_netns(m, NULL);
	if (netns < 0)
		return;
	rb_switchover_capture(m, netns);
	rb_switchover_prepare(m, netns);
	rb_travel_neighbours(m->node, json_object_get(m->entry.facts, "neighbours"));
	rb_neighbours_write(netns, json_object_get(m->entry.facts, "neighbours"), NULL);
}

int rb_target_unhide(struct rb_migration *m, int netns, struct rb_err *err)
{
	int r;

	if (!rb_json_bool(m->entry.facts, "macvlans", false))
		return 0;
	r = rb_unpark(netns, err);
	/* a device forgets its neighbours with its address */
	rb_neighbours_write(netns, json_object_get(m->entry.facts, "neighbours"), NULL);
	return r;
}

int rb_target_ready(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	char boot_id[37];
	int r = waits_for_pages() ? 0 : begin_restore(m, NULL, err);

	if (r >= 0)
		r = tell_pages(m, NULL, err);
	/* while CRIU does its work */
	rb_migration_fact(m, "neighbours", json_incref(json_object_get(args, "neighbours")));
	rb_each_member (c, m)
		json_object_set(
			c->facts, "multicast",
			json_array_get(json_object_get(args, "multicast"), rb_member_number(m, c)));
	rb_target_prepare_switchover(m);
	if (r >= 0)
		r = rb_ports_arrive(m, json_object_get(args, "flows"), err);
	if (r >= 0)
		r = end_restore(m, NULL, err);
	if (r >= 0)
		r = rb_boot_id(boot_id, err);
	if (r < 0)
		return r;
	rb_migration_fact(m, "ready_boot", json_string(boot_id));
	r = rb_journal_move_with(m->node->journal, m->entry.id, RB_IN(RB_PREPARING), RB_READY,
				 m->entry.facts, err);
	if (r < 0)
		return r;
	m->entry.state = RB_READY;
	m->sync_due = true;
	*ret = json_pack("{s:s}", "boot_id", boot_id);
	return 0;
}

static int end_placeholder(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
			   struct rb_err *err)
{
	int r = rb_engine_kill(m->node->engine, c->container_id, "KILL", wait, NULL) == -ECANCELED
			? -ECANCELED
			: 0;

	if (r >= 0)
		r = rb_engine_wait_stopped(m->node->engine, c->container_id, wait, err);
	return r;
}

int rb_target_restore_again(struct rb_migration *m, struct rb_member *only, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ENGINE_MS);
	int r;

	if (!images_usable(m) || !rb_target_has_memory(m))
		return rb_err_code(err, RB_E_INTERNAL, -ENODATA,
				   "what it is restored from was lost with this host's memory");
	rb_warn("restore: the held tasks are lost; restoring once more from the images");
	r = rb_engine_wait_ready(m->node->engine, &wait, err);
	rb_each_member (c, m)
		if (r >= 0 && (!only || c == only))
			r = end_placeholder(m, c, &wait, err);
	/* the tasks that ended had the shared memory */
	if (r >= 0)
		r = rb_target_check_memory(m, only, err);
	/* a pager that still ends its container would take the new one for it */
	if (r >= 0)
		r = rb_wait_placed(m, only, &wait, err);
	rb_each_member (c, m)
		if (r >= 0 && (!only || c == only))
			rb_arrival_close(TAKE_PTR(c->arrival), true);
	if (r < 0)
		return r;
	/* a new placeholder has a new network */
	if (!only)
		rb_switchover_close(m);
	rb_each_member (c, m)
		if (r >= 0 && (!only || c == only))
			r = start_placeholder(m, c, err);
	if (r >= 0)
		r = begin_restore(m, only, err);
	if (r >= 0)
		r = tell_pages(m, only, err);
	return r < 0 ? r : end_restore(m, only, err);
}
