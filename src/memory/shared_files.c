// SPDX-License-Identifier: Apache-2.0
/*
 * shared_files.c - the large files of a container's tmpfs mounts are shared memory, too
 *
 * CRIU has a tmpfs written down by tar while the container stands still. Its large files travel as
 * objects do, and what is written down refers to them (cmd/reberth-runtime/tmpfs_save.c). Nothing
 * depends on both agreeing: an object to which nobody refers is dropped at the target, and a file
 * that is no object is written down as a whole.
 *
 * A tmpfs that the host has as well is none of the container's: CRIU binds what is there instead.
 * One that is mounted in a way that the target could not repeat is left to CRIU, and so is one with
 * more in it than can be written down quickly. What has no name any more CRIU saves with who has it
 * open, and what could grow beyond measure is written down.
 *
 * A file that is open takes its part of the tmpfs even when the container has deleted it. So
 * between two looks there is only its handle. And a mount that somebody has open cannot be
 * unmounted: so what is kept of it is a copy, which is mounted nowhere. That is without what is
 * mounted in it, too, which CRIU sees in the same way.
 */
#include "shared_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "beneath.h"
#include "block.h"
#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "mounts.h"
#include "shared_internal.h"
#include "thread.h"
#include "tmpfs_limits.h"
#include "tmpfs_options.h"

/* Looking leaves no traces, and opening what has become something else has no effects. */
#define LOOK (O_RDONLY | O_CLOEXEC | O_NOATIME | O_NONBLOCK | O_NOCTTY)

/* A look at one process's mounts. */
struct look {
	struct rb_shared *shared;
	pid_t pid;
	dev_t ours[1024]; /* that the host has */
	size_t n_ours;
	struct rb_err *err;
};

/* A walk through one of them. */
struct walk {
	struct look *look;
	const struct rb_shared_tmpfs *tmpfs;
	size_t entries;
	uint64_t small; /* bytes of files that are no objects */
};

static int device_of(const struct mount_line *line, dev_t *ret)
{
	unsigned int major, minor;

	if (sscanf(line->device, "%u:%u", &major, &minor) != 2)
		return -EINVAL;
	*ret = makedev(major, minor);
	return 0;
}

static int note_ours(const struct mount_line *line, void *arg)
{
	struct look *look = arg;
	dev_t device;

	if (strcmp(line->type, "tmpfs") != 0 || device_of(line, &device) < 0)
		return 0;
	/* one too many: then nothing is known to be the container's */
	if (look->n_ours == ARRAY_SIZE(look->ours))
		return -E2BIG;
	look->ours[look->n_ours++] = device;
	return 0;
}

static bool is_ours(const struct look *look, dev_t device)
{
	for (size_t i = 0; i < look->n_ours; i++)
		if (look->ours[i] == device)
			return true;
	return false;
}

struct copy {
	pid_t pid;
	int mount_fd, copy_fd;
};

/* In a thread of its own. Before Linux 6.15 a mount is only copied within its namespace. The copy
 * is let go when its descriptor is closed; its root stays usable as long as that is open. */
static int copy_mount(void *arg, struct rb_err *err)
{
	_cleanup_close_ int ns = -EBADF, tree = -EBADF;
	struct copy *copy = arg;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)copy->pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || unshare(CLONE_FS) < 0 || setns(ns, CLONE_NEWNS) < 0)
		return rb_err_set(err, -errno, "enter a mount namespace");
	tree = open_tree(copy->mount_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree >= 0)
		copy->copy_fd = openat(tree, ".", LOOK | O_DIRECTORY);
	return copy->copy_fd < 0 ? rb_err_set(err, -errno, "copy a mount") : 0;
}

/* One that was mounted in another way since is not known any more, as soon as its files are not.
 * @fd: its root */
static struct rb_shared_tmpfs *find_tmpfs(struct look *look, dev_t device, int fd,
					  const struct rb_tmpfs_record *is)
{
	struct copy copy = { look->pid, fd, -EBADF };
	struct rb_shared *shared = look->shared;
	struct rb_shared_tmpfs *tmpfs;

	for (size_t i = 0; i < shared->n_tmpfs; i++) {
		tmpfs = &shared->tmpfs[i];
		if (tmpfs->device == device)
			return strcmp(tmpfs->is.source, is->source) == 0 &&
					       strcmp(tmpfs->is.options, is->options) == 0
				       ? tmpfs
				       : NULL;
	}
	if (shared->n_tmpfs == RB_SHARED_TMPFS_MAX || rb_thread_run(copy_mount, &copy, NULL) < 0)
		return NULL;
	tmpfs = &shared->tmpfs[shared->n_tmpfs++];
	*tmpfs = (struct rb_shared_tmpfs){
		.number = ++shared->last_number, .fd = copy.copy_fd, .device = device, .is = *is
	};
	tmpfs->is.device = device;
	return tmpfs;
}

/* Return: 0; -ESTALE when it is another file, or has no name; -EFBIG */
static int is_still(int fd, uint64_t inode)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_ino != inode || !S_ISREG(st.st_mode) || st.st_nlink == 0)
		return -ESTALE;
	return (uint64_t)st.st_size > RB_TMPFS_FILE_MAX ? -EFBIG : 0;
}

/* What the handle stands for, if it is that file still. */
static int open_handle(int mount, struct file_handle *handle, uint64_t inode)
{
	_cleanup_close_ int path = open_by_handle_at(mount, handle, O_PATH | O_CLOEXEC);
	char buf[FD_PATH_SIZE];
	int fd;

	if (path < 0)
		return -errno;
	fd = is_still(path, inode);
	if (fd < 0)
		return fd;
	fd = open(fd_path(path, buf), LOOK);
	return fd < 0 ? -errno : fd;
}

static struct file_handle *find_handle(int dir, const char *name)
{
	struct file_handle *handle = calloc(1, sizeof(*handle) + MAX_HANDLE_SZ);
	int mount_id;

	if (!handle)
		return NULL;
	handle->handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(dir, name, handle, &mount_id, 0) == 0)
		return handle;
	free(handle);
	return NULL;
}

static struct rb_shared_object *new_object(struct walk *walk, int dir, const char *name,
					   const struct stat *st)
{
	struct rb_shared_object *object = calloc(1, sizeof(*object));
	int fd;

	if (!object)
		return NULL;
	object->fd = -EBADF;
	object->device = st->st_dev;
	object->is.inode = st->st_ino;
	object->is.kind = RB_OBJECT_FILE;
	object->is.tmpfs = walk->tmpfs->number;
	object->handle = find_handle(dir, name);
	/* a name may stand for something else at any moment */
	fd = object->handle ? open_handle(walk->tmpfs->fd, object->handle, st->st_ino) : -1;
	if (fd < 0) {
		free(object->handle);
		free(object);
		return NULL;
	}
	close(fd);
	return object;
}

/* Is it an object, now? */
static bool add_file(struct walk *walk, int dir, const char *name, const struct stat *st)
{
	struct rb_shared *shared = walk->look->shared;
	struct rb_shared_object *object =
		rb_shared_find(shared, RB_OBJECT_FILE, st->st_dev, st->st_ino);

	if ((uint64_t)st->st_size > RB_TMPFS_FILE_MAX)
		return false;
	if (!object) {
		if ((uint64_t)st->st_blocks * 512 < RB_TMPFS_LARGE ||
		    shared->n_files == RB_SHARED_FILES_MAX)
			return false;
		object = new_object(walk, dir, name, st);
		if (!object)
			return false;
		object->number = ++shared->last_number;
		shared->list[shared->n++] = object;
		shared->n_files++;
	}
	object->bytes = (uint64_t)st->st_blocks * 512;
	object->seen = true;
	return true;
}

static int walk_folder(struct walk *walk, int fd, int depth);

/* Return: 0, -E2BIG when it is more than can be written down quickly */
static int walk_entry(struct walk *walk, int dir, const char *name, int depth)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int r = 0;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0; /* gone */
	if (++walk->entries > RB_TMPFS_ENTRIES_MAX || depth > RB_TMPFS_DEPTH_MAX)
		return -E2BIG;
	if (S_ISREG(st.st_mode)) {
		if (!add_file(walk, dir, name, &st))
			walk->small += (uint64_t)st.st_blocks * 512;
		if (walk->small > RB_TMPFS_SMALL_MAX)
			r = -E2BIG;
	} else if (S_ISDIR(st.st_mode)) {
		fd = open_beneath(dir, name, LOOK | O_DIRECTORY | O_NOFOLLOW);
		r = fd < 0 ? 0 : walk_folder(walk, TAKE_FD(fd), depth + 1);
	}
	return r;
}

/* Takes @fd over. */
static int walk_folder(struct walk *walk, int fd, int depth)
{
	_cleanup_closedir_ DIR *dir = fdopendir(fd);
	struct dirent *entry;
	int r = 0;

	if (!dir) {
		close(fd);
		return rb_err_set(walk->look->err, -ENOMEM, "look after shared memory");
	}
	while (r >= 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = walk_entry(walk, fd, entry->d_name, depth);
	return r;
}

/* Return: its root, or negative errno when another one is mounted on top of it */
static int open_mount(pid_t pid, const char *point, dev_t device)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS |
					   RESOLVE_NO_MAGICLINKS };
	_cleanup_close_ int root = -EBADF, fd = -EBADF;
	struct statfs fs;
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	fd = (int)syscall(SYS_openat2, root, point, &how, sizeof(how));
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || st.st_dev != device || fstatfs(fd, &fs) < 0 ||
	    fs.f_type != TMPFS_MAGIC)
		return -ESTALE;
	return TAKE_FD(fd);
}

static void leave_to_criu(struct rb_shared *shared, int number)
{
	for (size_t i = 0; i < shared->n; i++)
		if (shared->list[i]->is.tmpfs == number)
			shared->list[i]->seen = false;
	rb_shared_forget_unseen(shared, number);
}

static bool copy_line(const struct mount_line *line, struct rb_tmpfs_record *ret)
{
	if (!line->source || strlen(line->source) >= sizeof(ret->source) ||
	    !rb_tmpfs_copy_options(line->super_options, ret->options, sizeof(ret->options)))
		return false;
	strcpy(ret->source, line->source);
	return rb_tmpfs_is_plain(ret->source, ret->options);
}

static int look_at_mount(const struct mount_line *line, void *arg)
{
	struct look *look = arg;
	struct rb_tmpfs_record is = {};
	_cleanup_close_ int fd = -EBADF;
	struct walk walk = { .look = look };
	struct rb_shared_tmpfs *tmpfs;
	dev_t device;
	int r;

	if (strcmp(line->type, "tmpfs") != 0 || strcmp(line->root, "/") != 0 ||
	    device_of(line, &device) < 0 || is_ours(look, device) || !copy_line(line, &is))
		return 0;
	fd = open_mount(look->pid, line->point, device);
	if (fd < 0)
		return 0;
	tmpfs = find_tmpfs(look, device, fd, &is);
	rb_close_fd(&fd);
	if (tmpfs)
		fd = openat(tmpfs->fd, ".", LOOK | O_DIRECTORY);
	if (fd < 0)
		return 0;
	walk.tmpfs = tmpfs;
	r = walk_folder(&walk, TAKE_FD(fd), 0);
	tmpfs->looked = r >= 0;
	if (r == -E2BIG) {
		leave_to_criu(look->shared, tmpfs->number);
		return 0;
	}
	return r;
}

/* Once for all processes that see the same mounts. One in a chroot(2) sees less of them than the
 * others. */
static bool is_seen_view(struct rb_shared *shared, pid_t pid)
{
	struct rb_shared_view *view;
	struct stat st, root;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	if (stat(path, &st) < 0)
		return true; /* gone */
	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	if (stat(path, &root) < 0)
		return true;
	for (size_t i = 0; i < shared->n_views; i++) {
		view = &shared->views[i];
		if (view->namespace == st.st_ino && view->root == root.st_ino &&
		    view->root_device == root.st_dev)
			return true;
	}
	if (shared->n_views == ARRAY_SIZE(shared->views))
		return true;
	shared->views[shared->n_views++] =
		(struct rb_shared_view){ st.st_ino, root.st_ino, root.st_dev };
	return false;
}

int rb_shared_files_add(struct rb_shared *shared, pid_t pid, struct rb_err *err)
{
	struct look look = { .shared = shared, .pid = pid, .err = err };
	char path[64];
	int r;

	if (is_seen_view(shared, pid))
		return 0;
	if (mounts_each("/proc/self/mountinfo", note_ours, &look) < 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	r = mounts_each(path, look_at_mount, &look);
	/* anything else: it is gone */
	return r == -ENOMEM ? r : 0;
}

static bool is_used(const struct rb_shared *shared, int number)
{
	for (size_t i = 0; i < shared->n; i++)
		if (shared->list[i]->is.tmpfs == number)
			return true;
	return false;
}

void rb_shared_files_begin(struct rb_shared *shared)
{
	shared->n_views = 0;
	for (size_t i = 0; i < shared->n_tmpfs; i++)
		shared->tmpfs[i].looked = false;
}

static const struct rb_shared_tmpfs *tmpfs_of(const struct rb_shared *shared,
					      const struct rb_shared_object *object)
{
	for (size_t i = 0; i < shared->n_tmpfs; i++)
		if (shared->tmpfs[i].number == object->is.tmpfs)
			return &shared->tmpfs[i];
	return NULL;
}

/* What is renamed while its folder is read may not be in it. */
void rb_shared_files_settle(struct rb_shared *shared)
{
	for (size_t i = 0; i < shared->n; i++) {
		struct rb_shared_object *object = shared->list[i];
		const struct rb_shared_tmpfs *tmpfs = tmpfs_of(shared, object);

		if (object->seen || !tmpfs || !tmpfs->looked)
			continue;
		object->seen = rb_shared_files_open(shared, object) == 0;
		rb_shared_files_close(object);
	}
}

void rb_shared_files_end(struct rb_shared *shared)
{
	size_t kept = 0;

	shared->n_views = 0;
	/* a device's number is another's as soon as nobody holds a file of it */
	for (size_t i = 0; i < shared->n_tmpfs; i++)
		if (is_used(shared, shared->tmpfs[i].number))
			shared->tmpfs[kept++] = shared->tmpfs[i];
		else
			rb_close_fd(&shared->tmpfs[i].fd);
	shared->n_tmpfs = kept;
}

int rb_shared_files_open(const struct rb_shared *shared, struct rb_shared_object *object)
{
	const struct rb_shared_tmpfs *tmpfs = tmpfs_of(shared, object);
	int r;

	if (object->fd >= 0) {
		r = is_still(object->fd, object->is.inode);
		if (r < 0)
			rb_shared_files_close(object);
		return r;
	}
	r = tmpfs ? open_handle(tmpfs->fd, object->handle, object->is.inode) : -ESTALE;
	if (r < 0)
		return r;
	object->fd = r;
	return 0;
}

void rb_shared_files_close(struct rb_shared_object *object)
{
	if (object->is.kind == RB_OBJECT_FILE)
		rb_close_fd(&object->fd);
}

int rb_shared_files_name(struct rb_shared *shared, struct rb_block *block,
			 const struct rb_wait *wait, struct rb_err *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < shared->n_tmpfs; i++)
		r = rb_block_add_tmpfs(block, shared->tmpfs[i].number, &shared->tmpfs[i].is, wait,
				       err);
	return r;
}
