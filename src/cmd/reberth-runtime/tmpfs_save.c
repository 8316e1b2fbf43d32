// SPDX-License-Identifier: Apache-2.0
/*
 * tmpfs_save.c - write down what is in a tmpfs (tmpfs_format.h)
 *
 * Large files have travelled already, or do so at this moment (memory/shared_files.c). There is a
 * list of them, pairs of 64-bit numbers, device and inode, in
 *
 *	$REBERTH_SKIP/tmpfs
 *
 * and they are referred to. All that is not in this list is written as it is. What cannot be
 * written down, or is too much, makes all of the tmpfs tar's: then nothing was written, nothing is
 * referred to, and what has travelled is of no use. So once any of its files has travelled, nothing
 * is too much: tar would have all of them to pack.
 *
 * Sockets are left out, as tar does it: CRIU makes those that somebody has bound.
 */
#include "tmpfs_format.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tmpfs.h"
#include "tmpfs_limits.h"

enum { LINKED_MAX = 1024, TRAVELLED_MAX = 1024 };

static uint8_t out[TMPFS_BUFFER];
static size_t out_len;
static int entries;
static uint64_t small;	  /* bytes of files that are written */
static uint64_t referred; /* files that are not */
static bool limited;	  /* to what is written quickly */

static struct {
	uint64_t device, inode;
} travelled[TRAVELLED_MAX];
static size_t n_travelled;

/* files with several names, and their first ones */
static struct {
	ino_t inode;
	char *name;
} linked[LINKED_MAX];
static size_t n_linked;

static int flush(void)
{
	for (size_t at = 0; at < out_len;) {
		ssize_t n = write(STDOUT_FILENO, out + at, out_len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		at += (size_t)n;
	}
	out_len = 0;
	return 0;
}

static int put(const void *data, size_t len)
{
	if (len > sizeof(out) - out_len && flush() < 0)
		return -1;
	if (len > sizeof(out))
		return -1;
	memcpy(out + out_len, data, len);
	out_len += len;
	return 0;
}

static void read_travelled(void)
{
	const char *dir = getenv("REBERTH_SKIP");
	char path[PATH_MAX];
	ssize_t len;
	int fd;

	if (!dir || snprintf(path, sizeof(path), "%s/tmpfs", dir) >= (int)sizeof(path))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	len = read(fd, travelled, sizeof(travelled));
	close(fd);
	n_travelled = len > 0 ? (size_t)len / sizeof(travelled[0]) : 0;
}

static bool has_travelled(const struct stat *st)
{
	for (size_t i = 0; i < n_travelled; i++)
		if (travelled[i].device == st->st_dev && travelled[i].inode == st->st_ino)
			return true;
	return false;
}

static bool any_has_travelled(dev_t device)
{
	for (size_t i = 0; i < n_travelled; i++)
		if (travelled[i].device == device)
			return true;
	return false;
}

/* Return: the name that it was written with already, or NULL; *@ret is -1 when it cannot be
 * remembered */
static const char *find_linked(const struct stat *st, const char *path, int *ret)
{
	*ret = 0;
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return NULL;
	for (size_t i = 0; i < n_linked; i++)
		if (linked[i].inode == st->st_ino)
			return linked[i].name;
	if (n_linked == LINKED_MAX || !(linked[n_linked].name = strdup(path))) {
		*ret = -1;
		return NULL;
	}
	linked[n_linked++].inode = st->st_ino;
	return NULL;
}

/* A label is what the other host's policy says. */
static bool is_copied(const char *name)
{
	return strcmp(name, "security.selinux") != 0 && strncmp(name, "security.SMACK", 14) != 0;
}

static int add_xattr(const char *path, const char *name, uint8_t *ret, size_t *len)
{
	struct tmpfs_xattr header = { .name_len = (uint32_t)strlen(name) };
	size_t fixed = sizeof(header) + header.name_len;
	ssize_t n;

	if (fixed > TMPFS_XATTRS_MAX - *len)
		return -1;
	n = lgetxattr(path, name, ret + *len + fixed, TMPFS_XATTRS_MAX - *len - fixed);
	if (n < 0)
		return -1;
	header.value_len = (uint32_t)n;
	memcpy(ret + *len, &header, sizeof(header));
	memcpy(ret + *len + sizeof(header), name, header.name_len);
	*len += fixed + (size_t)n;
	return 0;
}

static int collect_xattrs(const char *path, uint8_t *ret, size_t *ret_len)
{
	static char names[TMPFS_XATTRS_MAX];
	ssize_t n = llistxattr(path, names, sizeof(names));
	int r = 0;

	*ret_len = 0;
	if (n < 0)
		return errno == ENOTSUP ? 0 : -1;
	for (char *name = names; r == 0 && name < names + n; name += strlen(name) + 1)
		if (is_copied(name))
			r = add_xattr(path, name, ret, ret_len);
	return r;
}

static int put_run(int fd, off_t from, off_t to)
{
	static uint8_t bytes[TMPFS_BUFFER / 2];
	struct tmpfs_run run = { .offset = (uint64_t)from, .len = (uint64_t)(to - from) };

	if (put(&run, sizeof(run)) < 0)
		return -1;
	while (from < to) {
		size_t want = to - from < (off_t)sizeof(bytes) ? (size_t)(to - from)
							       : sizeof(bytes);
		ssize_t n = pread(fd, bytes, want, from);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || put(bytes, (size_t)n) < 0)
			return -1;
		from += n;
	}
	return 0;
}

/* Holes stay holes. */
static int put_runs(int fd, off_t size)
{
	off_t from = 0, to;
	int r = 0;

	while (r == 0 && from < size) {
		from = lseek(fd, from, SEEK_DATA);
		if (from < 0)
			return errno == ENXIO ? 0 : -1;
		to = lseek(fd, from, SEEK_HOLE);
		if (to < 0)
			return -1;
		r = put_run(fd, from, to);
		from = to;
	}
	return r;
}

static int put_content(const char *path, const struct stat *st)
{
	const struct tmpfs_run end = {};
	int fd, r;

	small += (uint64_t)st->st_blocks * 512;
	if (limited && small > RB_TMPFS_SMALL_MAX)
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME);
	if (fd < 0)
		return -1;
	r = put_runs(fd, st->st_size);
	close(fd);
	return r < 0 ? r : put(&end, sizeof(end));
}

static enum tmpfs_form form_of(const struct stat *st, const char *first_name)
{
	if (first_name)
		return TMPFS_NAME;
	if (!S_ISREG(st->st_mode))
		return TMPFS_NODE;
	return has_travelled(st) ? TMPFS_ARRIVED : TMPFS_CONTENT;
}

static int put_entry(const char *path, const struct stat *st)
{
	static uint8_t xattrs[TMPFS_XATTRS_MAX];
	char target[PATH_MAX];
	size_t xattrs_len = 0;
	ssize_t target_len = 0;
	int r;
	const char *first_name = find_linked(st, path, &r);
	struct tmpfs_entry entry = { .form = form_of(st, first_name),
				     .mode = st->st_mode,
				     .uid = st->st_uid,
				     .gid = st->st_gid,
				     .name_len = (uint16_t)strlen(path),
				     .rdev = st->st_rdev,
				     .size = (uint64_t)st->st_size,
				     .inode = st->st_ino,
				     .mtime_s = st->st_mtim.tv_sec,
				     .mtime_ns = st->st_mtim.tv_nsec };

	if (r < 0 || (++entries > RB_TMPFS_ENTRIES_MAX && limited))
		return -1;
	if (first_name) {
		target_len = snprintf(target, sizeof(target), "%s", first_name);
	} else {
		if (S_ISLNK(st->st_mode))
			target_len = readlink(path, target, sizeof(target));
		if (target_len < 0 || target_len == sizeof(target) ||
		    collect_xattrs(path, xattrs, &xattrs_len) < 0)
			return -1;
	}
	entry.target_len = (uint16_t)target_len;
	entry.xattrs_len = (uint32_t)xattrs_len;
	referred += entry.form == TMPFS_ARRIVED;
	if (put(&entry, sizeof(entry)) < 0 || put(path, entry.name_len) < 0 ||
	    put(target, entry.target_len) < 0 ||
	    (entry.form == TMPFS_CONTENT && put_content(path, st) < 0))
		return -1;
	return put(xattrs, entry.xattrs_len);
}

static DIR *open_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !dir)
		close(fd);
	return dir;
}

/* What is mounted inside is not of this tmpfs. */
static int put_folder(const char *path, dev_t dev, int depth)
{
	DIR *dir = depth > RB_TMPFS_DEPTH_MAX ? NULL : open_folder(path);
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
		else if (!S_ISSOCK(st.st_mode))
			r = put_entry(sub, &st);
		if (r == 0 && S_ISDIR(st.st_mode))
			r = put_folder(sub, dev, depth + 1);
	}
	if (dir)
		closedir(dir);
	return r;
}

static int put_all(const struct stat *root, off_t start)
{
	struct tmpfs_header header = { .device = root->st_dev };

	memcpy(header.magic, TMPFS_MAGIC_TEXT, sizeof(header.magic));
	if (put(&header, sizeof(header)) < 0 || put_entry(".", root) < 0 ||
	    put_folder(".", root->st_dev, 0) < 0 || flush() < 0)
		return -1;
	/* known only now */
	header.files = referred;
	return pwrite(STDOUT_FILENO, &header, sizeof(header), start) == sizeof(header) ? 0 : -1;
}

int tmpfs_save(const char *dir)
{
	off_t start = lseek(STDOUT_FILENO, 0, SEEK_CUR);
	struct stat st;

	if (start < 0 || chdir(dir) < 0 || stat(".", &st) < 0)
		return TMPFS_NOT_OURS;
	read_travelled();
	limited = !any_has_travelled(st.st_dev);
	if (put_all(&st, start) == 0)
		return 0;
	return ftruncate(STDOUT_FILENO, start) < 0 || lseek(STDOUT_FILENO, start, SEEK_SET) != start
		       ? 1
		       : TMPFS_NOT_OURS;
}
