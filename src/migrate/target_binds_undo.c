// SPDX-License-Identifier: Apache-2.0
/*
 * target_binds_undo.c - what was made for bind mounts (target_binds_made.c) is taken back, or what
 * it has replaced is removed
 *
 * All of it from the journal's facts alone, and as often as need be.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "log.h"
#include "migration.h"
#include "storage.h"
#include "target_binds.h"

static void stays(struct rb_migration *m, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A person has to see to it: it is in the log, and in the report. */
static void stays(struct rb_migration *m, const char *path, const char *fmt, ...)
{
	json_t *list = json_object_get(m->entry.facts, "stays");
	const json_t *other;
	char why[512];
	va_list ap;
	size_t i;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	rb_warn("'%s' stays here: %s", path, why);
	json_array_foreach (list, i, other)
		if (strcmp(rb_json_str(other, "path", ""), path) == 0)
			return;
	if (!list) {
		list = json_array();
		rb_migration_fact(m, "stays", list);
	}
	json_array_append_new(list,
			      json_pack("{s:s, s:o}", "path", path, "why", rb_json_text(why)));
}

static int remove_entry(int parent_fd, const char *name, struct rb_err *err)
{
	char path[64 + NAME_MAX];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", parent_fd, name);
	return rb_rm_rf(path, err);
}

static bool is_empty(int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;
	_cleanup_closedir_ DIR *dir = copy < 0 ? NULL : fdopendir(copy);

	while (dir && n <= 2 && readdir(dir))
		n++;
	return dir && n <= 2;
}

/* What came, and nothing that somebody else has put there meanwhile. */
static int remove_what_came(const struct rb_member *c, const json_t *made, int fd,
			    struct rb_err *err)
{
	_cleanup_fclose_ FILE *names = NULL;
	_cleanup_free_ char *name = NULL;
	char path[PATH_MAX];
	size_t size = 0;
	int r = 0;

	if (binds_names_path(c, made, path, sizeof(path)) >= 0)
		names = fopen(path, "re");
	/* nothing had come; or it was removed already */
	if (!names && errno == ENOENT)
		return 0;
	if (!names)
		return rb_err_set(err, -errno, "open '%s'", path);
	while (r >= 0 && getdelim(&name, &size, '\0', names) > 0)
		if (*name && !strchr(name, '/') && strcmp(name, ".") != 0 &&
		    strcmp(name, "..") != 0)
			r = remove_entry(fd, name, err);
	return r;
}

static int give_attributes_back(const json_t *made, int fd, bool times_too, struct rb_err *err)
{
	struct timespec times[] = { { .tv_nsec = UTIME_OMIT },
				    { rb_json_int(made, "mtime", 0),
				      rb_json_int(made, "mtime_ns", 0) } };
	uid_t uid = (uid_t)rb_json_int(made, "uid", 0);
	gid_t gid = (gid_t)rb_json_int(made, "gid", 0);

	if (fchown(fd, uid, gid) < 0 || fchmod(fd, (mode_t)rb_json_int(made, "mode", 0755)) < 0 ||
	    (times_too && futimens(fd, times) < 0))
		return rb_err_set(err, -errno, "give '%s' its owner, mode and time back",
				  rb_json_str(made, "path", ""));
	return 0;
}

/* One that was there, and empty. */
static int give_back(struct rb_migration *m, const struct rb_member *c, const json_t *made,
		     struct rb_err *err)
{
	const char *path = rb_json_str(made, "path", "");
	bool file = rb_json_bool(made, "file", false), empty = true;
	struct rb_err why = {};
	_cleanup_close_ int fd =
		binds_open_made(made, file ? O_WRONLY : O_RDONLY | O_DIRECTORY, false, &why);
	int r = 0;

	/* it is not there any more, or not it: not ours to touch */
	if (fd < 0) {
		if (fd != -ENOENT)
			stays(m, path, "what came is not removed again: %s", why.msg);
		return 0;
	}
	if (!file)
		r = remove_what_came(c, made, fd, err);
	else if (ftruncate(fd, 0) < 0)
		r = rb_err_set(err, -errno, "empty '%s'", path);
	if (r >= 0 && !file)
		empty = is_empty(fd);
	if (!empty)
		stays(m, path, "somebody else has put something there during the move");
	return r < 0 ? r : give_attributes_back(made, fd, empty, err);
}

/* One that was made: without a noted inode only if nothing is in it, for it may be another's. */
static int remove_made(struct rb_migration *m, const json_t *made, struct rb_err *err)
{
	const char *path = rb_json_str(made, "path", ""), *name;
	_cleanup_close_ int parent = binds_open_parent(path, &name), fd = -EBADF;
	struct binds_inode inode;
	struct stat st;

	if (parent >= 0)
		fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || binds_look_at_inode(fd, &inode) < 0)
		return 0;
	if (binds_is_inode(made, &inode, false))
		return remove_entry(parent, name, err);
	if (rb_json_int(made, "ino", 0))
		stays(m, path, "it is not the one that was made for the container");
	else if (S_ISDIR(st.st_mode))
		unlinkat(parent, name, AT_REMOVEDIR);
	else if (S_ISREG(st.st_mode) && st.st_size == 0)
		unlinkat(parent, name, 0);
	return 0;
}

/* It is what was left still, if it was so before it got its name back. */
static void note_left(struct rb_migration *m, const struct rb_member *c, const json_t *made,
		      const struct stat *before, const struct stat *now)
{
	char stamp[RB_STAMP_SIZE];

	snprintf(stamp, sizeof(stamp), "%s", rb_json_str(made, "aside_stamp", ""));
	if (!rb_stamp_has_ctime(stamp, before))
		return;
	rb_stamp_renamed(stamp, now);
	rb_storage_left_again(m->node, rb_json_path(c->facts, "offer.moves"),
			      rb_json_str(made, "source", ""), rb_json_str(made, "stamp", ""),
			      stamp);
}

static int bring_back(struct rb_migration *m, const struct rb_member *c, const json_t *made,
		      struct rb_err *err)
{
	const char *aside = rb_json_str(made, "aside", NULL), *path = rb_json_str(made, "path", "");
	const char *name;
	_cleanup_close_ int parent = aside ? binds_open_parent(path, &name) : -EBADF;
	const char *from = aside ? strrchr(aside, '/') + 1 : NULL;
	struct stat before, now;

	if (parent < 0)
		return 0;
	if (fstatat(parent, from, &before, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : rb_err_set(err, -errno, "look at '%s'", aside);
	if (renameat2(parent, from, parent, name, RENAME_NOREPLACE) == 0) {
		if (fstatat(parent, name, &now, AT_SYMLINK_NOFOLLOW) == 0)
			note_left(m, c, made, &before, &now);
		return 0;
	}
	if (errno != EEXIST)
		return rb_err_set(err, -errno, "give '%s' back its name '%s'", aside, path);
	stays(m, aside, "somebody has taken its name, '%s', meanwhile", path);
	return 0;
}

/* The folders above it that were made, as far as nothing else is in them. */
static void remove_parents(const json_t *made)
{
	const char *top = rb_json_str(made, "top", NULL);
	char path[PATH_MAX];
	size_t len = top ? strlen(top) : 0;

	snprintf(path, sizeof(path), "%s", rb_json_str(made, "path", ""));
	while (top && strlen(path) > len) {
		const char *name;
		_cleanup_close_ int parent = -EBADF;

		*strrchr(path, '/') = '\0';
		parent = strlen(path) < len ? -EBADF : binds_open_parent(path, &name);
		if (parent < 0 || unlinkat(parent, name, AT_REMOVEDIR) < 0)
			return;
	}
}

static int undo_one(struct rb_migration *m, const struct rb_member *c, const json_t *made,
		    struct rb_err *err)
{
	int r;

	if (!strrchr(rb_json_str(made, "path", ""), '/'))
		return 0;
	if (json_object_get(made, "mode"))
		return give_back(m, c, made, err);
	r = remove_made(m, made, err);
	if (r >= 0)
		r = bring_back(m, c, made, err);
	if (r >= 0)
		remove_parents(made);
	return r;
}

int rb_binds_undo(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	const json_t *list = json_object_get(c->facts, "binds_made");
	int r = 0;

	for (size_t i = json_array_size(list); r >= 0 && i-- > 0;)
		r = undo_one(m, c, json_array_get(list, i), err);
	return r;
}

void rb_binds_settle(struct rb_migration *m, struct rb_member *c)
{
	const json_t *made;
	size_t i;

	json_array_foreach (json_object_get(c->facts, "binds_made"), i, made) {
		const char *aside = rb_json_str(made, "aside", NULL), *name;
		_cleanup_close_ int parent = aside ? binds_open_parent(aside, &name) : -EBADF;
		char path[64 + NAME_MAX], stamp[RB_STAMP_SIZE] = "";
		struct rb_err why = {};

		if (parent < 0)
			continue;
		/* who had it open, or worked in it, did not care that it got another name */
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", parent, name);
		if (faccessat(parent, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
			continue;
		if (rb_tree_stamp(path, stamp, NULL, &why) < 0)
			stays(m, aside, "%s", why.msg);
		else if (strcmp(stamp, rb_json_str(made, "aside_stamp", "")) != 0)
			stays(m, aside, "somebody has changed it during the move");
		else if (remove_entry(parent, name, &why) < 0)
			stays(m, aside, "%s", why.msg);
	}
}
