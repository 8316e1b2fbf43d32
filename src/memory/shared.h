/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared.h - shared memory of a container on the source: which objects there are, what has changed
 *
 * An object is what MAP_SHARED | MAP_ANONYMOUS, memfd_create(2) or shmget(2) made, of 1 MiB or
 * more, whoever has it mapped or open, and a large file of a tmpfs of the container's
 * (tmpfs_limits.h), whoever has it open or not. Segments that nobody has attached, huge pages and
 * what is smaller are left to CRIU.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_block;
struct rb_err;
struct rb_shared;
struct rb_wait;

int rb_shared_new(struct rb_shared **ret, struct rb_err *err);
void rb_shared_free(struct rb_shared *shared); /* NULL is allowed */

/**
 * rb_shared_begin / rb_shared_add / rb_shared_end - look which objects there are
 * @pid: each process of the container; one that is gone meanwhile has none
 *
 * What no process has any more, and files without a name, are forgotten in the end. Needs
 * CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE in the initial user namespace (/proc/PID/map_files).
 */
void rb_shared_begin(struct rb_shared *shared);
int rb_shared_add(struct rb_shared *shared, pid_t pid, struct rb_err *err);
void rb_shared_end(struct rb_shared *shared);

/** rb_shared_bytes - memory that they take, of all */
uint64_t rb_shared_bytes(const struct rb_shared *shared);

/** rb_shared_send - all objects, and of each the pages that are not what was sent last
 * @frozen: the container stands still, and nobody else has its objects */
int rb_shared_send(struct rb_shared *shared, struct rb_block *block, bool frozen,
		   const struct rb_wait *wait, struct rb_err *err);

/** rb_shared_thaw - the container runs again: files that it deletes now are gone at once */
void rb_shared_thaw(struct rb_shared *shared);

/** rb_shared_pending - bytes of these pages; sends nothing */
int rb_shared_pending(struct rb_shared *shared, uint64_t *ret_bytes, struct rb_err *err);

/** rb_shared_hide - write the lists of the objects for CRIU's filter (criu_shared.c, criu_sysv.c,
 * tmpfs_save.c): it leaves them out. The container stands still. Only rb_shared_send() may follow.
 * @dir: is there */
int rb_shared_hide(struct rb_shared *shared, const char *dir, struct rb_err *err);
