/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.h - what a tree looked like at one time (inside of fs/ only)
 *
 * Entries are sorted by path (strcmp), which puts a folder before its content; the root is "".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "io.h"
#include "tree.h"

struct watched;

struct manifest_entry {
	size_t path; /* offset in rb_manifest.paths */
	uint64_t dev, ino, size, rdev, blocks;
	int64_t ctime_s, mtime_s;
	uint32_t ctime_ns, mtime_ns;
	uint32_t mode, nlink;
	uint32_t group; /* of names of one inode, see manifest_diff(); 0: the only name */
	bool again;	/* differs from anything: doubtful, mapped, or not sent after all */
	bool unknown;	/* not sent after all: the receiver has at this path what it had before */
	bool send;	/* result of manifest_diff() */
	bool held;	/* result of manifest_mark_held() */
	bool patched;	/* its content is in the stream already, see patch.h */
};

struct rb_manifest {
	struct rb_buf paths;
	struct manifest_entry *entries;
	size_t n, size;
	uint32_t groups;  /* highest group number */
	size_t n_unknown; /* entries with that mark */
};

/** manifest_path - valid until the manifest grows or is freed */
static inline const char *manifest_path(const struct rb_manifest *m, const struct manifest_entry *e)
{
	return m->paths.data + e->path;
}

/**
 * manifest_scan - look at everything below @root_fd
 * @root: its name for messages
 * @watched: hears of each folder before it is read; may be NULL
 */
int manifest_scan(int root_fd, const char *root, struct watched *watched, struct rb_manifest **ret,
		  const struct rb_wait *wait, struct rb_err *err);

/** A look at some paths only; all but the last two fields are the caller's. */
struct manifest_scan {
	int root_fd;
	const char *root;
	struct watched *watched;
	const struct rb_wait *wait;
	struct rb_err *err;
	struct rb_manifest *m; /* released by rb_manifest_free() when it comes to no end */
	struct timespec start;
};

int manifest_scan_begin(struct manifest_scan *scan);

/**
 * manifest_scan_path - look at one path
 * @deep: and at all below it
 *
 * Return: 1, 0 when there is nothing, or negative errno.
 */
int manifest_scan_path(struct manifest_scan *scan, const char *path, bool deep);

/** manifest_scan_end - what was found, each path once */
struct rb_manifest *manifest_scan_end(struct manifest_scan *scan);

/** manifest_sort - by path, each once */
void manifest_sort(struct rb_manifest *m);

/** manifest_find - entry of a path, or NULL */
struct manifest_entry *manifest_find(const struct rb_manifest *m, const char *path);

/**
 * manifest_diff - mark the entries of @now that have to be sent
 * @base: may be NULL: all of them
 * @ret_gone: paths that are in @base only, each ended by a NUL, without what is in gone folders
 * @ret_n_gone: their number
 *
 * With one name of an inode all of its names are marked, since the receiver makes a new inode.
 * With an entry its folder is marked, since writing the entry moves the folder's times.
 * Where the receiver's state is unknown and there is a folder now, which keeps what is in it, the
 * path is listed as gone, and all below it is marked.
 */
int manifest_diff(struct rb_manifest *now, const struct rb_manifest *base, struct rb_buf *ret_gone,
		  uint64_t *ret_n_gone);

/**
 * manifest_mark_held - mark the entries of @now that the receiver has as this very inode at this
 * path
 * @base: of what the receiver has; NULL: nothing
 */
void manifest_mark_held(struct rb_manifest *now, const struct rb_manifest *base);

/** manifest_stamp - that of rb_tree_stamp(), of a tree that looked like this */
void manifest_stamp(const struct rb_manifest *m, char ret[RB_STAMP_SIZE]);

/** manifest_copy - add an entry of another one, at the end. Return: 0 or -ENOMEM */
int manifest_copy(struct rb_manifest *to, const struct rb_manifest *from,
		  const struct manifest_entry *e);

/**
 * manifest_merge - what the receiver has after a round
 * @base: what it had before; NULL: nothing
 * @part_base: what of @base was compared with @now; NULL: all
 * @now: what was sent
 * @arrived: or it is not known how much of it did: what may be there counts as different from
 * anything, also where it was not before
 *
 * Return: a new one, or NULL when there is no memory.
 */
struct rb_manifest *manifest_merge(const struct rb_manifest *base,
				   const struct rb_manifest *part_base,
				   const struct rb_manifest *now, bool arrived);

/** manifest_bytes - bytes on disk, hard links counted once (by their share each) */
uint64_t manifest_bytes(const struct rb_manifest *m);
