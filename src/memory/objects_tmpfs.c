// SPDX-License-Identifier: Apache-2.0
/*
 * objects_tmpfs.c - tmpfs file systems on the target, made before the container has any mounts
 *
 * A mount that is nowhere (fsmount(2)) can be put into the container's mount namespace, once. But a
 * restore may have to be repeated, after the first one's namespace is gone; so each gets a copy of
 * a mount that stays here. Before Linux 6.15 the kernel copies only mounts of one's own namespace,
 * and there nobody shall see it: it is the root of a namespace that has nothing else in it, which a
 * thread makes, and enters for each copy.
 *
 * A name in the container's tmpfs could be any: the folder with the files gets one by chance.
 */
#include "objects_tmpfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "record.h"
#include "thread.h"
#include "tmpfs_options.h"

/* What is deleted at the source may still be here, beside what took its place: the container's
 * limits are set when all is in place. None at all could not be limited any more. */
#define NO_SIZE	  "size=1152921504606846976"
#define NO_INODES "nr_inodes=1073741824"

struct rb_tmpfs {
	struct rb_tmpfs_record is;
	int root_fd;  /* of the mount that stays here */
	int ns_fd;    /* the namespace that has it */
	int files_fd; /* the folder of this offer */
	int offer_fd; /* the mount that is offered, or was */
	char folder[32];
};

const struct rb_tmpfs_record *rb_tmpfs_is(const struct rb_tmpfs *tmpfs)
{
	return &tmpfs->is;
}

void rb_tmpfs_free(struct rb_tmpfs *tmpfs)
{
	if (!tmpfs)
		return;
	rb_close_fd(&tmpfs->offer_fd);
	rb_close_fd(&tmpfs->files_fd);
	rb_close_fd(&tmpfs->root_fd);
	rb_close_fd(&tmpfs->ns_fd);
	free(tmpfs);
}

static int configure(int fs, const char *options)
{
	char text[RB_TMPFS_TEXT + 1], *next = NULL;

	if ((size_t)snprintf(text, sizeof(text), "%s", options) >= sizeof(text))
		return -E2BIG;
	for (char *word = strtok_r(text, ",", &next); word; word = strtok_r(NULL, ",", &next)) {
		char *value = strchr(word, '=');

		if (value)
			*value++ = '\0';
		if (fsconfig(fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, word, value, 0) <
		    0)
			return -errno;
	}
	return 0;
}

/* Return: the root of a mount that is nowhere, or negative errno */
static int make(const struct rb_tmpfs_record *is)
{
	_cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int r;

	if (fs < 0)
		return -errno;
	if (fsconfig(fs, FSCONFIG_SET_STRING, "source", is->source, 0) < 0)
		return -errno;
	r = configure(fs, NO_SIZE "," NO_INODES);
	if (r >= 0)
		r = configure(fs, is->options);
	if (r < 0)
		return r;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	r = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return r < 0 ? -errno : r;
}

/* In a thread of its own. The host's mounts, of which the new namespace has copies at first, are
 * let go at once: some of them others want to unmount for good. */
static int settle(void *arg, struct rb_err *err)
{
	struct rb_tmpfs *tmpfs = arg;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return rb_err_set(err, -errno, "make a mount namespace");
	tmpfs->root_fd = make(&tmpfs->is);
	if (tmpfs->root_fd < 0)
		return rb_err_set(err, tmpfs->root_fd, "make a tmpfs with options '%s'",
				  tmpfs->is.options);
	tmpfs->ns_fd = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (tmpfs->ns_fd < 0 ||
	    move_mount(tmpfs->root_fd, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    fchdir(tmpfs->root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0)
		return rb_err_set(err, -errno, "set up a tmpfs");
	return 0;
}

int rb_tmpfs_new(const struct rb_tmpfs_record *is, struct rb_tmpfs **ret, struct rb_err *err)
{
	struct rb_tmpfs *tmpfs;
	int r;

	if (!rb_tmpfs_is_plain(is->source, is->options))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "a tmpfs is to be mounted in a way that makes no sense");
	tmpfs = calloc(1, sizeof(*tmpfs));
	if (!tmpfs)
		return rb_err_set(err, -ENOMEM, "make a tmpfs");
	tmpfs->is = *is;
	tmpfs->root_fd = tmpfs->ns_fd = tmpfs->files_fd = tmpfs->offer_fd = -EBADF;
	r = rb_thread_run(settle, tmpfs, err);
	if (r < 0) {
		rb_tmpfs_free(tmpfs);
		return r;
	}
	*ret = tmpfs;
	return 0;
}

int rb_tmpfs_add_file(const struct rb_tmpfs *tmpfs, struct rb_err *err)
{
	int fd = openat(tmpfs->root_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? rb_err_set(err, -errno, "make a file in a tmpfs") : fd;
}

/* An earlier restore has set the container's, within which there may be no room for one more name.
 * Where it has set none they could not be set again. */
static int lift_limits(const struct rb_tmpfs *tmpfs, struct rb_err *err)
{
	_cleanup_close_ int fs = -EBADF;
	struct statfs limits;
	int r;

	if (fstatfs(tmpfs->root_fd, &limits) < 0)
		return rb_err_set(err, -errno, "look at a tmpfs");
	fs = fspick(tmpfs->root_fd, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
	if (fs < 0)
		return rb_err_set(err, -errno, "open a tmpfs");
	r = limits.f_blocks ? configure(fs, NO_SIZE) : 0;
	if (r >= 0 && limits.f_files)
		r = configure(fs, NO_INODES);
	if (r >= 0 && fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		r = -errno;
	return r < 0 ? rb_err_set(err, r, "lift the limits of a tmpfs") : 0;
}

/* what an earlier restore has made */
static int remove_others(int fd, const char *keep, struct rb_err *err)
{
	_cleanup_closedir_ DIR *dir = NULL;
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	struct dirent *entry;

	dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir) {
		rb_close_fd(&copy);
		return rb_err_set(err, -errno, "look into a tmpfs");
	}
	while (r >= 0 && (entry = readdir(dir))) {
		char path[NAME_MAX + 64];

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    strcmp(entry->d_name, keep) == 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", fd, entry->d_name);
		r = rb_rm_rf(path, err);
	}
	return r;
}

int rb_tmpfs_begin_offer(struct rb_tmpfs *tmpfs, struct rb_err *err)
{
	char folder[sizeof(tmpfs->folder)];
	uint64_t chance;
	int r = lift_limits(tmpfs, err);

	if (r < 0)
		return r;
	if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance))
		return rb_err_set(err, -EIO, "find a name");
	rb_close_fd(&tmpfs->files_fd);
	snprintf(folder, sizeof(folder), ".arrived.%016llx", (unsigned long long)chance);
	if (mkdirat(tmpfs->root_fd, folder, 0700) < 0)
		return rb_err_set(err, -errno, "make a folder in a tmpfs");
	tmpfs->files_fd = openat(tmpfs->root_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tmpfs->files_fd < 0)
		return rb_err_set(err, -errno, "open a folder in a tmpfs");
	strcpy(tmpfs->folder, folder);
	return 0;
}

int rb_tmpfs_offer_file(const struct rb_tmpfs *tmpfs, int fd, uint64_t inode, struct rb_err *err)
{
	char from[64], to[32];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	snprintf(to, sizeof(to), "%llu", (unsigned long long)inode);
	if (linkat(AT_FDCWD, from, tmpfs->files_fd, to, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	/* an earlier restore had no use for it, and so has none of the same images */
	return errno == ENOENT ? 0 : rb_err_set(err, -errno, "name a file in a tmpfs");
}

/* In a thread of its own. */
static int copy_mount(void *arg, struct rb_err *err)
{
	struct rb_tmpfs *tmpfs = arg;

	if (unshare(CLONE_FS) < 0 || setns(tmpfs->ns_fd, CLONE_NEWNS) < 0)
		return rb_err_set(err, -errno, "enter a mount namespace");
	tmpfs->offer_fd =
		open_tree(tmpfs->root_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	return tmpfs->offer_fd < 0 ? rb_err_set(err, -errno, "copy a mount") : 0;
}

int rb_tmpfs_offer(struct rb_tmpfs *tmpfs, const char *dir, struct rb_err *err)
{
	char path[PATH_MAX], text[128], self[16] = "";
	int r;

	/* not before the files have a name in the new folder: one without any could not get it */
	r = remove_others(tmpfs->root_fd, tmpfs->folder, err);
	if (r < 0)
		return r;
	/* a folder that is open counts for the limits when it is gone */
	rb_close_fd(&tmpfs->files_fd);
	rb_close_fd(&tmpfs->offer_fd);
	r = rb_thread_run(copy_mount, tmpfs, err);
	if (r < 0)
		return r;
	/* as /proc of this host has it */
	if (readlink("/proc/self", self, sizeof(self) - 1) < 0)
		return rb_err_set(err, -errno, "look at /proc");
	snprintf(text, sizeof(text), "%s %d %s\n", self, tmpfs->offer_fd, tmpfs->folder);
	r = rb_path(path, sizeof(path), "%s/%llu", dir, (unsigned long long)tmpfs->is.device);
	return r < 0 ? rb_err_set(err, r, "hand over a tmpfs")
		     : rb_write_file(path, text, strlen(text), 0600, false, err);
}
