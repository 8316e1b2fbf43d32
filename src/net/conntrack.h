/* SPDX-License-Identifier: Apache-2.0 */
/* conntrack.h - the connections of a container that need this host on their way */
#pragma once

#include <jansson.h>
#include <netinet/in.h>

struct rb_err;
struct rb_conntrack;

/**
 * rb_conntrack_open - for a container's addresses
 * @ips: @n of them; those on no segment of this host are left out
 */
int rb_conntrack_open(const struct in_addr *ips, size_t n, struct rb_conntrack **ret,
		      struct rb_err *err);

/**
 * rb_conntrack_listen - hear of new connections from now on
 *
 * The kernel walks all its hash buckets to list connections, which takes 10 ms with its usual
 * table. Who listens, lists them once, and then is told what came since. Where the kernel does not
 * tell (nf_conntrack_events is 0) they are listed each time.
 */
void rb_conntrack_listen(struct rb_conntrack *ct);

/**
 * rb_conntrack_flows - what the kernel tracks for these addresses, and will miss us
 * @flows: array that they are added to, see flow.h; no more than RB_FLOWS_MAX. Of two with the same
 *   inner ends the first is the newer one
 *
 * Those are the connections that are translated on one side (DNAT of a published port,
 * masquerading), and those whose peer is not on the container's segment. What is translated on both
 * sides has this host's own address on the segment for a peer, and finds its way by that. Some may
 * have ended since they were listed.
 *
 * Return: how many there are (also beyond the limit).
 */
int rb_conntrack_flows(struct rb_conntrack *ct, json_t *flows, struct rb_err *err);

/** rb_conntrack_close - NULL is fine */
void rb_conntrack_close(struct rb_conntrack *ct);
