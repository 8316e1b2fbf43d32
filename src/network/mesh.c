// SPDX-License-Identifier: Apache-2.0
/*
 * mesh.c - this node's end of a network
 *
 * On every node there is a bridge network of Docker's with the same name, subnet and MTU, and a
 * VXLAN device that is a port of its bridge: one segment over all nodes. The device learns where a
 * hardware address is from the frames that come (so an announcement of a moved container is all
 * that it takes), and sends what is for many to each of the other nodes.
 *
 * A bridge has two addresses: one of the node's own, which Docker gives it; with that the node's
 * processes reach containers everywhere, and are reached. And the gateway's, the same on every
 * node: it is the containers' default route, which so is right wherever they go. No ARP about it
 * crosses the mesh (net/mesh_rules.c). A container that was moved is told the hardware address of
 * the new node's bridge for it (network/travel.c).
 *
 * All of it follows from the description and the configuration, and is looked at again and again
 * (agent.c): what Docker, a reboot or a person removed is made again.
 */
#include "mesh.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "ipam.h"
#include "json.h"
#include "links.h"
#include "mesh_rules.h"
#include "names.h"
#include "networks.h"
#include "node.h"
#include "peers.h"
#include "spec.h"

#define PEERS_MAX 256

static const char *name_of(const json_t *spec)
{
	return rb_json_str(spec, "name", "");
}

int rb_mesh_lock(const struct rb_node *node, struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char path[512];

	rb_path(path, sizeof(path), "%s/networks.lock", node->run_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return rb_err_set(err, -errno, "lock '%s'", path);
	return TAKE_FD(fd);
}

/* --- Docker's network --- */

static const char *docker_path(char *ret, size_t size, const json_t *spec)
{
	snprintf(ret, size, "/networks/%s", name_of(spec));
	return ret;
}

static int docker_network(const struct rb_node *node, const json_t *spec, json_t **ret,
			  const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *found = NULL;
	char path[128];
	int r = rb_engine_call(node->engine, "GET", docker_path(path, sizeof(path), spec), NULL,
			       &found, wait, err);
	const char *label;

	if (r < 0)
		return r;
	label = rb_json_str(json_object_get(found, "Labels"), RB_NET_LABEL, "");
	if (strcmp(label, rb_json_str(spec, "id", "-")) != 0)
		return rb_err_code(err, RB_E_CONFLICT, -EEXIST,
				   "Docker on node '%s' has another network '%s': rename or remove "
				   "it",
				   node->name, name_of(spec));
	*ret = TAKE_PTR(found);
	return 0;
}

static json_t *docker_options(const json_t *spec)
{
	char mtu[16], bridge[RB_DEVICE_NAME];

	snprintf(mtu, sizeof(mtu), "%d", (int)rb_json_int(spec, "mtu", 0));
	if (rb_net_is(spec, "macvlan"))
		return json_pack("{s:s, s:s}", "parent", rb_json_str(spec, "parent", ""),
				 "com.docker.network.driver.mtu", mtu);
	return json_pack("{s:s, s:s}", "com.docker.network.bridge.name",
			 rb_net_bridge(bridge, spec), "com.docker.network.driver.mtu", mtu);
}

static int create_docker_network(const struct rb_node *node, const json_t *spec, uint32_t own,
				 const struct rb_wait *wait, struct rb_err *err)
{
	bool vxlan = rb_net_is(spec, "vxlan");
	_cleanup_json_ json_t *body = NULL;
	char own_text[RB_ADDRESS_TEXT], gateway[RB_ADDRESS_TEXT];
	const char *id = rb_json_str(spec, "id", "");
	json_t *config;

	rb_address_text(own_text, own, 0);
	rb_address_text(gateway, rb_net_gateway(spec), 0);
	config = json_pack("{s:s, s:s}", "Subnet", rb_json_str(spec, "subnet", ""), "Gateway",
			   vxlan ? own_text : gateway);
	/* libnetwork's bridge driver takes the default route from the address of this name */
	if (vxlan)
		json_object_set_new(config, "AuxiliaryAddresses",
				    json_pack("{s:s}", "DefaultGatewayIPv4", gateway));
	body = json_pack("{s:s, s:b, s:s, s:{s:s, s:{s:s}, s:[o]}, s:o, s:{s:s}}", "Name",
			 name_of(spec), "CheckDuplicate", 1, "Driver", vxlan ? "bridge" : "macvlan",
			 "IPAM", "Driver", RB_NET_DRIVER, "Options", "network", id, "Config",
			 config, "Options", docker_options(spec), "Labels", RB_NET_LABEL, id);
	return rb_engine_call(node->engine, "POST", "/networks/create", body, NULL, wait, err);
}

/* Return: 1 when it was made */
static int ensure_docker_network(const struct rb_node *node, const json_t *spec, uint32_t own,
				 const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *found = NULL;
	int r = docker_network(node, spec, &found, wait, err);

	if (r != -ENOENT)
		return r;
	rb_err_clear(err);
	r = create_docker_network(node, spec, own, wait, err);
	return r < 0 ? r : 1;
}

int rb_mesh_containers(const struct rb_node *node, const json_t *spec, json_t **ret,
		       const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *found = NULL;
	int r = docker_network(node, spec, &found, wait, err);

	if (r < 0)
		return r;
	*ret = json_incref(json_object_get(found, "Containers"));
	if (!*ret)
		*ret = json_object();
	return 0;
}

/* --- devices --- */

/* Docker chooses one at random when it makes the bridge; the neighbours of a host that was
 * restarted shall not have to learn a new one. As for containers, it follows from the address. */
static int set_bridge_mac(const char *bridge, const struct rb_link *link, uint32_t own,
			  struct rb_err *err)
{
	uint8_t mac[6] = {
		0x02,	     0x42, (uint8_t)(own >> 24), (uint8_t)(own >> 16), (uint8_t)(own >> 8),
		(uint8_t)own
	};

	if (memcmp(mac, link->mac, 6) == 0)
		return 0;
	return rb_link_set_mac(bridge, mac, err) < 0 ? -EIO : 1;
}

static int set_peers(const struct rb_node *node, const json_t *spec, const char *vxlan,
		     struct rb_err *err)
{
	struct sockaddr_storage peers[PEERS_MAX], own = {};
	const json_t *name;
	size_t i, n = 0;

	rb_peer_address(node, node->name, &own, NULL);
	json_array_foreach (json_object_get(spec, "nodes"), i, name) {
		const char *peer = json_string_value(name);

		/* one that is not in the configuration any more is not heard, and not told */
		if (strcmp(peer, node->name) != 0 && n < PEERS_MAX &&
		    rb_peer_address(node, peer, &peers[n], NULL) >= 0 &&
		    peers[n].ss_family == own.ss_family)
			n++;
	}
	return rb_vxlan_peers(vxlan, peers, n, err);
}

static int ensure_devices(const struct rb_node *node, const json_t *spec, uint32_t own,
			  struct rb_err *err)
{
	char bridge[RB_DEVICE_NAME], name[RB_DEVICE_NAME];
	struct rb_vxlan vxlan = { .name = rb_net_vxlan(name, spec),
				  .bridge = rb_net_bridge(bridge, spec),
				  .vni = (uint32_t)rb_json_int(spec, "vni", 0),
				  .port = RB_VXLAN_PORT,
				  .mtu = (unsigned int)rb_json_int(spec, "mtu", 0) };
	struct rb_link link;
	int r, changed;

	r = rb_peer_address(node, node->name, &vxlan.local, err);
	if (r >= 0)
		r = rb_link_get(bridge, &link, err);
	if (r >= 0)
		r = changed = set_bridge_mac(bridge, &link, own, err);
	if (r >= 0)
		r = rb_link_add_address(bridge, rb_net_gateway(spec), 32, err);
	if (r >= 0)
		r = rb_vxlan_ensure(&vxlan, err);
	if (r < 0)
		return r;
	changed |= r;
	r = set_peers(node, spec, name, err);
	return r < 0 ? r : changed | r;
}

int rb_mesh_apply(const struct rb_node *node, const json_t *spec, const struct rb_wait *wait,
		  struct rb_err *err)
{
	struct rb_ipam ipam = rb_ipam_of(node);
	char bridge[RB_DEVICE_NAME];
	struct rb_err why = {};
	uint32_t own = 0;
	int r = 0, made;

	if (rb_net_is(spec, "vxlan"))
		r = rb_ipam_gateway(&ipam, spec, &own, err);
	if (r < 0)
		return r;
	made = ensure_docker_network(node, spec, own, wait, &why);
	r = 0;
	/* while Docker is away, containers may run on, and the bridge be there */
	if (rb_net_is(spec, "vxlan") &&
	    (made >= 0 || if_nametoindex(rb_net_bridge(bridge, spec)) > 0))
		r = ensure_devices(node, spec, own, err);
	if (made < 0) {
		if (err)
			*err = why;
		return made;
	}
	return r < 0 ? r : made | r;
}

int rb_mesh_remove(const struct rb_node *node, const json_t *spec, const struct rb_wait *wait,
		   struct rb_err *err)
{
	_cleanup_json_ json_t *found = NULL;
	char path[128], vxlan[RB_DEVICE_NAME];
	int r = docker_network(node, spec, &found, wait, err);

	if (r >= 0)
		r = rb_engine_call(node->engine, "DELETE", docker_path(path, sizeof(path), spec),
				   NULL, NULL, wait, err);
	/* 403: "has active endpoints" */
	if (r == -EIO && err && strstr(err->msg, "active endpoints"))
		r = -EBUSY;
	if (r < 0 && r != -ENOENT && r != -EEXIST)
		return r;
	rb_err_clear(err);
	return rb_link_delete(rb_net_vxlan(vxlan, spec), err);
}

/* --- filters --- */

static const char *address_text(const struct sockaddr_storage *address, char *ret, size_t size)
{
	if (address->ss_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, ret,
			  (socklen_t)size);
	else
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, ret,
			  (socklen_t)size);
	return ret;
}

/* members of @spec into @peers, as a set */
static void add_members(const struct rb_node *node, const json_t *spec, json_t *peers)
{
	struct sockaddr_storage address;
	const json_t *name;
	char text[INET6_ADDRSTRLEN];
	size_t i;

	json_array_foreach (json_object_get(spec, "nodes"), i, name)
		if (rb_peer_address(node, json_string_value(name), &address, NULL) >= 0)
			json_object_set_new(peers, address_text(&address, text, sizeof(text)),
					    json_true());
}

/* of one network, for rb_mesh_rules_set() */
static json_t *rules_of(const struct rb_node *node, const json_t *spec)
{
	char dev[RB_DEVICE_NAME], bridge[RB_DEVICE_NAME], gateway[RB_ADDRESS_TEXT];
	char names[RB_ADDRESS_TEXT + 8] = "", text[RB_ADDRESS_TEXT];
	struct rb_ipam ipam = rb_ipam_of(node);
	uint32_t own;

	if (rb_ipam_gateway(&ipam, spec, &own, NULL) >= 0)
		snprintf(names, sizeof(names), "%s:%d", rb_address_text(text, own, 0),
			 RB_NAMES_PORT);
	return json_pack("{s:s, s:s, s:s, s:s}", "dev", rb_net_vxlan(dev, spec), "gateway",
			 rb_address_text(gateway, rb_net_gateway(spec), 0), "bridge",
			 rb_net_bridge(bridge, spec), "names", names);
}

int rb_mesh_rules(const struct rb_node *node, bool force, struct rb_err *err)
{
	_cleanup_json_ json_t *networks = NULL, *devices = json_array(), *list = json_array();
	_cleanup_json_ json_t *peers = json_object(), *resolvers = rb_names_resolvers();
	const json_t *spec;
	const char *text;
	json_t *value;
	size_t i;
	int r = rb_network_list(node->journal, &networks, err);

	json_array_foreach (networks, i, spec)
		if (rb_net_is(spec, "vxlan")) {
			json_array_append_new(devices, rules_of(node, spec));
			add_members(node, spec, peers);
		}
	if (r < 0)
		return r;
	if (!force) {
		r = json_array_size(devices) ? rb_mesh_rules_there(err) : 1;
		if (r)
			return r < 0 ? r : 0;
	}
	json_object_foreach (peers, text, value)
		json_array_append_new(list, json_string(text));
	return rb_mesh_rules_set(devices, list, RB_VXLAN_PORT, resolvers, err);
}
