// SPDX-License-Identifier: Apache-2.0
/*
 * sync.c - the files of the containers on the source: writable layer, volumes, bind mounts, log
 *
 * The first round runs while the container does and sends everything; the one inside the freeze
 * sends what changed since. The log goes the same way: history first, its last lines at the end.
 */
#include "sync.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "freezer.h"
#include "json.h"
#include "logfile.h"
#include "migration.h"
#include "storage.h"
#include "tree.h"
#include "verify.h"

#define MAX_TREES 64
#define MAX_TASKS 4096
#define SETTLE_MS 50

struct tree {
	const char *what; /* "rootfs", "volume" or "bind" */
	const char *name; /* of the volume, path of the bind mount, or "" */
	const char *path;
	const json_t *file; /* a single file, which is copied to @path first (storage.h); or NULL */
	char *staged;	    /* @path, where it is ours */
	struct rb_manifest *sent;
	struct rb_blocks *blocks; /* of its large files */
};

struct rb_sync {
	struct tree trees[MAX_TREES];
	size_t n;
	const char *log_path; /* NULL: another log driver than json-file */
	struct rb_log_position log_at;
};

void rb_sync_free(struct rb_sync *sync)
{
	if (!sync)
		return;
	for (size_t i = 0; i < sync->n; i++) {
		rb_manifest_free(sync->trees[i].sent);
		rb_blocks_free(sync->trees[i].blocks);
		free(sync->trees[i].staged);
	}
	free(sync);
}

static int add_bind(struct rb_member *c, struct rb_sync *sync, const json_t *bind,
		    struct rb_err *err)
{
	struct tree *tree = &sync->trees[sync->n];
	char path[PATH_MAX];
	int r;

	*tree = (struct tree){ .what = "bind", .name = rb_json_str(bind, "source", "") };
	tree->path = tree->name;
	if (rb_storage_is_file(bind)) {
		r = rb_storage_staged(c, tree->name, path, sizeof(path), err);
		if (r < 0)
			return r;
		tree->file = bind;
		tree->path = tree->staged = strdup(path);
		if (!tree->staged)
			return rb_err_set(err, -ENOMEM, "plan the copy of files");
	}
	sync->n++;
	return 0;
}

static int open_sync(struct rb_member *c, struct rb_err *err)
{
	const json_t *inspect = json_object_get(c->facts, "inspect");
	const json_t *volumes = json_object_get(c->facts, "volumes");
	const json_t *binds = json_object_get(c->facts, "binds");
	const char *upper =
		rb_json_str(rb_json_path(inspect, "GraphDriver.Data"), "UpperDir", NULL);
	struct rb_sync *sync;
	const json_t *entry;
	size_t i;
	int r = 0;

	if (c->sync)
		return 0;
	if (!upper)
		return rb_err_code(
			err, RB_E_REFUSED, -ENOTSUP,
			"Docker's storage driver '%s' here is not overlay2, which reberth needs",
			rb_json_str(json_object_get(inspect, "GraphDriver"), "Name", "?"));
	if (json_array_size(volumes) + json_array_size(binds) >= MAX_TREES)
		return rb_err_code(err, RB_E_REFUSED, -E2BIG,
				   "more than %d volumes and bind mounts", MAX_TREES - 1);
	sync = calloc(1, sizeof(*sync));
	if (!sync)
		return rb_err_set(err, -ENOMEM, "plan the copy of files");
	sync->trees[sync->n++] = (struct tree){ .what = "rootfs", .name = "", .path = upper };
	c->sync = sync;
	json_array_foreach (volumes, i, entry)
		if (rb_storage_is_copied(entry))
			sync->trees[sync->n++] =
				(struct tree){ .what = "volume",
					       .name = rb_json_str(entry, "name", ""),
					       .path = rb_json_str(entry, "source", "") };
	json_array_foreach (binds, i, entry)
		if (r >= 0 && rb_storage_is_copied(entry))
			r = add_bind(c, sync, entry, err);
	if (strcmp(rb_json_str(rb_json_path(inspect, "HostConfig.LogConfig"), "Type", ""),
		   "json-file") == 0)
		sync->log_path = rb_json_str(inspect, "LogPath", NULL);
	return r;
}

/* files mapped shared and writable change without their times telling; a volume may be mapped by
 * any of the containers */
static int forget_mapped(struct rb_migration *m, struct tree *tree, struct rb_err *err)
{
	pid_t pids[MAX_TASKS];
	int r = 0;

	rb_each_member (c, m) {
		int n = rb_freezer_pids(rb_json_str(c->facts, "freezer", ""), pids, MAX_TASKS,
					NULL);

		if (n > MAX_TASKS)
			return rb_err_code(err, RB_E_REFUSED, -E2BIG,
					   "the container has more than %d processes", MAX_TASKS);
		if (r >= 0 && n > 0 && tree->sent)
			r = rb_manifest_forget_mapped(tree->sent, tree->path, pids, (size_t)n, err);
	}
	return r;
}

static int send_tree(struct rb_migration *m, struct rb_member *c, struct tree *tree,
		     struct rb_err *err)
{
	_cleanup_json_ json_t *args = rb_member_args(m, c);
	struct rb_manifest *now = NULL;
	struct rb_tree_stats stats = {};
	int r = tree->file ? rb_storage_stage(m, c, tree->file, err) : 0;

	json_object_set_new(args, "what", json_string(tree->what));
	json_object_set_new(args, "name", json_string(tree->name));
	json_object_set_new(args, "durable", json_boolean(m->frozen_us != 0));
	if (r >= 0 && !tree->blocks)
		r = rb_blocks_new(&tree->blocks, err);
	if (r >= 0 && m->frozen_us)
		rb_blocks_frozen(tree->blocks);
	if (r >= 0)
		r = forget_mapped(m, tree, err);
	if (r >= 0)
		r = rb_conn_call(m->conn, "tree", args, &m->wait, err);
	if (r >= 0)
		r = rb_tree_send(m->conn, tree->path, tree->sent, tree->blocks, &now, &stats,
				 &m->wait, err);
	if (r >= 0)
		r = rb_conn_reply(m->conn, NULL, &m->wait, err);
	if (r < 0) {
		rb_manifest_free(now);
		return r;
	}
	rb_blocks_commit(tree->blocks);
	rb_manifest_free(tree->sent);
	tree->sent = now;
	/* and now, since a mapping may be gone when the next round starts */
	return forget_mapped(m, tree, err);
}

static int send_log(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	_cleanup_json_ json_t *args = rb_member_args(m, c);
	struct rb_sync *sync = c->sync;
	int r;

	if (!sync->log_path || !*sync->log_path)
		return 0;
	if (m->frozen_us) {
		r = rb_logfile_settle(sync->log_path, (int)rb_json_int(c->facts, "init_pid", 0),
				      SETTLE_MS, &m->wait, err);
		if (r < 0)
			return r;
	}
	r = rb_conn_call(m->conn, "log", args, &m->wait, err);
	if (r >= 0)
		r = rb_logfile_send(m->conn, sync->log_path, &sync->log_at, &sync->log_at, &m->wait,
				    err);
	return r < 0 ? r : rb_conn_reply(m->conn, NULL, &m->wait, err);
}

static int sync_one(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	int r = open_sync(c, err);

	for (size_t i = 0; r >= 0 && i < c->sync->n; i++) {
		r = send_tree(m, c, &c->sync->trees[i], err);
		rb_progress_bytes(m);
	}
	return r < 0 ? r : send_log(m, c, err);
}

int rb_sync_round(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m)
		if (r >= 0)
			r = sync_one(m, c, err);
	return r < 0 ? r : rb_storage_flush(m, err);
}

static int verify_tree(struct rb_migration *m, struct rb_member *c, const struct tree *tree,
		       int64_t *files, struct rb_err *err)
{
	_cleanup_json_ json_t *args = rb_member_args(m, c), *answer = NULL;
	int r;

	json_object_set_new(args, "what", json_string(tree->what));
	json_object_set_new(args, "name", json_string(tree->name));
	r = rb_conn_call(m->conn, "verify", args, &m->wait, err);
	if (r >= 0)
		r = rb_verify_send(m->conn, tree->path, &m->wait, err);
	if (r >= 0)
		r = rb_conn_reply(m->conn, &answer, &m->wait, err);
	*files += rb_json_int(answer, "files", 0);
	return r;
}

int rb_sync_verify(struct rb_migration *m, struct rb_err *err)
{
	int64_t files = 0;
	int r = 0;

	rb_progress_say(m, "comparing all files on both hosts");
	rb_each_member (c, m)
		for (size_t i = 0; r >= 0 && i < c->sync->n; i++)
			r = verify_tree(m, c, &c->sync->trees[i], &files, err);
	if (r >= 0)
		rb_migration_fact(m, "verified_files", json_integer(files));
	return r;
}

int rb_sync_size(struct rb_migration *m, uint64_t *ret_bytes, struct rb_err *err)
{
	uint64_t sum = 0, one;
	int r = 0;

	rb_each_member (c, m) {
		if (r >= 0)
			r = open_sync(c, err);
		for (size_t i = 0; r >= 0 && i < c->sync->n; i++) {
			const struct tree *tree = &c->sync->trees[i];

			one = (uint64_t)rb_json_int(tree->file, "bytes", 0);
			if (!tree->file)
				r = rb_tree_size(tree->path, &one, err);
			sum += one;
		}
	}
	*ret_bytes = sum;
	return r;
}
