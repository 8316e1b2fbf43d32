// SPDX-License-Identifier: Apache-2.0
/*
 * conntrack.c - the connections of a container that need this host on their way
 *
 * The kernel knows each connection by two tuples: the packets of the side that began it, and those
 * that it expects in reply. Where the destination of one is the source of the other nothing is
 * translated; a difference tells which end has another address on which side.
 */
#include "conntrack.h"

#include <errno.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <stdio.h>

#include "err.h"
#include "flow.h"
#include "segment.h"

struct end {
	uint32_t ip;
	uint16_t port; /* both as on the wire */
};

struct listing {
	struct in_addr ip;
	struct rb_segment segment;
	json_t *flows;
	int count;
};

static struct end get_end(const struct nf_conntrack *ct, enum nf_conntrack_attr ip,
			  enum nf_conntrack_attr port)
{
	return (struct end){ nfct_get_attr_u32(ct, ip), nfct_get_attr_u16(ct, port) };
}

static bool same(struct end a, struct end b)
{
	return a.ip == b.ip && a.port == b.port;
}

/* The container's end, its peer's, and what the peer takes for the container's. */
static bool sort_ends(const struct nf_conntrack *ct, struct in_addr ip, struct end *ret_own,
		      struct end *ret_peer, struct end *ret_outer)
{
	struct end from = get_end(ct, ATTR_ORIG_IPV4_SRC, ATTR_ORIG_PORT_SRC);
	struct end to = get_end(ct, ATTR_ORIG_IPV4_DST, ATTR_ORIG_PORT_DST);
	struct end reply_from = get_end(ct, ATTR_REPL_IPV4_SRC, ATTR_REPL_PORT_SRC);
	struct end reply_to = get_end(ct, ATTR_REPL_IPV4_DST, ATTR_REPL_PORT_DST);

	if (reply_from.ip == ip.s_addr && same(from, reply_to)) {
		*ret_own = reply_from, *ret_peer = from, *ret_outer = to;
		return true;
	}
	if (from.ip == ip.s_addr && same(to, reply_from)) {
		*ret_own = from, *ret_peer = to, *ret_outer = reply_to;
		return true;
	}
	return false;
}

static bool is_over(const struct nf_conntrack *ct)
{
	uint8_t state = nfct_get_attr_u8(ct, ATTR_TCP_STATE);

	return state == TCP_CONNTRACK_NONE || state == TCP_CONNTRACK_TIME_WAIT ||
	       state == TCP_CONNTRACK_CLOSE;
}

static int add(enum nf_conntrack_msg_type type, struct nf_conntrack *ct, void *arg)
{
	uint8_t protocol = nfct_get_attr_u8(ct, ATTR_L4PROTO);
	struct rb_flow flow = { .protocol = protocol };
	struct listing *listing = arg;
	struct end own, peer, outer;

	(void)type;
	if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) ||
	    (protocol == IPPROTO_TCP && is_over(ct)) ||
	    !sort_ends(ct, listing->ip, &own, &peer, &outer))
		return NFCT_CB_CONTINUE;
	flow.ip.s_addr = own.ip;
	flow.port = ntohs(own.port);
	flow.peer.s_addr = peer.ip;
	flow.peer_port = ntohs(peer.port);
	flow.translated = !same(own, outer);
	flow.host.s_addr = outer.ip;
	flow.host_port = ntohs(outer.port);
	snprintf(flow.mac, sizeof(flow.mac), "%s", listing->segment.mac);
	/* neighbours need nobody to find each other, and multicast has no way back */
	if ((!flow.translated && rb_segment_has(&listing->segment, flow.peer)) ||
	    IN_MULTICAST(ntohl(flow.peer.s_addr)) || flow.peer.s_addr == INADDR_BROADCAST)
		return NFCT_CB_CONTINUE;
	if (listing->count++ < RB_FLOWS_MAX)
		json_array_append_new(listing->flows, rb_flow_json(&flow));
	return NFCT_CB_CONTINUE;
}

int rb_conntrack_flows(struct in_addr ip, json_t *flows, struct rb_err *err)
{
	struct listing listing = { .ip = ip, .flows = flows };
	uint32_t family = AF_INET;
	struct nfct_handle *handle;
	int r;

	if (rb_segment_find(ip, &listing.segment) < 0)
		return 0;
	handle = nfct_open(CONNTRACK, 0);
	if (!handle)
		return rb_err_set(err, -errno, "ask the kernel for its connections");
	nfct_callback_register(handle, NFCT_T_ALL, add, &listing);
	r = nfct_query(handle, NFCT_Q_DUMP, &family) < 0 ? -errno : 0;
	nfct_close(handle);
	return r < 0 ? rb_err_set(err, r, "ask the kernel for its connections") : listing.count;
}
