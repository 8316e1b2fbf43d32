/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster.h - networks on all their nodes: what `reberth network` does
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

struct rb_err;
struct rb_node;

/**
 * rb_network_command - one request of the local API; may take long
 * @request: {"command": ..., "name"}, and what the command takes
 *
 * - "create" takes "subnet", "driver", "parent", "gateway", "mtu", "nodes"; answers the description
 * - "rm" takes "force": go on without nodes that cannot be reached
 * - "join" takes "node", which becomes a member, too; answers the description
 * - "leave" takes "node", which is a member no longer, and "force"; answers the description
 * - "ls" answers an array of descriptions
 * - "inspect" answers the description, and "members": what rb_mesh_status() says of each
 */
int rb_network_command(const struct rb_node *node, const json_t *request, json_t **ret,
		       struct rb_err *err);

/* --- shared with members.c --- */

/** rb_cluster_ask - a request to a member, or to ourselves */
int rb_cluster_ask(const struct rb_node *node, const char *member, const json_t *request,
		   int64_t timeout_ms, json_t **ret, struct rb_err *err);

/** rb_cluster_ask_about - {"op", "network"} */
int rb_cluster_ask_about(const struct rb_node *node, const char *member, const char *op,
			 const json_t *spec, int64_t timeout_ms, json_t **ret, struct rb_err *err);

/** rb_cluster_join, rb_cluster_leave - the commands of that name */
int rb_cluster_join(const struct rb_node *node, const json_t *request, json_t **ret,
		    struct rb_err *err);
int rb_cluster_leave(const struct rb_node *node, const json_t *request, json_t **ret,
		     struct rb_err *err);
