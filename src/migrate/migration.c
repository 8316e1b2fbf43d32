// SPDX-License-Identifier: Apache-2.0
/*
 * migration.c - one migration in a worker: lock, facts, the running of stage tables
 */
#include "migration.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "conn.h"
#include "conntrack.h"
#include "err.h"
#include "fault.h"
#include "io.h"
#include "json.h"
#include "lanes.h"
#include "log.h"
#include "proc.h"
#include "receive.h"
#include "received.h"
#include "send.h"
#include "switchover.h"
#include "target_lanes.h"

#define HURRY_NICE (-15)

static int take_lock(struct rb_migration *m, struct rb_err *err)
{
	struct stat st = {};
	char path[512];
	int r;

	r = rb_path(path, sizeof(path), "%s/migrations", m->node->run_dir);
	if (r == 0)
		r = rb_mkdir_p(path, 0700, err);
	if (r < 0)
		return r;
	rb_path(path, sizeof(path), "%s/migrations/%s.lock", m->node->run_dir, m->entry.id);
	/* again if it was swept away between open(2) and flock(2) */
	while (st.st_nlink == 0) {
		rb_close_fd(&m->lock_fd);
		m->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (m->lock_fd < 0)
			return rb_err_set(err, -errno, "open '%s'", path);
		if (flock(m->lock_fd, LOCK_EX | LOCK_NB) < 0)
			return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
					   "another worker works on migration %s", m->entry.id);
		if (fstat(m->lock_fd, &st) < 0)
			return rb_err_set(err, -errno, "look at '%s'", path);
	}
	return 0;
}

static bool has_ended(const struct rb_node *node, const char *id)
{
	_cleanup_entry_ struct rb_entry entry = {};
	int r = rb_journal_get(node->journal, id, &entry, NULL);

	return r == -ENOENT || (r >= 0 && rb_state_is_final(entry.state));
}

/* Not while the owner of the lock still has something to say. */
static void sweep_one(const struct rb_node *node, int dir_fd, const char *name)
{
	char id[RB_ID_LEN + 1], lock[RB_ID_LEN + 8];
	_cleanup_close_ int fd = -EBADF;

	snprintf(id, sizeof(id), "%.*s", RB_ID_LEN, name);
	snprintf(lock, sizeof(lock), "%s.lock", id);
	if (!has_ended(node, id))
		return;
	fd = openat(dir_fd, lock, O_RDWR | O_CLOEXEC);
	if (fd < 0 ? errno == ENOENT : flock(fd, LOCK_EX | LOCK_NB) == 0)
		unlinkat(dir_fd, name, 0);
}

/* "<id>.lock", "<id>.progress", and what a killed worker left of writing it */
void rb_migration_sweep(const struct rb_node *node)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	char path[512];

	if (rb_path(path, sizeof(path), "%s/migrations", node->run_dir) == 0)
		dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (strlen(entry->d_name) > RB_ID_LEN && entry->d_name[RB_ID_LEN] == '.')
			sweep_one(node, dirfd(dir), entry->d_name);
}

int rb_migration_open(struct rb_migration *m, const struct rb_node *node, struct rb_entry *entry,
		      int cancel_fd, struct rb_err *err)
{
	int r;

	*m = (struct rb_migration){ .node = node,
				    .entry = *entry,
				    .wait = { .cancel_fd = cancel_fd },
				    .timings = json_array(),
				    .began_ms = rb_now_ms(),
				    .lock_fd = -EBADF,
				    .downtime_ms = -1 };
	entry->facts = entry->report = NULL;
	if (!m->entry.facts)
		m->entry.facts = json_object();
	rb_energy_begin(&m->energy, RB_POWERCAP);
	if (m->entry.stage[0])
		rb_energy_spoil(&m->energy, "it took more than one worker process on this host");
	r = rb_path(m->work_dir, sizeof(m->work_dir), "%s/migrations/%s", node->state_dir,
		    m->entry.id);
	if (r < 0)
		return rb_err_set(err, r, "name the work folder");
	rb_log_context(m->entry.id);
	r = rb_members_bind(m, err);
	return r < 0 ? r : take_lock(m, err);
}

void rb_migration_close(struct rb_migration *m)
{
	rb_lanes_close(m);
	rb_target_lanes_close(m);
	rb_conn_free(m->conn);
	rb_switchover_close(m);
	rb_conntrack_close(m->tracked);
	rb_each_member (c, m) {
		rb_memory_free(c->memory);
		rb_receiver_free(c->receiver);
		json_decref(c->descriptors);
		if (c->pager_listen_fd > 0)
			close(c->pager_listen_fd);
	}
	json_decref(m->timings);
	json_decref(m->their_energy);
	rb_entry_release(&m->entry);
	rb_close_fd(&m->lock_fd);
	*m = (struct rb_migration){ .lock_fd = -EBADF };
}

int rb_migration_reload(struct rb_migration *m, struct rb_err *err)
{
	_cleanup_entry_ struct rb_entry now = {};
	int r = rb_journal_get(m->node->journal, m->entry.id, &now, err);

	if (r >= 0) {
		m->entry.state = now.state;
		snprintf(m->entry.boot_id, sizeof(m->entry.boot_id), "%s", now.boot_id);
	}
	return r;
}

int rb_migration_reload_all(struct rb_migration *m, struct rb_err *err)
{
	struct rb_entry now = {};
	int r = rb_journal_get(m->node->journal, m->entry.id, &now, err);

	if (r < 0)
		return r;
	rb_entry_release(&m->entry);
	m->entry = now;
	if (!m->entry.facts)
		m->entry.facts = json_object();
	return rb_members_bind(m, err);
}

void rb_migration_hurry(const struct rb_migration *m, bool hurry)
{
	int nice = hurry ? HURRY_NICE : 0;

	setpriority(PRIO_PROCESS, 0, nice);
	rb_lanes_nice(m, nice);
	rb_target_lanes_nice(m, nice);
}

void rb_migration_hang_up(struct rb_migration *m)
{
	rb_lanes_close(m);
	rb_target_lanes_close(m);
	if (!m->conn)
		return;
	m->bytes_sent += rb_conn_bytes_sent(m->conn);
	m->bytes_received += rb_conn_bytes_received(m->conn);
	rb_conn_free(TAKE_PTR(m->conn));
}

bool rb_migration_rebooted(const struct rb_migration *m)
{
	char boot_id[37] = "";

	rb_boot_id(boot_id, NULL);
	return strcmp(boot_id, m->entry.boot_id) != 0;
}

int rb_migration_save(struct rb_migration *m, struct rb_err *err)
{
	return rb_journal_stage(m->node->journal, m->entry.id, m->entry.stage, m->entry.facts, err);
}

void rb_migration_fact(struct rb_migration *m, const char *key, json_t *value)
{
	json_object_set_new(m->entry.facts, key, value);
}

struct rb_wait rb_migration_wait(const struct rb_migration *m, int64_t ms)
{
	return rb_wait_within(&m->wait, ms);
}

struct rb_wait rb_migration_cleanup_wait(int64_t ms)
{
	return rb_wait_within(NULL, ms);
}

static int pass_fault_point(struct rb_migration *m, const char *stage, const char *where,
			    struct rb_err *err)
{
	char point[96];

	snprintf(point, sizeof(point), "%s.%s.%s", rb_role_name(m->entry.role), stage, where);
	return rb_fault_point(point, &m->wait, err);
}

int rb_stage_run(struct rb_migration *m, const struct rb_stage *stage, struct rb_err *err)
{
	int64_t began_us = rb_now_us();
	int r = 0;

	rb_progress_stage(m, stage->name);
	rb_debug("%s: begins", stage->name);
	/* what has no undo need not be known to those who undo: saves an fsync */
	if (stage->undo) {
		snprintf(m->entry.stage, sizeof(m->entry.stage), "%s", stage->name);
		r = rb_migration_save(m, err);
	}
	if (r >= 0)
		r = pass_fault_point(m, stage->name, "begin", err);
	if (r >= 0)
		r = stage->run(m, err);
	if (r >= 0)
		r = pass_fault_point(m, stage->name, "end", err);
	json_array_append_new(m->timings,
			      json_pack("{s:s, s:f}", "name", stage->name, "ms",
					(double)((rb_now_us() - began_us) / 100) / 10.0));
	if (r < 0 && err && !err->stage[0])
		snprintf(err->stage, sizeof(err->stage), "%s", stage->name);
	return r < 0 ? r : 0;
}

int rb_stages_run(struct rb_migration *m, const struct rb_stage *stages, struct rb_err *err)
{
	for (const struct rb_stage *stage = stages; stage->name; stage++) {
		int r = rb_stage_run(m, stage, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int undo_one(struct rb_migration *m, const struct rb_stage *stage, struct rb_err *err)
{
	struct rb_err why = {};
	int r;

	rb_debug("%s: undo", stage->name);
	r = stage->undo(m, &why);
	if (r >= 0)
		return 0;
	rb_warn("%s: undo failed: %s", stage->name, why.msg);
	if (err && err->code == RB_OK)
		*err = why;
	return r;
}

int rb_stages_undo(struct rb_migration *m, const struct rb_stage *stages, struct rb_err *err)
{
	int last = -1, result = 0, r;

	rb_err_clear(err);
	for (int i = 0; stages[i].name; i++)
		if (strcmp(stages[i].name, m->entry.stage) == 0)
			last = i;
	for (int first = 1; first >= 0; first--)
		for (int i = last; i >= 0; i--) {
			if (!stages[i].undo || stages[i].undo_first != first)
				continue;
			r = undo_one(m, &stages[i], err);
			if (result == 0)
				result = r;
		}
	return result;
}
