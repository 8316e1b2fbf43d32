/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xattr.h - extended attributes between a file and an archive entry (inside of fs/ only)
 */
#pragma once

#include <stdbool.h>

struct archive_entry;
struct rb_err;

/** xattr_travels - is this attribute the container's own, not one of the host? */
bool xattr_travels(const char *name);

/** xattr_load - add the attributes of the open file @fd (O_PATH is enough) to @entry */
int xattr_load(int fd, const char *path, struct archive_entry *entry, struct rb_err *err);

/** xattr_store - give @fd exactly the attributes of @entry; those that do not travel stay */
int xattr_store(int fd, const char *path, struct archive_entry *entry, struct rb_err *err);
