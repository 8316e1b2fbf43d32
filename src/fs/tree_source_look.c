// SPDX-License-Identifier: Apache-2.0
/*
 * tree_source_look.c - what of a tree has to be compared in this round
 *
 * The part of the tree that is compared is closed in itself, so that manifest_diff() can treat it
 * as if it were all: with each path its folders, with an inode's name all of its names, with what
 * is no folder any more, or was none, all that is or was below.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "manifest.h"
#include "mounts.h"
#include "tree_source_internal.h"
#include "beneath.h"

/* A write(2) does not last longer. */
#define LONG_WRITE_S   60
#define CLOSED_WRITE_S 10

/* What is gathered for one round. */
struct gather {
	struct rb_tree_source *source;
	struct path_set queue; /* each path once; it grows while it is worked through */
	struct path_set named; /* inodes whose names are in it, as text */
	struct manifest_scan scan;
	bool *compared; /* by entry of source->sent */
};

static int compare_inodes(const void *a, const void *b, void *arg)
{
	const struct rb_manifest *m = arg;
	uint64_t x = m->entries[*(const size_t *)a].ino, y = m->entries[*(const size_t *)b].ino;

	return (x > y) - (x < y);
}

int source_index(struct rb_tree_source *source)
{
	const struct rb_manifest *m = source->sent;
	size_t *index = reallocarray(source->by_inode, m->n + 1, sizeof(*index));

	if (!index)
		return -ENOMEM;
	source->by_inode = index;
	for (size_t i = 0; i < m->n; i++)
		index[i] = i;
	qsort_r(index, m->n, sizeof(*index), compare_inodes, (void *)m);
	return 0;
}

int source_each_name(struct rb_tree_source *source, uint64_t inode,
		     int (*fn)(struct rb_tree_source *source, struct manifest_entry *e, void *arg),
		     void *arg)
{
	const struct rb_manifest *m = source->sent;
	size_t low = 0, high = m->n;
	int n = 0, r = 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (m->entries[source->by_inode[middle]].ino < inode)
			low = middle + 1;
		else
			high = middle;
	}
	for (; r >= 0 && low < m->n && m->entries[source->by_inode[low]].ino == inode; low++) {
		r = fn(source, &m->entries[source->by_inode[low]], arg);
		n++;
	}
	return r < 0 ? r : n;
}

static int queue_name(struct rb_tree_source *source, struct manifest_entry *e, void *arg)
{
	return path_set_add(arg, manifest_path(source->sent, e), WATCH_LOOK);
}

/* it may differ, whatever its times say */
static int queue_changed(struct rb_tree_source *source, struct manifest_entry *e, void *arg)
{
	e->again = true;
	return path_set_add(arg, manifest_path(source->sent, e), WATCH_LOOK | WATCH_SEND);
}

static bool has_names(const struct manifest_entry *e)
{
	return e->nlink > 1 && !S_ISDIR(e->mode) && !(S_ISCHR(e->mode) && e->rdev == 0);
}

/* Once for each inode: it may have thousands of names. */
static int queue_names_of(struct gather *g, const struct manifest_entry *e)
{
	char inode[24];
	int r;

	if (!has_names(e))
		return 0;
	snprintf(inode, sizeof(inode), "%llu", (unsigned long long)e->ino);
	r = path_set_add(&g->named, inode, 0);
	return r > 0 ? source_each_name(g->source, e->ino, queue_name, &g->queue) : r;
}

static int queue_set(struct gather *g, const struct path_set *set)
{
	struct rb_manifest *sent = g->source->sent;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < set->n; i++) {
		const char *path = path_set_at(set, i);
		struct manifest_entry *e = manifest_find(sent, path);

		if (e && (set->items[i].flags & WATCH_SEND))
			e->again = true;
		r = path_set_add(&g->queue, path, set->items[i].flags);
	}
	return r;
}

/*
 * Without events the times have to tell, and they do not tell that a write(2) had begun before a
 * file was looked at, and ended after it was read; nor what was stored through a mapping to a page
 * that was dirty already. Who had it open when writers were looked for, before or after the file
 * was read, is known; who had it open in between only, had begun a while before the first of these
 * looks, at the earliest.
 */
static void doubt_written(struct rb_tree_source *source, const struct path_set *set)
{
	struct rb_manifest *sent = source->sent;

	for (size_t i = 0; i < set->n; i++) {
		struct manifest_entry *e = manifest_find(sent, path_set_at(set, i));

		if (e && ((set->items[i].flags & WATCH_SEND) ||
			  ((set->items[i].flags & SOURCE_OPEN) &&
			   e->ctime_s >= source->sent_at_s - LONG_WRITE_S)))
			e->again = true;
	}
}

static void doubt_recent_files(struct rb_tree_source *source)
{
	struct rb_manifest *sent = source->sent;
	bool any = source->again_any || source->before_any;

	doubt_written(source, &source->again);
	doubt_written(source, &source->before);
	for (size_t i = 0; i < sent->n; i++)
		if (S_ISREG(sent->entries[i].mode) &&
		    (any || sent->entries[i].ctime_s >= source->sent_at_s - CLOSED_WRITE_S))
			sent->entries[i].again = true;
}

static int queue_inodes(struct gather *g)
{
	const struct number_set *inodes = &g->source->todo.inodes;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < inodes->n; i++)
		r = source_each_name(g->source, inodes->numbers[i], queue_changed, &g->queue);
	return r;
}

/* first entry that is not before @path */
static size_t lower_bound(const struct rb_manifest *m, const char *path)
{
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(manifest_path(m, &m->entries[middle]), path) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int compare_entry(struct gather *g, size_t i)
{
	g->compared[i] = true;
	return queue_names_of(g, &g->source->sent->entries[i]);
}

static int compare_below(struct gather *g, const char *folder)
{
	const struct rb_manifest *sent = g->source->sent;
	char prefix[PATH_MAX + 1];
	size_t len = (size_t)snprintf(prefix, sizeof(prefix), "%s%s", folder, *folder ? "/" : "");
	int r = 0;

	for (size_t i = lower_bound(sent, prefix);
	     r >= 0 && i < sent->n &&
	     strncmp(manifest_path(sent, &sent->entries[i]), prefix, len) == 0;
	     i++)
		r = compare_entry(g, i);
	return r;
}

/* Return: 1 when there is something, 0, or negative errno */
static int look_at(struct gather *g, const char *path, bool deep, const struct manifest_entry *old)
{
	struct rb_manifest *m = g->scan.m;
	size_t first = m->n;
	const struct manifest_entry *e;
	int r = manifest_scan_path(&g->scan, path, deep);

	if (r <= 0 || deep)
		return r;
	e = &m->entries[first];
	/* another folder than it was: what is in it is new */
	if (!S_ISDIR(e->mode) || (old && S_ISDIR(old->mode) && old->ino == e->ino))
		return r;
	m->n = first;
	return manifest_scan_path(&g->scan, path, true);
}

static int queue_folder_of(struct gather *g, const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];

	if (!*path)
		return 0;
	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 0, path);
	return path_set_add(&g->queue, folder, WATCH_LOOK);
}

static int work_on(struct gather *g, size_t at)
{
	const struct rb_manifest *sent = g->source->sent;
	struct manifest_entry *old;
	size_t first = g->scan.m->n;
	char path[PATH_MAX]; /* a copy, since the set grows */
	bool deep;
	int found, r;

	snprintf(path, sizeof(path), "%s", path_set_at(&g->queue, at));
	old = manifest_find(sent, path);
	deep = (g->queue.items[at].flags & WATCH_DEEP) || (old && old->unknown);
	found = look_at(g, path, deep, old);
	if (found < 0)
		return found;
	r = queue_folder_of(g, path);
	for (size_t i = first; r >= 0 && i < g->scan.m->n; i++)
		r = queue_names_of(g, &g->scan.m->entries[i]);
	if (r >= 0 && old)
		r = compare_entry(g, (size_t)(old - sent->entries));
	/* it is gone, or all of it was looked at */
	if (r >= 0 && old && S_ISDIR(old->mode) &&
	    (!found || g->scan.m->n - first > 1 || deep ||
	     !S_ISDIR(g->scan.m->entries[first].mode) || g->scan.m->entries[first].ino != old->ino))
		r = compare_below(g, path);
	return r < 0 ? rb_err_set(g->scan.err, r, "compare '%s' with what was sent before",
				  g->source->root)
		     : 0;
}

static int copy_compared(struct gather *g)
{
	struct rb_tree_source *source = g->source;
	const struct rb_manifest *sent = source->sent;
	int r = 0;

	source->part.base = calloc(1, sizeof(*source->part.base));
	if (!source->part.base)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < sent->n; i++)
		if (g->compared[i])
			r = manifest_copy(source->part.base, sent, &sent->entries[i]);
	return r;
}

struct inside {
	const char *root;
	size_t len;
	char found[PATH_MAX];
};

static int is_inside(const struct mount_line *line, void *arg)
{
	struct inside *inside = arg;

	if (strncmp(line->point, inside->root, inside->len) == 0 && line->point[inside->len] == '/')
		snprintf(inside->found, sizeof(inside->found), "%s", line->point);
	return 0;
}

/* A walk comes across such a mount; a look at single paths need not. */
static int refuse_mounts(const struct rb_tree_source *source, struct rb_err *err)
{
	char buf[FD_PATH_SIZE], root[PATH_MAX];
	struct inside inside = { .root = root };
	ssize_t len = readlink(fd_path(source->root_fd, buf), root, sizeof(root) - 1);
	int r;

	if (len <= 0)
		return rb_err_set(err, -errno, "find out where '%s' is", source->root);
	root[len] = '\0';
	inside.len = (size_t)len;
	r = mounts_each("/proc/self/mountinfo", is_inside, &inside);
	if (r < 0)
		return rb_err_set(err, r, "read /proc/self/mountinfo");
	if (*inside.found)
		return rb_err_code(err, RB_E_REFUSED, -EXDEV,
				   "'%s' is a file system of its own, mounted inside of what "
				   "has to move; unmount it, or make it a volume of the container",
				   inside.found);
	return 0;
}

/* A folder may go after what is in it was looked at, and come back before that is sent: then its
 * event is still to come, and until then nothing in it is there. */
static void drop_without_folder(struct rb_manifest *m)
{
	size_t n = m->n;

	m->n = 0;
	for (size_t i = 0; i < n; i++) {
		struct manifest_entry *e = &m->entries[i];
		const char *path = manifest_path(m, e), *slash = strrchr(path, '/');
		const struct manifest_entry *parent;
		char folder[PATH_MAX];

		snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 0, path);
		parent = manifest_find(m, folder); /* among those that are kept: it comes first */
		if (!*path || (parent && S_ISDIR(parent->mode)))
			m->entries[m->n++] = *e;
	}
}

static void gather_release(struct gather *g)
{
	path_set_free(&g->queue);
	path_set_free(&g->named);
	rb_manifest_free(g->scan.m);
	free(g->compared);
}

int source_look_at_part(struct rb_tree_source *source, const struct rb_wait *wait,
			struct rb_err *err)
{
	_cleanup_(gather_release) struct gather g = { .source = source,
						      .scan = { .root_fd = source->root_fd,
								.root = source->root,
								.watched = source->watched,
								.wait = wait,
								.err = err } };
	int r = refuse_mounts(source, err);

	if (r == 0)
		r = manifest_scan_begin(&g.scan);
	if (r < 0)
		return r;
	g.compared = calloc(source->sent->n + 1, sizeof(*g.compared));
	r = g.compared ? path_set_add(&g.queue, "", WATCH_LOOK) : -ENOMEM;
	if (r >= 0)
		r = queue_set(&g, &source->todo.paths);
	if (r >= 0)
		r = queue_set(&g, &source->again);
	if (r >= 0)
		r = queue_inodes(&g);
	if (r < 0)
		return rb_err_set(err, r, "compare '%s' with what was sent before", source->root);
	for (size_t i = 0; r >= 0 && i < g.queue.n; i++)
		r = work_on(&g, i);
	if (r < 0)
		return r;
	r = copy_compared(&g);
	if (r < 0)
		return rb_err_set(err, r, "compare '%s' with what was sent before", source->root);
	source->part.now = manifest_scan_end(&g.scan);
	drop_without_folder(source->part.now);
	source->part.looked = g.queue;
	g.queue = (struct path_set){};
	return 0;
}

int source_look_at_all(struct rb_tree_source *source, const struct rb_wait *wait,
		       struct rb_err *err)
{
	if (source->sent) {
		struct gather g = { .source = source };
		int r = queue_set(&g, &source->todo.paths);

		if (r >= 0)
			r = queue_inodes(&g);
		gather_release(&g);
		if (r < 0)
			return rb_err_set(err, r, "compare '%s' with what was sent before",
					  source->root);
		doubt_recent_files(source);
	}
	source->part.walked = true;
	if (source->watched)
		watched_restart(source->watched);
	return manifest_scan(source->root_fd, source->root, source->watched, &source->part.now,
			     wait, err);
}
