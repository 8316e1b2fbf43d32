/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.h - a folder tree travels: whole first, then only what changed since
 *
 * A tree is the writable layer of a container (overlayfs upperdir: whiteouts are character devices
 * 0/0, opaque folders carry the xattr trusted.overlay.opaque), a volume, or a bind mount: a folder,
 * or a single file.
 *
 * The stream (DATA frames, then END):
 *
 * offset size
 *      0    8  magic "RBTREE2\n"
 *      8    8  L, length of the list of vanished paths in bytes, big-endian as all numbers
 *     16    L  vanished paths, each ended by a NUL; a folder stands for all that was in it
 *   16+L       patches, one after the other; 2 bytes of 0 end the list
 *              pax archive of the new and changed entries (headers of libarchive with
 *              hdrcharset=BINARY, holes as GNU sparse 1.0, xattrs as LIBARCHIVE.xattr.*), a folder
 *              before its content, up to END
 *
 * A patch changes a file in place which came whole in an earlier stream of the same migration,
 * marked with the attribute "reberth.keep", and was not left half patched since:
 *
 *      0    2  N, length of the path, not 0
 *      2    N  path
 *    2+N    8  new size of the file; what is cut off is gone, what is added reads as zeros
 *   10+N       pieces, in order, none beyond the new size or over another one; 16 bytes of 0 end
 * them: 0    8  offset 8    8  length, not 0; with bit 63 set it is a hole, and no data follow 16
 * data
 *
 * Owner, mode, times and attributes of a patched file come in the archive, as an entry without
 * content that has the attribute "reberth.patched". When a stream breaks off, or the entry does not
 * come, the file can only come whole again.
 *
 * Paths are relative to the root of the tree, which itself is "./". Of a tree that is a single file
 * that file is the only entry, "file": its own name is not opened on either side. A socket is a
 * FIFO that bears the attribute "reberth.socket", because tar has no sockets.
 *
 * What changed is told by comparing (inode, ctime, mtime, size, mode) with a manifest of the time
 * of the last send; a manifest entry is taken *before* its file is read, so that a change during
 * the read is sent again the next time. Two things escape the comparison: a change within the
 * tick of the clock in which the entry was taken (such entries are remembered as doubtful and
 * sent again), and writers that do not move the times, or not when they have written (writers.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_blocks;
struct rb_conn;
struct rb_err;
struct rb_manifest;
struct rb_received;
struct rb_wait;
struct stat;

struct rb_tree_stats {
	uint64_t files;	  /* entries sent */
	uint64_t bytes;	  /* of file content, without holes */
	uint64_t removed; /* paths that vanished */
	bool walked;	  /* sender: all of the tree was looked at (tree_source.h) */
};

/**
 * rb_tree_send - send what differs from @base
 * @root: folder
 * @base: manifest of the last send, or NULL: everything
 * @blocks: of this tree, over all rounds (blocks.h); NULL: changed files travel whole
 * @ret_now: manifest of this send; may be NULL
 * @stats: may be NULL
 *
 * The tree may change meanwhile: what vanishes is left out, what shrinks is filled up with zeros,
 * and all of it differs from @ret_now, so that the next send mends it. Never follows a symbolic
 * link and never opens anything but regular files and folders, since a container may swap one for
 * the other at any time. RB_E_REFUSED when another file system is mounted inside of @root.
 *
 * Needs root. After a failure the stream lacks its END: send an ERROR in its place
 * (rb_conn_answer_error()), unless the connection is what failed.
 *
 * Return: 0 or negative errno.
 */
int rb_tree_send(struct rb_conn *conn, const char *root, const struct rb_manifest *base,
		 struct rb_blocks *blocks, struct rb_manifest **ret_now,
		 struct rb_tree_stats *stats, const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_tree_receive - write the stream below @root, which must exist; never outside of it
 * @durable: what came is on disk when this returns
 * @received: of this migration (received.h); NULL: patches are refused
 *
 * Hostile input is refused: absolute paths, "..", paths through symbolic links or into mounts,
 * hard links to anything that is not in the tree, patches of what did not come from the peer. Needs
 * root (owners, device nodes, trusted xattrs). The stream is read to its END also when this fails,
 * unless the connection is what failed, so that the caller can answer with the error.
 *
 * Return: 0 or negative errno.
 */
int rb_tree_receive(struct rb_conn *conn, const char *root, bool durable,
		    struct rb_received *received, struct rb_tree_stats *stats,
		    const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_tree_receive_file - the same, of a tree that is a single file
 * @fd: of an existing file, open for reading and writing: it is written in place, so that who has
 * it mounted has what came
 * @name: for messages
 */
int rb_tree_receive_file(struct rb_conn *conn, int fd, const char *name, bool durable,
			 struct rb_received *received, struct rb_tree_stats *stats,
			 const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_sync_system - syncfs(2) by another process, which can be given up: nothing ends a sync that
 * waits for a server that is gone
 * @fd: of something on the file system, open for reading; or -EBADF: @path is opened there
 * @path: for messages as well
 *
 * Return: 0 or negative errno.
 */
int rb_sync_system(int fd, const char *path, const struct rb_wait *wait, struct rb_err *err);

/** rb_tree_sync_files - fsync(2) of every regular file and folder below @root, and of nothing else:
 * other writers of the file system are not waited for */
int rb_tree_sync_files(const char *root, struct rb_err *err);

/**
 * rb_tree_size - bytes on disk of a tree (st_blocks, hard links once), for the space check
 * @fd: folder or file
 * @name: for messages
 */
int rb_tree_size(int fd, const char *name, uint64_t *ret_bytes, const struct rb_wait *wait,
		 struct rb_err *err);

#define RB_STAMP_SIZE 50

/**
 * rb_tree_stamp - a text that is another one as soon as anything in a tree changed
 * @path: folder, or a single file
 *
 * Made of names, inodes, sizes and times: of use on this host alone.
 */
int rb_tree_stamp(const char *path, char ret[RB_STAMP_SIZE], const struct rb_wait *wait,
		  struct rb_err *err);

/** rb_tree_stamp_fd - the same of what is open
 * @path: for messages */
int rb_tree_stamp_fd(int fd, const char *path, char ret[RB_STAMP_SIZE], const struct rb_wait *wait,
		     struct rb_err *err);

/**
 * rb_stamp_renamed - make it the stamp of a tree that got another name, which moves its ctime and
 * changes nothing else
 * @st: of it, under its new name
 */
void rb_stamp_renamed(char stamp[RB_STAMP_SIZE], const struct stat *st);

/** rb_stamp_has_ctime - has the tree still the ctime that it had then? */
bool rb_stamp_has_ctime(const char *stamp, const struct stat *st);

/** rb_manifest_free - NULL is allowed */
void rb_manifest_free(struct rb_manifest *manifest);
