// SPDX-License-Identifier: Apache-2.0
/*
 * tmpfs_fill.c - make in a tmpfs what was written down of another one (tmpfs_format.h)
 *
 * Files that have arrived in another way are in a tmpfs that has arrived with them, which takes the
 * place of the one that CRIU has just mounted; here they get their names. One that is missing, or
 * of another size, ends the restore.
 *
 * Who wrote it down may have lied: a link, and then a name that leads through it. So there is
 * nothing else to be seen than the tmpfs itself.
 */
#include "tmpfs_format.h"

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

static uint8_t in[TMPFS_BUFFER];
static size_t in_at, in_len;

/* of folders: making what is in them changes them */
struct times {
	struct times *next;
	struct timespec mtime;
	char name[];
};

static struct times *folders;

static int fill_buffer(void)
{
	ssize_t n;

	do
		n = read(STDIN_FILENO, in, sizeof(in));
	while (n < 0 && errno == EINTR);
	in_at = 0;
	in_len = n > 0 ? (size_t)n : 0;
	return n < 0 ? -1 : 0;
}

/* Return: 0, 1 at the end when nothing was read, -1 when there is less */
static int get(void *to, size_t len)
{
	size_t have = 0;

	while (have < len) {
		size_t part;

		if (in_at == in_len && fill_buffer() < 0)
			return -1;
		part = in_len - in_at < len - have ? in_len - in_at : len - have;
		if (part == 0)
			return have == 0 ? 1 : -1;
		memcpy((uint8_t *)to + have, in + in_at, part);
		in_at += part;
		have += part;
	}
	return 0;
}

static int get_text(char *to, size_t len)
{
	to[len] = '\0';
	return len == 0 ? 0 : get(to, len) == 0 && strlen(to) == len ? 0 : -1;
}

/* All names are below the folder, whoever wrote them. */
static bool is_below(const char *name)
{
	size_t len = strlen(name);

	return name[0] == '.' && (!name[1] || name[1] == '/') && !strstr(name, "/../") &&
	       !(len >= 3 && strcmp(name + len - 3, "/..") == 0);
}

static int remember(const char *name, const struct tmpfs_entry *entry)
{
	struct times *times = malloc(sizeof(*times) + strlen(name) + 1);

	if (!times)
		return -1;
	times->mtime = (struct timespec){ entry->mtime_s, entry->mtime_ns };
	strcpy(times->name, name);
	times->next = folders;
	folders = times;
	return 0;
}

static int set_mtime(const char *name, const struct timespec *mtime)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, *mtime };

	return utimensat(AT_FDCWD, name, times, AT_SYMLINK_NOFOLLOW);
}

static int set_xattrs(const char *name, size_t len)
{
	static char key[XATTR_NAME_MAX + 1];
	static uint8_t value[TMPFS_XATTRS_MAX];

	if (len > TMPFS_XATTRS_MAX)
		return -1;
	while (len) {
		struct tmpfs_xattr header;

		if (len < sizeof(header) || get(&header, sizeof(header)) != 0)
			return -1;
		len -= sizeof(header);
		if (header.name_len > XATTR_NAME_MAX || header.name_len > len ||
		    header.value_len > len - header.name_len || header.name_len == 0 ||
		    get_text(key, header.name_len) < 0 ||
		    (header.value_len && get(value, header.value_len) != 0) ||
		    lsetxattr(name, key, value, header.value_len, 0) < 0)
			return -1;
		len -= header.name_len + header.value_len;
	}
	return 0;
}

static int get_run(int fd, const struct tmpfs_run *run)
{
	static uint8_t bytes[TMPFS_BUFFER / 2];
	uint64_t done = 0;

	while (done < run->len) {
		size_t part = run->len - done < sizeof(bytes) ? (size_t)(run->len - done)
							      : sizeof(bytes);

		if (get(bytes, part) != 0 ||
		    pwrite(fd, bytes, part, (off_t)(run->offset + done)) != (ssize_t)part)
			return -1;
		done += part;
	}
	return 0;
}

static int make_file(const char *name, const struct tmpfs_entry *entry)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct tmpfs_run run = { .len = 1 };
	int r = fd < 0 || ftruncate(fd, (off_t)entry->size) < 0 ? -1 : 0;

	while (r == 0 && run.len) {
		r = get(&run, sizeof(run)) == 0 && run.offset <= entry->size &&
				    run.len <= entry->size - run.offset
			    ? get_run(fd, &run)
			    : -1;
	}
	if (fd >= 0)
		close(fd);
	return r;
}

/* Nothing of it is copied. */
static int name_arrived(const char *name, const struct tmpfs_entry *entry, int files)
{
	char inode[32];
	struct stat st;

	snprintf(inode, sizeof(inode), "%llu", (unsigned long long)entry->inode);
	if (files < 0 || fstatat(files, inode, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISREG(st.st_mode) || (uint64_t)st.st_size != entry->size)
		return -1;
	return renameat(files, inode, AT_FDCWD, name);
}

static int make_node(const char *name, const struct tmpfs_entry *entry, const char *target)
{
	if (S_ISDIR(entry->mode))
		return mkdir(name, 0700) < 0 && errno != EEXIST ? -1 : remember(name, entry);
	if (S_ISLNK(entry->mode))
		return symlink(target, name);
	if (S_ISREG(entry->mode))
		return -1;
	return mknod(name, entry->mode, (dev_t)entry->rdev);
}

static int make(const char *name, const struct tmpfs_entry *entry, const char *target, int files)
{
	switch (entry->form) {
	case TMPFS_NODE:
		return make_node(name, entry, target);
	case TMPFS_CONTENT:
		return make_file(name, entry);
	case TMPFS_ARRIVED:
		return name_arrived(name, entry, files);
	case TMPFS_NAME:
		return is_below(target) ? linkat(AT_FDCWD, target, AT_FDCWD, name, 0) : -1;
	default:
		return -1;
	}
}

/* A folder may have a list that all that is made in it inherits. */
static void drop_inherited(const char *name)
{
	lremovexattr(name, "system.posix_acl_access");
	lremovexattr(name, "system.posix_acl_default");
}

/* chown(2) takes bits of the mode away, and chmod(2) changes an access list. */
static int dress(const char *name, const struct tmpfs_entry *entry)
{
	const struct timespec mtime = { entry->mtime_s, entry->mtime_ns };

	if (entry->form == TMPFS_NAME)
		return 0;
	if (lchown(name, entry->uid, entry->gid) < 0)
		return -1;
	if (!S_ISLNK(entry->mode)) {
		drop_inherited(name);
		if (chmod(name, entry->mode & 07777) < 0)
			return -1;
	}
	if (set_xattrs(name, entry->xattrs_len) < 0)
		return -1;
	return S_ISDIR(entry->mode) ? 0 : set_mtime(name, &mtime);
}

/* Return: 0, 1 at the end, -1 */
static int next_entry(int files)
{
	static char name[PATH_MAX], target[PATH_MAX];
	struct tmpfs_entry entry;
	int r = get(&entry, sizeof(entry));

	if (r != 0)
		return r;
	if (entry.name_len == 0 || entry.name_len >= PATH_MAX || entry.target_len >= PATH_MAX ||
	    entry.size > INT64_MAX || get_text(name, entry.name_len) < 0 || !is_below(name) ||
	    get_text(target, entry.target_len) < 0 || make(name, &entry, target, files) < 0)
		return -1;
	return dress(name, &entry);
}

static int set_folders_times(void)
{
	int r = 0;

	for (const struct times *at = folders; r == 0 && at; at = at->next)
		r = set_mtime(at->name, &at->mtime);
	return r;
}

static int fill(const char *dir, const struct tmpfs_header *header)
{
	int files = -1, r = 0;

	if (header->files) {
		files = tmpfs_arrived_mount(dir, header->device);
		if (files < 0)
			return 1;
	}
	if (chdir(dir) < 0 || chroot(".") < 0)
		return 1;
	while (r == 0)
		r = next_entry(files);
	if (r < 0 || (files >= 0 && tmpfs_arrived_end(files) < 0))
		return 1;
	return set_folders_times() < 0;
}

int tmpfs_fill(const char *dir)
{
	struct tmpfs_header header;
	off_t start = lseek(STDIN_FILENO, 0, SEEK_CUR);

	if (get(&header, sizeof(header)) == 0 &&
	    memcmp(header.magic, TMPFS_MAGIC_TEXT, sizeof(header.magic)) == 0)
		return fill(dir, &header);
	return start >= 0 && lseek(STDIN_FILENO, start, SEEK_SET) < 0 ? 1 : TMPFS_NOT_OURS;
}
