/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec.h - the description of a network that all its nodes have
 *
 *   "id"      16 hexadecimal digits
 *   "name"    Docker's, on every node
 *   "driver"  "vxlan" or "macvlan"
 *   "subnet"  "10.20.0.0/16"
 *   "mtu"     of the containers' devices
 *   "vni"     VXLAN network identifier (vxlan)
 *   "parent"  interface on every node (macvlan)
 *   "gateway" the containers' default route; of a vxlan an address that every node has
 *   "by"      node that makes the network
 *   "nodes"   names of the members
 *
 * In a network as the journal gives it there are "state" and "since_ms", too. States: "creating"
 * (until all members have it), "ready", "removing".
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "subnet.h"

#define RB_DEVICE_NAME 16

struct rb_err;

/** rb_net_subnet - "subnet"; the spec was checked before it came into any journal */
struct rb_subnet rb_net_subnet(const json_t *spec);

/** rb_net_gateway - "gateway", or the address behind the subnet's own */
uint32_t rb_net_gateway(const json_t *spec);

/** rb_net_usable - may a container have this address? */
bool rb_net_usable(const json_t *spec, uint32_t address);

/** rb_net_is - is it of that driver? */
bool rb_net_is(const json_t *spec, const char *driver);

/** rb_net_has_node - is that node a member? */
bool rb_net_has_node(const json_t *spec, const char *node);

/** rb_net_bridge - name of Docker's bridge: "rb-" and 8 digits of the id */
const char *rb_net_bridge(char ret[RB_DEVICE_NAME], const json_t *spec);

/** rb_net_vxlan - name of the device that leads to the other nodes: "rbx-" and 8 digits */
const char *rb_net_vxlan(char ret[RB_DEVICE_NAME], const json_t *spec);

/** rb_net_check - is it a description that may come into the journal? For what a peer sends. */
int rb_net_check(const json_t *spec, struct rb_err *err);
