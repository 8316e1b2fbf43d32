/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tmpfs_format.h - how a tmpfs is written down (inside of tmpfs*.c only)
 *
 * A header, then entries, parents first, in this machine's byte order: both sides of a move have
 * the same processor architecture. An entry is
 *
 *   struct tmpfs_entry
 *   name_len bytes	name, "." is the root, "./a" is in it
 *   target_len bytes	target of a symbolic link; of a further name of a file, its first one
 *   TMPFS_CONTENT	what is no hole: struct tmpfs_run and its bytes, at last a run of no bytes
 *   xattrs_len bytes	extended attributes: struct tmpfs_xattr, its name, its value. Writing to a
 *			file takes some of them away, so they come behind
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TMPFS_MAGIC_TEXT "RBTMPFS2"

enum { TMPFS_MAGIC_LEN = 8, TMPFS_BUFFER = 256 << 10, TMPFS_XATTRS_MAX = 64 << 10 };

struct tmpfs_header {
	char magic[TMPFS_MAGIC_LEN];
	uint64_t device; /* of the source */
	uint64_t files;	 /* that have arrived in another way */
};

enum tmpfs_form {
	TMPFS_NODE,    /* folder, link, device, fifo: nothing follows */
	TMPFS_CONTENT, /* a file, and what is in it */
	TMPFS_ARRIVED, /* a file, what is in it has arrived under @inode */
	TMPFS_NAME,    /* one more name of a file */
	TMPFS_FORM_MAX,
};

struct tmpfs_entry {
	uint32_t form, mode, uid, gid;
	uint16_t name_len, target_len;
	uint32_t xattrs_len;
	uint64_t rdev, size, inode;
	int64_t mtime_s, mtime_ns;
};

struct tmpfs_xattr {
	uint32_t name_len, value_len;
};

struct tmpfs_run {
	uint64_t offset, len;
};

/** tmpfs_save - write down the tmpfs with root @dir to standard output. Return: as tmpfs_tar() */
int tmpfs_save(const char *dir);

/** tmpfs_fill - make what standard input says in the tmpfs that is mounted at @dir, or in that
 * which has arrived for it. Return: as tmpfs_tar() */
int tmpfs_fill(const char *dir);

/**
 * tmpfs_arrived_mount - put the tmpfs that has arrived where another one was mounted
 * @device: its number at the source
 *
 * Return: descriptor of the folder in it with the files, or -1.
 */
int tmpfs_arrived_mount(const char *dir, uint64_t device);

/** tmpfs_arrived_end - nothing of that folder is left, and the tmpfs, whose root is the working
 * folder, has the limits of the one in whose place it is. Closes @files. Return: 0 or -1 */
int tmpfs_arrived_end(int files);
