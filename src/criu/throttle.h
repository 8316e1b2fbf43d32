/* SPDX-License-Identifier: Apache-2.0 */
/*
 * throttle.h - give a container less processor time, by its cgroup's CPU quota
 *
 * Version 1: cpu.cfs_quota_us; version 2: cpu.max. Docker knows nothing of it, so what was there
 * must be put back: rb_throttle_limit() tells it, for the journal.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_err;

/** A container's processor time. */
struct rb_throttle {
	char knob[4096];    /* file of the quota */
	char account[4096]; /* file of what was used */
};

/** rb_throttle_find - of the cgroup that @pid is in. -ENOTSUP when it has no quota of its own. */
int rb_throttle_find(pid_t pid, struct rb_throttle *ret, struct rb_err *err);

/** rb_throttle_limit - what the quota is now, as rb_throttle_restore() takes it */
int rb_throttle_limit(const struct rb_throttle *throttle, char *ret, size_t size,
		      struct rb_err *err);

/** rb_throttle_used_us - processor time that the container has used, in microseconds */
int rb_throttle_used_us(const struct rb_throttle *throttle, uint64_t *ret, struct rb_err *err);

/** rb_throttle_set - at most @cpus processors from now on (1.5: one and a half); never more than
 * @limit allows already, never less than a hundredth of one */
int rb_throttle_set(const struct rb_throttle *throttle, double cpus, const char *limit,
		    struct rb_err *err);

/** rb_throttle_restore - the quota as it was. Return: 0 also when the container is gone. */
int rb_throttle_restore(const char *knob, const char *limit, struct rb_err *err);
