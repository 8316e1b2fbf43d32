/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain.h - a folder of plain files travels, as fast as it goes
 *
 * CRIU's images are some fifty small files of our own, of which name and content alone count, and a
 * container stands still until the last one is there. A tree (tree.h) looks after their owners,
 * times, holes and attributes, which takes three times as long.
 *
 * The stream (DATA frames, then END), for each file:
 *
 * size
 *    1  length of its name
 *    n  name
 *    8  size, big-endian
 *    m  content
 */
#pragma once

#include <stdint.h>

struct rb_conn;
struct rb_err;
struct rb_wait;

/** rb_plain_size - bytes of all regular files in @dir */
int rb_plain_size(const char *dir, uint64_t *ret_bytes, struct rb_err *err);

/**
 * rb_plain_send - all regular files in @dir, which nobody writes to; there may be nothing else
 *
 * After a failure the stream lacks its END, as with rb_tree_send().
 *
 * Return: 0 or negative errno.
 */
int rb_plain_send(struct rb_conn *conn, const char *dir, const struct rb_wait *wait,
		  struct rb_err *err);

/**
 * rb_plain_receive - write them into @dir, with mode 0600; one that is there is replaced
 *
 * Hostile input is refused: names with a "/", "." and "..", an empty one. The stream is read to its
 * END also when this fails, unless the connection is what failed.
 *
 * Return: 0 or negative errno.
 */
int rb_plain_receive(struct rb_conn *conn, const char *dir, const struct rb_wait *wait,
		     struct rb_err *err);
