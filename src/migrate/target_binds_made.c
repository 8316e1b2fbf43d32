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
 *   "stamp"		of that, rb_tree_stamp()
 *   "dev", "ino", "born"	once it is made: which inode; when it came to be, in ns, or 0
 *   "mode", "uid", "gid", "mtime", "mtime_ns"	of one that was there, and empty
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "fault.h"
#include "io.h"
#include "json.h"
#include "log.h"
#include "migration.h"
#include "storage.h"
#include "target_binds.h"

/* openat2(2) without following any link. Return: descriptor or negative errno */
static int open_real(const char *path, int flags)
{
	struct open_how how = { .flags = (unsigned int)flags | O_CLOEXEC,
				.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
	int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* the folder that it is in; @ret_name points into @path */
static int open_parent(const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];

	snprintf(parent, sizeof(parent), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	*ret_name = slash + 1;
	return open_real(parent, O_PATH | O_DIRECTORY);
}

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
	parent = open_parent(path, &name);
	if (parent < 0)
		return rb_err_set(err, parent, "make '%s'", path);
	if (file)
		fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file ? fd < 0 : mkdirat(parent, name, 0700) < 0)
		return rb_err_set(err, -errno, "make '%s'", path);
	return 0;
}

static int put_aside(const char *path, const char *aside, struct rb_err *err)
{
	const char *from, *to;
	_cleanup_close_ int parent = open_parent(path, &from);

	if (parent < 0)
		return rb_err_set(err, parent, "put '%s' aside", path);
	to = strrchr(aside, '/') + 1;
	if (renameat2(parent, from, parent, to, RENAME_NOREPLACE) < 0)
		return rb_err_set(err, -errno, "put '%s' aside", path);
	return 0;
}

struct inode {
	int64_t dev, ino, born; /* born: ns, or 0 where the file system does not tell */
};

static int look_at_inode(int fd, struct inode *ret)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &stx) < 0)
		return -errno;
	*ret = (struct inode){ .dev = (int64_t)makedev(stx.stx_dev_major, stx.stx_dev_minor),
			       .ino = (int64_t)stx.stx_ino };
	if (stx.stx_mask & STATX_BTIME)
		ret->born = stx.stx_btime.tv_sec * 1000000000 + stx.stx_btime.tv_nsec;
	return 0;
}

static int note_inode(json_t *made, const char *path, struct rb_err *err)
{
	_cleanup_close_ int fd = open_real(path, O_PATH);
	struct inode inode;
	int r = fd < 0 ? fd : look_at_inode(fd, &inode);

	if (r < 0)
		return rb_err_set(err, r, "open '%s'", path);
	json_object_set_new(made, "dev", json_integer(inode.dev));
	json_object_set_new(made, "ino", json_integer(inode.ino));
	json_object_set_new(made, "born", json_integer(inode.born));
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
		r = note_inode(made, j->path, err);
		return r < 0 ? r : rb_migration_save(m, err);
	}
	if (fate == BIND_LEFT) {
		json_object_set_new(made, "aside",
				    json_sprintf("%s.reberth-%s", j->path, m->entry.id));
		json_object_set_new(made, "stamp", json_string(j->stamp));
	}
	r = rb_migration_save(m, err);
	if (r >= 0 && fate == BIND_LEFT)
		r = put_aside(j->path, rb_json_str(made, "aside", ""), err);
	if (r >= 0)
		r = rb_fault_point("target.binds.aside", &m->wait, err);
	if (r >= 0)
		r = make_it(j->path, file, err);
	if (r >= 0)
		r = rb_fault_point("target.binds.made", &m->wait, err);
	if (r >= 0)
		r = note_inode(made, j->path, err);
	return r < 0 ? r : rb_migration_save(m, err);
}

int rb_binds_make(struct rb_migration *m, struct rb_member *c, const char *docker_root,
		  const struct rb_wait *wait, struct rb_err *err)
{
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
		fate = bind_judge(m->node, c->name, bind, docker_root, wait, &j);
		r = fate == BIND_REFUSED ? rb_err_code(err, RB_E_REFUSED, -ENOTSUP, "%s", j.what)
					 : make_one(m, bind, &j, fate, list, err);
	}
	return r;
}

static const json_t *find_made(const struct rb_member *c, const char *source)
{
	const json_t *made;
	size_t i;

	json_array_foreach (json_object_get(c->facts, "binds_made"), i, made)
		if (strcmp(rb_json_str(made, "source", ""), source) == 0)
			return made;
	return NULL;
}

/* in one that is copied, of any of the containers? */
static bool is_inside(struct rb_migration *m, const char *source)
{
	const json_t *bind;
	size_t i;

	rb_each_member (c, m)
		json_array_foreach (rb_json_path(c->facts, "offer.binds"), i, bind) {
			const char *folder = rb_json_str(bind, "source", "");

			if (rb_storage_is_copied(bind) && find_made(c, folder) &&
			    strcmp(source, folder) != 0 && rb_path_within(source, folder))
				return true;
		}
	return false;
}

/* Docker asks for it when it makes the container. It goes with the one that it is in. */
static int make_inside(struct rb_migration *m, const json_t *bind, const char *docker_root,
		       const struct rb_wait *wait, struct rb_err *err)
{
	struct bind_judged j = {};
	enum bind_fate fate = bind_judge(m->node, "", bind, docker_root, wait, &j);

	if (!is_inside(m, rb_json_str(bind, "source", "")))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "'%.200s' is not inside of another bind mount",
				   rb_json_str(bind, "source", ""));
	if (fate == BIND_REFUSED)
		return rb_err_code(err, RB_E_REFUSED, -ENOTSUP, "%s", j.what);
	return fate == BIND_ABSENT ? make_it(j.path, rb_storage_is_file(bind), err) : 0;
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

/*
 * Is this the one that was made? Numbers of inodes are used again, and numbers of devices are
 * others after a reboot (btrfs, device mapper, disks that are found in another order). So where the
 * time is known in which an inode came to be, that and its number are enough once a reboot may have
 * come between.
 *
 * @now: there was none, the device must be the same as well
 */
static bool is_inode(const json_t *made, const struct inode *inode, bool now)
{
	bool device = rb_json_int(made, "dev", 0) == inode->dev;
	int64_t born = rb_json_int(made, "born", 0);

	return rb_json_int(made, "ino", 0) && rb_json_int(made, "ino", 0) == inode->ino &&
	       born == inode->born && (device || (born && !now));
}

static int open_made(const json_t *made, int flags, bool now, struct rb_err *err)
{
	const char *path = rb_json_str(made, "path", "");
	_cleanup_close_ int fd = open_real(path, flags);
	struct inode inode;
	int r = fd < 0 ? fd : look_at_inode(fd, &inode);

	if (r < 0)
		return rb_err_set(err, r, "open '%s'", path);
	if (!is_inode(made, &inode, now))
		return rb_err_code(err, RB_E_CONFLICT, -ESTALE,
				   "somebody else has replaced '%s', which was made for the "
				   "container",
				   path);
	return TAKE_FD(fd);
}

int rb_binds_open(const struct rb_member *c, const char *source, int flags, struct rb_err *err)
{
	const json_t *made = find_made(c, source);

	return made ? open_made(made, flags, true, err)
		    : rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "there is no bind mount '%.200s'",
				  source);
}

/* --- and take it back --- */

static int remove_entry(int parent_fd, const char *name, struct rb_err *err)
{
	char path[64 + NAME_MAX];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", parent_fd, name);
	return rb_rm_rf(path, err);
}

static int empty_folder(int fd, struct rb_err *err)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	_cleanup_closedir_ DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;

	if (!dir)
		return rb_err_set(err, -errno, "empty a folder");
	while (r >= 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = remove_entry(fd, entry->d_name, err);
	return r;
}

/* One that was there, and empty. */
static int give_back(const json_t *made, struct rb_err *err)
{
	bool file = rb_json_bool(made, "file", false);
	struct timespec times[] = { { .tv_nsec = UTIME_OMIT },
				    { rb_json_int(made, "mtime", 0),
				      rb_json_int(made, "mtime_ns", 0) } };
	struct rb_err why = {};
	_cleanup_close_ int fd =
		open_made(made, file ? O_WRONLY : O_RDONLY | O_DIRECTORY, false, &why);
	int r = 0;

	/* it is not there any more, or not it: not ours to touch */
	if (fd < 0) {
		if (fd != -ENOENT)
			rb_warn("undo: what came is not removed again: %s", why.msg);
		return 0;
	}
	if (!file)
		r = empty_folder(fd, err);
	else if (ftruncate(fd, 0) < 0)
		r = rb_err_set(err, -errno, "empty '%s'", rb_json_str(made, "path", ""));
	if (r >= 0 &&
	    (fchown(fd, (uid_t)rb_json_int(made, "uid", 0), (gid_t)rb_json_int(made, "gid", 0)) <
		     0 ||
	     fchmod(fd, (mode_t)rb_json_int(made, "mode", 0755)) < 0 || futimens(fd, times) < 0))
		r = rb_err_set(err, -errno, "give '%s' its owner, mode and time back",
			       rb_json_str(made, "path", ""));
	return r;
}

/* One that was made: without a noted inode only if nothing is in it, for it may be another's. */
static int remove_made(const json_t *made, struct rb_err *err)
{
	const char *path = rb_json_str(made, "path", ""), *name;
	_cleanup_close_ int parent = open_parent(path, &name), fd = -EBADF;
	struct inode inode;
	struct stat st;

	if (parent >= 0)
		fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || look_at_inode(fd, &inode) < 0)
		return 0;
	if (is_inode(made, &inode, false))
		return remove_entry(parent, name, err);
	if (rb_json_int(made, "ino", 0))
		rb_warn("undo: '%s' stays: it is not the one that was made", path);
	else if (S_ISDIR(st.st_mode))
		unlinkat(parent, name, AT_REMOVEDIR);
	else if (S_ISREG(st.st_mode) && st.st_size == 0)
		unlinkat(parent, name, 0);
	return 0;
}

static int bring_back(const json_t *made, struct rb_err *err)
{
	const char *aside = rb_json_str(made, "aside", NULL), *path = rb_json_str(made, "path", "");
	const char *name;
	_cleanup_close_ int parent = aside ? open_parent(path, &name) : -EBADF;
	const char *from = aside ? strrchr(aside, '/') + 1 : NULL;

	if (parent < 0)
		return 0;
	if (renameat2(parent, from, parent, name, RENAME_NOREPLACE) == 0 || errno == ENOENT)
		return 0;
	if (errno != EEXIST)
		return rb_err_set(err, -errno, "give '%s' back its name '%s'", aside, path);
	rb_warn("'%s' stays under this name: somebody has taken '%s' meanwhile", aside, path);
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
		parent = strlen(path) < len ? -EBADF : open_parent(path, &name);
		if (parent < 0 || unlinkat(parent, name, AT_REMOVEDIR) < 0)
			return;
	}
}

static int undo_one(const json_t *made, struct rb_err *err)
{
	int r;

	if (!strrchr(rb_json_str(made, "path", ""), '/'))
		return 0;
	if (json_object_get(made, "mode"))
		return give_back(made, err);
	r = remove_made(made, err);
	if (r >= 0)
		r = bring_back(made, err);
	if (r >= 0)
		remove_parents(made);
	return r;
}

int rb_binds_undo(struct rb_member *c, struct rb_err *err)
{
	const json_t *list = json_object_get(c->facts, "binds_made");
	int r = 0;

	for (size_t i = json_array_size(list); r >= 0 && i-- > 0;)
		r = undo_one(json_array_get(list, i), err);
	return r;
}

void rb_binds_settle(struct rb_member *c)
{
	const json_t *made;
	size_t i;

	json_array_foreach (json_object_get(c->facts, "binds_made"), i, made) {
		const char *aside = rb_json_str(made, "aside", NULL), *name;
		_cleanup_close_ int parent = aside ? open_parent(aside, &name) : -EBADF;
		char path[64 + NAME_MAX], stamp[RB_STAMP_SIZE] = "";
		struct rb_err why = {};

		if (parent < 0)
			continue;
		/* who had it open, or worked in it, did not care that it got another name */
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", parent, name);
		if (faccessat(parent, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
			continue;
		if (rb_tree_stamp(path, stamp, NULL, &why) < 0)
			rb_warn("finish: '%s' stays here: %s", aside, why.msg);
		else if (strcmp(stamp, rb_json_str(made, "stamp", "")) != 0)
			rb_warn("finish: '%s' stays here: somebody has changed it during the move",
				aside);
		else if (remove_entry(parent, name, &why) < 0)
			rb_warn("finish: '%s' stays here: %s", aside, why.msg);
	}
}
