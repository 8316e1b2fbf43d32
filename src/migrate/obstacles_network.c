// SPDX-License-Identifier: Apache-2.0
/*
 * obstacles_network.c - obstacles that show in the container's network and its sockets here
 *
 * What the target has to judge, for it depends on its own addresses, is described for it:
 * rb_connections_describe().
 */
#include "obstacles.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "dump.h"
#include "engine.h"
#include "err.h"
#include "group.h"
#include "groups.h"
#include "json.h"
#include "sockets.h"

#define NAMED_MAX 6 /* of a list in one sentence */

struct subject {
	const struct rb_node *node;
	const json_t *inspect;
	const json_t *host_config;
	int pid; /* of the container, or 0 */
	bool reconnect;
	const json_t *group;
	json_t *obstacles;
	const struct rb_wait *wait;
};

static const char *network_mode(const struct subject *s)
{
	return rb_json_str(s->host_config, "NetworkMode", "");
}

static bool is_in_default_bridge(const struct subject *s)
{
	return strcmp(network_mode(s), "default") == 0 || strcmp(network_mode(s), "bridge") == 0 ||
	       json_object_get(rb_json_path(s->inspect, "NetworkSettings.Networks"), "bridge");
}

/* of a container that is named by its id */
static void say_shared(const struct subject *s, const char *id)
{
	_cleanup_json_ json_t *other = NULL;
	const char *name = "/";

	if (s->node->engine && rb_engine_inspect(s->node->engine, id, &other, s->wait, NULL) >= 0)
		name = rb_json_str(other, "Name", "/");
	rb_obstacle_add(s->obstacles, "error",
			"move them together with --group, or give it a network of its own",
			"the container shares the network of container '%.64s', which stays here",
			name[0] == '/' && name[1] ? name + 1 : id);
}

static void check_mode(const struct subject *s)
{
	const char *mode = network_mode(s);

	if (strcmp(mode, "host") == 0)
		rb_obstacle_add(s->obstacles, "error", "run it in a network of its own",
				"the container uses the host's network, which stays here");
	else if (strncmp(mode, "container:", 10) == 0 && json_array_size(s->group) < 2)
		say_shared(s, mode + 10);
	else if (strcmp(mode, "none") == 0)
		rb_obstacle_add(s->obstacles, "warning", NULL, "the container has no network");
	else if (is_in_default_bridge(s) && !s->reconnect)
		rb_obstacle_add(s->obstacles, "error",
				"connect it to a user-defined network that both hosts have, or let "
				"it take a new one with --reconnect",
				"the container is in Docker's default bridge, where it cannot keep "
				"its address");
}

/* Those that --link names are here. */
static void check_links(const struct subject *s)
{
	if (json_array_size(json_object_get(s->host_config, "Links")) && is_in_default_bridge(s))
		rb_obstacle_add(s->obstacles, "error", "use a user-defined network and names",
				"the container is linked (--link) to containers of this host");
}

/* of a container that gets new addresses */
static void check_reconnect(const struct subject *s)
{
	_cleanup_free_ struct rb_socket *socks = NULL;
	int count = s->reconnect ? rb_sockets_read(s->pid, &socks) : 0, tcp = 0, udp = 0;

	if (!s->reconnect ||
	    !json_object_size(rb_json_path(s->inspect, "NetworkSettings.Networks")) ||
	    strcmp(network_mode(s), "none") == 0)
		return;
	for (int i = 0; i < count; i++)
		if (socks[i].connected && !rb_ip_is_loopback(&socks[i].local)) {
			tcp += socks[i].protocol == IPPROTO_TCP;
			udp += socks[i].protocol == IPPROTO_UDP;
		}
	rb_obstacle_add(s->obstacles, "warning", NULL,
			"the container gets a new address on the target (--reconnect): %d TCP "
			"connection%s will be reset",
			tcp, tcp == 1 ? "" : "s");
	if (udp)
		rb_obstacle_add(s->obstacles, "warning", "have the program open them anew",
				"%d connected UDP socket%s will keep the old address, and send "
				"nothing",
				udp, udp == 1 ? "" : "s");
}

static const char *first_name(const json_t *listed)
{
	const char *name = json_string_value(json_array_get(json_object_get(listed, "Names"), 0));

	return name ? name + (*name == '/') : "?";
}

/* the others of this host that have joined the container's network; NULL when Docker does not say
 */
static json_t *find_sharers(const struct rb_node *node, const json_t *inspect, const json_t *group,
			    const struct rb_wait *wait)
{
	_cleanup_json_ json_t *all = NULL;
	json_t *found = json_array(), *other;
	size_t i;

	if (node->engine)
		rb_engine_call(node->engine, "GET", "/containers/json?all=1", NULL, &all, wait,
			       NULL);
	json_array_foreach (all, i, other)
		if (rb_group_joins(
			    rb_json_str(json_object_get(other, "HostConfig"), "NetworkMode", ""),
			    rb_json_str(inspect, "Id", ""), rb_json_str(inspect, "Name", "/")) &&
		    !rb_group_has(group, rb_json_str(other, "Id", "")))
			json_array_append(found, other);
	return found;
}

static bool is_stopped(const json_t *listed)
{
	const char *state = rb_json_str(listed, "State", "running");

	return strcmp(state, "exited") == 0 || strcmp(state, "created") == 0 ||
	       strcmp(state, "dead") == 0;
}

/* who shares its network would be left without one, behind our silence */
static void check_sharers(const struct subject *s)
{
	_cleanup_json_ json_t *sharers = find_sharers(s->node, s->inspect, s->group, s->wait);
	const json_t *other;
	size_t i;

	json_array_foreach (sharers, i, other) {
		if (is_stopped(other))
			rb_obstacle_add(s->obstacles, "warning", "run it anew",
					"container '%s', which does not run, shares the network of "
					"this one, stays here and cannot be started any more",
					first_name(other));
		else
			rb_obstacle_add(s->obstacles, "error",
					"move them together with --group, or stop it",
					"container '%s' shares the network of this one, and would "
					"lose it",
					first_name(other));
	}
}

int rb_obstacles_joined(const struct rb_node *node, const json_t *group, const struct rb_wait *wait,
			struct rb_err *err)
{
	const json_t *inspect, *other;
	size_t i, k;

	json_array_foreach (group, i, inspect) {
		_cleanup_json_ json_t *sharers = find_sharers(node, inspect, group, wait);

		json_array_foreach (sharers, k, other)
			if (!is_stopped(other))
				return rb_err_code(err, RB_E_REFUSED, -ENOTSUP,
						   "container '%s' has joined the network of '%s' "
						   "meanwhile: move them together with --group",
						   first_name(other),
						   rb_json_str(inspect, "Name", "/") + 1);
	}
	return 0;
}

/* Docker makes rules for published ports on bridges only. */
static void check_ports(const struct subject *s)
{
	const json_t *networks = rb_json_path(s->inspect, "NetworkSettings.Networks");
	bool bridged = false;
	json_t *endpoint;
	const char *name, *driver = "";
	_cleanup_json_ json_t *network = NULL;

	if (!json_object_size(json_object_get(s->host_config, "PortBindings")) || !s->node->engine)
		return;
	json_object_foreach ((json_t *)networks, name, endpoint) {
		json_decref(network);
		network = NULL;
		if (rb_engine_network_inspect(s->node->engine, name, &network, s->wait, NULL) < 0)
			return;
		driver = rb_json_str(network, "Driver", "");
		bridged |= strcmp(driver, "macvlan") != 0 && strcmp(driver, "ipvlan") != 0;
	}
	if (!bridged && *driver)
		rb_obstacle_add(s->obstacles, "warning", "reach it at its own address",
				"published ports (-p) do nothing in a network of driver %s, "
				"neither here nor on the target",
				driver);
}

static bool is_joined(const json_t *sockets, const char *group)
{
	const json_t *sock, *joined;
	size_t i, k;

	json_array_foreach (sockets, i, sock)
		json_array_foreach (json_object_get(sock, "joined"), k, joined)
			if (strcmp(rb_json_str(joined, "group", ""), group) == 0)
				return true;
	return false;
}

static void add_sockets(const struct subject *s, const json_t *inspect, json_t *list)
{
	_cleanup_json_ json_t *sockets = NULL;
	int init;

	if (rb_criu_init_pid(s->node->runtime_root, rb_json_str(inspect, "Id", ""), &init, NULL) >=
		    0 &&
	    rb_groups_of(init, &sockets, NULL) >= 0)
		json_array_extend(list, sockets);
}

/* of the container, and of those of its group */
static json_t *sockets_of_all(const struct subject *s)
{
	json_t *list = json_array();
	const json_t *inspect;
	size_t i;

	json_array_foreach (s->group, i, inspect)
		add_sockets(s, inspect, list);
	if (!s->group)
		add_sockets(s, s->inspect, list);
	return list;
}

/* What its sockets have joined goes along (groups.c). */
static void check_multicast(const struct subject *s)
{
	_cleanup_free_ struct rb_membership *groups = NULL;
	int count = rb_memberships_read(s->pid, &groups), n = 0;
	char list[NAMED_MAX * (INET6_ADDRSTRLEN + 2) + 8] = "";
	_cleanup_json_ json_t *sockets = NULL;
	size_t used = 0;

	if (count > 0)
		sockets = sockets_of_all(s);
	for (int i = 0; i < count; i++) {
		char text[INET6_ADDRSTRLEN];

		if (is_joined(sockets, rb_ip_text(&groups[i].group, text)) || n++ >= NAMED_MAX)
			continue;
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "",
					 text);
	}
	if (n > 0)
		rb_obstacle_add(s->obstacles, "warning", "join again there",
				"the container's network is in multicast groups that no socket of "
				"its own has joined, and will not be any more: %s%s",
				list, n > NAMED_MAX ? ", ..." : "");
}

/* With a new address, what is bound to the old one would be deaf. */
static void check_bound(const struct subject *s)
{
	_cleanup_free_ struct rb_socket *socks = NULL;
	int count = s->reconnect ? rb_sockets_read(s->pid, &socks) : 0;
	char text[INET6_ADDRSTRLEN];

	for (int i = 0; i < count; i++) {
		const struct rb_socket *sock = &socks[i];

		if (sock->connected || !(sock->listening || sock->protocol == IPPROTO_UDP) ||
		    rb_ip_is_any(&sock->local) || rb_ip_is_loopback(&sock->local) ||
		    (sock->local.family == AF_INET && (sock->local.bytes[0] & 0xf0) == 0xe0) ||
		    (sock->local.family == AF_INET6 && sock->local.bytes[0] == 0xff))
			continue;
		rb_obstacle_add(
			s->obstacles, "error", "have it listen on 0.0.0.0 or ::",
			"the container listens on its own address %s (%s port %u), which it "
			"will not have any more",
			rb_ip_text(&sock->local, text),
			sock->protocol == IPPROTO_TCP ? "TCP" : "UDP", sock->local_port);
	}
}

/* CRIU binds them to an address without its device (criu/sk-tcp.c: restore_tcp_conn_state()). */
static void check_link_local(const struct subject *s)
{
	_cleanup_free_ struct rb_socket *socks = NULL;
	int count = s->reconnect ? 0 : rb_sockets_read(s->pid, &socks), n = 0;

	for (int i = 0; i < count; i++)
		n += socks[i].protocol == IPPROTO_TCP && socks[i].connected &&
		     rb_ip_is_link_local(&socks[i].local);
	if (n)
		rb_obstacle_add(s->obstacles, "error",
				"close them, or let its peers use another of its addresses",
				"%d TCP connection%s of the container use%s a link-local address "
				"(fe80::), and cannot be restored",
				n, n == 1 ? "" : "s", n == 1 ? "s" : "");
}

static void (*const checks[])(const struct subject *s) = {
	check_mode,  check_links,     check_reconnect, check_sharers,
	check_ports, check_multicast, check_bound,     check_link_local,
};

void rb_obstacles_network(const struct rb_node *node, const json_t *inspect, bool reconnect,
			  const json_t *group, json_t *obstacles, const struct rb_wait *wait)
{
	struct subject subject = { .node = node,
				   .inspect = inspect,
				   .host_config = json_object_get(inspect, "HostConfig"),
				   .reconnect = reconnect,
				   .group = group,
				   .obstacles = obstacles,
				   .wait = wait };
	const char *mode = network_mode(&subject);

	/* with the host's network the sockets would be the host's */
	if (strcmp(mode, "host") != 0 && strncmp(mode, "container:", 10) != 0)
		subject.pid = (int)rb_json_int(json_object_get(inspect, "State"), "Pid", 0);
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		checks[i](&subject);
}

/* --- for the target to judge --- */

/* Connections through a published port are a matter of their own: they come and go by the host's
 * address, whatever their peer. */
static bool is_published(const json_t *inspect, const struct rb_socket *sock)
{
	char port[16];

	snprintf(port, sizeof(port), "%u/tcp", sock->local_port);
	return json_array_size(
		       json_object_get(rb_json_path(inspect, "NetworkSettings.Ports"), port)) > 0;
}

static json_t *find_peer(json_t *list, const char *peer)
{
	json_t *entry;
	size_t i;

	json_array_foreach (list, i, entry)
		if (strcmp(rb_json_str(entry, "peer", ""), peer) == 0)
			return entry;
	return NULL;
}

json_t *rb_connections_describe(const json_t *inspect)
{
	int pid = (int)rb_json_int(json_object_get(inspect, "State"), "Pid", 0);
	_cleanup_free_ struct rb_socket *socks = NULL;
	int count = rb_sockets_read(pid, &socks);
	json_t *list = json_array();

	for (int i = 0; i < count; i++) {
		const struct rb_socket *sock = &socks[i];
		char peer[INET6_ADDRSTRLEN];
		json_t *entry;

		if (sock->protocol != IPPROTO_TCP || !sock->connected ||
		    rb_ip_is_loopback(&sock->peer) || rb_ip_equal(&sock->peer, &sock->local) ||
		    is_published(inspect, sock))
			continue;
		rb_ip_text(&sock->peer, peer);
		entry = find_peer(list, peer);
		if (entry)
			json_object_set_new(entry, "count",
					    json_integer(rb_json_int(entry, "count", 0) + 1));
		else
			json_array_append_new(list,
					      json_pack("{s:s, s:i, s:b}", "peer", peer, "count", 1,
							"here", rb_host_has_ip(&sock->peer)));
	}
	return list;
}

bool rb_network_masquerades(const json_t *network)
{
	return strcmp(rb_json_str(network, "Driver", ""), "bridge") == 0 &&
	       !rb_json_bool(network, "Internal", false) &&
	       strcmp(rb_json_str(json_object_get(network, "Options"),
				  "com.docker.network.bridge.enable_ip_masquerade", "true"),
		      "true") == 0;
}
