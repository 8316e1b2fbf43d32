/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tmpfs_options.h - how a tmpfs may be mounted whose files travel as objects: agreed between what
 * looks for it (shared_files.c) and what makes one like it (objects_tmpfs.c)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/**
 * rb_tmpfs_copy_options - those that the target's has to have from the beginning
 * @super_options: as mountinfo has them
 * @ret: without its limits, which are set when it is in place (tmpfs_arrived.c)
 *
 * Return: false where it cannot be written to, or has an option that the target might not be able
 * to repeat
 */
bool rb_tmpfs_copy_options(const char *super_options, char *ret, size_t size);

/** rb_tmpfs_is_plain - is it what rb_tmpfs_copy_options() may yield? Else nothing is done with it.
 * @source: what it is mounted from */
bool rb_tmpfs_is_plain(const char *source, const char *options);
