/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - what changes in trees of files, without walking through them
 *
 * One group of fanotify(7) with a mark on each file system that holds a tree: such a mark sees what
 * anybody does, by whatever mount, bind mount or overlay it is done. Found by experiment on
 * Linux 6.18 (tests/unit/fs/test_watch.c repeats it with a real overlay):
 *
 *  - Writes through an overlay are seen as those of the file in its upper folder, by Linux 6.5 or
 * newer (commit bc2473c90fca). Older ones open that file so that nothing is reported; so whether
 * they are seen is tried once (watch_probe.c), and where they are not, trees are walked through.
 *  - An event that is about a name bears the folder and the name. One about content or attributes
 *    bears the inode too, and its name is the one by which it was opened: of a file that was linked
 *    elsewhere and removed, or opened with O_TMPFILE, that name is none, or by now another file's.
 * So such events count by their inode alone.
 *  - Stores into a shared mapping are not seen, but the end of the last mapping is
 * (FAN_CLOSE_WRITE), since a mapping keeps the file open.
 *  - write(2), ftruncate, fallocate, copy_file_range: seen, when they end. io_uring too (source
 *    read: io_uring/rw.c), but in the task, which may be frozen before; CRIU dumps no such rings.
 *  - Not seen: writes by io_submit(2) to a file that is on no overlay (fs/aio.c has no hook), the
 *    end of one with O_DIRECT anywhere, and splice(2) and sendfile(2) into a file of an overlay
 *    (fs/backing-file.c has none). writers.h finds who can do that, and who has mappings.
 *  - A file system whose files are written to elsewhere (NFS) reports little of it, and one with
 *    subvolumes (btrfs) has several numbers: only ext4, xfs and tmpfs are watched.
 *
 * A thread reads the events, always, since the kernel's queue is short; it resolves inodes at once,
 * and folders by a table of those that a walk has found. What does not fit (the kernel's queue, our
 * own limits, a handle that cannot be resolved, an event of another kind than expected) makes the
 * trees that it may concern "lost": all of them must be compared, by walking.
 *
 * Why nothing escapes: a walk puts a folder into the table *before* it reads it. So what happens in
 * it before is read, and what happens after is reported. A folder that is not in the table is
 * either not part of a tree, or was made or moved there a moment ago; then its own folder has an
 * event, and it will be walked through.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "path_set.h"

struct rb_err;
struct rb_watch;
struct watched;

/** How much memory may be taken; 0 stands for the default. */
struct rb_watch_limits {
	size_t folder_bytes; /* for the table of all folders: 256 MiB */
	size_t change_bytes; /* for what has changed in a tree and was not taken: 64 MiB */
};

/**
 * rb_watch_open - begin to watch nothing
 * @limits: NULL for the defaults
 *
 * Where the kernel cannot, that is no error: then all trees have to be walked through, always, and
 * rb_watch_why() tells the reason. Needs CAP_SYS_ADMIN. Makes a thread.
 *
 * Return: 0 or negative errno.
 */
int rb_watch_open(const struct rb_watch_limits *limits, struct rb_watch **ret, struct rb_err *err);

/** rb_watch_close - NULL is allowed; all trees have been removed before */
void rb_watch_close(struct rb_watch *watch);

/** rb_watch_why - why there may be trees that cannot be watched; "" when there is no such reason */
const char *rb_watch_why(const struct rb_watch *watch);

/* --- inside of fs/ only */

/** of a changed path */
enum {
	WATCH_LOOK = 1,	     /* compare it, and whether it is there */
	WATCH_SEND = 1 << 1, /* it may differ, whatever its times say */
	WATCH_DEEP = 1 << 2, /* and so may all below it */
};

struct watch_changes {
	struct path_set paths; /* "" is the root itself */
	struct number_set
		inodes; /* which may differ, whatever their times say: of this tree or not */
};

void watch_changes_release(struct watch_changes *changes);

/**
 * watch_tree - watch one more tree, which counts as lost
 * @root_fd: folder; it is borrowed and must stay open until watch_forget()
 * @ret: also when it cannot be watched: it is lost for ever then
 *
 * Return: 0 or -ENOMEM.
 */
int watch_tree(struct rb_watch *watch, int root_fd, struct watched **ret);

/** watch_forget - NULL is allowed */
void watch_forget(struct watched *tree);

/** watched_restart - a walk begins: forget all folders and changes; not lost any more */
void watched_restart(struct watched *tree);

/** watched_folder - a walk is about to read the folder @dir_fd; NULL is allowed for @tree */
void watched_folder(struct watched *tree, int dir_fd, const char *path);

/**
 * watched_take - all that has changed until now, and was not taken before
 *
 * Return: 1; 0 when the tree is lost, with nothing in @ret.
 */
int watched_take(struct watched *tree, struct watch_changes *ret);

/** watch_sees_overlay - do marks on a file system see what is written through an overlay? */
bool watch_sees_overlay(void);
