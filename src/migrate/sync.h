/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.h - the files of the containers on the source: writable layer, volumes, log
 *
 * Each tree is sent whole while the container runs, then in rounds only what changed since, the
 * last of them while it is frozen.
 */
#pragma once

#include <stdint.h>

struct rb_err;
struct rb_member;
struct rb_migration;
struct rb_sync;

/** rb_sync_round - send what changed since the last round (everything in the first one); it is in
 * the report, fact "files" */
int rb_sync_round(struct rb_migration *m, struct rb_err *err);

/** rb_sync_verify - after the last round, in the freeze: all trees are read on both sides, and must
 * be the same. -EUCLEAN/RB_E_CONFLICT when they are not */
int rb_sync_verify(struct rb_migration *m, struct rb_err *err);

/** rb_sync_size - bytes on disk of all trees, for the space check and the progress */
int rb_sync_size(struct rb_migration *m, uint64_t *ret_bytes, struct rb_err *err);

/**
 * rb_sync_stamp - that of rb_tree_stamp(), of a bind mount as the last round saw it
 * @ret: RB_STAMP_SIZE bytes
 *
 * Return: 0 or negative errno, also when others have it open, who may change it unseen.
 */
int rb_sync_stamp(const struct rb_migration *m, const struct rb_member *c, const char *source,
		  char *ret, struct rb_err *err);

void rb_sync_free(struct rb_sync *sync);
