/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multicast.h - what CRIU does not save of sockets: the multicast groups that they are in, and how
 * they send to groups
 */
#pragma once

#include <jansson.h>
#include <sys/types.h>

struct rb_err;

/**
 * rb_multicast_save - of all sockets of these processes, which share one network namespace
 * @ret: array of {"pid" (in its own PID namespace), "fd", "joined": [{"device", "group", "exclude",
 * "sources"}], "options": {name: value}}; sockets with nothing to be told are left out
 *
 * Needs CAP_SYS_PTRACE. May be called while they run: then it is what it was a moment ago.
 */
int rb_multicast_save(const pid_t *pids, int count, json_t **ret, struct rb_err *err);

/**
 * rb_multicast_restore - the same for the restored processes, before they run
 * @netns_fd: their network namespace; its devices have the names that they had
 *
 * What cannot be restored does not keep the rest from it. Joined already: fine. Reports to routers
 * and switches go out at once, so the namespace should be able to speak.
 *
 * Return: -ENODATA when something could not be restored, @err says what.
 */
int rb_multicast_restore(int netns_fd, const pid_t *pids, int count, const json_t *saved,
			 struct rb_err *err);
