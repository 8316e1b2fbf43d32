/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject.h - a userfaultfd of another process's memory
 */
#pragma once

#include <sys/types.h>

struct rb_err;
struct rb_wait;

/**
 * rb_inject_userfaultfd - have a process make a userfaultfd, and take it away from it
 * @freezer_path: its cgroup, frozen for a moment when what works inside of it is killed; NULL: the
 *	one that rb_freezer_find() says. It must not be ours.
 * @ret_fd: not initialised yet (UFFDIO_API), and of no use to anybody but the tracker
 *
 * The process stands still for as long as it takes, and is as it was afterwards. Fault points:
 * memory.inject.stopped, memory.inject.noted, memory.{open,close,repair}.{ready,entry,armed,exit},
 * memory.inject.back, memory.repair.frozen.
 *
 * Return: 0; -ESRCH when it is gone; -EBUSY when it is frozen or traced; -ETIMEDOUT; -ECANCELED;
 * -ENOTSUP when it cannot be done to this process.
 */
int rb_inject_userfaultfd(pid_t pid, const char *freezer_path, int *ret_fd,
			  const struct rb_wait *wait, struct rb_err *err);
