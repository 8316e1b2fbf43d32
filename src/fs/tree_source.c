// SPDX-License-Identifier: Apache-2.0
/*
 * tree_source.c - one tree travels in rounds
 *
 * After a round what the receiver has is not computed at once, since it takes time that grows
 * with the tree, and the last round has none: settle() does it when it is needed.
 */
#include "tree_source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "beneath.h"
#include "cleanup.h"
#include "err.h"
#include "manifest.h"
#include "tree.h"
#include "tree_send.h"
#include "tree_source_internal.h"
#include "wait.h"
#include "writers.h"

#define ASK_CANCEL 256 /* look for a cancel this often */

int rb_tree_source_open(const char *root, const char *overlay, struct rb_watch *watch,
			struct rb_tree_source **ret, struct rb_err *err)
{
	int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? rb_err_set(err, -errno, "open folder '%s'", root)
		      : rb_tree_source_open_fd(fd, root, overlay, watch, ret, err);
}

int rb_tree_source_open_fd(int fd, const char *root, const char *overlay, struct rb_watch *watch,
			   struct rb_tree_source **ret, struct rb_err *err)
{
	struct rb_tree_source *source = calloc(1, sizeof(*source));
	struct stat st, top;
	int r = 0;

	if (!source) {
		close(fd);
		return rb_err_set(err, -ENOMEM, "send '%s'", root);
	}
	source->overlay = overlay != NULL;
	source->root = strdup(root);
	source->root_fd = fd;
	if (!source->root)
		r = rb_err_set(err, -ENOMEM, "send '%s'", root);
	else if (fstat(fd, &st) < 0)
		r = rb_err_set(err, -errno, "look at '%s'", root);
	else
		source->dev = st.st_dev;
	/* when it is not mounted there (any more) there is a folder, of the file system below */
	if (r == 0 && overlay && stat(overlay, &top) == 0 && top.st_dev != st.st_dev)
		source->overlay_dev = top.st_dev;
	if (r == 0 && watch && watch_tree(watch, source->root_fd, &source->watched) < 0)
		r = rb_err_set(err, -ENOMEM, "watch '%s'", root);
	if (r < 0)
		rb_tree_source_free(source);
	else
		*ret = source;
	return r;
}

static void part_release(struct source_part *part)
{
	rb_manifest_free(part->base);
	rb_manifest_free(part->now);
	path_set_free(&part->looked);
	*part = (struct source_part){};
}

void rb_tree_source_free(struct rb_tree_source *source)
{
	if (!source)
		return;
	watch_forget(source->watched);
	part_release(&source->part);
	watch_changes_release(&source->todo);
	path_set_free(&source->again);
	path_set_free(&source->before);
	rb_manifest_free(source->sent);
	free(source->by_inode);
	rb_close_fd(&source->root_fd);
	free(source->root);
	free(source);
}

/* Whoever could write unseen when the last round began may have done so after the file was read. If
 * he ends before the next look, only an event tells; so it is known to a walk, which has none. */
static int keep_writers(struct rb_tree_source *source)
{
	const struct path_set *again = &source->again;
	int r = 0;

	path_set_free(&source->before);
	source->before_any = source->again_any;
	for (size_t i = 0; r >= 0 && i < again->n; i++)
		if (again->items[i].flags & (WATCH_SEND | SOURCE_OPEN))
			r = path_set_add(&source->before, path_set_at(again, i),
					 again->items[i].flags);
	return r;
}

/* To be looked at in the next round: what may change without a trace, or was not there any more
 * when its turn came; and what has had an event, for it may have changed after it was looked at. */
static int note_again(struct rb_tree_source *source)
{
	const struct rb_manifest *m = source->sent;
	const struct path_set *looked = &source->part.looked;
	int r = keep_writers(source);

	if (source->part.arrived) {
		path_set_free(&source->again);
		source->again_any = false;
	}
	for (size_t i = 0; r >= 0 && i < m->n; i++)
		if (m->entries[i].again)
			r = path_set_add(&source->again, manifest_path(m, &m->entries[i]),
					 WATCH_LOOK);
	for (size_t i = 0; r >= 0 && i < looked->n; i++)
		if (looked->items[i].flags & WATCH_SEND)
			r = path_set_add(&source->again, path_set_at(looked, i), WATCH_LOOK);
	return r;
}

/* What the receiver has by now. */
static int settle(struct rb_tree_source *source, struct rb_err *err)
{
	struct source_part *part = &source->part;
	struct rb_manifest *merged;
	int r;

	if (!part->any)
		return 0;
	merged = manifest_merge(source->sent, part->base, part->now, part->arrived);
	if (!merged)
		return rb_err_set(err, -ENOMEM, "remember what was sent of '%s'", source->root);
	rb_manifest_free(source->sent);
	source->sent = merged;
	r = source_index(source);
	if (r >= 0)
		r = note_again(source);
	part_release(part);
	return r < 0 ? rb_err_set(err, r, "remember what was sent of '%s'", source->root) : 0;
}

/* All changes until now are in source->todo. Return: 1; 0 when only a walk finds them */
static int take_changes(struct rb_tree_source *source)
{
	struct watch_changes changes;
	int r = 0;

	if (!source->watched || !watched_take(source->watched, &changes))
		return 0;
	for (size_t i = 0; r >= 0 && i < changes.paths.n; i++)
		r = path_set_add(&source->todo.paths, path_set_at(&changes.paths, i),
				 changes.paths.items[i].flags);
	for (size_t i = 0; r >= 0 && i < changes.inodes.n; i++)
		r = number_set_add(&source->todo.inodes, changes.inodes.numbers[i]);
	number_set_sort(&source->todo.inodes);
	watch_changes_release(&changes);
	return r < 0 ? r : 1;
}

static int look(struct rb_tree_source *source, const struct rb_wait *wait, struct rb_err *err)
{
	struct timespec now;
	struct stat st;
	int r;

	if (fstat(source->root_fd, &st) < 0 || st.st_nlink == 0)
		return rb_err_code(err, RB_E_CONFLICT, -ENOENT,
				   "'%s' was removed while it was being sent", source->root);
	r = take_changes(source);
	if (r < 0)
		return rb_err_set(err, r, "remember what has changed in '%s'", source->root);
	clock_gettime(CLOCK_REALTIME, &now);
	r = r > 0 && source->sent ? source_look_at_part(source, wait, err)
				  : source_look_at_all(source, wait, err);
	source->sent_at_s = source->looked_at_s ?: now.tv_sec;
	return r;
}

int rb_tree_source_send(struct rb_conn *conn, struct rb_tree_source *source,
			struct rb_blocks *blocks, struct rb_tree_stats *stats,
			const struct rb_wait *wait, struct rb_err *err)
{
	struct source_part *part = &source->part;
	_cleanup_buf_ struct rb_buf gone = {};
	struct rb_tree_stats sent = {};
	int r = settle(source, err);

	if (r == 0)
		r = look(source, wait, err);
	if (r < 0) {
		part_release(part);
		return r;
	}
	r = manifest_diff(part->now, part->walked ? source->sent : part->base, &gone,
			  &sent.removed);
	if (r < 0) {
		part_release(part);
		return rb_err_set(err, r, "compare '%s' with what was sent before", source->root);
	}
	manifest_mark_held(part->now, part->walked ? source->sent : part->base);
	part->any = true;
	sent.walked = part->walked;
	r = tree_send_listed(conn, source->root_fd, source->root, part->now, &gone, blocks, &sent,
			     wait, err);
	if (r == 0 && stats)
		*stats = sent;
	return r;
}

void rb_tree_source_arrived(struct rb_tree_source *source)
{
	source->part.arrived = true;
	watch_changes_release(&source->todo);
}

int rb_tree_source_stamp(struct rb_tree_source *source, char *ret, struct rb_err *err)
{
	int r = settle(source, err);

	if (r < 0)
		return r;
	if (!source->sent || !source->sent->n || source->sent->n_unknown)
		return rb_err_set(err, -EAGAIN, "remember '%s'", source->root);
	manifest_stamp(source->sent, ret);
	return 0;
}

/* --- who may write unseen */

struct looking {
	struct rb_tree_source *const *sources;
	size_t n;
	const struct rb_wait *wait;
	struct rb_err *err;
	int found;
};

static int mark(struct rb_tree_source *source, const struct manifest_entry *e, bool unseen)
{
	int r = path_set_add(&source->again, manifest_path(source->sent, e),
			     WATCH_LOOK | (unseen ? WATCH_SEND : SOURCE_OPEN));

	return r < 0 ? r : 1;
}

static int mark_name(struct rb_tree_source *source, struct manifest_entry *e, void *arg)
{
	const struct writer *writer = arg;

	return e->dev == writer->st.st_dev ? mark(source, e, writer->unseen) : 0;
}

/*
 * Is that file of the overlay this one, in its upper folder? An overlay has a device of its own,
 * but the times and all else of the file below; and its inode, unless it was copied up: then it is
 * the image's file's.
 */
static bool is_below(const struct rb_tree_source *source, const char *path,
		     const struct writer *writer)
{
	_cleanup_close_ int fd = open_beneath(source->root_fd, path, O_PATH | O_NOFOLLOW);
	const struct stat *a = &writer->st;
	char buf[FD_PATH_SIZE];
	struct stat b;

	return fd >= 0 && fstat(fd, &b) == 0 && a->st_mode == b.st_mode && a->st_uid == b.st_uid &&
	       a->st_gid == b.st_gid && a->st_size == b.st_size &&
	       a->st_ctim.tv_sec == b.st_ctim.tv_sec && a->st_ctim.tv_nsec == b.st_ctim.tv_nsec &&
	       a->st_mtim.tv_sec == b.st_mtim.tv_sec && a->st_mtim.tv_nsec == b.st_mtim.tv_nsec &&
	       (a->st_ino == b.st_ino ||
		getxattr(fd_path(fd, buf), "trusted.overlay.origin", NULL, 0) > 0);
}

static int mark_name_below(struct rb_tree_source *source, struct manifest_entry *e, void *arg)
{
	const struct writer *writer = arg;

	return is_below(source, manifest_path(source->sent, e), writer)
		       ? mark(source, e, writer->unseen)
		       : 0;
}

/*
 * The path is as somebody in the container, or on the host, sees it: "/<mount point>/<path in the
 * tree>". Where a folder of the container is mounted elsewhere in it, it is another one altogether:
 * then all files of the same size are asked, which takes a while.
 */
static int mark_below_overlay(struct looking *looking, struct rb_tree_source *source,
			      const struct writer *writer)
{
	struct rb_manifest *sent = source->sent;
	int found = source_each_name(source, writer->st.st_ino, mark_name_below, (void *)writer);

	for (const char *path = strchr(writer->path, '/'); found == 0 && path && *++path;
	     path = strchr(path, '/')) {
		struct manifest_entry *e;

		if (!is_below(source, path, writer))
			continue;
		e = manifest_find(sent, path);
		/* or it is new, and had an event */
		found = e ? mark(source, e, writer->unseen) : 1;
	}
	for (size_t i = 0, asked = 0; found == 0 && i < sent->n; i++) {
		struct manifest_entry *e = &sent->entries[i];

		if (e->mode != writer->st.st_mode || e->size != (uint64_t)writer->st.st_size)
			continue;
		found = mark_name_below(source, e, (void *)writer);
		if (found == 0 && ++asked % ASK_CANCEL == 0)
			found = rb_wait_ms(0, looking->wait, looking->err);
	}
	return found;
}

static bool is_of_overlay(const struct rb_tree_source *source, const struct writer *writer)
{
	return source->overlay && writer->overlay &&
	       (!source->overlay_dev || !writer->mount_dev ||
		source->overlay_dev == writer->mount_dev);
}

static int note_writer(const struct writer *writer, void *arg)
{
	struct looking *looking = arg;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < looking->n; i++) {
		struct rb_tree_source *source = looking->sources[i];

		if (!source->sent)
			continue;
		source->again_any |= writer->unknown;
		if (writer->unknown)
			continue;
		r = 0;
		if (writer->st.st_dev == source->dev)
			r = source_each_name(source, writer->st.st_ino, mark_name, (void *)writer);
		else if (is_of_overlay(source, writer))
			r = mark_below_overlay(looking, source, writer);
		looking->found += r > 0;
	}
	return r;
}

int rb_tree_sources_look(struct rb_tree_source *const *sources, size_t n_sources, const pid_t *pids,
			 size_t n, const struct rb_wait *wait, struct rb_err *err)
{
	struct looking looking = { .sources = sources, .n = n_sources, .wait = wait, .err = err };
	struct timespec now;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n_sources; i++)
		r = settle(sources[i], err);
	if (r < 0)
		return r;
	clock_gettime(CLOCK_REALTIME, &now);
	for (size_t i = 0; i < n_sources; i++)
		sources[i]->looked_at_s = now.tv_sec;
	r = writers_each(pids, n, note_writer, &looking, err);
	if (r == -ENOMEM)
		return rb_err_set(err, r, "look for files that are being written to");
	return r < 0 ? r : looking.found;
}
