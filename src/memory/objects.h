/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects.h - shared memory of a container on the target: a memfd for each object, which CRIU puts
 * in place as it is; a file in a tmpfs, which it mounts as it is (objects_tmpfs.h); a segment of
 * System V in an IPC namespace, which the container moves into (segments.h)
 *
 * Their memory is charged to who writes it, which is this process.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rb_err;
struct rb_objects;
struct rb_record;

int rb_objects_new(struct rb_objects **ret, struct rb_err *err);
void rb_objects_free(struct rb_objects *objects); /* NULL is allowed */

/** rb_objects_begin - a round begins */
void rb_objects_begin(struct rb_objects *objects);

/** rb_objects_take - a record with `shared`; hostile. -EPROTO, -ENOMEM/-ENOSPC */
int rb_objects_take(struct rb_objects *objects, const struct rb_record *record, struct rb_err *err);

/** rb_objects_keep - the round is over: those that it did not name are gone, for good */
void rb_objects_keep(struct rb_objects *objects);

/** rb_objects_pages - that take memory, of all; with what is known of them */
uint64_t rb_objects_pages(const struct rb_objects *objects);

/** rb_objects_count - how many there are */
int rb_objects_count(const struct rb_objects *objects);

/**
 * rb_objects_publish - have CRIU find the memfds (criu_shared.c), as long as this process lives
 * @dir: is made, or made anew
 *
 * From then on they are the restored tasks', too.
 */
int rb_objects_publish(const struct rb_objects *objects, const char *dir, struct rb_err *err);

/**
 * rb_objects_publish_segments - have CRIU find the IPC namespace (criu_sysv.c), before it has
 * images
 * @path: is made, or made anew; there is none when there are no segments
 *
 * From then on ids in there are the restored container's, too.
 */
int rb_objects_publish_segments(struct rb_objects *objects, const char *path, struct rb_err *err);

/** rb_objects_let_go - the restored tasks run: what ends with its last user is theirs alone, and
 * shows them as its users only. There can be no other restore. */
void rb_objects_let_go(struct rb_objects *objects);

/**
 * rb_objects_offer - have CRIU find each tmpfs, and its files in it (tmpfs_arrived.c)
 * @dir: is made, or made anew; not when there is none
 *
 * It takes them when it makes the container's mounts, which is before it has tasks, and may be
 * before rb_objects_publish(). What an earlier restore has made in them is gone.
 */
int rb_objects_offer(const struct rb_objects *objects, const char *dir, struct rb_err *err);

/** rb_objects_check - is all still as it came? Tasks that are killed may write to what they had
 * (robust futexes). Return: 0, -ESTALE */
int rb_objects_check(const struct rb_objects *objects, struct rb_err *err);
