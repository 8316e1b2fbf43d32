/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - which file system a path is on, and whether other hosts may have the same one
 *
 * All of this is read from /proc/PID/mountinfo: a server of files that does not answer makes nobody
 * wait.
 */
#pragma once

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct rb_err;

struct rb_place {
	char device[24];       /* "major:minor" */
	char type[64];	       /* "ext4", "nfs4" */
	char source[512];      /* what was mounted: "/dev/sda1", "server:/export" */
	char point[PATH_MAX];  /* where it is mounted */
	char inside[PATH_MAX]; /* the path, seen from the root of the file system */
};

/**
 * rb_place_find - where a path is
 * @mountinfo: "/proc/self/mountinfo"
 * @path: absolute, without symbolic links, "." and ".."; need not exist
 *
 * Return: 0, -ENOENT when nothing is mounted above it, or another negative errno.
 */
int rb_place_find(const char *mountinfo, const char *path, struct rb_place *ret,
		  struct rb_err *err);

/**
 * rb_place_is_mounted - is that very file or folder mounted somewhere in this mount namespace?
 * @mountinfo: of the namespace
 *
 * Not when the container has mounted what had the path before it was replaced.
 * Return: 1, 0 or negative errno.
 */
int rb_place_is_mounted(const char *mountinfo, const struct rb_place *place);

/**
 * rb_place_mount_ids - by which mounts is that folder reached, or part of it?
 * @ret: their ids, as in /proc/PID/fdinfo; so many as have room
 *
 * Counted are mounts of it, and of what is inside of it (a part of a volume), and mounts of shared
 * file systems within those (a server may have several, which appear as they are entered). One of
 * all of the file system, say, is not: most of what it leads to is not in that folder.
 *
 * Return: their number, which may be more than @size, or negative errno.
 */
int rb_place_mount_ids(const char *mountinfo, const struct rb_place *place, int *ret, int size);

/** rb_place_is_shared - is the file system of a type that several hosts mount at the same time? */
bool rb_place_is_shared(const struct rb_place *place);

/** rb_place_json - {"device", "type", "source", "inside"}, for the other side */
json_t *rb_place_json(const struct rb_place *place);

/** rb_place_from_json - what the above says of one of this host */
void rb_place_from_json(const json_t *json, struct rb_place *ret);

/** rb_place_is_same - has the other side the same of the same shared file system there?
 * @theirs: from rb_place_json() */
bool rb_place_is_same(const struct rb_place *ours, const json_t *theirs);
