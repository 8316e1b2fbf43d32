/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_internal.h - between what looks for shared memory (shared.c, shared_sysv.c,
 * shared_files.c), and what looks for changes in it (shared_walk.c, shared_ahead.c)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct file_handle;

#define XXH_STATIC_LINKING_ONLY
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "ranges.h"
#include "record.h"
#include "sysv.h"

struct rb_err;

enum {
	RB_SHARED_OBJECTS_MAX = 256, /* that are no files; neither takes the other's place */
	RB_SHARED_FILES_MAX = 512,
	RB_SHARED_MAX = RB_SHARED_OBJECTS_MAX + RB_SHARED_FILES_MAX,
	RB_SHARED_CHUNK = 64,
	RB_SHARED_TMPFS_MAX = 16,
	RB_SHARED_VIEWS_MAX = 64,
};

struct rb_shared_object {
	dev_t device;
	struct rb_object is;
	int number, fd;
	bool seen;
	struct rb_sysv_entry entry; /* of a segment, when it was seen first */
	uint64_t bytes;		    /* of a file of a tmpfs, when it was seen */
	struct file_handle *handle; /* of one */
	/* as the target has it */
	XXH128_hash_t *sent; /* of each page; all zero: it reads as zero */
	size_t pages;
	struct rb_ranges content, next; /* where there may be other pages; of a walk under way */
	uint8_t *map;			/* when it stands still, or NULL */
	size_t map_len;
};

struct rb_shared_tmpfs {
	int number, fd; /* its root, as it is without what is mounted in it */
	dev_t device;
	bool looked; /* through all of it, in this round */
	struct rb_tmpfs_record is;
};

/* What a process sees of the mounts. */
struct rb_shared_view {
	ino_t namespace, root;
	dev_t root_device;
};

struct rb_shared {
	dev_t device;	     /* of all such objects, but for files of a tmpfs */
	struct rb_sysv sysv; /* the container's segments, as they were found last, */
	bool sysv_is_new;    /* by this look for objects */
	int last_number;
	struct rb_shared_object *list[RB_SHARED_MAX];
	size_t n, n_files; /* of which files */
	struct rb_shared_tmpfs tmpfs[RB_SHARED_TMPFS_MAX];
	size_t n_tmpfs;
	struct rb_shared_view views[RB_SHARED_VIEWS_MAX]; /* that were looked at in this round */
	size_t n_views;
	XXH128_hash_t zero; /* hash of a page of zeros */
	uint8_t secret[XXH3_SECRET_DEFAULT_SIZE];
	uint8_t chunk[RB_SHARED_CHUNK * RB_PAGE_SIZE] __attribute__((aligned(64)));
};

/** rb_shared_find - the object of a kind with an inode number, or id; NULL: it is new */
struct rb_shared_object *rb_shared_find(const struct rb_shared *shared, enum rb_object_kind kind,
					dev_t device, uint64_t inode);

/** rb_shared_is_fit - may what is open travel in rounds? @st: is filled in */
bool rb_shared_is_fit(const struct rb_shared *shared, int fd, struct stat *st);

/** rb_shared_hold - a new object; *@fd is taken over. @ret: may be NULL */
int rb_shared_hold(struct rb_shared *shared, const struct stat *st, const struct rb_object *is,
		   int *fd, struct rb_shared_object **ret, struct rb_err *err);

/** rb_shared_consider_segment - a mapping of a segment of System V was found (shared_sysv.c)
 * @path: it can be opened there */
int rb_shared_consider_segment(struct rb_shared *shared, pid_t pid, const char *path, uint64_t id,
			       struct rb_err *err);

/** rb_shared_settle_segments - a look for objects ends: of segments about which it could not tell
 * at first, those are not seen that are known by now not to be what they were */
void rb_shared_settle_segments(struct rb_shared *shared);

/** rb_shared_forget_changed - the container stands still: segments that are not what they were at
 * the last look are left to CRIU */
void rb_shared_forget_changed(struct rb_shared *shared);

/** rb_shared_forget_unseen - those that rb_shared_add() has not seen, or not yet
 * @tmpfs: number of that which they are files of; 0: all */
void rb_shared_forget_unseen(struct rb_shared *shared, int tmpfs);

/** rb_shared_hash - of a page */
static inline XXH128_hash_t rb_shared_hash(const struct rb_shared *shared, const uint8_t *page)
{
	return XXH3_128bits_withSecret(page, RB_PAGE_SIZE, shared->secret, sizeof(shared->secret));
}
