// SPDX-License-Identifier: Apache-2.0
/*
 * patch_send.c - of a large file that the receiver has, send only the blocks that differ
 *
 * The blocks that the kernel says were written (all, where it cannot say) are read and hashed, and
 * travel when the hash is not that of what was sent before. Holes are not read.
 *
 * What is written during the read counts as written after the look that comes before it, so that
 * the next send has it. The last one comes when nobody writes any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beneath.h"
#include "blocks_internal.h"
#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "manifest.h"
#include "patch.h"
#include "path_set.h"
#include "tree_stream.h"
#include "wait.h"

/* One file. */
struct patch {
	struct patch_sender *p;
	struct block_file *file;
	const char *path;
	int fd;
	uint64_t size, block;
	uint64_t data_end; /* up to here it has no hole, as far as it was looked at */
	uint8_t *buf;	   /* a block, or BLOCKS_READ */
	size_t buf_size;
};

bool patch_may_be(uint32_t mode, uint64_t size, uint32_t nlink)
{
	/* the other names could be outside of the tree */
	return S_ISREG(mode) && size >= BLOCKS_MIN_FILE && nlink == 1;
}

/* As the scan saw it. Return: descriptor, -ESTALE if it is another one now, negative errno. */
static int open_entry(const struct patch_sender *p, const struct manifest_entry *e,
		      const char *path)
{
	_cleanup_close_ int path_fd = open_beneath(p->root_fd, path, O_PATH | O_NOFOLLOW);
	char buf[FD_PATH_SIZE];
	struct stat st;
	int fd;

	if (path_fd == -ENOENT || path_fd == -ENOTDIR || path_fd == -ELOOP || path_fd == -EXDEV)
		return -ESTALE;
	if (path_fd < 0 || fstat(path_fd, &st) < 0)
		return rb_err_set(p->err, path_fd < 0 ? path_fd : -errno, "open '%s/%s'", p->root,
				  path);
	if (st.st_dev != e->dev || st.st_ino != e->ino ||
	    !patch_may_be(st.st_mode, (uint64_t)st.st_size, (uint32_t)st.st_nlink))
		return -ESTALE;
	fd = open(fd_path(path_fd, buf), O_RDONLY | O_CLOEXEC | O_NOATIME);
	return fd < 0 ? rb_err_set(p->err, -errno, "open '%s/%s'", p->root, path) : fd;
}

static int put(const struct patch *a, const void *data, size_t len)
{
	return rb_stream_write(a->p->conn, data, len, a->p->wait, a->p->err);
}

static int put_piece(const struct patch *a, uint64_t offset, uint64_t len)
{
	uint8_t head[PATCH_PIECE_SIZE];

	put_be(head, offset, 8);
	put_be(head + 8, len, 8);
	return put(a, head, sizeof(head));
}

/* What was cut off meanwhile is zeros; the next send has the new size. */
static int read_all(const struct patch *a, uint64_t offset, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = pread(a->fd, a->buf + got, len - got, (off_t)(offset + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return rb_err_set(a->p->err, -errno, "read '%s/%s'", a->p->root, a->path);
		if (n == 0)
			break;
		got += (size_t)n;
	}
	memset(a->buf + got, 0, len - got);
	return 0;
}

static size_t len_of(const struct patch *a, size_t block)
{
	uint64_t left = a->size - block * a->block;

	return (size_t)(left < a->block ? left : a->block);
}

/* Blocks @first to @end fit into the buffer. */
static int send_data(struct patch *a, size_t first, size_t end)
{
	uint64_t start = first * a->block, stop = (end - 1) * a->block + len_of(a, end - 1);
	int r = read_all(a, start, (size_t)(stop - start));

	for (size_t i = first, from = first; r == 0 && i <= end; i++) {
		const uint8_t *data = a->buf + (i - first) * a->block;

		if (i < end && blocks_differs(a->p->blocks, a->file, i, data, len_of(a, i)))
			continue;
		if (i > from) {
			uint64_t offset = from * a->block, until = i * a->block;
			size_t len = (size_t)((until < stop ? until : stop) - offset);

			r = put_piece(a, offset, len);
			if (r == 0)
				r = put(a, a->buf + (offset - start), len);
			a->p->bytes += len;
		}
		from = i + 1;
	}
	blocks_drain(a->p->blocks);
	return r < 0 ? r : rb_wait_ms(0, a->p->wait, a->p->err);
}

static int send_hole(struct patch *a, size_t first, size_t end)
{
	int r = 0;

	for (size_t i = first, from = first; r == 0 && i <= end; i++) {
		if (i < end && blocks_differs_zeros(a->p->blocks, a->file, i, len_of(a, i)))
			continue;
		if (i > from)
			r = put_piece(a, from * a->block,
				      ((i - 1 - from) * a->block + len_of(a, i - 1)) | PATCH_HOLE);
		from = i + 1;
	}
	return r;
}

/*
 * Where data begins at or after block @first, which is where it is looked for, or negative errno:
 * there is none. Where it ends is asked once for each piece of data: a tmpfs looks at every page up
 * to there.
 */
static off_t find_data(struct patch *a, size_t first)
{
	off_t at = (off_t)(first * a->block), data, hole;

	if ((uint64_t)at < a->data_end)
		return at;
	data = lseek(a->fd, at, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		return -ENXIO;
	if (data < 0)
		data = at; /* holes cannot be told: all is data */
	hole = lseek(a->fd, data, SEEK_HOLE);
	a->data_end = hole < 0 ? a->size : (uint64_t)hole;
	return data;
}

/* A run of blocks that may differ: data and holes of it in turn. */
static int send_run(struct patch *a, size_t first, size_t end)
{
	size_t most = a->buf_size / a->block;

	while (first < end) {
		off_t data = find_data(a, first);
		size_t stop = end;
		int r;

		if (data < 0 || (uint64_t)data / a->block > first) {
			if (data >= 0 && (uint64_t)data / a->block < end)
				stop = (size_t)((uint64_t)data / a->block);
			/* it is not looked at yet */
			a->data_end = 0;
			r = send_hole(a, first, stop);
		} else {
			if ((a->data_end + a->block - 1) / a->block < end)
				stop = (size_t)((a->data_end + a->block - 1) / a->block);
			if (stop <= first)
				stop = first + 1;
			if (stop - first > most)
				stop = first + most;
			r = send_data(a, first, stop);
		}
		if (r < 0)
			return r;
		first = stop;
	}
	return 0;
}

static int put_head(const struct patch *a)
{
	uint8_t head[PATCH_HEAD_SIZE], size[PATCH_SIZE_SIZE];
	const char *path = *a->path ? a->path : TREE_FILE;
	int r;

	put_be(head, strlen(path), sizeof(head));
	put_be(size, a->size, sizeof(size));
	r = put(a, head, sizeof(head));
	if (r == 0)
		r = put(a, path, strlen(path));
	return r < 0 ? r : put(a, size, sizeof(size));
}

static void release_patch(struct patch *a)
{
	rb_close_fd(&a->fd);
	free(a->buf);
}

/* Return: 1 when its content is in the stream now, 0 when it has to travel whole, negative errno.
 */
static int send_patch(struct patch_sender *p, const struct manifest_entry *e)
{
	const char *path = manifest_path(p->now, e);
	_cleanup_(release_patch) struct patch a = {
		.p = p,
		.path = path,
		.fd = -EBADF,
		.file = blocks_find(p->blocks, e->dev, e->ino),
	};
	_cleanup_(bits_free) struct bits todo = {};
	struct stat st;
	size_t at = 0, first;
	int r;

	if (!a.file || !blocks_is_sent(a.file, path))
		return 0;
	a.fd = open_entry(p, e, path);
	if (a.fd < 0)
		return a.fd == -ESTALE ? 0 : a.fd;
	if (fstat(a.fd, &st) < 0)
		return rb_err_set(p->err, -errno, "look at '%s/%s'", p->root, path);
	a.size = (uint64_t)st.st_size;
	a.block = blocks_size(a.file);
	a.buf_size = a.block > BLOCKS_READ ? (size_t)a.block : BLOCKS_READ;
	r = blocks_start(p->blocks, a.file, a.fd, a.size, false, &todo);
	if (r == -EFBIG)
		return 0;
	a.buf = malloc(a.buf_size);
	if (r < 0 || !a.buf)
		return rb_err_set(p->err, r < 0 ? r : -ENOMEM, "compare '%s/%s'", p->root, path);
	r = put_head(&a);
	while (r == 0 && bits_next(&todo, &at, &first))
		r = send_run(&a, first, at);
	if (r == 0)
		r = put_piece(&a, 0, 0);
	return r < 0 ? r : 1;
}

/* The file travels in this send, patched or whole. */
static int add_one(struct patch_sender *p, const struct manifest_entry *e)
{
	const char *path = manifest_path(p->now, e);
	_cleanup_close_ int fd = open_entry(p, e, path);
	int r;

	if (fd < 0)
		return fd == -ESTALE ? 0 : fd;
	r = blocks_add(p->blocks, fd);
	return r < 0 ? rb_err_set(p->err, r, "prepare to send '%s/%s'", p->root, path) : 0;
}

static bool is_candidate(const struct manifest_entry *e)
{
	return e->send && patch_may_be(e->mode, e->size, e->nlink);
}

struct gone {
	const struct rb_manifest *now;
	struct path_set paths;
};

static void gone_release(struct gone *gone)
{
	path_set_free(&gone->paths);
}

/* Another file is at its path, or none is, or its folder has gone. */
static bool is_gone(void *arg, const char *path, dev_t dev, ino_t ino)
{
	const struct gone *gone = arg;
	const struct manifest_entry *e = manifest_find(gone->now, path);
	char folder[PATH_MAX];
	char *slash;

	if (e && (e->dev != dev || e->ino != ino))
		return true;
	if (path_set_find(&gone->paths, path))
		return true;
	snprintf(folder, sizeof(folder), "%s", path);
	while (gone->paths.n && (slash = strrchr(folder, '/'))) {
		*slash = '\0';
		if (path_set_find(&gone->paths, folder))
			return true;
	}
	return false;
}

/* Room for those that have come since, before they are added. */
static int prune(struct patch_sender *p)
{
	_cleanup_(gone_release) struct gone gone = { .now = p->now };
	int r = 0;

	for (size_t at = 0; r >= 0 && at < p->gone->len; at += strlen(p->gone->data + at) + 1)
		r = path_set_add(&gone.paths, p->gone->data + at, 0);
	if (r < 0)
		return rb_err_set(p->err, r, "prepare to send '%s'", p->root);
	for (size_t i = 0; i < p->now->n; i++)
		if (is_candidate(&p->now->entries[i]))
			blocks_touch(p->blocks, p->now->entries[i].dev, p->now->entries[i].ino);
	blocks_prune(p->blocks, is_gone, &gone);
	return 0;
}

int patch_send_all(struct patch_sender *p)
{
	uint8_t end[PATCH_HEAD_SIZE] = {};
	int r = 0;

	if (p->blocks) {
		blocks_begin(p->blocks);
		r = prune(p);
		for (size_t i = 0; r >= 0 && i < p->now->n; i++)
			if (is_candidate(&p->now->entries[i]))
				r = add_one(p, &p->now->entries[i]);
		blocks_watch(p->blocks);
	}
	for (size_t i = 0; p->blocks && r >= 0 && i < p->now->n; i++) {
		struct manifest_entry *e = &p->now->entries[i];

		if (!e->held || !is_candidate(e))
			continue;
		r = send_patch(p, e);
		e->patched = r > 0;
	}
	return r < 0 ? r : rb_stream_write(p->conn, end, sizeof(end), p->wait, p->err);
}
