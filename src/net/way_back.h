/* SPDX-License-Identifier: Apache-2.0 */
/*
 * way_back.h - what a container says on some connections goes to another host than its gateway
 *
 * On the host where a container is now, for connections that go by hosts where it was (flow.h).
 */
#pragma once

#include <jansson.h>

struct rb_err;

/**
 * rb_way_back_on - lead the container's packets on these connections to the hosts they go by
 *
 * On layer 2: the container's own gateway stays what it is, and frames for it get another
 * destination before the bridge has seen them. Replaces what is there under this id, in one
 * transaction. Needs CAP_NET_ADMIN.
 */
int rb_way_back_on(const char *id, const json_t *flows, struct rb_err *err);

/** rb_way_back_off - absent is fine */
int rb_way_back_off(const char *id, struct rb_err *err);

/** rb_way_back_flows - those of @flows that are not over yet, as a new array
 * Return: 0, or -ENOENT when somebody flushed the rules. */
int rb_way_back_flows(const char *id, const json_t *flows, json_t **ret, struct rb_err *err);
