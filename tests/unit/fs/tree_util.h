/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_util.h - make trees, move them over a fake connection, tell whether they are the same
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "err.h"
#include "io.h"
#include "tree.h"
#include "tree_source.h"

/** tree_folder - a fresh folder in $TMPDIR or /var/tmp, removed at exit; ret holds PATH_MAX bytes
 */
void tree_folder(char *ret, const char *what);

/** put_file - write @text to @root/@name, @mode */
void put_file(const char *root, const char *name, const char *text, mode_t mode);

/** at - "@root/@name" in one of a few static buffers */
const char *at(const char *root, const char *name);

/** tree_describe - everything that must survive a move, one line for each path, sorted */
void tree_describe(const char *root, struct rb_buf *ret);

/** tree_difference - first lines in which two trees differ, or NULL; static buffer */
const char *tree_difference(const char *a, const char *b);

/** tree_move - send from @from (here) and receive in @to (in a child). Return: the first failure,
 * sender's or receiver's, with @err */
int tree_move(const char *from, const char *to, const struct rb_manifest *base,
	      struct rb_manifest **ret_now, struct rb_tree_stats *sent, struct rb_err *err);

/** tree_round - a round of a tree in rounds; the caller says whether it arrived */
int tree_round(struct rb_tree_source *source, const char *to, struct rb_tree_stats *sent,
	       struct rb_err *err);

/** let_clock_tick - until what was written before is too old to be doubtful for a manifest */
void let_clock_tick(void);
