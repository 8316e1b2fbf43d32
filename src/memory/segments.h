/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments.h - on the target: an IPC namespace with segments of System V shared memory, which a
 * container moves into
 *
 * The namespace lives as long as somebody has it open or is in it, and the segments as long as it
 * does. So nothing of it outlives this process and what was restored.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct rb_err;
struct rb_object;
struct rb_segments;

/** rb_segments_new - an empty namespace. Needs CAP_SYS_ADMIN. */
int rb_segments_new(struct rb_segments **ret, struct rb_err *err);
void rb_segments_free(struct rb_segments *segments); /* NULL is allowed */

/**
 * rb_segments_make - a segment with id, key, owners, permissions and size of @is
 * @ret_held: NULL: nobody is attached to it. Or one that ends with its last user (SHM_DEST), and we
 * are attached to, until rb_segments_let_go()
 *
 * Return: a descriptor of its memory, as of a memfd of that size; negative errno: -EEXIST when
 * there is another with this id or key.
 */
int rb_segments_make(const struct rb_segments *segments, const struct rb_object *is,
		     void **ret_held, struct rb_err *err);

/** rb_segments_let_go - others have attached it; NULL is allowed */
void rb_segments_let_go(void *held);

/** rb_segments_remove - the segment with an id, or it is gone already. Return: negative errno when
 * it stays */
int rb_segments_remove(const struct rb_segments *segments, int id);

/** rb_segments_fd - the namespace, for as long as it is not freed */
int rb_segments_fd(const struct rb_segments *segments);
