// SPDX-License-Identifier: Apache-2.0
/*
 * tmpfs_arrived.c - a tmpfs with large files in it, which has arrived, in place of an empty one
 *
 * CRIU mounts a new tmpfs where it puts a mount namespace together, and has it filled. There and
 * then it is exchanged for the one that the worker made while the container was still running at
 * the source (memory/objects_tmpfs.h). CRIU knows both by their path alone, and looks at the device
 * after that. The worker says in
 *
 *	$REBERTH_TMPFS/<device>    "<pid> <descriptor> <folder>\n"
 *
 * which mount it is, and in which folder of it the files are.
 *
 * It was made with the owner and mode that CRIU's has; the flags of the mount, and the limits, are
 * taken from CRIU's.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tmpfs_format.h"

#ifndef ST_NOSYMFOLLOW
#define ST_NOSYMFOLLOW 0x2000
#endif
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

enum { FOLDER_MAX = 64 };

static struct statfs taken;	/* of the one that CRIU had mounted */
static char folder[FOLDER_MAX]; /* of the one that is there now */

static int open_offered(uint64_t device)
{
	const char *dir = getenv("REBERTH_TMPFS");
	char path[PATH_MAX], text[128];
	struct statfs fs;
	int pid, mount, fd;
	ssize_t len;

	if (!dir || snprintf(path, sizeof(path), "%s/%llu", dir, (unsigned long long)device) >=
			    (int)sizeof(path))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[len < 0 ? 0 : len] = '\0';
	if (sscanf(text, "%d %d %63s", &pid, &mount, folder) != 3)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, mount);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* as mount(2) has them */
static unsigned long flags_of(const struct statfs *fs)
{
	unsigned long has = (unsigned long)fs->f_flags;
	/* these have the same value for both */
	unsigned long flags = has & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_SYNCHRONOUS |
				     MS_MANDLOCK | MS_NOATIME | MS_NODIRATIME);

	if (has & ST_RELATIME)
		flags |= MS_RELATIME;
	else if (!(has & MS_NOATIME))
		flags |= MS_STRICTATIME;
	if (has & ST_NOSYMFOLLOW)
		flags |= MS_NOSYMFOLLOW;
	return flags;
}

int tmpfs_arrived_mount(const char *dir, uint64_t device)
{
	int mount_fd, files = -1;

	if (statfs(dir, &taken) < 0 || taken.f_type != TMPFS_MAGIC)
		return -1;
	mount_fd = open_offered(device);
	if (mount_fd < 0)
		return -1;
	if (umount2(dir, MNT_DETACH) == 0 &&
	    syscall(SYS_move_mount, mount_fd, "", AT_FDCWD, dir, MOVE_MOUNT_F_EMPTY_PATH) == 0 &&
	    mount(NULL, dir, NULL, MS_PRIVATE, NULL) == 0)
		files = openat(mount_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	close(mount_fd);
	return files;
}

/* Files that nobody refers to were deleted in the last moment. The worker has them open; their
 * memory is given back now, or it would count for the limits. */
static int remove_rest(int files)
{
	DIR *dir = fdopendir(dup(files));
	struct dirent *entry;
	int r = dir ? 0 : -1;

	while (r == 0 && (entry = readdir(dir))) {
		int fd;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		fd = openat(files, entry->d_name, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW);
		r = fd < 0 ? -1 : unlinkat(files, entry->d_name, 0);
		if (fd >= 0)
			close(fd);
	}
	if (dir)
		closedir(dir);
	return r;
}

int tmpfs_arrived_end(int files)
{
	char limits[128];
	int r = remove_rest(files);

	close(files);
	if (r < 0 || rmdir(folder) < 0)
		return -1;
	/* 0 stands for none in both */
	snprintf(limits, sizeof(limits), "size=%llu,nr_inodes=%llu",
		 (unsigned long long)taken.f_blocks * (unsigned long long)taken.f_bsize,
		 (unsigned long long)taken.f_files);
	return mount(NULL, ".", NULL, MS_REMOUNT | flags_of(&taken), limits);
}
