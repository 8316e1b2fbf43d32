// SPDX-License-Identifier: Apache-2.0
/*
 * tmpfs.c - the files of a tmpfs, in place of tar: fast for next to nothing, not at all for the
 * rest
 *
 * CRIU saves each tmpfs of a container with `tar --create --gzip --directory D .` and fills it with
 * `tar --extract --gzip --directory D`. A container of Docker's has five of them, all but empty,
 * and starting tar and gzip takes longer than the rest of the dump, while the container stands
 * still. So a tmpfs that has only folders, symbolic links and device nodes is written down here,
 * and everything else is left to the real tar. The process that CRIU forked for tar does it,
 * without becoming another program (criu_quick.c); where that library is not, it becomes
 * reberth-tar.
 *
 * Form: 8 bytes of magic, then per entry, parents first, this many bytes in this byte order (that
 * of the machine: both sides of a move have the same processor architecture):
 *
 *   0  struct entry, of which name_len bytes of name ("." is the root) and target_len of a link's
 *      target follow
 */
#include "tmpfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAGIC "RBTMPFS1"

enum { MAGIC_LEN = 8, ENTRIES_MAX = 512, DEPTH_MAX = 8, OUT_MAX = 256 * 1024 };

struct entry {
	uint32_t mode, uid, gid;
	uint16_t name_len, target_len;
	uint64_t rdev;
	int64_t mtime_s, mtime_ns;
};

static char out[OUT_MAX];
static size_t out_len;
static int entries;

static int put(const void *data, size_t len)
{
	if (len > sizeof(out) - out_len)
		return -1;
	memcpy(out + out_len, data, len);
	out_len += len;
	return 0;
}

/* Can @path be told in one entry? Then write it down. */
static int put_entry(const char *path, const struct stat *st)
{
	char target[PATH_MAX];
	ssize_t target_len = 0;
	struct entry entry = { .mode = st->st_mode,
			       .uid = st->st_uid,
			       .gid = st->st_gid,
			       .name_len = (uint16_t)strlen(path),
			       .rdev = st->st_rdev,
			       .mtime_s = st->st_mtim.tv_sec,
			       .mtime_ns = st->st_mtim.tv_nsec };

	if (S_ISREG(st->st_mode) || S_ISSOCK(st->st_mode) ||
	    (!S_ISDIR(st->st_mode) && st->st_nlink > 1) || llistxattr(path, NULL, 0) > 0 ||
	    ++entries > ENTRIES_MAX)
		return -1;
	if (S_ISLNK(st->st_mode)) {
		target_len = readlink(path, target, sizeof(target));
		if (target_len < 0 || target_len == sizeof(target))
			return -1;
	}
	entry.target_len = (uint16_t)target_len;
	if (put(&entry, sizeof(entry)) < 0 || put(path, entry.name_len) < 0)
		return -1;
	return put(target, (size_t)target_len);
}

/* What is mounted inside is not of this tmpfs: its mount point is, and no more. */
static int put_folder(const char *path, dev_t dev, int depth)
{
	DIR *dir = depth > DEPTH_MAX ? NULL : opendir(path);
	struct dirent *de;
	int r = dir ? 0 : -1;

	while (r == 0 && (de = readdir(dir))) {
		char sub[PATH_MAX];
		struct stat st;

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		if (snprintf(sub, sizeof(sub), "%s/%s", path, de->d_name) >= (int)sizeof(sub) ||
		    lstat(sub, &st) < 0 || st.st_dev != dev)
			r = -1;
		else
			r = put_entry(sub, &st);
		if (r == 0 && S_ISDIR(st.st_mode))
			r = put_folder(sub, dev, depth + 1);
	}
	if (dir)
		closedir(dir);
	return r;
}

static int create(const char *dir)
{
	struct stat st;
	ssize_t n;

	if (chdir(dir) < 0 || stat(".", &st) < 0 || put(MAGIC, MAGIC_LEN) < 0 ||
	    put_entry(".", &st) < 0 || put_folder(".", st.st_dev, 0) < 0)
		return TMPFS_NOT_OURS;
	n = write(STDOUT_FILENO, out, out_len);
	return n == (ssize_t)out_len ? 0 : 1;
}

static int make(const char *path, const struct entry *entry, const char *target)
{
	if (S_ISDIR(entry->mode)) {
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return -1;
	} else if (S_ISLNK(entry->mode)) {
		if (symlink(target, path) < 0 && errno != EEXIST)
			return -1;
	} else if (mknod(path, entry->mode, (dev_t)entry->rdev) < 0 && errno != EEXIST) {
		return -1;
	}
	if (lchown(path, entry->uid, entry->gid) < 0)
		return -1;
	return S_ISLNK(entry->mode) ? 0 : chmod(path, entry->mode & 07777);
}

/* Reads the next entry at @*at; its texts get a NUL. Return: 0, 1 at the end, -1 when malformed. */
static int next_entry(const char *in, size_t len, size_t *at, struct entry *entry, char *name,
		      char *target)
{
	if (*at == len)
		return 1;
	if (len - *at < sizeof(*entry))
		return -1;
	memcpy(entry, in + *at, sizeof(*entry));
	*at += sizeof(*entry);
	if (entry->name_len == 0 || entry->name_len >= PATH_MAX || entry->target_len >= PATH_MAX ||
	    len - *at < (size_t)entry->name_len + entry->target_len)
		return -1;
	memcpy(name, in + *at, entry->name_len);
	name[entry->name_len] = '\0';
	memcpy(target, in + *at + entry->name_len, entry->target_len);
	target[entry->target_len] = '\0';
	*at += (size_t)entry->name_len + entry->target_len;
	/* all names are below the folder, whoever wrote them */
	if (name[0] != '.' || (name[1] && name[1] != '/') || strstr(name, "/../") ||
	    strlen(name) != entry->name_len ||
	    (entry->name_len >= 3 && strcmp(name + entry->name_len - 3, "/..") == 0))
		return -1;
	return 0;
}

/* The times of folders last: making what is in them changes them. */
static int extract(const char *in, size_t len, const char *dir)
{
	static char name[PATH_MAX], target[PATH_MAX];

	if (chdir(dir) < 0)
		return 1;
	for (int pass = 0; pass < 2; pass++) {
		struct entry entry;
		size_t at = MAGIC_LEN;
		int r;

		while ((r = next_entry(in, len, &at, &entry, name, target)) == 0) {
			const struct timespec times[2] = {
				{ .tv_nsec = UTIME_OMIT },
				{ .tv_sec = entry.mtime_s, .tv_nsec = entry.mtime_ns },
			};

			if (pass == 0 ? make(name, &entry, target) < 0
				      : utimensat(AT_FDCWD, name, times, AT_SYMLINK_NOFOLLOW) < 0)
				return 1;
		}
		if (r < 0)
			return 1;
	}
	return 0;
}

int tmpfs_tar(char *const argv[])
{
	bool creating = false, extracting = false;
	const char *dir = NULL;
	ssize_t n;

	for (int i = 1; argv[0] && argv[i]; i++) {
		creating |= strcmp(argv[i], "--create") == 0;
		extracting |= strcmp(argv[i], "--extract") == 0;
		if (strcmp(argv[i], "--directory") == 0 && argv[i + 1])
			dir = argv[i + 1];
	}
	if (!dir || creating == extracting)
		return TMPFS_NOT_OURS;
	if (creating)
		return create(dir);
	n = read(STDIN_FILENO, out, sizeof(out));
	if (n >= MAGIC_LEN && memcmp(out, MAGIC, MAGIC_LEN) == 0)
		return extract(out, (size_t)n, dir);
	return n > 0 && lseek(STDIN_FILENO, -n, SEEK_CUR) < 0 ? 1 : TMPFS_NOT_OURS;
}
