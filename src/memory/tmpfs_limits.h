/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tmpfs_limits.h - of which tmpfs the files travel as objects, agreed between what looks for them
 * (shared_files.c) and what writes down the rest (cmd/reberth-runtime/tmpfs_save.c)
 *
 * A tmpfs beyond these is left to CRIU and tar as a whole, and so are its large files.
 */
#pragma once

#include <stdint.h>

enum { RB_TMPFS_ENTRIES_MAX = 16384, RB_TMPFS_DEPTH_MAX = 48 };

/* memory that a file takes */
#define RB_TMPFS_LARGE	   ((uint64_t)64 << 10) /* from here on it is an object */
#define RB_TMPFS_SMALL_MAX ((uint64_t)16 << 20) /* of all others together */
