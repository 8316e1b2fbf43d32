/* SPDX-License-Identifier: Apache-2.0 */
/* conntrack.h - the connections of a container that need this host on their way */
#pragma once

#include <jansson.h>
#include <netinet/in.h>

struct rb_err;

/**
 * rb_conntrack_flows - what the kernel tracks for a container's address, and will miss us
 * @ip: the container's
 * @flows: array that they are added to, see flow.h; no more than RB_FLOWS_MAX
 *
 * Those are the connections that are translated on one side (DNAT of a published port,
 * masquerading), and those whose peer is not on the container's segment. What is translated on both
 * sides has this host's own address on the segment for a peer, and finds its way by that.
 *
 * Return: how many there are (also beyond the limit); 0 when this host is not on the segment.
 */
int rb_conntrack_flows(struct in_addr ip, json_t *flows, struct rb_err *err);
