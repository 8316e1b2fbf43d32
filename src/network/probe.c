// SPDX-License-Identifier: Apache-2.0
/*
 * probe.c - could this node be part of a network? And how is its part of one?
 *
 * All that can be known before anything is changed is found here, by each node for itself. A
 * problem is a sentence that names the node and what to do.
 */
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "ipam.h"
#include "json.h"
#include "links.h"
#include "mesh.h"
#include "names.h"
#include "networks.h"
#include "node.h"
#include "peers.h"
#include "spec.h"

#define OVERHEAD_V4 50 /* Ethernet 14, IPv4 20, UDP 8, VXLAN 8 */
#define OVERHEAD_V6 70

struct probe {
	const struct rb_node *node;
	const json_t *spec;
	json_t *problems;
	const struct rb_wait *wait;
};

__attribute__((format(printf, 2, 3))) static void problem(const struct probe *p, const char *fmt,
							  ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(p->problems, rb_json_text(text));
}

static void check_overlap(const struct probe *p, const char *theirs, const char *kind,
			  const char *name)
{
	const char *ours = rb_json_str(p->spec, "subnet", "");

	if (rb_subnet_overlap(ours, theirs))
		problem(p, "subnet %s overlaps %s %s of %s on node '%s': choose another", ours,
			kind, theirs, name, p->node->name);
}

static void check_docker(const struct probe *p)
{
	_cleanup_json_ json_t *networks = NULL;
	const json_t *network, *config;
	struct rb_err why = {};
	size_t i, j;

	if (rb_engine_call(p->node->engine, "GET", "/networks", NULL, &networks, p->wait, &why) <
	    0) {
		problem(p, "Docker on node '%s' does not answer: %s", p->node->name, why.msg);
		return;
	}
	json_array_foreach (networks, i, network) {
		const char *name = rb_json_str(network, "Name", "");

		if (strcmp(name, rb_json_str(p->spec, "name", "")) == 0)
			problem(p,
				"Docker on node '%s' has a network '%s': remove it, or choose "
				"another name",
				p->node->name, name);
		json_array_foreach (rb_json_path(network, "IPAM.Config"), j, config)
			check_overlap(p, rb_json_str(config, "Subnet", ""), "the subnet", name);
	}
}

static void check_routes(const struct probe *p)
{
	_cleanup_json_ json_t *routes = NULL;
	const char *parent = rb_json_str(p->spec, "parent", "-");
	const json_t *route;
	struct rb_err why = {};
	size_t i;

	if (rb_route_list(&routes, &why) < 0)
		problem(p, "node '%s': %s", p->node->name, why.msg);
	json_array_foreach (routes, i, route) {
		const char *dev = rb_json_str(route, "dev", "");

		/* of Docker's bridges it was said already; a macvlan is what its parent is in */
		if (strcmp(dev, parent) != 0 && strncmp(dev, "br-", 3) != 0 &&
		    strcmp(dev, "docker0") != 0)
			check_overlap(p, rb_json_str(route, "to", ""), "the route", dev);
	}
}

static void check_ours(const struct probe *p)
{
	_cleanup_json_ json_t *networks = NULL;
	const json_t *network;
	size_t i;

	rb_network_list(p->node->journal, &networks, NULL);
	json_array_foreach (networks, i, network)
		if (strcmp(rb_json_str(network, "name", ""), rb_json_str(p->spec, "name", "")) == 0)
			problem(p, "node '%s' has a network '%s' of reberth's already",
				p->node->name, rb_json_str(network, "name", ""));
}

static void check_plugin(const struct probe *p)
{
	_cleanup_close_ int fd = rb_unix_connect(RB_PLUGIN_DIR "/" RB_NET_DRIVER ".sock", NULL);

	if (fd < 0)
		problem(p,
			"reberthd on node '%s' does not serve Docker's requests for addresses "
			"(" RB_PLUGIN_DIR "/" RB_NET_DRIVER ".sock): see its log",
			p->node->name);
}

/* Return: what fits through, 0: not known */
static unsigned int check_underlay(const struct probe *p)
{
	struct sockaddr_storage address;
	struct rb_err why = {};
	unsigned int mtu = 0, overhead;
	char dev[IF_NAMESIZE];
	int r;

	if (rb_net_is(p->spec, "macvlan")) {
		struct rb_link link;

		if (rb_link_get(rb_json_str(p->spec, "parent", ""), &link, NULL) >= 0)
			return link.mtu;
		problem(p, "node '%s' has no interface '%s'", p->node->name,
			rb_json_str(p->spec, "parent", ""));
		return 0;
	}
	r = rb_peer_address(p->node, p->node->name, &address, &why);
	if (r >= 0)
		r = rb_link_of_address(&address, dev, &mtu, &why);
	if (r < 0) {
		problem(p, "node '%s': %s", p->node->name, why.msg);
		return 0;
	}
	overhead = address.ss_family == AF_INET ? OVERHEAD_V4 : OVERHEAD_V6;
	r = rb_vxlan_vni_used((uint32_t)rb_json_int(p->spec, "vni", 0), &why);
	if (r)
		problem(p, "node '%s': %s", p->node->name,
			r < 0 ? why.msg : "the VXLAN identifier is in use, try again");
	return mtu > overhead ? mtu - overhead : 1;
}

/* Does this node's configuration have all members? It will have to tell them. */
static void check_members(const struct probe *p)
{
	const json_t *name;
	size_t i;

	json_array_foreach (json_object_get(p->spec, "nodes"), i, name)
		if (!json_object_get(p->node->peers, json_string_value(name)))
			problem(p,
				"node '%s' does not know node '%s': add it to \"nodes\" in its "
				"configuration",
				p->node->name, json_string_value(name));
}

int rb_mesh_probe(const struct rb_node *node, const json_t *spec, json_t **ret,
		  const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *problems = json_array();
	struct probe p = { node, spec, problems, wait };
	unsigned int mtu;

	check_members(&p);
	check_ours(&p);
	check_docker(&p);
	check_routes(&p);
	check_plugin(&p);
	mtu = check_underlay(&p);
	*ret = json_pack("{s:O, s:i}", "problems", problems, "mtu", (int)mtu);
	return *ret ? 0 : rb_err_set(err, -ENOMEM, "look for problems");
}

/* --- how it is --- */

/* how containers of other nodes are found by name, or why not */
static const char *about_names(const json_t *spec)
{
	_cleanup_json_ json_t *resolvers = rb_names_resolvers();

	if (!rb_net_is(spec, "vxlan"))
		return "only of containers on the same node: a macvlan's questions do not pass "
		       "its host";
	if (json_array_size(resolvers) == 0)
		return "only of containers on the same node: /etc/resolv.conf has loopback "
		       "addresses alone, put a name server's real address there and restart "
		       "the containers";
	return "of all containers";
}

static const char *what_is_wrong(const struct rb_node *node, const json_t *spec, int docker,
				 char *text, size_t size)
{
	char name[RB_DEVICE_NAME], dev[IF_NAMESIZE];
	struct sockaddr_storage address;
	unsigned int mtu = 0, want = (unsigned int)rb_json_int(spec, "mtu", 0) + OVERHEAD_V4;
	struct rb_link link;

	if (strcmp(rb_json_str(spec, "state", ""), "ready") != 0)
		return rb_json_str(spec, "state", "?");
	if (docker < 0)
		return text;
	if (rb_net_is(spec, "macvlan"))
		return "up";
	if (rb_link_get(rb_net_vxlan(name, spec), &link, NULL) < 0 || !link.up || !link.master)
		snprintf(text, size, "device %s is not up yet", rb_net_vxlan(name, spec));
	else if (rb_peer_address(node, node->name, &address, NULL) >= 0 &&
		 rb_link_of_address(&address, dev, &mtu, NULL) >= 0 && mtu < want)
		snprintf(text, size, "the MTU of %s is %u by now, and has to be %u at least", dev,
			 mtu, want);
	else
		return "up";
	return text;
}

/* what Docker tells, and more than that, in short */
static json_t *list_containers(const json_t *containers)
{
	json_t *list = json_array(), *container;
	const char *id;

	json_object_foreach ((json_t *)containers, id, container) {
		const char *address = rb_json_str(container, "IPv4Address", "");

		json_array_append_new(list, json_pack("{s:s, s:s, s:s%, s:s}", "id", id, "name",
						      rb_json_str(container, "Name", ""), "address",
						      address, strcspn(address, "/"), "mac",
						      rb_json_str(container, "MacAddress", "")));
	}
	return list;
}

int rb_mesh_status(const struct rb_node *node, const json_t *spec, json_t **ret,
		   const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *containers = NULL, *chunks = NULL, *addresses = NULL;
	struct rb_ipam ipam = rb_ipam_of(node);
	const char *id = rb_json_str(spec, "id", "");
	char text[700] = "", gateway[RB_ADDRESS_TEXT] = "";
	struct rb_err why = {};
	uint32_t own = 0;
	int docker = rb_mesh_containers(node, spec, &containers, wait, &why), r;

	snprintf(text, sizeof(text), "%s", why.msg);
	r = rb_chunk_list(node->journal, id, node->name, &chunks, err);
	if (r >= 0)
		r = rb_address_list(node->journal, id, 0, UINT32_MAX, &addresses, err);
	if (r < 0)
		return r;
	if (rb_net_is(spec, "vxlan") && rb_ipam_gateway(&ipam, spec, &own, NULL) >= 0)
		rb_address_text(gateway, own, 0);
	*ret = json_pack("{s:s, s:s, s:o, s:s, s:o, s:O, s:O}", "names", about_names(spec), "node",
			 node->name, "state",
			 rb_json_text(what_is_wrong(node, spec, docker, text, sizeof(text))),
			 "gateway", gateway, "containers", list_containers(containers), "chunks",
			 chunks, "addresses", addresses);
	return *ret ? 0 : rb_err_set(err, -ENOMEM, "describe a network");
}
