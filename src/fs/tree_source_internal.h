/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_source_internal.h - what the two halves of a tree's source share: tree_source.c has the
 * rounds, tree_source_look.c finds out what has to be looked at
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "io.h"
#include "path_set.h"
#include "watch.h"

struct rb_err;
struct rb_manifest;
struct rb_wait;

/** besides those of watch.h: it was open for writing */
#define SOURCE_OPEN (1U << 8)

/** What a round compares. */
struct source_part {
	bool any;		  /* there was one, which is not settled yet */
	bool walked;		  /* all of the tree */
	bool arrived;		  /* the receiver has it */
	struct rb_manifest *base; /* NULL when walked */
	struct rb_manifest *now;
	struct path_set looked; /* with the reasons; empty when walked */
};

struct rb_tree_source {
	char *root;
	int root_fd;
	dev_t dev;
	bool overlay;
	dev_t overlay_dev;	   /* of the overlay; 0: not known */
	struct watched *watched;   /* NULL: not at all */
	struct rb_manifest *sent;  /* what the receiver has; NULL: nothing */
	int64_t looked_at_s;	   /* when writers were looked for last; 0: never */
	int64_t sent_at_s;	   /* when they were, or else the tree, before what was sent last */
	size_t *by_inode;	   /* entries of it, in the order of their inodes */
	struct watch_changes todo; /* taken from the watch, and not arrived */
	struct path_set again;	   /* to be looked at in the next round, whatever the watch says */
	struct path_set before;	   /* who could be written to unseen when the last round began */
	bool again_any, before_any; /* or it is not known what was */
	struct source_part part;    /* of the last round */
};

/** source_index - fill by_inode. Return: 0 or -ENOMEM */
int source_index(struct rb_tree_source *source);

/** source_each_name - call @fn for the entries of an inode. Return: what it returned when negative,
 * otherwise the number of entries */
struct manifest_entry;
int source_each_name(struct rb_tree_source *source, uint64_t inode,
		     int (*fn)(struct rb_tree_source *source, struct manifest_entry *e, void *arg),
		     void *arg);

/** source_look_at_part - fill the part with what has to be compared, from todo and again */
int source_look_at_part(struct rb_tree_source *source, const struct rb_wait *wait,
			struct rb_err *err);

/** source_look_at_all - the same, all of the tree */
int source_look_at_all(struct rb_tree_source *source, const struct rb_wait *wait,
		       struct rb_err *err);
