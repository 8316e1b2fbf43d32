/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target_binds.h - what becomes of the path of a bind mount (inside of migrate/ only)
 */
#pragma once

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "tree.h"

struct rb_err;
struct rb_member;
struct rb_node;
struct rb_wait;

enum bind_fate {
	BIND_ABSENT,  /* nothing is there */
	BIND_EMPTY,   /* a folder or file with nothing in it */
	BIND_LEFT,    /* what the same container had left, and nobody has changed since */
	BIND_REFUSED, /* nothing may be brought there */
};

struct bind_judged {
	char path[PATH_MAX];	   /* without links */
	struct stat st;		   /* of what is there */
	char stamp[RB_STAMP_SIZE]; /* of what was left */
	char what[PATH_MAX + 300];
	const char *remedy; /* or NULL */
};

/**
 * bind_judge - may a bind mount be brought here?
 * @moves: that have brought the container where it is, or NULL (storage_left.c)
 * @bind: of the offer
 * @j: zero-initialised; of one that is refused it has the words
 */
enum bind_fate bind_judge(const struct rb_node *node, const json_t *moves, const json_t *bind,
			  const char *docker_root, const struct rb_wait *wait,
			  struct bind_judged *j);

/* --- target_binds_open.c --- */

/** binds_open_real - openat2(2) without following any link. Return: descriptor or negative errno */
int binds_open_real(const char *path, int flags);

/** binds_open_parent - the folder that it is in
 * @ret_name: points into @path */
int binds_open_parent(const char *path, const char **ret_name);

struct binds_inode {
	int64_t dev, ino, born; /* born: ns, or 0 where the file system does not tell */
};

int binds_look_at_inode(int fd, struct binds_inode *ret);

/** binds_note_inode - of what is made for @path, into its entry of the fact "binds_made" */
int binds_note_inode(json_t *made, const char *path, struct rb_err *err);

/** binds_find_made - the entry of the fact "binds_made", or NULL */
const json_t *binds_find_made(const struct rb_member *c, const char *source);

/**
 * binds_is_inode - is this the one that was made?
 * @now: no reboot came between, the device must be the same as well
 *
 * Numbers of inodes are used again, and numbers of devices are others after a reboot (btrfs, device
 * mapper, disks that are found in another order). So where the time is known in which an inode came
 * to be, that and its number are enough once a reboot may have come between.
 */
bool binds_is_inode(const json_t *made, const struct binds_inode *inode, bool now);

/** binds_open_made - open it if it is the one that was made. -ESTALE when it is not */
int binds_open_made(const json_t *made, int flags, bool now, struct rb_err *err);

/** binds_names_path - the file of rb_binds_names(), in the work folder. Return: 0 or -ENAMETOOLONG
 */
int binds_names_path(const struct rb_member *c, const json_t *made, char *ret, size_t size);
