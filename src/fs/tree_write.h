/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_write.h - write entries of a hostile archive below a folder (inside of fs/ only)
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "io.h"

struct archive_entry;
struct folder_times;
struct rb_err;

enum { TREE_UNSYNCED_MAX = 256 };

struct tree_writer {
	int root_fd; /* folder, or with @is_file the one file that is written */
	bool is_file;
	const char *root; /* its name, for messages */
	struct rb_err *err;

	int parent_fd; /* of the last entry; most entries share it with the one before */
	char parent[PATH_MAX];

	int names_fd; /* what is at the top is written down there (received.h), or negative */
	char last_name[NAME_MAX + 1]; /* that was */

	struct rb_buf folder_paths; /* folders whose times are set at the end */
	struct folder_times *folders;
	size_t n_folders, size_folders;

	bool durable; /* files and folders are on disk when tree_writer_close() returns */
	int unsynced[TREE_UNSYNCED_MAX];
	size_t n_unsynced;
};

/** tree_writer_open - zero-initialised @w becomes usable. @root is borrowed. */
int tree_writer_open(struct tree_writer *w, const char *root, struct rb_err *err);

/** tree_writer_open_file - the same of a tree that is the file @fd (borrowed), open for writing; it
 * is written in place */
int tree_writer_open_file(struct tree_writer *w, int fd, const char *name, struct rb_err *err);
void tree_writer_release(struct tree_writer *w);

/** tree_writer_path - check and normalise a path of the stream ("a/b", "" for the root). Return: 0
 * or -EPROTO */
int tree_writer_path(struct tree_writer *w, const char *path, char ret[PATH_MAX]);

/** tree_writer_remove - remove whatever is at @path; nothing there is fine */
int tree_writer_remove(struct tree_writer *w, const char *path);

/** tree_writer_link - @path becomes another name of @to */
int tree_writer_link(struct tree_writer *w, const char *path, const char *to);

/** tree_writer_create - a new regular file in place of whatever is at @path. Return: descriptor
 * open for writing */
int tree_writer_create(struct tree_writer *w, const char *path);

/** tree_writer_reopen - the regular file that is at @path. Return: descriptor open for writing */
int tree_writer_reopen(struct tree_writer *w, const char *path);

/** tree_writer_finish - owner, attributes, mode, times of the regular file @fd, in this order */
int tree_writer_finish(struct tree_writer *w, int fd, const char *path,
		       struct archive_entry *entry);

/** tree_writer_other - a folder, symbolic link, FIFO, socket or device node */
int tree_writer_other(struct tree_writer *w, const char *path, struct archive_entry *entry);

/** tree_writer_close - set the times of the folders, now that nothing is written any more; sync */
int tree_writer_close(struct tree_writer *w);
