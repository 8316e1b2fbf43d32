// SPDX-License-Identifier: Apache-2.0
/*
 * tree_receive.c - take a tree's stream apart (format: tree.h) and have it written
 *
 * First what vanished is removed, then the entries of the archive are written; so a file can become
 * a folder of the same name and the other way round. libarchive reads the format pax only, and no
 * compression: less for a hostile peer to play with. Anything that it merely warns of is an
 * error here, since our own sender gives no cause for it.
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
#include "tree_stream.h"
#include "tree_write.h"

struct receiver {
	struct rb_conn *conn;
	const struct rb_wait *wait;
	struct rb_err *err;
	int failed; /* of the connection */
	bool ended; /* END has been read */

	const uint8_t *block; /* what is left of the last block of the stream */
	size_t left;

	struct archive *archive;
	struct tree_writer writer;
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

/* Have at least one byte in rx->block. Return: 1, 0 at the end, or negative errno. */
static int next_block(struct receiver *rx)
{
	while (rx->left == 0) {
		const void *block;
		ssize_t n;

		if (rx->failed < 0)
			return rx->failed;
		if (rx->ended)
			return 0;
		n = rb_stream_read(rx->conn, &block, rx->wait, rx->err);
		if (n < 0)
			return rx->failed = (int)n;
		rx->ended = n == 0;
		rx->block = block;
		rx->left = (size_t)n;
	}
	return 1;
}

/* Exactly @len bytes of the stream. */
static int read_exactly(struct receiver *rx, void *data, size_t len)
{
	char *at = data;

	while (len) {
		size_t n;
		int r = next_block(rx);

		if (r <= 0)
			return r < 0 ? r : damaged(rx, "it ends too early");
		n = len < rx->left ? len : rx->left;
		memcpy(at, rx->block, n);
		rx->block += n;
		rx->left -= n;
		at += n;
		len -= n;
	}
	return 0;
}

static la_ssize_t read_stream(struct archive *archive, void *arg, const void **ret)
{
	struct receiver *rx = arg;
	int r = next_block(rx);
	size_t n = rx->left;

	if (r < 0) {
		archive_set_error(archive, -r, "the connection failed");
		return -1;
	}
	*ret = rx->block;
	rx->left = 0;
	return r == 0 ? 0 : (la_ssize_t)n;
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
	uint64_t left = 0;
	int r = read_exactly(rx, head, sizeof(head));

	if (r < 0)
		return r;
	if (memcmp(head, TREE_MAGIC, strlen(TREE_MAGIC)) != 0)
		return damaged(rx, "it does not start as one");
	for (int i = 8; i < TREE_HEAD_SIZE; i++)
		left = left << 8 | head[i];
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

static int write_file(struct receiver *rx, const char *path, struct archive_entry *entry)
{
	_cleanup_close_ int fd = tree_writer_create(&rx->writer, path);
	int r;

	if (fd < 0)
		return fd;
	r = write_content(rx, fd, path, archive_entry_size(entry));
	return r < 0 ? r : tree_writer_finish(&rx->writer, fd, path, entry);
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

static int receive(struct receiver *rx, const char *root)
{
	struct archive_entry *entry;
	int r = tree_writer_open(&rx->writer, root, rx->err);

	if (r == 0)
		r = remove_vanished(rx);
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

int rb_tree_receive(struct rb_conn *conn, const char *root, bool durable,
		    struct rb_tree_stats *stats, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_(receiver_release) struct receiver rx = {
		.conn = conn,
		.wait = wait,
		.err = err,
		.writer = { .durable = durable, .root_fd = -EBADF, .parent_fd = -EBADF }
	};
	int r = receive(&rx, root);

	if (rx.failed == 0 && !rx.ended) {
		int drained = rb_stream_drain(conn, wait, r < 0 ? NULL : err);

		r = r < 0 ? r : drained;
	}
	if (r == 0 && stats)
		*stats = rx.stats;
	return r;
}

int rb_tree_sync(const char *root, struct rb_err *err)
{
	_cleanup_close_ int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return rb_err_set(err, -errno, "open folder '%s'", root);
	if (syncfs(fd) < 0)
		return rb_err_set(err, -errno, "write '%s' to disk", root);
	return 0;
}

int rb_tree_size(const char *root, uint64_t *ret_bytes, struct rb_err *err)
{
	_cleanup_close_ int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct rb_manifest *m = NULL;
	int r;

	if (fd < 0)
		return rb_err_set(err, -errno, "open folder '%s'", root);
	r = manifest_scan(fd, root, &m, NULL, err);
	if (r < 0)
		return r;
	*ret_bytes = manifest_bytes(m);
	rb_manifest_free(m);
	return 0;
}
