// SPDX-License-Identifier: Apache-2.0
/*
 * target_binds_made.c - files and folders of the host that are made for a container's bind mounts
 *
 * For each, the member's fact "binds_made" has, before anything is done:
 *
 *   "source", "path"	as the container knows it; without links
 *   "file"		true: a file, not a folder
 *   "top"		the first folder above it that is to be made, or absent
 *   "aside"		where what is there goes meanwhile (left by the container), or absent
 *   "stamp", "aside_stamp"	of that, rb_tree_stamp(), before and after it got that name
 *   "dev", "ino", "born"	once it is made: which inode; when it came to be, in ns, or 0
 *   "mode", "uid", "gid", "mtime", "mtime_ns"	of one that was there, and empty
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "fault.h"
#include "io.h"
#include "json.h"
#include "migration.h"
#include "storage.h"
#include "target_binds.h"

/* The folders above it. */
static int make_parents(const char *path, struct rb_err *err)
{
	_cleanup_close_ int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (const char *at = path + 1; fd >= 0 && strchr(at, '/'); at = strchr(at, '/') + 1) {
		char name[NAME_MAX + 1];
		int next;

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(at, "/"), at);
		if (mkdirat(fd, name, 0755) < 0 && errno != EEXIST)
			return rb_err_set(err, -errno, "make the folders above '%s'", path);
		next = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(fd);
		fd = next;
	}
	return fd < 0 ? rb_err_set(err, -errno, "make the folders above '%s'", path) : 0;
}

/* The first folder above @path that is not there, as a text; NULL: all are */
static json_t *first_missing(const char *path)
{
	char head[PATH_MAX];
	struct stat st;

	for (const char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		snprintf(head, sizeof(head), "%.*s", (int)(at - path), path);
		if (lstat(head, &st) < 0)
			return json_string(head);
	}
	return NULL;
}

static int make_it(const char *path, bool file, struct rb_err *err)
{
	_cleanup_close_ int parent = -EBADF, fd = -EBADF;
	const char *name;
	int r = make_parents(path, err);

	if (r < 0)
		return r;
	parent = binds_open_parent(path, &name);
	if (parent < 0)
		return rb_err_set(err, parent, "make '%s'", path);
	if (file)
		fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file ? fd < 0 : mkdirat(parent, name, 0700) < 0)
		return rb_err_set(err, -errno, "make '%s'", path);
	return 0;
}

static int put_aside(const char *path, json_t *made, struct rb_err *err)
{
	const char *from, *to = strrchr(rb_json_str(made, "aside", "/"), '/') + 1;
	_cleanup_close_ int parent = binds_open_parent(path, &from);
	char stamp[RB_STAMP_SIZE];
	struct stat st;

	if (parent < 0)
		return rb_err_set(err, parent, "put '%s' aside", path);
	if (renameat2(parent, from, parent, to, RENAME_NOREPLACE) < 0 ||
	    fstatat(parent, to, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return rb_err_set(err, -errno, "put '%s' aside", path);
	snprintf(stamp, sizeof(stamp), "%s", rb_json_str(made, "stamp", ""));
	rb_stamp_renamed(stamp, &st);
	json_object_set_new(made, "aside_stamp", json_string(stamp));
	return 0;
}

/* @list: the fact */
static int make_one(struct rb_migration *m, const json_t *bind, const struct bind_judged *j,
		    enum bind_fate fate, json_t *list, struct rb_err *err)
{
	bool file = rb_storage_is_file(bind);
	json_t *made = json_pack("{s:s, s:s, s:b, s:o*}", "source", rb_json_str(bind, "source", ""),
				 "path", j->path, "file", file, "top", first_missing(j->path));
	int r;

	json_array_append_new(list, made);
	if (fate == BIND_EMPTY) {
		json_object_set_new(made, "mode", json_integer(j->st.st_mode & 07777));
		json_object_set_new(made, "uid", json_integer(j->st.st_uid));
		json_object_set_new(made, "gid", json_integer(j->st.st_gid));
		json_object_set_new(made, "mtime", json_integer(j->st.st_mtim.tv_sec));
		json_object_set_new(made, "mtime_ns", json_integer(j->st.st_mtim.tv_nsec));
		r = binds_note_inode(made, j->path, err);
		return r < 0 ? r : rb_migration_save(m, err);
	}
	if (fate == BIND_LEFT) {
		json_object_set_new(made, "aside",
				    json_sprintf("%s.reberth-%s", j->path, m->entry.id));
		json_object_set_new(made, "stamp", json_string(j->stamp));
	}
	r = rb_migration_save(m, err);
	if (r >= 0 && fate == BIND_LEFT)
		r = put_aside(j->path, made, err);
	if (r >= 0 && fate == BIND_LEFT)
		r = rb_migration_save(m, err);
	if (r >= 0)
		r = rb_fault_point("target.binds.aside", &m->wait, err);
	if (r >= 0)
		r = make_it(j->path, file, err);
	if (r >= 0)
		r = rb_fault_point("target.binds.made", &m->wait, err);
	if (r >= 0)
		r = binds_note_inode(made, j->path, err);
	return r < 0 ? r : rb_migration_save(m, err);
}

int rb_binds_make(struct rb_migration *m, struct rb_member *c, const char *docker_root,
		  const struct rb_wait *wait, struct rb_err *err)
{
	const json_t *moves = rb_json_path(c->facts, "offer.moves");
	json_t *list = json_array();
	const json_t *bind;
	size_t i;
	int r = 0;

	rb_member_fact(c, "binds_made", list);
	json_array_foreach (rb_json_path(c->facts, "offer.binds"), i, bind) {
		struct bind_judged j = {};
		enum bind_fate fate;

		if (r < 0 || !rb_storage_is_copied(bind))
			continue;
		/* once more, and for a peer that did not care about our answer the first time */
		fate = bind_judge(m->node, moves, bind, docker_root, wait, &j);
		r = fate == BIND_REFUSED ? rb_err_code(err, RB_E_REFUSED, -ENOTSUP, "%s", j.what)
					 : make_one(m, bind, &j, fate, list, err);
	}
	return r;
}

int binds_names_path(const struct rb_member *c, const json_t *made, char *ret, size_t size)
{
	const json_t *list = json_object_get(c->facts, "binds_made"), *other;
	size_t i;

	json_array_foreach (list, i, other)
		if (other == made)
			break;
	return rb_path(ret, size, "%s/came-%zu", c->work_dir, i);
}

int rb_binds_names(const struct rb_member *c, const char *source, int *ret_fd, struct rb_err *err)
{
	const json_t *made = binds_find_made(c, source);
	char path[PATH_MAX];
	int r;

	*ret_fd = -EBADF;
	/* all of another one goes */
	if (!made || !json_object_get(made, "mode") || rb_json_bool(made, "file", false))
		return 0;
	if (binds_names_path(c, made, path, sizeof(path)) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "name a file in '%s'", c->work_dir);
	r = rb_mkdir_p(c->work_dir, 0700, err);
	if (r < 0)
		return r;
	*ret_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return *ret_fd < 0 ? rb_err_set(err, -errno, "open '%s'", path) : 0;
}

/* The folder that it is in: one that is copied, of any of the containers. NULL: none */
static const char *find_folder(struct rb_migration *m, const char *source, struct rb_member **ret)
{
	const json_t *bind;
	size_t i;

	rb_each_member (c, m)
		json_array_foreach (rb_json_path(c->facts, "offer.binds"), i, bind) {
			const char *folder = rb_json_str(bind, "source", "");

			*ret = c;
			if (rb_storage_is_copied(bind) && binds_find_made(c, folder) &&
			    strcmp(source, folder) != 0 && rb_path_within(source, folder))
				return folder;
		}
	return NULL;
}

/* As what comes into that folder. */
static int note_name(const struct rb_member *c, const char *folder, const char *source,
		     struct rb_err *err)
{
	const char *rest = source + strlen(folder) + 1;
	_cleanup_close_ int fd = -EBADF;
	char name[PATH_MAX];
	int r = rb_binds_names(c, folder, &fd, err);

	if (r < 0 || fd < 0)
		return r;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(rest, "/"), rest);
	r = rb_write_all(fd, name, strlen(name) + 1);
	return r < 0 ? rb_err_set(err, r, "write down what comes to '%s'", folder) : 0;
}

/* Docker asks for it when it makes the container. It goes with the one that it is in. */
static int make_inside(struct rb_migration *m, const json_t *bind, const char *docker_root,
		       const struct rb_wait *wait, struct rb_err *err)
{
	const char *source = rb_json_str(bind, "source", ""), *folder;
	struct bind_judged j = {};
	enum bind_fate fate = bind_judge(m->node, NULL, bind, docker_root, wait, &j);
	struct rb_member *c = NULL;
	int r;

	folder = find_folder(m, source, &c);
	if (!folder)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "'%.200s' is not inside of another bind mount", source);
	if (fate == BIND_REFUSED)
		return rb_err_code(err, RB_E_REFUSED, -ENOTSUP, "%s", j.what);
	if (fate != BIND_ABSENT)
		return 0;
	r = note_name(c, folder, source, err);
	return r < 0 ? r : make_it(j.path, rb_storage_is_file(bind), err);
}

int rb_binds_make_inside(struct rb_migration *m, const char *docker_root,
			 const struct rb_wait *wait, struct rb_err *err)
{
	const json_t *bind;
	size_t i;
	int r = 0;

	rb_each_member (c, m)
		json_array_foreach (rb_json_path(c->facts, "offer.binds"), i, bind)
			if (r >= 0 && strcmp(rb_json_str(bind, "how", ""), "inside") == 0)
				r = make_inside(m, bind, docker_root, wait, err);
	return r;
}
