/* SPDX-License-Identifier: Apache-2.0 */
/*
 * single.h - one file gets the content and properties of another, and stays the file that it is
 *
 * A single file that is mounted into a container keeps its inode for as long as it is mounted: it
 * can only be written in place. It travels as a tree that has nothing else (tree.h): copied into a
 * folder of its own first, and out of one at the end.
 */
#pragma once

#include <stdbool.h>

struct rb_err;

#define RB_SINGLE_NAME "file" /* in its folder */

/**
 * rb_single_copy - content, owner, mode, times and attributes of a regular file
 * @from_fd: open for reading
 * @to_fd: open for writing
 * @name: for messages
 * @durable: it is on disk when this returns
 *
 * Holes stay holes. Needs root.
 */
int rb_single_copy(int from_fd, int to_fd, const char *name, bool durable, struct rb_err *err);

/**
 * rb_single_take - into the folder @folder, which is made, as RB_SINGLE_NAME
 * @from_fd: open for reading
 * @path: of it, for messages
 * @again: also when size, mode, owner and times say that both are alike already
 */
int rb_single_take(int from_fd, const char *path, const char *folder, bool again,
		   struct rb_err *err);

/** rb_single_put - from there into the existing file @to_fd, which is at @path */
int rb_single_put(const char *folder, int to_fd, const char *path, bool durable,
		  struct rb_err *err);
