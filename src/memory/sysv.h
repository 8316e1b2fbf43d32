/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sysv.h - which segments of System V shared memory there are in an IPC namespace
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "record.h"

struct rb_err;

enum { RB_SYSV_MAX = 4096 }; /* as many as a namespace has by default */

struct rb_sysv_entry {
	struct rb_object is;
	int64_t changed; /* shm_ctime: when it was made, or its owner or mode set, in seconds */
};

/** The segments of one namespace, as they were at one moment. */
struct rb_sysv {
	bool read; /* or there is nothing else in here */
	int fd;	   /* of the namespace */
	ino_t ipcns;
	struct rb_sysv_entry *list;
	size_t n;
};

/**
 * rb_sysv_ipcns - the IPC namespace of a process
 * @ret: its inode number; 0 when it is our own
 *
 * Return: 0; negative errno when that cannot be told: the process is gone.
 */
int rb_sysv_ipcns(pid_t pid, ino_t *ret);

/**
 * rb_sysv_read - list the segments of a process's namespace; what @ret had is freed, but stays when
 * this fails
 *
 * None are listed where those that nobody has attached vanish (kernel.shm_rmid_forced). Nothing
 * there changes, neither times nor counts. Needs CAP_SYS_ADMIN. Return: 0, -ESRCH when the process
 * is gone.
 */
int rb_sysv_read(pid_t pid, struct rb_sysv *ret, struct rb_err *err);

/** rb_sysv_read_again - the same of the same namespace, whoever is in there still
 * @was: not @ret */
int rb_sysv_read_again(const struct rb_sysv *was, struct rb_sysv *ret, struct rb_err *err);

/** rb_sysv_find - the segment with an id; NULL: there is none */
const struct rb_sysv_entry *rb_sysv_find(const struct rb_sysv *sysv, uint64_t id);

/** rb_sysv_is_same - is it what it was, in all that can be told? */
bool rb_sysv_is_same(const struct rb_sysv_entry *a, const struct rb_sysv_entry *b);

void rb_sysv_clear(struct rb_sysv *sysv);
