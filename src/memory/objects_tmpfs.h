/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects_tmpfs.h - tmpfs file systems on the target, made before the container has any mounts
 *
 * The files that travel as objects are made in them, without names, and the restore mounts the file
 * system itself where CRIU would have made a new one (cmd/reberth-runtime/tmpfs_arrived.c). Nothing
 * of it can be seen on the host; it is gone with this process, and with whom it was handed to.
 */
#pragma once

#include <stdint.h>

struct rb_err;
struct rb_tmpfs;
struct rb_tmpfs_record;

/** rb_tmpfs_new - needs CAP_SYS_ADMIN */
int rb_tmpfs_new(const struct rb_tmpfs_record *is, struct rb_tmpfs **ret, struct rb_err *err);
void rb_tmpfs_free(struct rb_tmpfs *tmpfs); /* NULL is allowed */

/** rb_tmpfs_is - as it was made */
const struct rb_tmpfs_record *rb_tmpfs_is(const struct rb_tmpfs *tmpfs);

/** rb_tmpfs_add_file - an empty one, without a name. Return: descriptor or negative errno */
int rb_tmpfs_add_file(const struct rb_tmpfs *tmpfs, struct rb_err *err);

/** rb_tmpfs_begin_offer - a restore is to come, the first or one more */
int rb_tmpfs_begin_offer(struct rb_tmpfs *tmpfs, struct rb_err *err);

/** rb_tmpfs_offer_file - have the restore find @fd by the number that it had at the source */
int rb_tmpfs_offer_file(const struct rb_tmpfs *tmpfs, int fd, uint64_t inode, struct rb_err *err);

/** rb_tmpfs_offer - nothing else is in it any more, and the restore finds it by the file
 * @dir/<device>, while this process lives:
 *
 *	<pid> <descriptor of a mount that is nowhere yet> <folder with the files>
 *
 * Who takes the mount has it.
 */
int rb_tmpfs_offer(struct rb_tmpfs *tmpfs, const char *dir, struct rb_err *err);
