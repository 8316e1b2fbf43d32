/* SPDX-License-Identifier: Apache-2.0 */
/*
 * same.h - is what two hosts have mounted the same storage?
 *
 * What mountinfo says proves nothing: "127.0.0.1:/export" is another server on each host, and a
 * folder where nothing is mounted yet is just that. Two things do:
 *
 * - a token: an empty file with a name that nobody else has, which one host makes in the folder and
 *   the other one sees there;
 * - where none can be made, the inode: its number, and when it was last changed, by the server's
 *   clock. Hosts that were made from one image may have folders with both alike; so this is for
 *   what is not written to.
 *
 * All of these ask the server, and wait for it.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#define RB_SAME_TOKEN "reberth-" /* a token's name is "." and this and an id */

/**
 * rb_same_put_token - make a token
 * @folder: as this host has it
 * @name: of rb_same_is_token()
 *
 * As root; where root may do nothing (NFS with root_squash), as the folder's owner. Needs root, and
 * a process with one thread.
 *
 * Return: 0, also when it is there; or negative errno.
 */
int rb_same_put_token(const char *folder, const char *name);

/** rb_same_has_token - is it there? By whoever may look. Return: 1, 0 or negative errno */
int rb_same_has_token(const char *folder, const char *name);

/** rb_same_remove_token - Return: 0, also when it is not there; or negative errno */
int rb_same_remove_token(const char *folder, const char *name);

/** rb_same_is_token - may a peer have us look for that name? */
bool rb_same_is_token(const char *name);

/** rb_same_look - {"ino", "ctime"} of a folder or file, the latter in ns; NULL if it cannot be
 * looked at */
json_t *rb_same_look(const char *path);

/**
 * rb_same_seen - is that what the other host has looked at just now?
 * @theirs: from rb_same_look()
 * @numbered: inodes have the server's numbers. Otherwise only the time counts
 *
 * It may have been changed once more since, or not reached the server yet: a minute is allowed.
 */
bool rb_same_seen(const char *path, const json_t *theirs, bool numbered);
