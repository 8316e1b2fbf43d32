// SPDX-License-Identifier: Apache-2.0
/*
 * travel.c - the addresses of a container that moves in networks of reberth's
 *
 * Before COMMIT nothing is given away: the target may use the address, and the source still holds
 * it. That it is the target's as soon as Docker releases it is written before COMMIT, since after
 * it this host may be off and come back with a Docker that cleans up before anybody else looks.
 */
#include "travel.h"

#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "ipam.h"
#include "json.h"
#include "links.h"
#include "net.h"
#include "networks.h"
#include "node.h"
#include "spec.h"

/* what is to be done with each address */
struct errand {
	int (*run)(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		   const struct errand *errand, struct rb_err *err);
	const char *migration, *peer;
};

static int for_each(const struct rb_node *node, const json_t *networks, const struct errand *errand,
		    struct rb_err *err)
{
	struct rb_ipam ipam = rb_ipam_of(node);
	json_t *endpoint;
	const char *name;

	json_object_foreach ((json_t *)networks, name, endpoint) {
		_cleanup_json_ json_t *spec = NULL;
		uint32_t address;
		int r;

		if (rb_address_parse(rb_json_str(endpoint, "IPAddress", ""), &address) < 0 ||
		    rb_network_get(node->journal, name, &spec, NULL) < 0 ||
		    strcmp(rb_json_str(spec, "name", ""), name) != 0)
			continue;
		r = errand->run(&ipam, spec, address, errand, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int arrive(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		  const struct errand *errand, struct rb_err *err)
{
	return rb_ipam_arriving(ipam, spec, address, errand->migration, errand->peer, err);
}

static int turn_back(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		     const struct errand *errand, struct rb_err *err)
{
	return rb_ipam_not_arriving(ipam, spec, address, errand->migration, err);
}

static int settle(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		  const struct errand *errand, struct rb_err *err)
{
	return rb_ipam_settled(ipam, spec, address, errand->migration, err);
}

static int leave(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		 const struct errand *errand, struct rb_err *err)
{
	return rb_ipam_leaving(ipam, spec, address, errand->peer, err);
}

static int stay(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		const struct errand *errand, struct rb_err *err)
{
	(void)errand;
	return rb_ipam_not_leaving(ipam, spec, address, err);
}

int rb_travel_arrive(const struct rb_node *node, const json_t *networks, const char *migration,
		     const char *source, struct rb_err *err)
{
	struct errand errand = { arrive, migration, source };

	return for_each(node, networks, &errand, err);
}

int rb_travel_turn_back(const struct rb_node *node, const json_t *networks, const char *migration,
			struct rb_err *err)
{
	struct errand errand = { turn_back, migration, NULL };

	return for_each(node, networks, &errand, err);
}

int rb_travel_settle(const struct rb_node *node, const json_t *networks, const char *migration,
		     struct rb_err *err)
{
	struct errand errand = { settle, migration, NULL };

	return for_each(node, networks, &errand, err);
}

int rb_travel_leave(const struct rb_node *node, const json_t *networks, const char *target,
		    struct rb_err *err)
{
	struct errand errand = { leave, NULL, target };

	return for_each(node, networks, &errand, err);
}

int rb_travel_stay(const struct rb_node *node, const json_t *networks, struct rb_err *err)
{
	struct errand errand = { stay, NULL, NULL };

	return for_each(node, networks, &errand, err);
}

/* the gateway of each network, and the hardware address that it has here */
static void correct(const json_t *spec, json_t *neighbours)
{
	char gateway[RB_ADDRESS_TEXT], bridge[RB_DEVICE_NAME], mac[RB_MAC_TEXT];
	struct rb_link link;
	json_t *neighbour;
	size_t i;

	if (!rb_net_is(spec, "vxlan") || rb_link_get(rb_net_bridge(bridge, spec), &link, NULL) < 0)
		return;
	rb_address_text(gateway, rb_net_gateway(spec), 0);
	rb_mac_text(mac, link.mac);
	json_array_foreach (neighbours, i, neighbour)
		if (strcmp(rb_json_str(neighbour, "ip", ""), gateway) == 0)
			json_object_set_new(neighbour, "mac", json_string(mac));
}

void rb_travel_neighbours(const struct rb_node *node, json_t *neighbours)
{
	_cleanup_json_ json_t *networks = NULL;
	const json_t *spec;
	size_t i;

	if (rb_network_list(node->journal, &networks, NULL) < 0)
		return;
	json_array_foreach (networks, i, spec)
		correct(spec, neighbours);
}
