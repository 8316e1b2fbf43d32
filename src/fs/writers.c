// SPDX-License-Identifier: Apache-2.0
/*
 * writers.c - who may write to a file without anybody hearing of it
 *
 * A link in map_files keeps the mode of the first mapping that was looked for in this range of
 * addresses, whatever is mapped there by now (Linux 6.18, fs/proc/base.c: map_files_d_revalidate()
 * does not set it anew). So each look has a procfs of its own, which nobody has looked into before.
 */
#include "writers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "mounts.h"

#define MAPS_TRIES 8

struct look {
	int proc_fd; /* /proc */
	pid_t pid;
	int dir_fd;	 /* /proc/PID/map_files, then /proc/PID/fd */
	dev_t dev;	 /* that was looked at last */
	bool overlay;	 /* is it one? */
	dev_t mount_dev; /* and if so, which? */
	bool submits;	 /* it has a ring of io_submit(2) */
	bool missed;	 /* a file that was in its list had gone from there a moment later */
	int (*fn)(const struct writer *writer, void *arg);
	void *arg;
	struct rb_err *err;
};

/* the process, or the descriptor, has gone meanwhile */
static bool is_gone(int error)
{
	return error == ENOENT || error == ESRCH;
}

struct mount_of {
	int id;
	dev_t dev;
};

static int is_mount_of(const struct mount_line *line, void *arg)
{
	struct mount_of *of = arg;
	unsigned int major, minor;

	if (line->id == of->id && sscanf(line->device, "%u:%u", &major, &minor) == 2)
		of->dev = makedev(major, minor);
	return 0;
}

/* A file of an overlay over several file systems has another device than the overlay, one for each
 * of these. Return: 0 when it cannot be told, as for a mount of another namespace */
static dev_t device_of_mount(const struct look *look, int fd)
{
	struct mount_of of = {};
	char mountinfo[PATH_MAX];
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0 || !(st.stx_mask & STATX_MNT_ID))
		return 0;
	of.id = (int)st.stx_mnt_id;
	snprintf(mountinfo, sizeof(mountinfo), "/proc/%d/mountinfo", (int)look->pid);
	return mounts_each(mountinfo, is_mount_of, &of) < 0 ? 0 : of.dev;
}

static void find_overlay(struct look *look, const char *link, dev_t dev)
{
	_cleanup_close_ int fd = -EBADF;
	struct statfs fs;

	if (look->dev == dev)
		return;
	fd = openat(look->dir_fd, link, O_PATH | O_CLOEXEC);
	look->overlay = fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC;
	look->mount_dev = look->overlay ? device_of_mount(look, fd) : 0;
	look->dev = fd >= 0 ? dev : 0;
}

static int tell(struct look *look, const char *link, bool unseen)
{
	static const char deleted[] = " (deleted)";
	char path[PATH_MAX];
	struct writer writer = { .path = path, .unseen = unseen };
	ssize_t len;

	if (fstatat(look->dir_fd, link, &writer.st, 0) < 0) {
		if (!is_gone(errno))
			return rb_err_set(look->err, -errno, "look at a file of process %d",
					  (int)look->pid);
		look->missed = true;
		return 0;
	}
	if (!S_ISREG(writer.st.st_mode) || writer.st.st_nlink == 0)
		return 0;
	find_overlay(look, link, writer.st.st_dev);
	writer.overlay = look->overlay;
	writer.mount_dev = look->mount_dev;
	len = readlinkat(look->dir_fd, link, path, sizeof(path) - 1);
	path[len > 0 ? len : 0] = '\0';
	/* of an overlay's file the number of links is right, and the name may still be gone */
	if (len > (ssize_t)strlen(deleted) && strcmp(path + len - strlen(deleted), deleted) == 0)
		path[len - (ssize_t)strlen(deleted)] = '\0';
	return look->fn(&writer, look->arg);
}

/* The link has the mode of the descriptor. What cannot be looked at counts as opened for writing.
 */
static bool opened_for_writing(int dir_fd, const char *link)
{
	struct stat st;

	return fstatat(dir_fd, link, &st, AT_SYMLINK_NOFOLLOW) < 0 || (st.st_mode & S_IWUSR);
}

/* "start-end perms offset major:minor inode   path" */
static int look_at_line(struct look *look, char *line)
{
	unsigned long long inode = 0;
	char range[64], perms[5];
	int at = 0;

	if (sscanf(line, "%63s %4s %*s %*s %llu %n", range, perms, &inode, &at) != 3)
		return 0;
	if (strncmp(line + at, "/[aio]", 6) == 0)
		look->submits = true;
	if (perms[3] != 's' || inode == 0 ||
	    (perms[1] != 'w' && !opened_for_writing(look->dir_fd, range)))
		return 0;
	return tell(look, range, true);
}

/* Mounted nowhere, if that can be. Before Linux 5.8 it shows the same links as any other. */
static int open_procfs(void)
{
	_cleanup_close_ int fs = fsopen("proc", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : fd;
}

static int open_proc(const struct look *look, const char *what)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%d/%s", (int)look->pid, what);
	fd = openat(look->proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && !is_gone(errno))
		return rb_err_set(look->err, -errno, "open '/proc/%s'", path);
	return fd < 0 ? -ESRCH : fd;
}

static int look_at_maps(struct look *look)
{
	_cleanup_close_ int maps_fd = open_proc(look, "maps"),
			    files_fd = maps_fd < 0 ? maps_fd : open_proc(look, "map_files");
	_cleanup_fclose_ FILE *maps = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int r = 0;

	if (files_fd < 0)
		return files_fd;
	maps = fdopen(maps_fd, "r");
	if (!maps)
		return rb_err_set(look->err, -errno, "read the mappings of process %d",
				  (int)look->pid);
	TAKE_FD(maps_fd);
	look->dir_fd = files_fd;
	while (r >= 0 && (errno = 0, getline(&line, &size, maps)) > 0)
		r = look_at_line(look, line);
	if (r >= 0 && ferror(maps) && !is_gone(errno))
		return rb_err_set(look->err, -errno, "read the mappings of process %d",
				  (int)look->pid);
	return r;
}

/* A mapping that is split, or merged with its neighbour, has another range, by which it is not
 * found any more: what is left of it is found in the next look at all of them. */
static int look_at_mappings(struct look *look)
{
	int r;

	for (int i = 0; i < MAPS_TRIES; i++) {
		look->missed = false;
		r = look_at_maps(look);
		if (r < 0 || !look->missed)
			return r;
	}
	return look->fn(&(struct writer){ .path = "", .unknown = true }, look->arg);
}

static int look_at_descriptors(struct look *look)
{
	_cleanup_close_ int fd = open_proc(look, "fd");
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *d;
	int r = 0;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir)
		return rb_err_set(look->err, -errno, "read the descriptors of process %d",
				  (int)look->pid);
	TAKE_FD(fd);
	look->dir_fd = dirfd(dir);
	while (r >= 0 && (errno = 0, d = readdir(dir)))
		if (d->d_name[0] != '.' && opened_for_writing(look->dir_fd, d->d_name))
			r = tell(look, d->d_name, look->submits);
	if (r >= 0 && errno && !is_gone(errno))
		return rb_err_set(look->err, -errno, "read the descriptors of process %d",
				  (int)look->pid);
	return r;
}

int writers_each(const pid_t *pids, size_t n, int (*fn)(const struct writer *writer, void *arg),
		 void *arg, struct rb_err *err)
{
	_cleanup_close_ int proc_fd = open_procfs();
	int r = 0;

	if (proc_fd < 0)
		return rb_err_set(err, -errno, "open /proc");
	for (size_t i = 0; r >= 0 && i < n; i++) {
		struct look look = {
			.proc_fd = proc_fd, .pid = pids[i], .fn = fn, .arg = arg, .err = err
		};

		r = look_at_mappings(&look);
		if (r >= 0)
			r = look_at_descriptors(&look);
		if (r == -ESRCH)
			r = 0;
	}
	return r < 0 ? r : 0;
}
