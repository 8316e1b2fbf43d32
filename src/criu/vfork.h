/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vfork.h - freeze a container at a moment when nobody waits for a child of vfork(2)
 */
#pragma once

struct rb_err;
struct rb_wait;

/**
 * rb_vfork_waiters - processes of a frozen cgroup that wait for a child to call exec or end
 * @path: of the freezer, as of rb_freezer_find()
 *
 * Needs CAP_SYS_PTRACE or root. Return: their number, negative errno.
 */
int rb_vfork_waiters(const char *path, struct rb_err *err);

/**
 * rb_vfork_freeze - rb_freezer_freeze(), but thawed and frozen again until there is no waiter
 *
 * Return: 0; -EBUSY when there still is one after a while (it is frozen then), or a process that
 * could not be traced (rb_freezer_stopped()); or another negative errno.
 */
int rb_vfork_freeze(const char *path, const struct rb_wait *wait, struct rb_err *err);
