// SPDX-License-Identifier: Apache-2.0
/*
 * sync.c - the files of the containers on the source: writable layer, volumes, bind mounts, log
 *
 * The first round sends everything; those that follow while the container runs, and the one inside
 * the freeze, send what changed since, and look only at what may have (fs/tree_source.h). The log
 * goes the same way: history first, its last lines at the end.
 */
#include "sync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blocks.h"
#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "freezer.h"
#include "json.h"
#include "log.h"
#include "logfile.h"
#include "migration.h"
#include "others.h"
#include "storage.h"
#include "tree.h"
#include "tree_source.h"
#include "verify.h"
#include "watch.h"

#define MAX_TREES 64
#define MAX_TASKS 4096
#define SETTLE_MS 50

struct tree {
	const char *what; /* "rootfs", "volume" or "bind" */
	const char *name; /* of the volume, path of the bind mount, or "" */
	const char *path; /* for messages */
	int fd;		  /* what had that path when it was looked at first: all rounds are of it */
	bool file;	  /* not a folder */
	char stamp[RB_STAMP_SIZE]; /* of a file, before the last round */
	struct rb_tree_source *source;
	struct rb_blocks *blocks; /* of its large files */
	size_t rounds;		  /* that arrived */
};

struct rb_sync {
	struct tree trees[MAX_TREES];
	size_t n;
	struct rb_watch *watch;
	const char *log_path; /* NULL: another log driver than json-file */
	struct rb_log_position log_at;
	struct rb_others others; /* of the first member */
};

void rb_sync_free(struct rb_sync *sync)
{
	if (!sync)
		return;
	for (size_t i = 0; i < sync->n; i++) {
		rb_tree_source_free(sync->trees[i].source);
		rb_blocks_free(sync->trees[i].blocks);
		rb_close_fd(&sync->trees[i].fd);
	}
	rb_others_free(&sync->others);
	rb_watch_close(sync->watch);
	free(sync);
}

/* @fd: is taken over */
static int add_tree(struct rb_sync *sync, const char *what, const char *name, const char *path,
		    int fd)
{
	sync->trees[sync->n++] = (struct tree){
		.what = what,
		.name = name,
		.path = path,
		.fd = fd,
	};
	return fd < 0 ? fd : 0;
}

/* A folder that is Docker's, or the container's own. */
static int add_folder(struct rb_sync *sync, const char *what, const char *name, const char *path,
		      struct rb_err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return add_tree(sync, what, name, path,
			fd < 0 ? rb_err_set(err, -errno, "open folder '%s'", path) : fd);
}

static int add_bind(struct rb_sync *sync, const json_t *bind, struct rb_err *err)
{
	const char *source = rb_json_str(bind, "source", "");
	int r = add_tree(sync, "bind", source, source, rb_storage_open(bind, err));

	sync->trees[sync->n - 1].file = rb_storage_is_file(bind);
	return r;
}

static int open_sync(struct rb_member *c, struct rb_err *err)
{
	const json_t *inspect = json_object_get(c->facts, "inspect");
	const json_t *volumes = json_object_get(c->facts, "volumes");
	const json_t *binds = json_object_get(c->facts, "binds");
	const char *upper = rb_json_str(c->facts, "upper", NULL);
	struct rb_sync *sync;
	const json_t *entry;
	size_t i;
	int r = 0;

	if (c->sync)
		return 0;
	if (!upper)
		return rb_err_set(err, -EINVAL, "the writable layer of '%s' is not known", c->name);
	if (json_array_size(volumes) + json_array_size(binds) >= MAX_TREES)
		return rb_err_code(err, RB_E_REFUSED, -E2BIG,
				   "more than %d volumes and bind mounts", MAX_TREES - 1);
	sync = calloc(1, sizeof(*sync));
	if (!sync)
		return rb_err_set(err, -ENOMEM, "plan the copy of files");
	r = add_folder(sync, "rootfs", "", upper, err);
	json_array_foreach (volumes, i, entry)
		if (r >= 0 && rb_storage_is_copied(entry))
			r = add_folder(sync, "volume", rb_json_str(entry, "name", ""),
				       rb_json_str(entry, "source", ""), err);
	json_array_foreach (binds, i, entry)
		if (r >= 0 && rb_storage_is_copied(entry))
			r = add_bind(sync, entry, err);
	if (r < 0) {
		rb_sync_free(sync);
		return r;
	}
	c->sync = sync;
	if (strcmp(rb_json_str(rb_json_path(inspect, "HostConfig.LogConfig"), "Type", ""),
		   "json-file") == 0)
		sync->log_path = rb_json_str(inspect, "LogPath", NULL);
	return 0;
}

/* All trees of all members. */
struct sources {
	struct rb_tree_source *list[RB_MEMBERS_MAX * MAX_TREES];
	size_t n;
};

/* Who writes without anybody hearing of it; a volume may be written to by any of the containers. */
static int look_at_writers(struct rb_migration *m, struct rb_err *err)
{
	const char *in_use = rb_json_str(m->entry.facts, "volume_in_use", "refuse");
	struct rb_sync *first = m->members[0].sync;
	struct sources sources = {};
	pid_t pids[MAX_TASKS];
	int r = 0;

	rb_each_member (c, m)
		for (size_t i = 0; c->sync && i < c->sync->n; i++)
			if (c->sync->trees[i].source)
				sources.list[sources.n++] = c->sync->trees[i].source;
	rb_each_member (c, m) {
		int n = rb_freezer_pids(rb_json_str(c->facts, "freezer", ""), pids, MAX_TASKS,
					NULL);

		if (n > MAX_TASKS)
			return rb_err_code(err, RB_E_REFUSED, -E2BIG,
					   "the container has more than %d processes", MAX_TASKS);
		if (r >= 0 && n > 0)
			r = rb_tree_sources_look(sources.list, sources.n, pids, (size_t)n, &m->wait,
						 err);
	}
	if (r < 0 || !first || strcmp(in_use, "copy") != 0)
		return r;
	/* They do not stand still, so that nobody can have their last state; but each round has
	 * what they did before. In the freeze there is no time to ask everybody. */
	return m->frozen_us
		       ? rb_tree_sources_look(sources.list, sources.n, first->others.pids,
					      first->others.n, &m->wait, err)
		       : rb_others_find(&first->others, sources.list, sources.n, &m->wait, err);
}

/* What is not watched is looked at as a whole each time. */
static int open_source(struct rb_migration *m, struct rb_member *c, struct tree *tree,
		       struct rb_err *err)
{
	struct rb_sync *sync = c->sync;
	const json_t *inspect = json_object_get(c->facts, "inspect");
	const char *merged =
		rb_json_str(rb_json_path(inspect, "GraphDriver.Data"), "MergedDir", "");
	bool rootfs = strcmp(tree->what, "rootfs") == 0;
	int fd, r = 0;

	if (tree->source)
		return 0;
	if (!sync->watch) {
		r = rb_watch_open(NULL, &sync->watch, err);
		if (r >= 0 && *rb_watch_why(sync->watch))
			rb_info("files: each round looks at all of them: %s",
				rb_watch_why(sync->watch));
	}
	if (r < 0)
		return r;
	fd = fcntl(tree->fd, F_DUPFD_CLOEXEC, 3);
	r = fd < 0 ? rb_err_set(err, -errno, "open '%s'", tree->path)
		   : rb_tree_source_open_fd(fd, tree->path, rootfs ? merged : NULL, sync->watch,
					    &tree->source, err);
	return r < 0 ? r : rb_blocks_new(&m->files_promised, &tree->blocks, err);
}

/* The report has each tree with its rounds: fact "files". */
static void note_round(struct rb_migration *m, const struct rb_member *c, struct tree *tree,
		       const struct rb_tree_stats *stats, int64_t us)
{
	json_t *list = json_object_get(m->entry.facts, "files"), *entry, *found = NULL;
	size_t i;

	if (!list) {
		list = json_array();
		rb_migration_fact(m, "files", list);
	}
	json_array_foreach (list, i, entry)
		if (strcmp(rb_json_str(entry, "container", ""), c->name) == 0 &&
		    strcmp(rb_json_str(entry, "what", ""), tree->what) == 0 &&
		    strcmp(rb_json_str(entry, "name", ""), tree->name) == 0)
			found = entry;
	if (!found) {
		found = json_pack("{s:s, s:s, s:s, s:[]}", "container", c->name, "what", tree->what,
				  "name", tree->name, "rounds");
		json_array_append_new(list, found);
	}
	json_array_append_new(json_object_get(found, "rounds"),
			      json_pack("{s:I, s:I, s:I, s:f, s:b, s:b}", "files",
					(json_int_t)stats->files, "removed",
					(json_int_t)stats->removed, "bytes",
					(json_int_t)stats->bytes, "ms", (double)(us / 100) / 10.0,
					"walked", stats->walked, "frozen", m->frozen_us != 0));
}

/* "tree" {"member", "what", "name", "durable"}: a stream of tree.h follows */
static int send_stream(struct rb_migration *m, const struct rb_member *c, struct tree *tree,
		       struct rb_tree_stats *stats, struct rb_err *err)
{
	_cleanup_json_ json_t *args = rb_member_args(m, c);
	int r;

	json_object_set_new(args, "what", json_string(tree->what));
	json_object_set_new(args, "name", json_string(tree->name));
	/* of the first round all reaches the disk at once, when the target starts its container; so
	 * that in the freeze only that has to which comes then */
	json_object_set_new(args, "durable", json_boolean(tree->rounds > 0));
	r = rb_conn_call(m->conn, "tree", args, &m->wait, err);
	if (r >= 0)
		r = rb_tree_source_send(m->conn, tree->source, tree->blocks, stats, &m->wait, err);
	if (r >= 0)
		r = rb_conn_reply(m->conn, NULL, &m->wait, err);
	if (r < 0)
		return r;
	rb_tree_source_arrived(tree->source);
	rb_blocks_commit(tree->blocks);
	tree->rounds++;
	return 0;
}

static int send_tree(struct rb_migration *m, struct rb_member *c, struct tree *tree,
		     struct rb_err *err)
{
	struct rb_tree_stats stats = {};
	int64_t began_us = rb_now_us();
	int r = open_source(m, c, tree, err);

	if (r >= 0 && tree->file)
		r = rb_tree_stamp_fd(tree->fd, tree->path, tree->stamp, &m->wait, err);
	/* a freeze that did not come about is tried again later */
	rb_blocks_frozen(tree->blocks, m->frozen_us != 0);
	if (r >= 0)
		r = send_stream(m, c, tree, &stats, err);
	if (r < 0)
		return r;
	note_round(m, c, tree, &stats, rb_now_us() - began_us);
	return 0;
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
	int r = look_at_writers(m, err);

	rb_each_member (c, m)
		if (r >= 0)
			r = sync_one(m, c, err);
	if (r >= 0)
		r = rb_storage_flush(m, err);
	/* and now, since what is open or mapped may not be when the next round starts; not when all
	 * stand still: should they go on, there is a look before the next round, and of what they
	 * close before that there is an event, or where there are none it is sent once more,
	 * since it was open when this round began */
	return r < 0 || m->frozen_us ? r : look_at_writers(m, err);
}

int rb_sync_stamp(const struct rb_migration *m, const struct rb_member *c, const char *source,
		  char *ret, struct rb_err *err)
{
	const struct rb_sync *first = m->members[0].sync;

	for (size_t i = 0; c->sync && i < c->sync->n; i++) {
		struct tree *tree = &c->sync->trees[i];

		if (strcmp(tree->what, "bind") != 0 || strcmp(tree->name, source) != 0 ||
		    !tree->rounds)
			continue;
		if (first && first->others.n)
			return rb_err_set(err, -EBUSY, "others use '%s'", source);
		if (!tree->file)
			return rb_tree_source_stamp(tree->source, ret, err);
		memcpy(ret, tree->stamp, RB_STAMP_SIZE);
		return 0;
	}
	return rb_err_set(err, -ENOENT, "remember '%s'", source);
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
		r = rb_verify_send(m->conn, tree->fd, tree->path, &m->wait, err);
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
			r = rb_tree_size(c->sync->trees[i].fd, c->sync->trees[i].path, &one,
					 &m->wait, err);
			sum += r < 0 ? 0 : one;
		}
	}
	*ret_bytes = sum;
	return r;
}
