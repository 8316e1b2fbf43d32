// SPDX-License-Identifier: Apache-2.0
/*
 * target_restore.c - the target's verbs from the placeholder to the running container
 *
 * start    Docker starts the placeholder; its network is silent
 * restore  CRIU begins to restore into what the placeholder holds: namespaces, mounts
 * ready    the pages are here; the tasks are made and stand still (held by CRIU's post-restore
 *	    script); READY
 * go	    GO is written, the network speaks, the tasks run
 * finish   name, restart policy; nothing of the migration is left
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
#include "fault.h"
#include "io.h"
#include "json.h"
#include "log.h"
#include "net.h"
#include "proc.h"
#include "overlay.h"
#include "report.h"
#include "spec.h"
#include "target.h"
#include "tree.h"
#include "workdir.h"

#define ENGINE_MS     60000
#define RESTORE_MS    120000
#define RESTORE_TRIES 3
#define HELD_MS	      3000

static const json_t *offer_of(const struct rb_migration *m)
{
	return json_object_get(m->entry.facts, "offer");
}

/* What Docker attached is silent on layer 2, too, from here on; so the guard may go. */
static int silence(const struct rb_migration *m, int placeholder, struct rb_err *err)
{
	_cleanup_close_ int netns = rb_netns_open(placeholder, err);
	int r;

	if (netns < 0)
		return netns;
	r = rb_silence_on(netns, err);
	return r < 0 ? r : rb_guard_off(m->entry.id, err);
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
	/* now, so that eth1, eth2, ... come in their order */
	if (r >= 0)
		r = rb_engine_connect_missing(m->node->engine, m->entry.container_id,
					      json_object_get(offer_of(m), "more_networks"), &wait,
					      err);
	if (r >= 0)
		r = silence(m, pid, err);
	return r;
}

int rb_target_start(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	const json_t *volume;
	size_t i;
	int r;

	(void)args;
	(void)ret;
	/* what came so far is on disk before the freeze: the sync inside it has little left to do
	 */
	r = rb_tree_sync(rb_json_str(m->entry.facts, "upper", "/"), err);
	json_array_foreach (json_object_get(offer_of(m), "volumes"), i, volume)
		if (r >= 0)
			r = rb_tree_sync(rb_json_str(volume, "here", "/"), err);
	return r < 0 ? r : start_placeholder(m, err);
}

/*
 * Beside the restore and beyond it: the images reach the disk, and then a mark that they have. They
 * are only needed when what is restored from them now gets lost; after a power loss that is without
 * the mark the target gives up, and the source takes the container back.
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
	close(m->lock_fd);
	close(rb_conn_fd(m->conn));
	if (rb_tree_sync_files(images, NULL) < 0 ||
	    rb_write_file(mark, "", 0, 0600, true, NULL) < 0)
		_exit(1);
	_exit(0);
}

static void end_sync(struct rb_migration *m)
{
	if (m->sync_pid > 0)
		while (waitpid(m->sync_pid, NULL, 0) < 0 && errno == EINTR)
			;
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

	end_sync(m);

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
	return rb_guard_off(m->entry.id, err);
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

/* the container's network namespace, which the placeholder holds */
static int open_netns(const struct rb_migration *m, struct rb_err *err)
{
	return rb_netns_open(rb_criu_placeholder_pid(m->node->run_dir, m->entry.container_id), err);
}

/* CRIU makes namespaces and mounts; it waits for the pages before it makes tasks */
static int begin_restore(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, RESTORE_MS);
	_cleanup_close_ int netns = open_netns(m, err);
	int r;

	if (netns < 0)
		return netns;
	/* connections of the container to itself: not a packet before both ends are whole */
	r = rb_silence_loopback(netns, err);
	return r < 0 ? r : rb_arrival_restore(m->arrival, &wait, err);
}

static int end_restore(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, RESTORE_MS);
	int init, r;

	r = rb_arrival_pages(m->arrival, err);
	return r < 0 ? r : rb_arrival_wait_held(m->arrival, &init, &wait, err);
}

int rb_target_restore(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	int r;

	(void)args;
	(void)ret;
	r = attach_overlay(m, err);
	return r < 0 ? r : begin_restore(m, err);
}

int rb_target_ready(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	char boot_id[37];
	int r;

	(void)args;
	sync_images(m);
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
	*ret = json_pack("{s:s}", "boot_id", boot_id);
	return 0;
}

static int revive(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ENGINE_MS);
	int r;

	if (!images_usable(m))
		return rb_err_code(
			err, RB_E_INTERNAL, -ENODATA,
			"this host was restarted before the images had reached its disk");
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
	r = start_placeholder(m, err);
	if (r >= 0)
		r = begin_restore(m, err);
	return r < 0 ? r : end_restore(m, err);
}

static int open_arrival(struct rb_migration *m, struct rb_err *err)
{
	if (m->arrival)
		return 0;
	return rb_arrival_open(m->node->run_dir, m->entry.id, m->entry.container_id, m->work_dir,
			       &m->arrival, err);
}

/* the network speaks, then the tasks run */
static int let_go(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(RESTORE_MS);
	_cleanup_close_ int netns = open_netns(m, err);
	int init, r;

	if (netns < 0)
		return netns;
	r = open_arrival(m, err);
	if (r >= 0)
		r = rb_silence_lift(netns, err);
	if (r >= 0)
		r = rb_arrival_release(m->arrival, true, &wait, err);
	if (r < 0)
		return r;
	/* peers and bridges learn the new place while CRIU lets the tasks go */
	if (rb_announce(netns, 1, NULL) < 0)
		rb_warn("go: the new place of the addresses could not be announced");
	r = rb_arrival_wait_running(m->arrival, &init, &wait, err);
	return r < 0 ? r : rb_silence_off(netns, err);
}

/* Are there tasks, and somebody who holds them? CRIU may have been killed, or still be on its way
 * back to a worker that has just taken over. */
static bool is_held(struct rb_migration *m)
{
	struct rb_wait wait = rb_migration_cleanup_wait(HELD_MS);
	int init;

	if (rb_arrival_probe(m->node->run_dir, m->node->runtime_root, m->entry.container_id,
			     NULL) != 1 ||
	    rb_arrival_lost(m->arrival))
		return false;
	return rb_arrival_wait_held(m->arrival, &init, &wait, NULL) >= 0;
}

/* Have held tasks: those that are there, or restored once more from the images. */
static int ensure_held(struct rb_migration *m, struct rb_err *err)
{
	int r = open_arrival(m, err);

	if (r < 0 || is_held(m))
		return r;
	for (int i = 0; i < RESTORE_TRIES; i++) {
		r = revive(m, err);
		if (r >= 0)
			return 0;
		rb_warn("restore: %s", err->msg);
	}
	return r;
}

/* All that can be done is what Docker would do for any container after a power loss. */
static int start_fresh(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ENGINE_MS);
	bool runs;
	int r;

	rb_warn("recovery: '%s' ran here and ended before the migration did: starting it afresh",
		m->entry.container);
	runs = rb_arrival_probe(m->node->run_dir, m->node->runtime_root, m->entry.container_id,
				NULL) == 2;
	rb_arrival_close(TAKE_PTR(m->arrival), true);
	rb_arrival_forget(m->node->run_dir, m->entry.container_id);
	r = rb_engine_wait_ready(m->node->engine, &wait, err);
	if (r < 0 || runs)
		return r;
	/* what Docker takes for the container may be a placeholder, or tasks that are held for ever
	 */
	rb_engine_kill(m->node->engine, m->entry.container_id, "KILL", &wait, NULL);
	r = rb_engine_wait_stopped(m->node->engine, m->entry.container_id, &wait, err);
	return r < 0 ? r : rb_engine_start(m->node->engine, m->entry.container_id, &wait, err);
}

/* it runs already; what another worker did not come to do */
static int lift_silence(struct rb_migration *m, struct rb_err *err)
{
	_cleanup_close_ int netns = open_netns(m, err);

	return netns < 0 ? netns : rb_silence_off(netns, err);
}

/* The word "go" was passed on: the tasks run, or are about to, or did. */
static int see_it_run(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(HELD_MS);
	int init, r;

	r = open_arrival(m, err);
	if (r >= 0)
		r = rb_arrival_wait_running(m->arrival, &init, &wait, err);
	return r < 0 ? r : lift_silence(m, err);
}

/* GO stands in the journal: from here on the container runs here, one way or the other */
static int run_container(struct rb_migration *m, bool rebooted, struct rb_err *err)
{
	const char *id = m->entry.container_id;
	int r = -EIO;

	for (int i = 0; r < 0 && !rebooted && i < RESTORE_TRIES; i++) {
		/* what may have run is not restored from images again: they are older */
		if (rb_arrival_was_released(m->node->run_dir, id)) {
			r = see_it_run(m, err);
			break;
		}
		r = ensure_held(m, err);
		if (r >= 0)
			r = let_go(m, err);
		if (r < 0)
			rb_warn("go: %s", err->msg);
	}
	return r < 0 ? start_fresh(m, err) : 0;
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
	m->wait = (struct rb_wait){ .cancel_fd = -EBADF };
	rb_fault_point("target.go.written", NULL, NULL);
	r = run_container(m, rebooted, err);
	if (r < 0)
		return r;
	rb_migration_fact(m, "running", json_true());
	return 0;
}

/* It ended before its restart policy was given back: Docker would have started it again. */
static int start_if_owed(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	const json_t *policy = json_object_get(offer_of(m), "restart_policy");
	const char *name = rb_json_str(policy, "Name", "");
	_cleanup_json_ json_t *inspect = NULL;
	int r;

	if (!*name || strcmp(name, "no") == 0)
		return 0;
	r = rb_engine_inspect(m->node->engine, m->entry.container_id, &inspect, wait, err);
	if (r < 0 || rb_json_bool(json_object_get(inspect, "State"), "Running", false))
		return r;
	return rb_engine_start(m->node->engine, m->entry.container_id, wait, err);
}

/* Works also when another finish was cut short anywhere. */
int rb_target_finish(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ENGINE_MS);
	int r;

	(void)args;
	(void)ret;
	end_sync(m);
	r = rb_migration_save(m, err);
	if (r < 0)
		return r;
	rb_arrival_close(TAKE_PTR(m->arrival), true);
	rb_arrival_forget(m->node->run_dir, m->entry.container_id);
	r = rb_engine_rename(m->node->engine, m->entry.container_id, m->entry.container, &wait,
			     err);
	if (r == -EBUSY)
		rb_warn("finish: the name '%s' was taken here meanwhile; the container is called "
			"reberth-%s:"
			" 'docker rename' it",
			m->entry.container, m->entry.id);
	/* or removed by its user by now */
	if (r == -EBUSY || r == -ENOENT)
		r = 0;
	if (r >= 0)
		r = rb_engine_restart_policy(m->node->engine, m->entry.container_id,
					     json_object_get(offer_of(m), "restart_policy"), &wait,
					     err);
	if (r >= 0)
		r = start_if_owed(m, &wait, err);
	if (r == -ENOENT)
		r = 0;
	if (r < 0)
		return r;
	rb_guard_off(m->entry.id, NULL);
	r = rb_rm_rf(m->work_dir, err);
	if (r >= 0)
		r = rb_report_save(m, "completed", NULL, err);
	if (r >= 0)
		r = rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_GO), RB_DONE, err);
	if (r >= 0) {
		m->entry.state = RB_DONE;
		rb_info("done: '%s' arrived from node '%s'", m->entry.container, m->entry.peer);
	}
	return r;
}
