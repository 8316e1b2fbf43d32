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
#include "spec.h"
#include "strategy.h"
#include "switchover.h"
#include "target.h"
#include "travel.h"
#include "tree.h"
#include "workdir.h"

#define ENGINE_MS     60000
#define RESTORE_MS    120000
#define SYNC_AFTER_MS 1000

static const json_t *offer_of(const struct rb_migration *m)
{
	return json_object_get(m->entry.facts, "offer");
}

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
	const json_t *more = json_object_get(offer_of(m), "more_networks");
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

static int start_placeholder(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, ENGINE_MS);
	int pid, r;

	r = rb_arrival_open(m->node->run_dir, m->entry.id, m->entry.container_id, m->work_dir,
			    &m->arrival, err);
	if (r >= 0)
		r = rb_guard_on(m->entry.id, json_object_get(offer_of(m), "macs"), err);
	if (r >= 0)
		r = rb_engine_start(m->node->engine, m->entry.container_id, &wait, err);
	if (r >= 0)
		r = rb_arrival_wait_placeholder(m->arrival, &pid, &wait, err);
	return r < 0 ? r : attach_more(m, pid, &wait, err);
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

int rb_target_start(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	const json_t *volume;
	size_t i;
	int r;

	(void)args;
	/* what came so far is on disk before the freeze: the sync inside it has little left to do
	 */
	r = rb_tree_sync(rb_json_str(m->entry.facts, "upper", "/"), err);
	json_array_foreach (json_object_get(offer_of(m), "volumes"), i, volume)
		if (r >= 0)
			r = rb_tree_sync(rb_json_str(volume, "here", "/"), err);
	if (r >= 0)
		r = start_placeholder(m, err);
	return r >= 0 && rb_reconnect_wanted(m) ? tell_addresses(m, ret, err) : r;
}

/*
 * READY may last: a source that cannot be reached lets us wait for its word. So the images reach
 * the disk, and then a mark that they have: after a power loss without the mark the target gives
 * up, and the source takes the container back. Not at once, though: commonly the word comes in some
 * milliseconds, and until then the disk belongs to the journal. After GO nobody needs the images.
 */
static void sync_images(struct rb_migration *m)
{
	char images[600], mark[600];

	rb_path(images, sizeof(images), "%s/images", m->work_dir);
	rb_path(mark, sizeof(mark), "%s/images.synced", m->work_dir);
	m->sync_pid = fork();
	if (m->sync_pid != 0)
		return;
	/* neither the lock nor the connection may outlive the worker in a child that only syncs */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	rb_migration_hurry(false);
	close(m->lock_fd);
	close(rb_conn_fd(m->conn));
	rb_wait_ms(SYNC_AFTER_MS, NULL, NULL);
	if (rb_tree_sync_files(images, NULL) < 0 ||
	    rb_write_file(mark, "", 0, 0600, true, NULL) < 0)
		_exit(1);
	_exit(0);
}

void rb_target_end_sync(struct rb_migration *m)
{
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

int rb_target_start_undo(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ENGINE_MS);
	struct rb_wait brief = rb_migration_cleanup_wait(2000);
	int r;

	rb_target_forget_memory(m);
	rb_target_end_sync(m);
	rb_switchover_close(m);
	/* CRIU kills what it holds; what does not listen goes with the container's cgroup */
	if (!m->arrival)
		rb_arrival_open(m->node->run_dir, m->entry.id, m->entry.container_id, m->work_dir,
				&m->arrival, NULL);
	if (m->arrival && rb_arrival_probe(m->node->run_dir, m->node->runtime_root,
					   m->entry.container_id, NULL) == 1)
		rb_arrival_release(m->arrival, false, &brief, NULL);
	/* removed here already, for the guard must not go before what it guards */
	r = rb_engine_remove(m->node->engine, m->entry.container_id, true, false, &wait, err);
	if (r < 0)
		return r;
	rb_criu_remove_scratch(m->work_dir);
	rb_arrival_close(TAKE_PTR(m->arrival), true);
	rb_arrival_forget(m->node->run_dir, m->entry.container_id);
	if (m->detached) {
		rb_overlay_free(m->detached);
		free(TAKE_PTR(m->detached));
	}
	r = rb_guard_off(m->entry.id, err);
	return r < 0 ? r : rb_ports_arrive_undo(m, err);
}

static int attach_overlay(struct rb_migration *m, struct rb_err *err)
{
	int r;

	if (!m->detached)
		return 0;
	r = rb_overlay_attach(m->detached, err);
	if (r < 0)
		return r;
	rb_overlay_free(m->detached);
	free(TAKE_PTR(m->detached));
	return 0;
}

int rb_target_netns(const struct rb_migration *m, struct rb_err *err)
{
	return rb_netns_open(rb_criu_placeholder_pid(m->node->run_dir, m->entry.container_id), err);
}

/* CRIU makes namespaces and mounts; it waits for the pages before it makes tasks */
static int begin_restore(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, RESTORE_MS);
	_cleanup_close_ int netns = rb_target_netns(m, err);
	int r;

	if (netns < 0)
		return netns;
	/* connections of the container to itself: not a packet before both ends are whole */
	r = rb_silence_loopback(netns, err);
	if (r >= 0)
		r = rb_reconnect_lend(m, netns, err);
	if (r >= 0)
		r = rb_target_listen_for_memory(m, err);
	return r < 0 ? r : rb_arrival_restore(m->arrival, &wait, err);
}

static int end_restore(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, RESTORE_MS);
	_cleanup_close_ int netns = rb_target_netns(m, err);
	int init, r;

	if (netns < 0)
		return netns;
	r = rb_arrival_wait_held(m->arrival, &init, &wait, err);
	return r < 0 ? r : rb_reconnect_reset(m, netns, init, err);
}

int rb_target_restore(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	int r;

	(void)ret;
	rb_migration_hurry(true);
	rb_migration_fact(m, "strategy", json_string(rb_json_str(args, "strategy", "cold")));
	r = attach_overlay(m, err);
	return r < 0 ? r : begin_restore(m, err);
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
	int r;

	r = rb_target_start_pager(m, err);
	if (r >= 0)
		r = rb_arrival_pages(m->arrival, err);
	/* while CRIU does its work */
	rb_migration_fact(m, "neighbours", json_incref(json_object_get(args, "neighbours")));
	rb_migration_fact(m, "multicast", json_incref(json_object_get(args, "multicast")));
	rb_target_prepare_switchover(m);
	if (r >= 0)
		r = rb_ports_arrive(m, json_object_get(args, "flows"), err);
	if (r >= 0)
		r = end_restore(m, err);
	if (r >= 0)
		r = rb_boot_id(boot_id, err);
	if (r >= 0) {
		rb_migration_fact(m, "ready_boot", json_string(boot_id));
		r = rb_migration_save(m, err);
	}
	if (r >= 0)
		r = rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_PREPARING), RB_READY,
				    err);
	if (r < 0)
		return r;
	m->entry.state = RB_READY;
	sync_images(m);
	*ret = json_pack("{s:s}", "boot_id", boot_id);
	return 0;
}

int rb_target_restore_again(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ENGINE_MS);
	int r;

	if (!images_usable(m) || (rb_strategy_of(m)->lazy && !m->receiver))
		return rb_err_code(err, RB_E_INTERNAL, -ENODATA,
				   "what it is restored from was lost with this host's memory");
	rb_warn("restore: the held tasks are lost; restoring once more from the images");
	r = rb_engine_wait_ready(m->node->engine, &wait, err);
	if (r >= 0)
		r = rb_engine_kill(m->node->engine, m->entry.container_id, "KILL", &wait, NULL) ==
				    -ECANCELED
			    ? -ECANCELED
			    : 0;
	if (r >= 0)
		r = rb_engine_wait_stopped(m->node->engine, m->entry.container_id, &wait, err);
	if (r < 0)
		return r;
	rb_arrival_close(TAKE_PTR(m->arrival), true);
	/* a new placeholder has a new network */
	rb_switchover_close(m);
	r = start_placeholder(m, err);
	if (r >= 0)
		r = begin_restore(m, err);
	if (r >= 0)
		r = rb_target_start_pager(m, err);
	if (r >= 0)
		r = rb_arrival_pages(m->arrival, err);
	return r < 0 ? r : end_restore(m, err);
}
