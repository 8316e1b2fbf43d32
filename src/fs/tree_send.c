// SPDX-License-Identifier: Apache-2.0
/*
 * tree_send.c - scan a tree, and send what differs as a pax archive (tree_send_archive.c writes it)
 *
 * First the whole tree is scanned into a manifest and compared with that of the last send; only
 * then are files opened, one at a time, each through O_PATH first: its type is looked at before
 * anything is opened for reading, since opening a device can have effects (a container may
 * replace a file with a device node at any time).
 *
 * What does not fit the scan any more when its turn comes (gone, of another type) is left out, with
 * everything below it, and its entry marked, so that the next send has it. An archive entry is
 * as long as fstat(2) said when the file was opened, whatever happens to the file meanwhile.
 *
 * Names of one inode are sent as one file and hard links to it. The scan tells which names belong
 * together; the link is made only if the inode is still that which was sent.
 */
#include "tree.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "beneath.h"
#include "blocks_internal.h"
#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "manifest.h"
#include "patch.h"
#include "tree_send_internal.h"
#include "tree_send.h"
#include "tree_stream.h"
#include "wait.h"
#include "xattr.h"

static int send_head(struct sender *s, const struct rb_buf *gone)
{
	uint8_t head[TREE_HEAD_SIZE] = TREE_MAGIC;
	int r;

	put_be(head + 8, gone->len, 8);
	r = rb_stream_write(s->conn, head, sizeof(head), s->wait, s->err);
	if (r == 0 && gone->len)
		r = rb_stream_write(s->conn, gone->data, gone->len, s->wait, s->err);
	return r;
}

static void fill_entry(struct archive_entry *entry, const char *path, const struct stat *st)
{
	archive_entry_clear(entry);
	archive_entry_copy_pathname(entry, *path ? path : S_ISREG(st->st_mode) ? TREE_FILE : ".");
	archive_entry_set_mode(entry, st->st_mode);
	archive_entry_set_uid(entry, st->st_uid);
	archive_entry_set_gid(entry, st->st_gid);
	archive_entry_set_mtime(entry, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	archive_entry_set_atime(entry, st->st_atim.tv_sec, st->st_atim.tv_nsec);
	archive_entry_set_size(entry, S_ISREG(st->st_mode) ? st->st_size : 0);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		archive_entry_set_rdevmajor(entry, major(st->st_rdev));
		archive_entry_set_rdevminor(entry, minor(st->st_rdev));
	}
	if (S_ISSOCK(st->st_mode)) {
		archive_entry_set_filetype(entry, AE_IFIFO);
		archive_entry_xattr_add_entry(entry, TREE_SOCKET, "1", 1);
	}
}

static int send_header(struct sender *s, const char *path)
{
	s->stats.files++;
	return sender_result(s, archive_write_header(s->archive, s->entry), path);
}

static int send_link(struct sender *s, const char *path, const char *to)
{
	archive_entry_clear(s->entry);
	archive_entry_copy_pathname(s->entry, path);
	archive_entry_set_filetype(s->entry, AE_IFREG);
	archive_entry_copy_hardlink(s->entry, to);
	archive_entry_set_size(s->entry, 0);
	return send_header(s, path);
}

/* Have the blocks remembered, if it is known: then it may be patched the next time. */
static int start_feed(struct sender *s, int fd, const char *path, const struct stat *st)
{
	struct block_file *file = s->blocks ? blocks_find(s->blocks, st->st_dev, st->st_ino) : NULL;
	int r = -EFBIG;

	s->feed = NULL;
	if (!file)
		return 0;
	if (patch_may_be(st->st_mode, (uint64_t)st->st_size, (uint32_t)st->st_nlink))
		r = blocks_start(s->blocks, file, fd, (uint64_t)st->st_size, true, NULL);
	if (r == -EFBIG) {
		blocks_drop(s->blocks, file);
		return 0;
	}
	if (r < 0)
		return rb_err_set(s->err, r, "prepare to send '%s/%s'", s->root, path);
	archive_entry_xattr_add_entry(s->entry, TREE_KEEP, "1", 1);
	s->feed = file;
	return 0;
}

static int end_feed(struct sender *s, struct block_file *file, const char *path)
{
	int r = file ? blocks_done(s->blocks, file, path) : 0;

	return r < 0 ? rb_err_set(s->err, r, "remember '%s/%s'", s->root, path) : 0;
}

/* Its content is in the stream already. */
static int send_patched(struct sender *s, const char *path, const struct stat *st)
{
	int r;

	archive_entry_set_size(s->entry, 0);
	archive_entry_xattr_add_entry(s->entry, TREE_PATCHED, "1", 1);
	r = send_header(s, path);
	return r < 0 ? r : end_feed(s, blocks_find(s->blocks, st->st_dev, st->st_ino), path);
}

static int send_whole(struct sender *s, int fd, const char *path, const struct stat *st)
{
	int r = start_feed(s, fd, path, st);

	if (r < 0)
		return r;
	sender_map_holes(s, fd, st->st_size);
	r = send_header(s, path);
	if (r == 0)
		r = sender_content(s, fd, st->st_size, path);
	return r < 0 ? r : end_feed(s, s->feed, path);
}

static int send_file(struct sender *s, int path_fd, const char *path, bool patched)
{
	char buf[FD_PATH_SIZE];
	_cleanup_close_ int fd = open(fd_path(path_fd, buf), O_RDONLY | O_CLOEXEC | O_NOATIME);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return rb_err_set(s->err, -errno, "open '%s/%s'", s->root, path);
	fill_entry(s->entry, path, &st);
	r = xattr_load(fd, path, s->entry, s->err);
	if (r == 0)
		r = patched ? send_patched(s, path, &st) : send_whole(s, fd, path, &st);
	return r < 0 ? r : sender_result(s, archive_write_finish_entry(s->archive), path);
}

static int send_other(struct sender *s, int path_fd, const char *path, const struct stat *st)
{
	char target[PATH_MAX];
	int r;

	fill_entry(s->entry, path, st);
	if (S_ISLNK(st->st_mode)) {
		ssize_t len = readlinkat(path_fd, "", target, sizeof(target));

		if (len < 0 || (size_t)len >= sizeof(target))
			return rb_err_set(s->err, len < 0 ? -errno : -ENAMETOOLONG,
					  "read the symbolic link '%s/%s'", s->root, path);
		target[len] = '\0';
		archive_entry_copy_symlink(s->entry, target);
	}
	r = xattr_load(path_fd, path, s->entry, s->err);
	return r < 0 ? r : send_header(s, path);
}

static bool is_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return strncmp(path, folder, len) == 0 && path[len] == '/';
}

/* Not there any more as the scan saw it: the next send brings what is there then. */
static int pass_over(struct sender *s, struct manifest_entry *e)
{
	e->again = e->unknown = true;
	s->now->n_unknown++;
	if (S_ISDIR(e->mode))
		s->skip = manifest_path(s->now, e);
	return 0;
}

static int send_entry(struct sender *s, struct manifest_entry *e)
{
	const char *path = manifest_path(s->now, e);
	struct sent_inode *inode = e->group ? &s->inodes[e->group] : NULL;
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (s->skip && is_below(path, s->skip)) {
		e->again = true;
		return 0;
	}
	fd = open_beneath(s->root_fd, path, O_PATH | O_NOFOLLOW);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP || fd == -EXDEV)
		return pass_over(s, e);
	if (fd < 0 || fstat(fd, &st) < 0)
		return rb_err_set(s->err, fd < 0 ? fd : -errno, "open '%s/%s'", s->root, path);
	if ((st.st_mode & S_IFMT) != (e->mode & S_IFMT))
		return pass_over(s, e);
	if (st.st_dev != e->dev || st.st_ino != e->ino) {
		/* replaced meanwhile: so this is what the receiver has there */
		e->dev = st.st_dev;
		e->ino = st.st_ino;
		e->again = true;
		e->patched = false;
	}
	if (inode && inode->path && inode->dev == st.st_dev && inode->ino == st.st_ino)
		return send_link(s, path, inode->path);
	if (inode && !inode->path)
		*inode = (struct sent_inode){ st.st_dev, st.st_ino, path };
	return S_ISREG(st.st_mode) ? send_file(s, fd, path, e->patched)
				   : send_other(s, fd, path, &st);
}

static int send_archive(struct sender *s)
{
	int r = sender_open(s);

	s->inodes = calloc((size_t)s->now->groups + 1, sizeof(*s->inodes));
	if (r == 0 && !s->inodes)
		r = rb_err_set(s->err, -ENOMEM, "send '%s'", s->root);
	for (size_t i = 0; r == 0 && i < s->now->n; i++)
		if (s->now->entries[i].send)
			r = send_entry(s, &s->now->entries[i]);
	return r < 0 ? r : sender_result(s, archive_write_close(s->archive), "");
}

static int send_patches(struct sender *s, const struct rb_buf *gone)
{
	struct patch_sender patches = { .conn = s->conn,
					.root_fd = s->root_fd,
					.root = s->root,
					.now = s->now,
					.gone = gone,
					.blocks = s->blocks,
					.wait = s->wait,
					.err = s->err };
	int r = patch_send_all(&patches);

	s->stats.bytes += patches.bytes;
	return r;
}

int tree_send_listed(struct rb_conn *conn, int root_fd, const char *root, struct rb_manifest *now,
		     const struct rb_buf *gone, struct rb_blocks *blocks,
		     struct rb_tree_stats *stats, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_(sender_release) struct sender s = { .conn = conn,
						      .wait = wait,
						      .err = err,
						      .root_fd = root_fd,
						      .root = root,
						      .now = now,
						      .blocks = blocks,
						      .stats = *stats };
	int r = send_head(&s, gone);

	if (r == 0)
		r = send_patches(&s, gone);
	if (r == 0)
		r = send_archive(&s);
	if (r == 0)
		r = rb_stream_end(conn, wait, err);
	if (r == 0)
		*stats = s.stats;
	return r;
}

int rb_tree_send(struct rb_conn *conn, const char *root, const struct rb_manifest *base,
		 struct rb_blocks *blocks, struct rb_manifest **ret_now,
		 struct rb_tree_stats *stats, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_close_ int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_buf_ struct rb_buf gone = {};
	struct rb_tree_stats sent = {};
	struct rb_manifest *now = NULL;
	int r;

	if (root_fd < 0)
		return rb_err_set(err, -errno, "open folder '%s'", root);
	r = manifest_scan(root_fd, root, NULL, &now, wait, err);
	if (r < 0)
		return r;
	r = manifest_diff(now, base, &gone, &sent.removed);
	manifest_mark_held(now, base);
	if (r < 0)
		r = rb_err_set(err, r, "compare '%s' with what was sent before", root);
	else
		r = tree_send_listed(conn, root_fd, root, now, &gone, blocks, &sent, wait, err);
	if (r == 0 && stats)
		*stats = sent;
	if (r == 0 && ret_now)
		*ret_now = TAKE_PTR(now);
	rb_manifest_free(now);
	return r;
}
