/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.h - do two trees hold the same? Everything is read, on both sides
 *
 * The stream (DATA frames, then END) has a record for each entry below the root, and for the root
 * itself (path ""), in the order of strcmp():
 *
 * size
 *    2  length of the path, big-endian
 *    n  path
 *   16  XXH3-128 of what it is: type and mode, owner, device number, time of modification, its
 *       first name when it has several, attributes that travel
 *   16  XXH3-128 of what is in it: content of a regular file, target of a symbolic link
 *
 * Both are against faults, not against forgers: who can change files on either host needs no
 * collision.
 */
#pragma once

#include <stdint.h>

struct rb_conn;
struct rb_err;
struct rb_wait;

struct rb_verify_stats {
	uint64_t files; /* entries compared */
	uint64_t bytes; /* of their content */
};

/**
 * rb_verify_send - describe a tree, which must not change meanwhile
 * @root_fd: folder, or the file that it is
 * @root: its name, for messages
 *
 * Never follows a symbolic link. Needs root. After a failure the stream lacks its END, as with
 * rb_tree_send().
 *
 * Return: 0 or negative errno.
 */
int rb_verify_send(struct rb_conn *conn, int root_fd, const char *root, const struct rb_wait *wait,
		   struct rb_err *err);

/**
 * rb_verify_receive - compare with the tree @root_fd
 *
 * The stream is read to its END also when this fails, unless the connection is what failed.
 *
 * Return: 0; -EUCLEAN/RB_E_CONFLICT with the first entry that differs, how, and how many do; or
 * another negative errno.
 */
int rb_verify_receive(struct rb_conn *conn, int root_fd, const char *root,
		      struct rb_verify_stats *stats, const struct rb_wait *wait,
		      struct rb_err *err);
