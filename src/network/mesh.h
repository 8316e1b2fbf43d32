/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mesh.h - this node's end of a network: Docker's network, its bridge, the way to the other nodes
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct rb_err;
struct rb_node;
struct rb_wait;

#define RB_VXLAN_PORT 7481 /* UDP; VXLAN's own number is left to others, Swarm above all */
#define RB_NET_LABEL  "reberth.network" /* of Docker's network: the id of ours */
#define RB_NET_DRIVER "reberth"		/* of addresses, as Docker calls the plugin */
#define RB_PLUGIN_DIR "/run/docker/plugins"

/** rb_mesh_lock - one process of this host at a time makes or removes networks. Return: descriptor
 * to close. */
int rb_mesh_lock(const struct rb_node *node, struct rb_err *err);

/**
 * rb_mesh_probe - could this node be part of the network? Nothing is changed.
 * @ret: {"problems": [text, ...], "mtu": the most that the network could have}
 *
 * Return: 0 also where there are problems.
 */
int rb_mesh_probe(const struct rb_node *node, const json_t *spec, json_t **ret,
		  const struct rb_wait *wait, struct rb_err *err);

/** rb_mesh_apply - have Docker's network and our devices as they shall be; what is so already stays
 * untouched. Under the lock. Return: 1 when something was changed, 0, negative errno. */
int rb_mesh_apply(const struct rb_node *node, const json_t *spec, const struct rb_wait *wait,
		  struct rb_err *err);

/** rb_mesh_remove - the opposite; absent is fine. -EBUSY while a container is in it. */
int rb_mesh_remove(const struct rb_node *node, const json_t *spec, const struct rb_wait *wait,
		   struct rb_err *err);

/** rb_mesh_rules - filters for all networks of this node. @force: also when they are there */
int rb_mesh_rules(const struct rb_node *node, bool force, struct rb_err *err);

/** rb_mesh_containers - {"<id>": {"Name", "IPv4Address", ...}}: who is in the network here, as
 * Docker says. -ENOENT: Docker has no such network. */
int rb_mesh_containers(const struct rb_node *node, const json_t *spec, json_t **ret,
		       const struct rb_wait *wait, struct rb_err *err);

/** rb_mesh_status - {"node", "state": "up" or what is wrong, "mtu", "gateway", "containers",
 * "chunks", "addresses", "names"}: of this node, for inspect */
int rb_mesh_status(const struct rb_node *node, const json_t *spec, json_t **ret,
		   const struct rb_wait *wait, struct rb_err *err);
