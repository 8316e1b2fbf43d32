/* SPDX-License-Identifier: Apache-2.0 */
/*
 * freezer.h - freeze and thaw a container through its cgroup (v1 freezer or v2)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct rb_err;
struct rb_wait;

/** rb_freezer_find - folder of the cgroup that @pid is frozen with
 * ("/sys/fs/cgroup/freezer/docker/ID" or "/sys/fs/cgroup/...") */
int rb_freezer_find(int pid, char *ret_path, size_t size, struct rb_err *err);

/** rb_freezer_path - the same of a cgroup that may not exist (yet), given as in /proc/PID/cgroup */
int rb_freezer_path(const char *cgroup, char *ret_path, size_t size, struct rb_err *err);

/** rb_freezer_freeze - and wait until it is frozen (checked every 0.1 ms at first) */
int rb_freezer_freeze(const char *path, const struct rb_wait *wait, struct rb_err *err);
int rb_freezer_thaw(const char *path, struct rb_err *err);
/** rb_freezer_is_frozen - 1, 0 or negative errno (-ENOENT: no such cgroup); with version 2 also 1
 * when that was only asked for */
int rb_freezer_is_frozen(const char *path, struct rb_err *err);

/**
 * rb_freezer_kill - kill every task in it and below while it is frozen, without a thawed moment in
 * which one could run user code: SIGKILL to all, then thaw (v1), or cgroup.kill (v2); waits until
 * empty
 */
int rb_freezer_kill(const char *path, const struct rb_wait *wait, struct rb_err *err);

/** rb_freezer_stopped - a process in it or below that nobody could trace once it is frozen, for it
 * is stopped (SIGSTOP) already. Return: its pid, 0 if there is none, negative errno. */
int rb_freezer_stopped(const char *path, struct rb_err *err);

/** rb_freezer_pids - all processes in it and below. Return: count (at most @max are stored). */
int rb_freezer_pids(const char *path, pid_t *ret, size_t max, struct rb_err *err);

/**
 * rb_cgroup_move - move a process into the cgroup folder(s) at relative path @cgroup (as in
 * /proc/PID/cgroup, "/docker/ID") of every hierarchy; absent folders are made when @make
 * @skip_freezer: leave the v1 freezer hierarchy out (CRIU must not see strangers there), and that
 * of devices (which runc takes for the list of the container's processes)
 */
int rb_cgroup_move(int pid, const char *cgroup, bool make, bool skip_freezer, struct rb_err *err);
