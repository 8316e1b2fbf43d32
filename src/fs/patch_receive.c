// SPDX-License-Identifier: Apache-2.0
/*
 * patch_receive.c - write into files that came before
 *
 * Elsewhere in a tree what is written is a new inode, which nobody else can have. Here it is not,
 * so what is written to must be a file that this very process made and filled in this migration
 * (received.h), with the one name that it got then, found below the root without following a link
 * or entering a mount (tree_writer_reopen()).
 *
 * From the first byte on the file is unusable, until all of it came.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "patch.h"
#include "received.h"
#include "take.h"
#include "tree_stream.h"
#include "tree_write.h"

#define ZEROS ((size_t)64 << 10)

struct target {
	struct taking *t;
	struct tree_writer *w;
	const char *path;
	int fd;
	uint64_t size, *bytes;
};

static int damaged(struct taking *t, const char *what)
{
	return rb_err_code(t->err, RB_E_PROTOCOL, -EPROTO,
			   "the peer's stream of files is damaged: %s", what);
}

static int take_exactly(struct taking *t, void *ret, size_t len)
{
	int r = take_all(t, ret, len);

	return r == 0 ? damaged(t, "it ends within a patch") : r < 0 ? r : 0;
}

static int failed(const struct target *p, int r)
{
	return rb_err_set(p->w->err, r, "write '%s/%s'", p->w->root, p->path);
}

static int write_data(struct target *p, uint64_t offset, uint64_t len)
{
	while (len) {
		const void *data;
		ssize_t n = take_some(p->t, &data, len < SSIZE_MAX ? (size_t)len : SSIZE_MAX);
		int r;

		if (n < 0)
			return (int)n;
		if (n == 0)
			return damaged(p->t, "it ends within a patch");
		r = rb_pwrite_all(p->fd, data, (size_t)n, (off_t)offset);
		if (r < 0)
			return failed(p, r);
		*p->bytes += (uint64_t)n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* Zeros are written where there is data, since a peer may say that there is a hole of exabytes. */
static int write_zeros(struct target *p, off_t at, off_t end)
{
	static const uint8_t zeros[ZEROS];

	while (at < end) {
		off_t data = lseek(p->fd, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			return 0;
		hole = data < 0 ? -1 : lseek(p->fd, data, SEEK_HOLE);
		if (hole < 0)
			return failed(p, -errno);
		for (at = data; at < end && at < hole;) {
			off_t stop = end < hole ? end : hole;
			size_t n = stop - at < (off_t)ZEROS ? (size_t)(stop - at) : ZEROS;
			int r = rb_pwrite_all(p->fd, zeros, n, at);

			if (r < 0)
				return failed(p, r);
			at += (off_t)n;
		}
	}
	return 0;
}

static int write_hole(struct target *p, uint64_t offset, uint64_t len)
{
	if (fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		      (off_t)len) == 0)
		return 0;
	return errno == EOPNOTSUPP ? write_zeros(p, (off_t)offset, (off_t)(offset + len))
				   : failed(p, -errno);
}

static int write_pieces(struct target *p)
{
	uint64_t end = 0;

	for (;;) {
		uint8_t head[PATCH_PIECE_SIZE];
		uint64_t offset, len;
		bool is_hole;
		int r = take_exactly(p->t, head, sizeof(head));

		if (r < 0)
			return r;
		offset = get_be(head, 8);
		len = get_be(head + 8, 8);
		is_hole = len & PATCH_HOLE;
		len &= ~PATCH_HOLE;
		if (offset == 0 && len == 0 && !is_hole)
			return 0;
		if (len == 0 || offset < end || offset > p->size || len > p->size - offset)
			return damaged(p->t, "a piece of a patch lies outside of its file, or is "
					     "out of order");
		end = offset + len;
		r = is_hole ? write_hole(p, offset, len) : write_data(p, offset, len);
		if (r < 0)
			return r;
	}
}

static int refuse(const struct tree_writer *w, const char *path, const char *why)
{
	return rb_err_code(w->err, RB_E_PROTOCOL, -EPROTO, "refused a patch of '%s': %s", path,
			   why);
}

/* Return: descriptor open for writing */
static int open_target(struct tree_writer *w, struct rb_received *received, const char *path)
{
	_cleanup_close_ int fd = tree_writer_reopen(w, path);
	struct stat st;
	int r;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return rb_err_set(w->err, -errno, "look at '%s/%s'", w->root, path);
	/* a tree that is one file is the very inode that was asked for, whatever names it has */
	if (st.st_nlink != 1 && !w->is_file)
		return refuse(w, path, "it has another name, which may be outside of the tree");
	r = received ? received_take(received, fd) : 0;
	if (r < 0)
		return rb_err_set(w->err, r, "look at '%s/%s'", w->root, path);
	if (r == 0)
		return refuse(w, path, "it did not come in this migration, or not completely");
	return TAKE_FD(fd);
}

static int receive_one(struct taking *t, struct tree_writer *w, struct rb_received *received,
		       size_t len, uint64_t *bytes)
{
	char sent[PATH_MAX], path[PATH_MAX];
	uint8_t size[PATCH_SIZE_SIZE];
	_cleanup_close_ int fd = -EBADF;
	struct target target = { .t = t, .w = w, .path = path, .bytes = bytes };
	int r;

	if (len >= PATH_MAX)
		return damaged(t, "the path of a patch is too long");
	r = take_exactly(t, sent, len);
	sent[len] = '\0';
	if (r == 0)
		r = take_exactly(t, size, sizeof(size));
	if (r == 0 && strlen(sent) != len)
		r = damaged(t, "the path of a patch has a NUL in it");
	if (r == 0)
		r = tree_writer_path(w, sent, path);
	if (r < 0)
		return r;
	target.size = get_be(size, sizeof(size));
	if (target.size > INT64_MAX)
		return damaged(t, "a file has a negative size");
	fd = target.fd = open_target(w, received, path);
	if (fd < 0)
		return fd;
	if (ftruncate(fd, (off_t)target.size) < 0)
		return failed(&target, -errno);
	r = write_pieces(&target);
	if (r == 0) {
		r = received_patched(received, fd);
		if (r < 0)
			return failed(&target, r);
	}
	return r;
}

int patch_receive_all(struct taking *t, struct tree_writer *w, struct rb_received *received,
		      uint64_t *bytes)
{
	if (received)
		received_begin(received);
	for (;;) {
		uint8_t head[PATCH_HEAD_SIZE];
		size_t len;
		int r = take_exactly(t, head, sizeof(head));

		if (r < 0)
			return r;
		len = (size_t)get_be(head, sizeof(head));
		if (len == 0)
			return 0;
		r = receive_one(t, w, received, len, bytes);
		if (r < 0)
			return r;
	}
}
