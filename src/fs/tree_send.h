/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_send.h - send what was found to differ (inside of fs/ only)
 */
#pragma once

struct rb_blocks;
struct rb_buf;
struct rb_conn;
struct rb_err;
struct rb_manifest;
struct rb_tree_stats;
struct rb_wait;

/**
 * tree_send_listed - the whole stream of tree.h
 * @root_fd: folder; @root is its name for messages
 * @now: after manifest_diff() and manifest_mark_held(): what is marked is sent. Of what is not
 * there any more as it says, the entries are marked instead, for the next time. It need not be the
 * whole tree.
 * @gone: of manifest_diff()
 * @blocks: of this tree; may be NULL
 * @stats: files and bytes are added to; may not be NULL
 *
 * Return: 0 or negative errno, see rb_tree_send().
 */
int tree_send_listed(struct rb_conn *conn, int root_fd, const char *root, struct rb_manifest *now,
		     const struct rb_buf *gone, struct rb_blocks *blocks,
		     struct rb_tree_stats *stats, const struct rb_wait *wait, struct rb_err *err);
