/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h - the two processes that keep a node's networks going
 */
#pragma once

struct rb_err;
struct rb_node;

/* names of the locks (lock.h) that the two hold */
#define RB_AGENT_PLUGIN "plugin"
#define RB_AGENT_MESH	"mesh"

/** rb_agent_plugin - answer Docker's requests for addresses. Return: 0 when @stop_fd is readable,
 * -EBUSY when another process does it, other negative errno. */
int rb_agent_plugin(const struct rb_node *node, int stop_fd, struct rb_err *err);

/** rb_agent_mesh - see to it that devices, filters and addresses are as they shall be. Return: as
 * above. */
int rb_agent_mesh(const struct rb_node *node, int stop_fd, struct rb_err *err);
