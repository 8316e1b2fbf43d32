// SPDX-License-Identifier: Apache-2.0
/*
 * obstacles_ports.c - published ports: what is lost here, and what is taken there
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "flow.h"
#include "forward.h"
#include "forwards.h"
#include "io.h"
#include "json.h"
#include "obstacles.h"
#include "ports.h"
#include "sockets.h"

/* --- the source --- */

/*
 * docker-proxy takes what no rule of the kernel's translates: it accepts on the host's port, and
 * has a connection of its own to the container. Both ends are in this host, and only the first has
 * that port. With UDP it has a socket towards the container for each client.
 */
static bool is_proxied(const struct rb_socket *sock, int protocol, int host_port,
		       const struct rb_ip *ip, int port)
{
	if (sock->protocol != protocol || !sock->connected)
		return false;
	if (protocol == IPPROTO_TCP)
		return sock->local_port == host_port;
	return sock->peer_port == port && rb_ip_equal(&sock->peer, ip);
}

static int count_proxied(const json_t *inspect, const struct rb_socket *socks, int count)
{
	const json_t *ports = rb_json_path(inspect, "NetworkSettings.Ports");
	const json_t *binding;
	const char *name;
	json_t *list, *seen = json_object();
	int found = 0;
	size_t i;

	json_object_foreach ((json_t *)ports, name, list) {
		bool udp = strstr(name, "/udp") != NULL;
		struct rb_ip ip = {};

		rb_ip_parse(rb_ports_ip(inspect) ?: "", &ip);
		json_array_foreach (list, i, binding) {
			int host_port = atoi(rb_json_str(binding, "HostPort", "0"));
			char key[64];

			/* 0.0.0.0 and :: are two bindings, and one port; UDP: one socket of many */
			snprintf(key, sizeof(key), "%s %d", udp ? name : "tcp",
				 udp ? 0 : host_port);
			if (json_object_get(seen, key))
				continue;
			json_object_set_new(seen, key, json_true());
			for (int s = 0; s < count; s++)
				found += is_proxied(&socks[s], udp ? IPPROTO_UDP : IPPROTO_TCP,
						    host_port, &ip, atoi(name));
		}
	}
	json_decref(seen);
	return found;
}

static const char *plural(int count, const char *one, const char *many)
{
	return count == 1 ? one : many;
}

void rb_obstacles_ports_source(const struct rb_node *node, const json_t *facts,
			       const json_t *inspect, json_t *obstacles)
{
	_cleanup_free_ struct rb_socket *socks = NULL;
	_cleanup_json_ json_t *flows = json_array(), *passed = json_array();
	int count, lost;

	if (json_object_size(rb_json_path(inspect, "NetworkSettings.Ports"))) {
		count = rb_sockets_read(getpid(), &socks);
		lost = count_proxied(inspect, socks, count);
		if (lost)
			rb_obstacle_add(obstacles, "warning", "they have to be made anew",
					"%d %s through docker-proxy of this host (from this host "
					"itself, or by IPv6) will end",
					lost, plural(lost, "connection", "connections"));
	}
	count = rb_ports_flows(node, inspect, NULL, flows, passed, NULL);
	lost = rb_ports_forwards(facts, inspect) ? count - RB_FLOWS_MAX : count;
	if (lost > 0)
		rb_obstacle_add(obstacles, "warning", "they have to be made anew",
				"%d %s through this host (published ports, NAT) will end%s", lost,
				plural(lost, "connection", "connections"),
				lost < count ? ": there are too many" : ": nothing is forwarded");
}

/* --- the target --- */

/* "container 'web'", from Docker's list of those that run */
static bool find_container(const json_t *containers, const struct rb_port *port, char *ret,
			   size_t size)
{
	const char *protocol = port->protocol == IPPROTO_UDP ? "udp" : "tcp";
	const json_t *container, *theirs;
	size_t i, j;

	json_array_foreach (containers, i, container)
		json_array_foreach (json_object_get(container, "Ports"), j, theirs) {
			const char *ip = rb_json_str(theirs, "IP", "");
			const char *name = json_string_value(
				json_array_get(json_object_get(container, "Names"), 0));

			if (rb_json_int(theirs, "PublicPort", 0) != port->host_port ||
			    strcmp(rb_json_str(theirs, "Type", ""), protocol) != 0 ||
			    (*port->host_ip && *ip && strcmp(ip, "0.0.0.0") != 0 &&
			     strcmp(ip, port->host_ip) != 0))
				continue;
			snprintf(ret, size, "container '%s'", name ? name + (*name == '/') : "?");
			return true;
		}
	return false;
}

/* the inode of a socket that has the port, by the kernel's own table */
static unsigned long find_socket(const struct rb_port *port)
{
	static const char *const tables[] = { "tcp", "tcp6", "udp", "udp6" };
	bool udp = port->protocol == IPPROTO_UDP;

	for (size_t i = udp ? 2 : 0; i < (udp ? 4u : 2u); i++) {
		_cleanup_fclose_ FILE *file = NULL;
		struct rb_socket sock;
		char path[64], line[512];
		unsigned long inode;

		snprintf(path, sizeof(path), "/proc/self/net/%s", tables[i]);
		file = fopen(path, "re");
		while (file && fgets(line, sizeof(line), file))
			if (rb_socket_parse(line, port->protocol, &sock) &&
			    sock.local_port == port->host_port &&
			    (udp ? !sock.connected : sock.listening) &&
			    sscanf(line, " %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu", &inode) == 1)
				return inode;
	}
	return 0;
}

static bool holds(const char *pid, const char *wanted)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	char path[300], target[64];

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

		if (len > 0 && strncmp(target, wanted, (size_t)len) == 0 && wanted[len] == '\0')
			return true;
	}
	return false;
}

/* "process nginx (pid 4711)" */
static void find_process(const struct rb_port *port, char *ret, size_t size)
{
	_cleanup_closedir_ DIR *dir = opendir("/proc");
	unsigned long inode = find_socket(port);
	struct dirent *entry;
	char wanted[64];

	snprintf(ret, size, "a process");
	snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
	while (inode && dir && (entry = readdir(dir))) {
		_cleanup_buf_ struct rb_buf comm = {};
		char path[64];

		if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name) ||
		    !holds(entry->d_name, wanted))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/comm", entry->d_name);
		if (rb_read_file(path, 0, &comm, NULL) >= 0)
			snprintf(ret, size, "process %.*s (pid %s)", (int)strcspn(comm.data, "\n"),
				 comm.data, entry->d_name);
		return;
	}
}

/* What Docker will do, too: nobody knows better than the kernel whether that is possible. */
static int try_bind(const struct rb_port *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((uint16_t)port->host_port) };
	_cleanup_close_ int fd = socket(
		AF_INET, (port->protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC,
		0);
	int one = 1;

	if (*port->host_ip)
		inet_pton(AF_INET, port->host_ip, &address.sin_addr);
	if (fd < 0)
		return 0;
	if (port->protocol == IPPROTO_TCP)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* the forward that ends when the container comes home */
static bool is_its_own(const json_t *row, const json_t *offer)
{
	const char *ip = rb_json_str(json_object_get(row, "facts"), "ip", "-"), *name;
	json_t *endpoint;

	if (strcmp(rb_json_str(row, "container", ""), rb_json_str(offer, "container", "-")) != 0)
		return false;
	json_object_foreach (json_object_get(offer, "networks"), name, endpoint)
		if (strcmp(rb_json_str(endpoint, "IPAddress", ""), ip) == 0)
			return true;
	return false;
}

/* a port that this host forwards to another container, which was here */
static bool find_forward(const json_t *rows, const json_t *offer, const struct rb_port *port,
			 char *ret, size_t size)
{
	const json_t *row, *value;
	struct rb_port theirs;
	size_t i, j;

	json_array_foreach (rows, i, row)
		json_array_foreach (rb_json_path(row, "facts.ports"), j, value) {
			if (is_its_own(row, offer) || rb_port_parse(value, &theirs, NULL) < 0 ||
			    theirs.protocol != port->protocol ||
			    theirs.host_port != port->host_port ||
			    (*theirs.host_ip && *port->host_ip &&
			     strcmp(theirs.host_ip, port->host_ip) != 0))
				continue;
			snprintf(ret, size, "the forward to container '%s' ('reberth forward rm')",
				 rb_json_str(row, "container", ""));
			return true;
		}
	return false;
}

static void check_port(const struct rb_node *node, const json_t *offer, const json_t *containers,
		       const json_t *rows, const struct rb_port *port, json_t *obstacles)
{
	const char *protocol = port->protocol == IPPROTO_UDP ? "UDP" : "TCP";
	char who[200];
	int r;

	if (!find_container(containers, port, who, sizeof(who)) &&
	    !find_forward(rows, offer, port, who, sizeof(who))) {
		r = try_bind(port);
		if (r == -EADDRNOTAVAIL)
			rb_obstacle_add(obstacles, "error",
					"publish the port on an address that each host has",
					"%s port %d is published on %s, which is no address of "
					"node '%s'",
					protocol, port->host_port, port->host_ip, node->name);
		if (r != -EADDRINUSE)
			return;
		find_process(port, who, sizeof(who));
	}
	rb_obstacle_add(obstacles, "error", "end it, or publish another port",
			"%s port %d%s%s of node '%s' is taken by %s", protocol, port->host_port,
			*port->host_ip ? " on " : "", port->host_ip, node->name, who);
}

/* "8080" of one binding; a range is Docker's choice, and was made on the source */
static bool parse_binding(const char *name, const json_t *binding, struct rb_port *ret)
{
	const char *slash = strchr(name, '/'), *ip = rb_json_str(binding, "HostIp", "");
	struct rb_port port = { .protocol = slash && strcmp(slash, "/udp") == 0 ? IPPROTO_UDP
										: IPPROTO_TCP };
	char *end;

	port.host_port = (int)strtol(rb_json_str(binding, "HostPort", ""), &end, 10);
	if (*end || port.host_port < 1 || port.host_port > UINT16_MAX || strchr(ip, ':') ||
	    (slash && strcmp(slash, "/sctp") == 0))
		return false;
	snprintf(port.host_ip, sizeof(port.host_ip), "%s", strcmp(ip, "0.0.0.0") == 0 ? "" : ip);
	*ret = port;
	return true;
}

void rb_obstacles_ports_target(const struct rb_node *node, const json_t *offer, json_t *obstacles,
			       const struct rb_wait *wait)
{
	const char *name;
	_cleanup_json_ json_t *containers = NULL, *rows = NULL;
	const json_t *binding;
	json_t *list;
	size_t i;

	if (!json_object_size(rb_json_path(offer, "spec.HostConfig.PortBindings")))
		return;
	rb_engine_call(node->engine, "GET", "/containers/json", NULL, &containers, wait, NULL);
	if (node->journal)
		rb_forwards_list(node->journal, "forward", &rows, NULL);
	json_object_foreach (rb_json_path(offer, "spec.HostConfig.PortBindings"), name, list)
		json_array_foreach (list, i, binding) {
			struct rb_port port;

			if (parse_binding(name, binding, &port))
				check_port(node, offer, containers, rows, &port, obstacles);
		}
}
