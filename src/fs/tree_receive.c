// SPDX-License-Identifier: Apache-2.0
/*
 * tree_receive.c - take a tree's stream apart (format: tree.h) and have it written
 *
 * First what vanished is removed, then files are patched (patch_receive.c), then the entries of the
 * archive are written; so a file can become a folder of the same name and the other way round.
 * libarchive reads the format pax only, and no compression: less for a hostile peer to play with.
 * Anything that it merely warns of is an error here, since our own sender gives no cause for it.
 *
 * Whatever goes wrong here, the rest of the stream is read and dropped, so that the conversation
 * can go on with an error for an answer.
 */
#include "tree.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "io.h"
#include "manifest.h"
#include "patch.h"
#include "received.h"
#include "take.h"
#include "tree_stream.h"
#include "tree_write.h"

struct receiver {
	struct taking t;
	struct rb_err *err;
	int failed; /* of the connection, inside of libarchive */

	struct archive *archive;
	struct tree_writer writer;
	struct rb_received *received; /* NULL: nothing can be patched */
	struct rb_tree_stats stats;
};

static void receiver_release(struct receiver *rx)
{
	archive_read_free(rx->archive);
	tree_writer_release(&rx->writer);
}

static int damaged(struct receiver *rx, const char *what)
{
	return rb_err_code(rx->err, RB_E_PROTOCOL, -EPROTO,
			   "the peer's stream of files is damaged: %s", what);
}

/* Exactly @len bytes of the stream. */
static int read_exactly(struct receiver *rx, void *data, size_t len)
{
	int r = take_all(&rx->t, data, len);

	return r == 0 ? damaged(rx, "it ends too early") : r < 0 ? r : 0;
}

static la_ssize_t read_stream(struct archive *archive, void *arg, const void **ret)
{
	struct receiver *rx = arg;
	ssize_t n = take_some(&rx->t, ret, SIZE_MAX);

	if (n < 0) {
		rx->failed = (int)n;
		archive_set_error(archive, -rx->failed, "the connection failed");
		return -1;
	}
	return n;
}

/* One path of the list of @left bytes, with its NUL. Return: bytes taken, or negative errno. */
static int64_t read_gone_path(struct receiver *rx, uint64_t left, char path[PATH_MAX])
{
	size_t len = 0;

	do {
		int r;

		if (len == left || len == PATH_MAX)
			return damaged(rx, "a vanished path has no end");
		r = read_exactly(rx, path + len, 1);
		if (r < 0)
			return r;
	} while (path[len++] != '\0');
	return (int64_t)len;
}

static int remove_vanished(struct receiver *rx)
{
	uint8_t head[TREE_HEAD_SIZE];
	uint64_t left;
	int r = read_exactly(rx, head, sizeof(head));

	if (r < 0)
		return r;
	if (memcmp(head, TREE_MAGIC, strlen(TREE_MAGIC)) != 0)
		return damaged(rx, "it does not start as one");
	left = get_be(head + 8, 8);
	while (left) {
		char path[PATH_MAX], clean[PATH_MAX];
		int64_t len = read_gone_path(rx, left, path);

		if (len < 0)
			return (int)len;
		left -= (uint64_t)len;
		r = tree_writer_path(&rx->writer, path, clean);
		if (r == 0)
			r = tree_writer_remove(&rx->writer, clean);
		if (r < 0)
			return r;
		rx->stats.removed++;
	}
	return 0;
}

static int archive_failed(struct receiver *rx)
{
	if (rx->failed < 0)
		return rx->failed;
	return damaged(rx, archive_error_string(rx->archive) ?: "no reason given");
}

static int open_archive(struct receiver *rx)
{
	rx->archive = archive_read_new();
	if (!rx->archive)
		return rb_err_set(rx->err, -ENOMEM, "receive '%s'", rx->writer.root);
	if (archive_read_support_format_tar(rx->archive) != ARCHIVE_OK ||
	    archive_read_set_options(rx->archive, "!mac-ext") != ARCHIVE_OK ||
	    archive_read_open(rx->archive, rx, NULL, read_stream, NULL) != ARCHIVE_OK)
		return archive_failed(rx);
	return 0;
}

static int write_content(struct receiver *rx, int fd, const char *path, int64_t size)
{
	int64_t end = 0, offset;
	const void *data;
	size_t len;
	int r;

	if (size < 0)
		return damaged(rx, "a file has a negative size");
	while ((r = archive_read_data_block(rx->archive, &data, &len, &offset)) == ARCHIVE_OK) {
		if (offset < end || offset > size || len > (uint64_t)(size - offset))
			return damaged(rx, "content lies outside of its file");
		r = rb_pwrite_all(fd, data, len, offset);
		if (r < 0)
			return rb_err_set(rx->err, r, "write '%s/%s'", rx->writer.root, path);
		end = offset + (int64_t)len;
		rx->stats.bytes += len;
	}
	if (r != ARCHIVE_EOF)
		return archive_failed(rx);
	if (end < size && ftruncate(fd, size) < 0)
		return rb_err_set(rx->err, -errno, "write '%s/%s'", rx->writer.root, path);
	return 0;
}

static bool has_mark(struct archive_entry *entry, const char *wanted)
{
	const char *name;
	const void *value;
	size_t size;

	archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &size) == 0)
		if (name && strcmp(name, wanted) == 0)
			return true;
	return false;
}

static int refuse_mark(struct receiver *rx, const char *path, int r)
{
	if (r < 0 && r != -E2BIG)
		return rb_err_set(rx->err, r, "look at '%s/%s'", rx->writer.root, path);
	return damaged(rx, r == -E2BIG ? "it has too many large files"
				       : "a file is marked as patched that was not");
}

/* Its content came as a patch; this is the rest. */
static int finish_patched(struct receiver *rx, const char *path, struct archive_entry *entry)
{
	_cleanup_close_ int fd = tree_writer_reopen(&rx->writer, path);
	int r = 0;

	if (fd < 0)
		return fd;
	if (rx->received)
		r = received_finish(rx->received, fd);
	if (r <= 0)
		return refuse_mark(rx, path, r);
	return tree_writer_finish(&rx->writer, fd, path, entry);
}

static int write_file(struct receiver *rx, const char *path, struct archive_entry *entry)
{
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (has_mark(entry, TREE_PATCHED))
		return finish_patched(rx, path, entry);
	fd = tree_writer_create(&rx->writer, path);
	if (fd < 0)
		return fd;
	r = write_content(rx, fd, path, archive_entry_size(entry));
	if (r == 0)
		r = tree_writer_finish(&rx->writer, fd, path, entry);
	if (r == 0 && rx->received && has_mark(entry, TREE_KEEP)) {
		r = received_add(rx->received, fd);
		if (r < 0)
			return refuse_mark(rx, path, r);
	}
	return r;
}

static int write_entry(struct receiver *rx, struct archive_entry *entry)
{
	const char *name = archive_entry_pathname(entry), *to = archive_entry_hardlink(entry);
	char path[PATH_MAX], target[PATH_MAX];
	int r;

	if (!name)
		return damaged(rx, "an entry has no name");
	r = tree_writer_path(&rx->writer, name, path);
	if (r == 0 && to)
		r = tree_writer_path(&rx->writer, to, target);
	if (r < 0)
		return r;
	rx->stats.files++;
	if (to)
		return tree_writer_link(&rx->writer, path, target);
	if (archive_entry_filetype(entry) == AE_IFREG)
		return write_file(rx, path, entry);
	return tree_writer_other(&rx->writer, path, entry);
}

/* Once there is somewhere to write to. */
static int receive(struct receiver *rx)
{
	struct archive_entry *entry;
	int r = remove_vanished(rx);

	if (r == 0)
		r = patch_receive_all(&rx->t, &rx->writer, rx->received, &rx->stats.bytes);
	if (r == 0)
		r = open_archive(rx);
	while (r == 0) {
		int got = archive_read_next_header(rx->archive, &entry);

		if (got == ARCHIVE_EOF)
			break;
		r = got == ARCHIVE_OK ? write_entry(rx, entry) : archive_failed(rx);
	}
	return r < 0 ? r : tree_writer_close(&rx->writer);
}

/* @fd: of a file, or -EBADF for a folder @root */
static int receive_all(struct rb_conn *conn, const char *root, int fd, bool durable,
		       struct rb_received *received, struct rb_tree_stats *stats,
		       const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_(receiver_release) struct receiver rx = {
		.t = { .conn = conn, .wait = wait, .err = err },
		.err = err,
		.received = received,
		.writer = { .durable = durable,
			    .root_fd = -EBADF,
			    .parent_fd = -EBADF,
			    .names_fd = received_names(received) }
	};
	int r = fd >= 0 ? tree_writer_open_file(&rx.writer, fd, root, err)
			: tree_writer_open(&rx.writer, root, err);

	if (r == 0)
		r = receive(&rx);
	if (!rx.t.broken && !rx.t.ended) {
		int drained = rb_stream_drain(conn, wait, r < 0 ? NULL : err);

		r = r < 0 ? r : drained;
	}
	if (r == 0 && stats)
		*stats = rx.stats;
	return r;
}

int rb_tree_receive(struct rb_conn *conn, const char *root, bool durable,
		    struct rb_received *received, struct rb_tree_stats *stats,
		    const struct rb_wait *wait, struct rb_err *err)
{
	return receive_all(conn, root, -EBADF, durable, received, stats, wait, err);
}

int rb_tree_receive_file(struct rb_conn *conn, int fd, const char *name, bool durable,
			 struct rb_received *received, struct rb_tree_stats *stats,
			 const struct rb_wait *wait, struct rb_err *err)
{
	return receive_all(conn, name, fd, durable, received, stats, wait, err);
}

int rb_tree_size(int fd, const char *name, uint64_t *ret_bytes, const struct rb_wait *wait,
		 struct rb_err *err)
{
	struct rb_manifest *m = NULL;
	int r = manifest_scan(fd, name, NULL, &m, wait, err);

	if (r < 0)
		return r;
	*ret_bytes = manifest_bytes(m);
	rb_manifest_free(m);
	return 0;
}
