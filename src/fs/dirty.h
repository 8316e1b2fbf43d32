/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dirty.h - which blocks of a file were changed since the last look, without reading it (inside of
 * fs/ only); how, and what it rests upon, is told in dirty.c
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bits.h"

struct dirty;
struct dirty_file;

/** dirty_open - always gives an object; where the kernel tells nothing all looks are "unknown".
 * Return: 0 or -ENOMEM */
int dirty_open(struct dirty **ret);

/** dirty_close - NULL is allowed; the files must be gone */
void dirty_close(struct dirty *dirty);

/** dirty_why - what is missing on this host, or NULL */
const char *dirty_why(const struct dirty *dirty);

/**
 * dirty_file_new - a file to be watched, from dirty_watch() on
 * @fd: the file, open for reading; borrowed for this call
 * @block: bytes; a power of two, at least a page
 *
 * Return: 0 or negative errno.
 */
int dirty_file_new(struct dirty *dirty, int fd, uint64_t block, struct dirty_file **ret);

/** dirty_file_free - NULL is allowed */
void dirty_file_free(struct dirty *dirty, struct dirty_file *file);

/**
 * dirty_watch - watch all files that were made since the last call
 * @again: when there is no room for them because of files that are gone, begin anew with all that
 * are left; the next look at each is "unknown" then
 *
 * Looks at a file for which there is no room are "unknown".
 */
void dirty_watch(struct dirty *dirty, bool again);

/** dirty_drain - take what the kernel has recorded, before its rings are full: call it often */
void dirty_drain(struct dirty *dirty);

/**
 * dirty_look - what was changed since the last look at @file; call it before the file is read
 * @fd: the file, open for reading
 * @size: of the file now, bytes
 * @settle: have what is dirty in memory written to disk first, so that the next look says less;
 *waits for the disk
 * @ret: as many blocks as @size has; valid with a return of 1
 *
 * What is written after the call counts for the next look, whether or not the reader saw it.
 *
 * Return: 1; 0 when it is not known (and for the first look); -ENOMEM.
 */
int dirty_look(struct dirty *dirty, struct dirty_file *file, int fd, uint64_t size, bool settle,
	       struct bits *ret);
