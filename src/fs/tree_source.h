/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_source.h - one tree travels in rounds, each of which looks only at what may have changed
 *
 * What the receiver has is remembered (manifest.h), and the tree is watched (watch.h). A round
 * looks at what has had an event since the round before, at what writers.h finds, and once more at
 * what has had an event just before the last look; at the folders of all these, and at the other
 * names of their inodes. What differs is sent. Where the watch has lost something the whole tree is
 * looked at.
 *
 * An entry that has had an event is sent whatever its times say: a write(2) moves them when it
 * begins, and has its event when it ends, so a file that was read in between differs from what was
 * sent, and has the same times.
 *
 * What the last rounds of a frozen container need of this: nobody writes any more, all events have
 * come, and the writers that are left are looked at before.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct rb_blocks;
struct rb_conn;
struct rb_err;
struct rb_tree_source;
struct rb_tree_stats;
struct rb_wait;
struct rb_watch;

/**
 * rb_tree_source_open - begin with a tree of which the receiver has nothing
 * @root: folder
 * @overlay: NULL, or it is the upper folder of an overlay, by which its files are opened: where
 * that is mounted; "" when that is not known
 * @watch: shared by all trees, and longer there than they are; NULL: each round walks
 *
 * Return: 0 or negative errno.
 */
int rb_tree_source_open(const char *root, const char *overlay, struct rb_watch *watch,
			struct rb_tree_source **ret, struct rb_err *err);

/**
 * rb_tree_source_open_fd - the same, of what is open already, by whatever path it may be reached
 * now
 * @fd: folder, or a regular file, open for reading; taken over, also on failure
 * @name: for messages
 */
int rb_tree_source_open_fd(int fd, const char *name, const char *overlay, struct rb_watch *watch,
			   struct rb_tree_source **ret, struct rb_err *err);

/** rb_tree_source_free - NULL is allowed */
void rb_tree_source_free(struct rb_tree_source *source);

/**
 * rb_tree_sources_look - files that these processes may write to unseen are compared in the next
 * round of the trees that they are in, those that they have mapped are sent
 *
 * For all trees at once, since it takes a look at each descriptor and mapping. To be called after
 * each round (what is open or mapped then may not be when the next one begins, and the watch may
 * have lost its end), and with the tasks frozen before the last one. Needs CAP_SYS_PTRACE or root.
 * A pid that is gone is passed over. @wait ends it early.
 *
 * Return: number of files found, or negative errno.
 */
int rb_tree_sources_look(struct rb_tree_source *const *sources, size_t n_sources, const pid_t *pids,
			 size_t n, const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_tree_source_send - a round: send what differs from what the receiver has (tree.h)
 * @blocks: of this tree, over all rounds (blocks.h); NULL: changed files travel whole
 * @stats: may be NULL
 *
 * As long as rb_tree_source_arrived() is not called it is not known what the receiver has of it:
 * the next round sends all that again. RB_E_REFUSED when another file system is mounted inside.
 *
 * Return: 0 or negative errno, see rb_tree_send().
 */
int rb_tree_source_send(struct rb_conn *conn, struct rb_tree_source *source,
			struct rb_blocks *blocks, struct rb_tree_stats *stats,
			const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_tree_source_stamp - that of rb_tree_stamp(), of the tree as the last round saw it
 * @ret: RB_STAMP_SIZE bytes
 *
 * Return: 0, -EAGAIN when the receiver does not have all of it, or another negative errno.
 */
int rb_tree_source_stamp(struct rb_tree_source *source, char *ret, struct rb_err *err);

/** rb_tree_source_arrived - the receiver has said that it has all of the last round */
void rb_tree_source_arrived(struct rb_tree_source *source);
