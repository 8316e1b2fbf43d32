/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow.h - a connection of a container (TCP or UDP, IPv4) that goes by a host it has left
 *
 *   peer:peer_port <--> host:host_port  [translated on that host]  ip:port <--> peer:peer_port
 *
 * It does not matter who began it: a client that came to a published port, or the container that
 * went out with the host's address. In JSON, where it travels and lies in the journal:
 * {"proto":"tcp", "peer", "peer_port", "host", "host_port", "ip", "port", "mac"}. Without "host"
 * nothing is translated: the host is the peer, or a router on the way to it.
 */
#pragma once

#include <jansson.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct rb_err;

#define RB_FLOWS_MAX	 8192 /* of a container: what one message between nodes has room for */
#define RB_FLOW_KEY_SIZE 64

struct rb_flow {
	int protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	struct in_addr peer, host, ip;
	uint16_t peer_port, host_port, port;
	bool translated;
	char mac[18]; /* of the host that it goes by, on the container's segment */
};

/** rb_flow_parse - from JSON, nothing of which is believed. Return: 0 or -EPROTO. */
int rb_flow_parse(const json_t *value, struct rb_flow *ret, struct rb_err *err);

json_t *rb_flow_json(const struct rb_flow *flow);

/** rb_flow_outer, rb_flow_inner - how nft names it, with @glue between its parts: as the peer sends
 * to the host, and as the container answers. "tcp" or "udp" is not part of it. */
const char *rb_flow_outer(const struct rb_flow *flow, const char *glue, char *ret);
const char *rb_flow_inner(const struct rb_flow *flow, const char *glue, char *ret);

/** rb_flows_keep - an array of those of @flows whose name @name() is a member of @live */
json_t *rb_flows_keep(const json_t *flows, const json_t *live,
		      const char *(*name)(const struct rb_flow *, const char *, char *));

/**
 * rb_flows_live - what there is in a set or map of four parts in a table of ours
 * @family: "ip" or "bridge"
 * @live: object; gets a member "a.b.c.d" for each, "tcp " or "udp " before it
 *
 * Return: 0, or -ENOENT when the table, or all of the firewall, was flushed.
 */
int rb_flows_live(const char *family, const char *table, const char *set, const char *protocol,
		  json_t *live, struct rb_err *err);

static inline const char *rb_flow_protocol(const struct rb_flow *flow)
{
	return flow->protocol == IPPROTO_UDP ? "udp" : "tcp";
}
