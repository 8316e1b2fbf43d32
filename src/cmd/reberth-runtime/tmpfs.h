/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

enum { TMPFS_NOT_OURS = -1 };

/**
 * tmpfs_tar - do what tar would do with these arguments, if it is simple (tmpfs.c)
 *
 * Goes to the folder that is named. Return: exit status, or TMPFS_NOT_OURS: nothing was written or
 * made, and standard input is where it was.
 */
int tmpfs_tar(char *const argv[]);
