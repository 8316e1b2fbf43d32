/* SPDX-License-Identifier: Apache-2.0 */
/*
 * groups.h - the multicast groups of the container's sockets go along
 */
#pragma once

#include <jansson.h>

struct rb_err;
struct rb_member;

/** rb_groups_note - source, while the tasks stand still: into the facts as "multicast" */
void rb_groups_note(struct rb_member *c);

/** rb_groups_rejoin - target, when the network may speak and the tasks are still held. What cannot
 * be joined is said in the log; it is no failure of the move. */
void rb_groups_rejoin(struct rb_member *c, int netns_fd);

/**
 * rb_groups_of - which groups are the sockets in?
 * @init_pid: of the container
 * @ret: see rb_multicast_save()
 */
int rb_groups_of(int init_pid, json_t **ret, struct rb_err *err);
