// SPDX-License-Identifier: Apache-2.0
/*
 * obstacles_segment.c - obstacles on the network segments that the container shall move to: is its
 * network there, is its address free, which of its connections will not find their way
 *
 * A connection is one between two addresses, and goes on where frames between both still travel
 * unchanged. With a peer on the container's own segment they do, as long as the target host does
 * not have the peer's address itself (the gateway of a network may have the same one on all hosts).
 * With a peer beyond they do not where a host translates addresses: Docker's bridges give what
 * leaves them the host's own address, which the peer has known as that of the source. A peer that
 * is the source host itself was spoken to without translation, and will be spoken to with it.
 */
#include "obstacles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/ether.h>

#include "cleanup.h"
#include "engine.h"
#include "json.h"
#include "probe.h"

#define PROBES_MAX	  32
#define OR_A_NEW_ONE(how) how ", or let the container take a new one with --reconnect"

struct subject {
	const struct rb_node *node;
	const json_t *offer;
	bool reconnect;
	json_t *obstacles;
	const struct rb_wait *wait;
	struct rb_probe probes[PROBES_MAX];
	const char *probe_network[PROBES_MAX];
	int probes_count;
};

/* Is the address taken by another container of the network here? */
static bool is_members(const struct subject *s, const json_t *network, const char *name,
		       const char *key, const char *address)
{
	const char *id;
	json_t *member;

	json_object_foreach (json_object_get(network, "Containers"), id, member) {
		const char *theirs = rb_json_str(member, key, "");
		size_t len = strcspn(theirs, "/");

		if (strlen(address) != len || strncmp(theirs, address, len) != 0)
			continue;
		rb_obstacle_add(s->obstacles, "error",
				OR_A_NEW_ONE("give that container another address"),
				"address %s in network '%s' is taken by container '%s' on node "
				"'%s'",
				address, name, rb_json_str(member, "Name", id), s->node->name);
		return true;
	}
	return false;
}

/* the device by which this host is on the network's segment, or "" */
static void find_device(const json_t *network, char ret[IF_NAMESIZE])
{
	const json_t *options = json_object_get(network, "Options");
	const char *driver = rb_json_str(network, "Driver", "");
	const char *name = "";
	char made[IF_NAMESIZE];

	snprintf(made, sizeof(made), "br-%.12s", rb_json_str(network, "Id", ""));
	if (strcmp(driver, "bridge") == 0)
		name = rb_json_str(options, "com.docker.network.bridge.name", made);
	else if (strcmp(driver, "macvlan") == 0)
		name = rb_json_str(options, "parent", "");
	snprintf(ret, IF_NAMESIZE, "%s", strlen(name) < IF_NAMESIZE ? name : "");
}

static void check_address(struct subject *s, const json_t *network, const char *name,
			  const char *key, const char *address, const char *owner)
{
	struct rb_probe *probe = &s->probes[s->probes_count];
	struct ether_addr mac;
	struct rb_ip ip;

	if (!rb_ip_parse(address, &ip) || is_members(s, network, name, key, address))
		return;
	if (rb_host_has_ip(&ip)) {
		rb_obstacle_add(s->obstacles, "error",
				OR_A_NEW_ONE("give one of the two another address"),
				"address %s in network '%s' is node '%s's own", address, name,
				s->node->name);
		return;
	}
	if (s->probes_count == PROBES_MAX || !ether_aton_r(owner, &mac))
		return;
	*probe = (struct rb_probe){ .ip = ip };
	find_device(network, probe->device);
	memcpy(probe->owner, &mac, sizeof(mac));
	s->probe_network[s->probes_count++] = name;
}

static void check_strangers(struct subject *s)
{
	rb_probe_all(s->probes, s->probes_count, s->wait);
	for (int i = 0; i < s->probes_count; i++) {
		const struct rb_probe *probe = &s->probes[i];
		char address[INET6_ADDRSTRLEN], mac[18];

		if (!probe->taken)
			continue;
		ether_ntoa_r((const struct ether_addr *)(const void *)probe->taker, mac);
		rb_obstacle_add(
			s->obstacles, "error", OR_A_NEW_ONE("give one of the two another address"),
			"somebody else answers for address %s in network '%s' (%s, heard "
			"by node '%s')",
			rb_ip_text(&probe->ip, address), s->probe_network[i], mac, s->node->name);
	}
}

/* Is the address in a subnet that the networks of this name have on both hosts? */
static bool has_subnet(const json_t *theirs, const json_t *ours, const char *address)
{
	const json_t *a, *b;
	struct rb_ip ip;
	size_t i, j;

	if (!rb_ip_parse(address, &ip))
		return true;
	json_array_foreach (theirs, i, a)
		json_array_foreach (ours, j, b) {
			const char *subnet = rb_json_str(b, "Subnet", "");

			if (strcmp(rb_json_str(a, "Subnet", "-"), subnet) == 0 &&
			    rb_ip_in_subnet(&ip, subnet))
				return true;
		}
	return false;
}

static void check_network(struct subject *s, const char *name, const json_t *endpoint,
			  const json_t *network)
{
	const char *ipv4 = rb_json_str(endpoint, "IPAddress", "");
	const char *ipv6 = rb_json_str(endpoint, "GlobalIPv6Address", "");
	const char *mac = rb_json_str(endpoint, "MacAddress", "");
	const json_t *theirs = json_object_get(endpoint, "ipam");
	const json_t *ours = rb_json_path(network, "IPAM.Config");

	/* the source says what is to be said of the default bridge */
	if (s->reconnect || strcmp(name, "bridge") == 0)
		return;
	if (!has_subnet(theirs, ours, ipv4) || !has_subnet(theirs, ours, ipv6))
		rb_obstacle_add(s->obstacles, "error",
				"create it there with the same subnet, or let the container take a "
				"new address with --reconnect",
				"network '%s' on node '%s' has another subnet than here", name,
				s->node->name);
	check_address(s, network, name, "IPv4Address", ipv4, mac);
	check_address(s, network, name, "IPv6Address", ipv6, mac);
}

/* Network @name leads to the world by translation, on one host or the other. */
static bool is_translated(const json_t *endpoint, const json_t *network)
{
	return rb_json_bool(endpoint, "default", false) &&
	       (rb_json_bool(endpoint, "masquerade", false) || rb_network_masquerades(network));
}

/* is the peer on a segment of the container's own? */
static bool is_near(const json_t *offer, const struct rb_ip *peer)
{
	const char *name;
	json_t *endpoint;
	const json_t *config;
	size_t i;

	json_object_foreach (json_object_get(offer, "networks"), name, endpoint)
		json_array_foreach (json_object_get(endpoint, "ipam"), i, config)
			if (rb_ip_in_subnet(peer, rb_json_str(config, "Subnet", "")))
				return true;
	return false;
}

void rb_obstacles_connections(const json_t *offer, const char *target, bool translated,
			      json_t *obstacles)
{
	static const char *const remedy = "they have to be made anew";
	const json_t *connection;
	size_t i;

	json_array_foreach (json_object_get(offer, "connections"), i, connection) {
		const char *text = rb_json_str(connection, "peer", "");
		bool here = rb_json_bool(connection, "here", false);
		int count = (int)rb_json_int(connection, "count", 0);
		const char *what = count == 1 ? "connection" : "connections";
		struct rb_ip peer;

		if (!rb_ip_parse(text, &peer))
			continue;
		if (here && rb_host_has_ip(&peer))
			rb_obstacle_add(
				obstacles, "warning", remedy,
				"%d %s to %s, an address of the source host, will end: node "
				"'%s' has the same address",
				count, what, text, target);
		else if (here && translated && peer.family == AF_INET && !is_near(offer, &peer))
			rb_obstacle_add(
				obstacles, "warning", remedy,
				"%d %s to %s, an address of the source host, will end: from "
				"node '%s' they would come from that node's address",
				count, what, text, target);
		else if (!here && translated && peer.family == AF_INET && !is_near(offer, &peer))
			rb_obstacle_add(obstacles, "warning", remedy,
					"%d %s to %s will end: it knows them by the source host's "
					"address (NAT)",
					count, what, text);
	}
}

void rb_obstacles_segment(const struct rb_node *node, const json_t *offer, json_t *obstacles,
			  const struct rb_wait *wait)
{
	struct subject s = { .node = node,
			     .offer = offer,
			     .reconnect = rb_json_bool(offer, "reconnect", false),
			     .obstacles = obstacles,
			     .wait = wait };
	bool translated = false;
	const char *name;
	json_t *endpoint;

	json_object_foreach (json_object_get(offer, "networks"), name, endpoint) {
		_cleanup_json_ json_t *network = NULL;
		char escaped[512];

		if (strcmp(name, "none") == 0 ||
		    rb_engine_escape(name, escaped, sizeof(escaped)) < 0)
			continue;
		if (rb_engine_network_inspect(node->engine, name, &network, wait, NULL) < 0) {
			rb_obstacle_add(obstacles, "error", "create it there with the same subnet",
					"node '%s' has no network '%s'", node->name, name);
			continue;
		}
		check_network(&s, name, endpoint, network);
		translated |= is_translated(endpoint, network);
	}
	check_strangers(&s);
	if (!s.reconnect)
		/* what went by the source's NAT goes on doing so, see ports.h */
		rb_obstacles_connections(offer, node->name,
					 translated && !rb_json_bool(offer, "forwards", false),
					 obstacles);
}
