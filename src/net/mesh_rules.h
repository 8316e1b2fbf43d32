/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mesh_rules.h - what may not cross a node's end of a VXLAN mesh
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

struct rb_err;

/**
 * rb_mesh_rules_set - a table each in families inet, bridge and ip, all named reberth_mesh
 * @devices: [{"dev":"rbx-...","gateway":"10.20.0.1","bridge":"rb-...","names":"10.20.0.2:53"}, ...]
 * @peers: ["10.0.0.1", "fd00::1", ...]: nobody else's packets to UDP @port are heard
 * @resolvers: IPv4 addresses of name servers
 *
 * No ARP by or about the gateway's address crosses the device: every node has that address, and
 * answers its own containers only. What comes from the bridge and is for a resolver goes to
 * "names", if there is such a member.
 *
 * Replaces what is there; without devices the tables are removed.
 */
int rb_mesh_rules_set(const json_t *devices, const json_t *peers, uint16_t port,
		      const json_t *resolvers, struct rb_err *err);

/** rb_mesh_rules_there - are the tables there? Return: 1, 0 or negative errno. */
int rb_mesh_rules_there(struct rb_err *err);
