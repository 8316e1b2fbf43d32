// SPDX-License-Identifier: Apache-2.0
/*
 * single.c - one file gets the content and properties of another, and stays the file that it is
 */
#include "single.h"

#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "xattr.h"

/* One piece of data from @at to @end. */
static int copy_piece(int from_fd, int to_fd, off_t at, off_t end)
{
	char block[65536];

	while (at < end) {
		size_t len = end - at < (off_t)sizeof(block) ? (size_t)(end - at) : sizeof(block);
		ssize_t n = pread(from_fd, block, len, at);
		int r;

		if (n <= 0)
			return n < 0 ? -errno : 0; /* it became shorter: the next round sees it */
		r = rb_pwrite_all(to_fd, block, (size_t)n, at);
		if (r < 0)
			return r;
		at += n;
	}
	return 0;
}

/* Truncated first: what is a hole in one of them is none in the other. */
static int copy_content(int from_fd, int to_fd, off_t size)
{
	off_t at = 0;
	int r = 0;

	if (ftruncate(to_fd, 0) < 0 || ftruncate(to_fd, size) < 0)
		return -errno;
	while (r == 0 && at < size) {
		off_t data = lseek(from_fd, at, SEEK_DATA), hole;

		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		hole = lseek(from_fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		at = hole < size ? hole : size;
		r = copy_piece(from_fd, to_fd, data, at);
	}
	return r;
}

static int copy_attributes(int from_fd, int to_fd, const char *name, struct rb_err *err)
{
	struct archive_entry *entry = archive_entry_new();
	int r;

	if (!entry)
		return rb_err_set(err, -ENOMEM, "copy '%s'", name);
	r = xattr_load(from_fd, name, entry, err);
	if (r >= 0)
		r = xattr_store(to_fd, name, entry, err);
	archive_entry_free(entry);
	return r;
}

int rb_single_copy(int from_fd, int to_fd, const char *name, bool durable, struct rb_err *err)
{
	struct stat st;
	int r;

	if (fstat(from_fd, &st) < 0)
		return rb_err_set(err, -errno, "look at '%s'", name);
	r = copy_content(from_fd, to_fd, st.st_size);
	if (r < 0)
		return rb_err_set(err, r, "copy '%s'", name);
	/* the owner first: changing it takes set-id bits and capabilities away */
	if (fchown(to_fd, st.st_uid, st.st_gid) < 0)
		return rb_err_set(err, -errno, "give '%s' its owner", name);
	r = copy_attributes(from_fd, to_fd, name, err);
	if (r < 0)
		return r;
	if (fchmod(to_fd, st.st_mode & 07777) < 0 ||
	    futimens(to_fd, (struct timespec[]){ st.st_atim, st.st_mtim }) < 0)
		return rb_err_set(err, -errno, "give '%s' its mode and times", name);
	if (durable && fsync(to_fd) < 0)
		return rb_err_set(err, -errno, "write '%s' to disk", name);
	return 0;
}

/* Attributes alone do not show here: the callers that care copy in any case. */
static bool are_alike(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mode == b->st_mode && a->st_uid == b->st_uid &&
	       a->st_gid == b->st_gid && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int rb_single_take(int from, const char *path, const char *folder, bool again, struct rb_err *err)
{
	_cleanup_close_ int to = -EBADF;
	struct stat st, have;
	char name[PATH_MAX];
	int r;

	if (fstat(from, &st) < 0)
		return rb_err_set(err, -errno, "look at '%s'", path);
	if (!S_ISREG(st.st_mode))
		return rb_err_code(err, RB_E_CONFLICT, -ESTALE, "'%s' is no regular file any more",
				   path);
	r = rb_mkdir_p(folder, 0700, err);
	if (r >= 0 && rb_path(name, sizeof(name), "%s/" RB_SINGLE_NAME, folder) < 0)
		r = rb_err_set(err, -ENAMETOOLONG, "name a copy of '%s'", path);
	if (r < 0)
		return r;
	to = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0 || fstat(to, &have) < 0)
		return rb_err_set(err, -errno, "copy '%s' to '%s'", path, name);
	return !again && are_alike(&st, &have) ? 0 : rb_single_copy(from, to, path, false, err);
}

int rb_single_put(const char *folder, int to_fd, const char *path, bool durable, struct rb_err *err)
{
	_cleanup_close_ int from = -EBADF;
	struct stat st;
	char name[PATH_MAX];

	if (rb_path(name, sizeof(name), "%s/" RB_SINGLE_NAME, folder) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "name a copy of '%s'", path);
	from = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (from < 0 || fstat(from, &st) < 0)
		return rb_err_set(err, -errno, "open '%s'", name);
	if (!S_ISREG(st.st_mode))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "what came for '%s' is no file",
				   path);
	return rb_single_copy(from, to_fd, path, durable, err);
}
