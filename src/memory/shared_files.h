/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_files.h - the large files of a container's tmpfs mounts, on the source (inside of memory/
 * only)
 */
#pragma once

#include <sys/types.h>

struct rb_block;
struct rb_err;
struct rb_shared;
struct rb_shared_object;
struct rb_wait;

/** rb_shared_files_begin - none was seen yet */
void rb_shared_files_begin(struct rb_shared *shared);

/** rb_shared_files_add - those that a process sees; between rb_shared_begin() and rb_shared_end().
 * Return: 0, -ENOMEM */
int rb_shared_files_add(struct rb_shared *shared, pid_t pid, struct rb_err *err);

/** rb_shared_files_settle - which of those that were not seen are there nevertheless */
void rb_shared_files_settle(struct rb_shared *shared);

/** rb_shared_files_end - after those that were not seen are forgotten */
void rb_shared_files_end(struct rb_shared *shared);

/** rb_shared_files_open, rb_shared_files_close - of an object that is a file: it is open when it is
 * looked at; others always are. Return: 0, or negative errno: -ESTALE: it has no name any more,
 * -EFBIG: it is left to CRIU */
int rb_shared_files_open(const struct rb_shared *shared, struct rb_shared_object *object);
void rb_shared_files_close(struct rb_shared_object *object);

/** rb_shared_files_name - of which tmpfs there are files, before these */
int rb_shared_files_name(struct rb_shared *shared, struct rb_block *block,
			 const struct rb_wait *wait, struct rb_err *err);
