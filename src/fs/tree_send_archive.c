// SPDX-License-Identifier: Apache-2.0
/*
 * tree_send_archive.c - the archive that a tree travels in, and the content of its files
 *
 * libarchive wants the bytes of holes too, and drops them.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blocks_internal.h"
#include "conn.h"
#include "err.h"
#include "manifest.h"
#include "tree_send_internal.h"

#define BLOCK	   ((size_t)256 << 10)
#define ZEROS	   ((size_t)1 << 30)
#define SMALL	   ((size_t)1 << 20)
#define RECORD	   ((size_t)16 << 10) /* of TLS */
#define MAX_PIECES (1 << 20) /* of data between holes; both sides keep the list in memory */

void sender_release(struct sender *s)
{
	if (s->archive)
		archive_write_fail(
			s->archive); /* no trailer after a failure; no effect if closed */
	archive_write_free(s->archive);
	archive_entry_free(s->entry);
	free(s->block);
	if (s->zeros)
		munmap((void *)s->zeros, ZEROS);
	free(s->inodes);
}

static la_ssize_t write_stream(struct archive *archive, void *arg, const void *data, size_t len)
{
	struct sender *s = arg;

	(void)archive;
	if (s->failed == 0)
		s->failed = rb_stream_write(s->conn, data, len, s->wait, s->err);
	return s->failed < 0 ? -1 : (la_ssize_t)len;
}

int sender_result(struct sender *s, la_ssize_t r, const char *path)
{
	int errnum;

	if (r >= ARCHIVE_OK)
		return 0;
	if (s->failed < 0)
		return s->failed;
	errnum = archive_errno(s->archive);
	return rb_err_code(s->err, RB_E_INTERNAL, errnum > 0 && errnum < 4096 ? -errnum : -EIO,
			   "put '%s/%s' into the archive: %s", s->root, path,
			   archive_error_string(s->archive) ?: "unknown error");
}

/* Of the archive, as frames that fill records of TLS. From a small tree the other side has the
 * first files while we read the next ones; for a large one it is better to write much at once. */
static int piece_bytes(const struct sender *s)
{
	return (int)((manifest_bytes(s->now) < SMALL ? RECORD : BLOCK) - RB_FRAME_HEADER);
}

/* Address space without memory. libarchive counts the bytes of a hole, and does not read them (3.6,
 * archive_write_pax_data()), so that a hole of terabytes takes some thousand calls. */
static const char *map_zeros(void)
{
	void *zeros =
		mmap(NULL, ZEROS, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return zeros == MAP_FAILED ? NULL : zeros;
}

int sender_open(struct sender *s)
{
	int r;

	s->block = malloc(BLOCK);
	s->zeros = map_zeros();
	s->entry = archive_entry_new();
	s->archive = archive_write_new();
	if (!s->block || !s->zeros || !s->entry || !s->archive)
		return rb_err_set(s->err, -ENOMEM, "send '%s'", s->root);
	r = archive_write_set_format_pax(s->archive);
	/* names are bytes, not text in some locale */
	if (r == ARCHIVE_OK)
		r = archive_write_set_options(s->archive,
					      "hdrcharset=BINARY,xattrheader=LIBARCHIVE");
	if (r == ARCHIVE_OK)
		r = archive_write_set_bytes_per_block(s->archive, piece_bytes(s));
	if (r == ARCHIVE_OK)
		r = archive_write_set_bytes_in_last_block(s->archive, 1);
	if (r == ARCHIVE_OK)
		r = archive_write_open(s->archive, s, NULL, write_stream, NULL);
	return sender_result(s, r, "");
}

void sender_map_holes(struct sender *s, int fd, off_t size)
{
	off_t at = 0;
	int pieces = 0;

	if (size == 0 || lseek(fd, 0, SEEK_HOLE) >= size)
		return;
	while (at < size) {
		off_t data = lseek(fd, at, SEEK_DATA), hole = size;

		if (data >= size || (data < 0 && errno == ENXIO))
			break; /* a hole up to the end */
		if (data < 0) {
			archive_entry_sparse_clear(s->entry); /* read all of it */
			return;
		}
		if (++pieces < MAX_PIECES)
			hole = lseek(fd, data, SEEK_HOLE);
		at = hole < 0 || hole > size ? size : hole;
		archive_entry_sparse_add_entry(s->entry, data, at - data);
	}
	if (pieces == 0) /* libarchive takes an empty list for "no holes" */
		archive_entry_sparse_add_entry(s->entry, 0, 0);
}

static int send_zeros(struct sender *s, uint64_t len, const char *path)
{
	while (len) {
		size_t n = len < ZEROS ? (size_t)len : ZEROS;
		int r = sender_result(s, archive_write_data(s->archive, s->zeros, n), path);

		if (r < 0)
			return r;
		len -= n;
	}
	return 0;
}

static int send_range(struct sender *s, int fd, off_t offset, uint64_t len, const char *path)
{
	s->stats.bytes += len;
	while (len) {
		ssize_t n = pread(fd, s->block, len < BLOCK ? (size_t)len : BLOCK, offset);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return rb_err_set(s->err, -errno, "read '%s/%s'", s->root, path);
		if (n == 0)
			return send_zeros(s, len, path); /* it was cut short meanwhile */
		if (s->feed)
			blocks_feed(s->blocks, s->feed, (uint64_t)offset, s->block, (size_t)n);
		blocks_drain(s->blocks);
		r = sender_result(s, archive_write_data(s->archive, s->block, (size_t)n), path);
		if (r < 0)
			return r;
		offset += n;
		len -= (uint64_t)n;
	}
	return 0;
}

int sender_content(struct sender *s, int fd, off_t size, const char *path)
{
	int64_t offset, len, at = 0;
	int r = 0;

	if (archive_entry_sparse_reset(s->entry) == 0)
		return send_range(s, fd, 0, (uint64_t)size, path);
	while (r == 0 && archive_entry_sparse_next(s->entry, &offset, &len) == ARCHIVE_OK) {
		r = send_zeros(s, (uint64_t)(offset - at), path);
		if (r == 0)
			r = send_range(s, fd, offset, (uint64_t)len, path);
		at = offset + len;
	}
	return r < 0 ? r : send_zeros(s, (uint64_t)(size - at), path);
}
