// SPDX-License-Identifier: Apache-2.0
/*
 * conntrack.c - the connections of a container that need this host on their way
 *
 * The kernel knows each connection by two tuples: the packets of the side that began it, and those
 * that it expects in reply. Where the destination of one is the source of the other nothing is
 * translated; a difference tells which end has another address on which side.
 *
 * Who listens hears of a connection as soon as its first packet has passed
 * (Documentation/networking/nf_conntrack-sysctl.rst, nf_conntrack_events). When more came than the
 * socket had room for, all are listed anew.
 */
#include "conntrack.h"

#include <errno.h>
#include <fcntl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <stdio.h>
#include <stdlib.h>

#include "err.h"
#include "flow.h"
#include "segment.h"

struct end {
	uint32_t ip;
	uint16_t port; /* both as on the wire */
};

/* An address of the container, and the segment that it is on. */
struct place {
	struct in_addr ip;
	struct rb_segment segment;
};

struct rb_conntrack {
	struct nfct_handle *events; /* NULL: nobody listens */
	bool listed;		    /* and all that came since is in the events */
	json_t *known;
	int count;
	size_t n;
	struct place places[];
};

enum { EVENTS_BYTES = 4 << 20 };

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

/* Is it a connection of this address that has a way back by this host? */
static bool find_flow(const struct nf_conntrack *ct, const struct place *place, struct rb_flow *ret)
{
	struct end own, peer, outer;

	if (!sort_ends(ct, place->ip, &own, &peer, &outer))
		return false;
	ret->ip.s_addr = own.ip;
	ret->port = ntohs(own.port);
	ret->peer.s_addr = peer.ip;
	ret->peer_port = ntohs(peer.port);
	ret->translated = !same(own, outer);
	ret->host.s_addr = outer.ip;
	ret->host_port = ntohs(outer.port);
	snprintf(ret->mac, sizeof(ret->mac), "%s", place->segment.mac);
	/* neighbours need nobody to find each other, and multicast has no way back */
	return (ret->translated || !rb_segment_has(&place->segment, ret->peer)) &&
	       !IN_MULTICAST(ntohl(ret->peer.s_addr)) && ret->peer.s_addr != INADDR_BROADCAST;
}

/* what is new comes first */
static void note(struct rb_conntrack *ct, const struct rb_flow *flow)
{
	bool is_full = json_array_size(ct->known) >= RB_FLOWS_MAX;

	if (!ct->listed && is_full)
		return;
	if (is_full)
		json_array_remove(ct->known, RB_FLOWS_MAX - 1);
	if (ct->listed)
		json_array_insert_new(ct->known, 0, rb_flow_json(flow));
	else
		json_array_append_new(ct->known, rb_flow_json(flow));
}

static int add(enum nf_conntrack_msg_type type, struct nf_conntrack *ct, void *arg)
{
	uint8_t protocol = nfct_get_attr_u8(ct, ATTR_L4PROTO);
	struct rb_flow flow = { .protocol = protocol };
	struct rb_conntrack *all = arg;

	(void)type;
	if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) ||
	    (protocol == IPPROTO_TCP && is_over(ct)))
		return NFCT_CB_CONTINUE;
	for (size_t i = 0; i < all->n; i++)
		if (find_flow(ct, &all->places[i], &flow)) {
			all->count++;
			note(all, &flow);
		}
	return NFCT_CB_CONTINUE;
}

int rb_conntrack_open(const struct in_addr *ips, size_t n, struct rb_conntrack **ret,
		      struct rb_err *err)
{
	struct rb_conntrack *ct = calloc(1, sizeof(*ct) + n * sizeof(ct->places[0]));

	if (!ct)
		return rb_err_set(err, -ENOMEM, "look for connections");
	ct->known = json_array();
	for (size_t i = 0; i < n; i++)
		if (rb_segment_find(ips[i], &ct->places[ct->n].segment) >= 0)
			ct->places[ct->n++].ip = ips[i];
	*ret = ct;
	return 0;
}

void rb_conntrack_close(struct rb_conntrack *ct)
{
	if (!ct)
		return;
	if (ct->events)
		nfct_close(ct->events);
	json_decref(ct->known);
	free(ct);
}

/* Does the kernel tell of new connections, if somebody listens? */
static bool are_told(void)
{
	FILE *file = fopen("/proc/sys/net/netfilter/nf_conntrack_events", "re");
	int value = 0;

	if (!file)
		return false;
	if (fscanf(file, "%d", &value) != 1)
		value = 0;
	fclose(file);
	return value != 0;
}

void rb_conntrack_listen(struct rb_conntrack *ct)
{
	struct nfct_handle *events;

	if (ct->events || !ct->n || !are_told())
		return;
	events = nfct_open(CONNTRACK, NF_NETLINK_CONNTRACK_NEW);
	if (!events)
		return;
	if (fcntl(nfct_fd(events), F_SETFL, O_NONBLOCK) < 0) {
		nfct_close(events);
		return;
	}
	nfnl_rcvbufsiz(nfct_nfnlh(events), EVENTS_BYTES);
	nfct_callback_register(events, NFCT_T_NEW, add, ct);
	ct->events = events;
}

/* Until there is nothing left. Return: was all heard? */
static bool hear(struct rb_conntrack *ct)
{
	bool all = true;

	for (;;) {
		errno = 0;
		if (nfct_catch(ct->events) < 0 && errno == EAGAIN)
			return all;
		all = false;
		if (errno != ENOBUFS)
			return false;
	}
}

static int list(struct rb_conntrack *ct)
{
	struct nfct_handle *handle = nfct_open(CONNTRACK, 0);
	uint32_t family = AF_INET;
	int r;

	if (!handle)
		return -errno;
	json_array_clear(ct->known);
	ct->count = 0;
	ct->listed = false;
	nfct_callback_register(handle, NFCT_T_ALL, add, ct);
	r = nfct_query(handle, NFCT_Q_DUMP, &family) < 0 ? -errno : 0;
	nfct_close(handle);
	return r;
}

int rb_conntrack_flows(struct rb_conntrack *ct, json_t *flows, struct rb_err *err)
{
	int r = 0;

	if (!ct->n)
		return 0;
	if (!ct->events || !hear(ct) || !ct->listed)
		r = list(ct);
	ct->listed = r == 0;
	if (r < 0)
		return rb_err_set(err, r, "ask the kernel for its connections");
	json_array_extend(flows, ct->known);
	return ct->count;
}
