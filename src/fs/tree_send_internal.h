/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_send_internal.h - what the two halves of sending a tree share: tree_send.c says which
 * entries travel, and as what, tree_send_archive.c writes them
 */
#pragma once

#include <archive.h>
#include <stdint.h>
#include <sys/types.h>

#include "tree.h"

struct archive_entry;
struct block_file;
struct rb_blocks;
struct rb_conn;
struct rb_err;
struct rb_manifest;
struct rb_wait;

/** The first name of an inode with several. */
struct sent_inode {
	dev_t dev;
	ino_t ino;
	const char *path; /* NULL: not sent yet */
};

/** One stream. */
struct sender {
	struct rb_conn *conn;
	const struct rb_wait *wait;
	struct rb_err *err;
	int failed; /* of the connection, inside of libarchive */

	int root_fd;
	const char *root;
	struct rb_manifest *now;
	struct rb_blocks *blocks;
	struct block_file *feed;   /* takes the content of the file that is sent; or NULL */
	struct sent_inode *inodes; /* by manifest_entry.group */
	const char *skip;	   /* folder that is gone: nothing below it is sent */

	struct archive *archive;
	struct archive_entry *entry;
	char *block;	   /* of a file's content */
	const char *zeros; /* for holes: nobody ever looks at them */
	struct rb_tree_stats stats;
};

/** sender_release - also of one that is not open */
void sender_release(struct sender *s);

/** sender_open - begin the archive. Return: 0 or negative errno */
int sender_open(struct sender *s);

/** sender_result - what libarchive returned, as an errno with the error filled */
int sender_result(struct sender *s, la_ssize_t r, const char *path);

/** sender_map_holes - add the pieces of @fd that hold data to the entry, if there are holes; moves
 * its position */
void sender_map_holes(struct sender *s, int fd, off_t size);

/** sender_content - the file's content, after its header, to `feed` too. Return: 0 or negative
 * errno
 */
int sender_content(struct sender *s, int fd, off_t size, const char *path);
