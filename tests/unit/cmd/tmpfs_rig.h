/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tmpfs_rig.h - a container with a tmpfs, whose large files travel in rounds
 *
 * The container is a process with a tmpfs in another mount namespace. What CRIU would mount is
 * mounted here, with its options.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "receive.h"
#include "record.h"
#include "shared.h"

enum { SIZE = 4 << 20, PAGES = SIZE / RB_PAGE_SIZE };

#define OPTIONS "size=65536k,mode=1777,uid=7"

extern pid_t container;
extern char container_path[64]; /* of its tmpfs */
extern struct rb_shared *shared;
extern struct rb_receiver *receiver;
extern struct rb_err err;
extern uint64_t sent_pages;   /* with content, in the last round */
extern unsigned int shuffled; /* a seed: blocks of a round overtake each other */

/** rig_new - what all tests need, until rig_free()
 * @tar_program: reberth-tar
 *
 * Return: 1; 0: only root can have that; -1
 */
int rig_new(const char *tar_program);
void rig_free(void);

/** in, there - a path in the folder for the test, and in the container's tmpfs */
const char *in(const char *name);
const char *there(const char *name);

/** begin - have a container. @options: of its tmpfs; NULL: it sees what we see */
bool begin(const char *options);
void end(void);

/** send_round - look() which files there are, unless it is the last, and send_all()
 * @last: the container stands still */
int send_round(bool last);
int look(void);
int send_all(bool last);

/** objects - that have arrived */
int objects(void);

/** fill - page i of a file of PAGES has the number i + @with in it */
bool fill(const char *path, size_t from, size_t count, uint64_t with);
bool is_same(const char *path, const char *other);

/** tar - in place of it, for the archive "archive". Return: exit status */
int tar(const char *what, const char *folder);

/** hide - tell tar what has travelled */
int hide(void);

/** dump - the last round, and the archive. Return: exit status, negative errno */
int dump(void);

/** restore - into a tmpfs with these options, at "mnt". Return: exit status, -1 */
int restore(const char *options);
bool mount_as_criu(const char *options);

/** in_container - call a function where the container's mounts are. Return: what it did, an errno
 */
int in_container(int (*fn)(void));
