// SPDX-License-Identifier: Apache-2.0
/*
 * ports_source.c - what the host that a container leaves does for its connections
 *
 *   ports   (stage, while the container runs) new connections through published ports are led to
 *	     it by our own rules, and see this host's address on the segment: they find it here and
 *	     there alike
 *   freeze  the others are listed while the container still runs (rb_ports_look())
 *   dump    what came since is added: nothing new joins them any more
 *   ready   the list travels to the target, which leads the container's answers back here
 *   finish  the list becomes rules that translate; only then the container is removed, and with it
 *	     Docker's rules and the kernel's entries, which did that so far
 *
 * So there is no moment in which nobody translates.
 */
#include "ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "conntrack.h"
#include "err.h"
#include "fault.h"
#include "flow.h"
#include "forwards.h"
#include "json.h"
#include "log.h"
#include "migration.h"
#include "segment.h"
#include "sockets.h"
#include "spec.h"
#include "way_back.h"

enum { ADDRESSES_MAX = 64 }; /* of a container, on segments of this host */

/* Docker publishes ports on the network that the container's default route is in. */
const char *rb_ports_ip(const json_t *inspect)
{
	int pid = (int)rb_json_int(json_object_get(inspect, "State"), "Pid", 0);
	const json_t *networks = rb_json_path(inspect, "NetworkSettings.Networks");
	char gateway[INET6_ADDRSTRLEN] = "";
	const char *name, *first = NULL;
	struct rb_ip ip;
	json_t *endpoint;

	if (rb_default_gateway(pid, &ip))
		rb_ip_text(&ip, gateway);
	json_object_foreach ((json_t *)networks, name, endpoint) {
		const char *address = rb_json_str(endpoint, "IPAddress", "");

		if (!*address)
			continue;
		if (strcmp(rb_json_str(endpoint, "Gateway", "-"), gateway) == 0)
			return address;
		first = first ?: address;
	}
	return first;
}

static void add_port(json_t *ports, const char *name, const char *ip, const json_t *binding)
{
	const char *slash = strchr(name, '/'), *host_ip = rb_json_str(binding, "HostIp", "");
	int host_port = atoi(rb_json_str(binding, "HostPort", "0"));

	if (!slash || !host_port || strchr(host_ip, ':') || strncmp(host_ip, "127.", 4) == 0 ||
	    (strcmp(slash, "/tcp") != 0 && strcmp(slash, "/udp") != 0))
		return;
	json_array_append_new(ports, json_pack("{s:s, s:s, s:i, s:s, s:i}", "proto", slash + 1,
					       "host_ip", host_ip, "host_port", host_port, "ip", ip,
					       "port", atoi(name)));
}

json_t *rb_ports_published(const json_t *inspect)
{
	json_t *ports = json_array(), *list, *binding;
	const char *name, *ip = rb_ports_ip(inspect);
	size_t i;

	json_object_foreach (rb_json_path(inspect, "NetworkSettings.Ports"), name, list)
		json_array_foreach (list, i, binding)
			if (ip)
				add_port(ports, name, ip, binding);
	return ports;
}

/* The addresses that it has on segments of this host. */
static bool next_ip(const json_t *addresses, size_t *at, struct in_addr *ret)
{
	struct rb_segment segment;

	while (*at < json_array_size(addresses)) {
		const json_t *address = json_array_get(addresses, (*at)++);

		if (inet_pton(AF_INET, rb_json_str(address, "ipv4", ""), ret) == 1 &&
		    rb_segment_find(*ret, &segment) >= 0)
			return true;
	}
	return false;
}

bool rb_ports_forwards(const json_t *facts, const json_t *inspect)
{
	_cleanup_json_ json_t *addresses = NULL;
	struct in_addr ip;
	size_t at = 0;

	return !rb_json_bool(facts, "no_forward", false) &&
	       !rb_json_bool(facts, "reconnect", false) &&
	       rb_spec_addresses(inspect, &addresses, NULL) >= 0 && next_ip(addresses, &at, &ip);
}

static const json_t *inspect_of(const struct rb_migration *m)
{
	return json_object_get(m->entry.facts, "inspect");
}

/* @ports, @flows: taken over. Journal first, then the rules. */
static int put(struct rb_migration *m, const char *state, const char *ip, json_t *ports,
	       json_t *flows, struct rb_err *err)
{
	_cleanup_json_ json_t *facts = NULL, *row = NULL;

	facts = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "container_id", m->entry.container_id,
			  "ip", ip, "target", m->entry.peer, "state", state, "ports", ports,
			  "flows", flows);
	row = json_pack("{s:s, s:s, s:O}", "id", m->entry.id, "kind", "forward", "facts", facts);
	if (!row)
		return rb_err_set(err, -ENOMEM, "note a forward");
	if (rb_forwards_put(m->node->journal, m->entry.id, "forward", m->entry.container, facts,
			    err) < 0)
		return -EIO;
	rb_fault_point("source.ports.noted", NULL, NULL);
	return rb_ports_apply(row, err);
}

int rb_source_ports(struct rb_migration *m, struct rb_err *err)
{
	_cleanup_json_ json_t *ports = rb_ports_published(inspect_of(m));
	_cleanup_close_ int lock = -EBADF;

	if (!json_array_size(ports) || !rb_ports_forwards(m->entry.facts, inspect_of(m)))
		return 0;
	lock = rb_ports_lock(m->node, err);
	return lock < 0 ? lock
			: put(m, "moving", rb_ports_ip(inspect_of(m)), json_incref(ports),
			      json_array(), err);
}

int rb_source_ports_undo(struct rb_migration *m, struct rb_err *err)
{
	_cleanup_json_ json_t *row = NULL;
	_cleanup_close_ int lock = rb_ports_lock(m->node, err);
	int r = lock < 0 ? lock
			 : rb_forwards_get(m->node->journal, m->entry.id, "forward", &row, err);

	return r <= 0 ? r : rb_ports_drop(m->node, m->entry.id, "forward", err);
}

/* Connections by hosts that it was on before are led back from here, and then from the next one. */
static json_t *passed_on(const struct rb_node *node, const char *container_id)
{
	json_t *flows = json_array();
	_cleanup_json_ json_t *rows = NULL;
	const json_t *row;
	size_t i;

	if (!node->journal || rb_forwards_list(node->journal, "back", &rows, NULL) < 0)
		return flows;
	json_array_foreach (rows, i, row) {
		const json_t *facts = json_object_get(row, "facts");
		_cleanup_json_ json_t *live = NULL;

		if (strcmp(rb_json_str(facts, "container_id", ""), container_id) != 0)
			continue;
		if (rb_way_back_flows(rb_json_str(row, "id", ""), json_object_get(facts, "flows"),
				      &live, NULL) < 0)
			live = json_incref(json_object_get(facts, "flows"));
		json_array_extend(flows, live);
	}
	return flows;
}

static int open_tracked(const json_t *inspect, struct rb_conntrack **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *addresses = NULL;
	struct in_addr ips[ADDRESSES_MAX];
	size_t at = 0, n = 0;
	int r = rb_spec_addresses(inspect, &addresses, err);

	while (r >= 0 && n < ADDRESSES_MAX && next_ip(addresses, &at, &ips[n]))
		n++;
	return r < 0 ? r : rb_conntrack_open(ips, n, ret, err);
}

/* @listener: or NULL */
static int tracked(struct rb_conntrack *listener, const json_t *inspect, json_t *flows,
		   struct rb_err *err)
{
	struct rb_conntrack *once = NULL;
	int r;

	if (listener)
		return rb_conntrack_flows(listener, flows, err);
	r = open_tracked(inspect, &once, err);
	if (r >= 0)
		r = rb_conntrack_flows(once, flows, err);
	rb_conntrack_close(once);
	return r;
}

static const char *name_socket(char *ret, size_t size, const char *protocol, int port,
			       const char *peer, int peer_port)
{
	if (strcmp(protocol, "udp") == 0)
		snprintf(ret, size, "udp %d", port);
	else
		snprintf(ret, size, "tcp %d %s %d", port, peer, peer_port);
	return ret;
}

/* The names of the container's sockets: the kernel remembers connections for days whose container
 * was removed without a word, and addresses are used again. */
static json_t *sockets_of(const json_t *inspect)
{
	int pid = (int)rb_json_int(json_object_get(inspect, "State"), "Pid", 0);
	_cleanup_free_ struct rb_socket *socks = NULL;
	int count = rb_sockets_read(pid, &socks);
	json_t *names = json_object();

	for (int i = 0; i < count; i++) {
		bool udp = socks[i].protocol == IPPROTO_UDP;
		char name[100], peer[INET6_ADDRSTRLEN];

		if (udp || socks[i].connected)
			json_object_set_new(names,
					    name_socket(name, sizeof(name), udp ? "udp" : "tcp",
							socks[i].local_port,
							rb_ip_text(&socks[i].peer, peer),
							socks[i].peer_port),
					    json_true());
	}
	return names;
}

/* Adds those of @flows that have one of @sockets, and whose ends are not in @names yet. */
static void add_named(json_t *to, const json_t *flows, bool only_translated, const json_t *sockets,
		      json_t *names)
{
	char key[RB_FLOW_KEY_SIZE], name[RB_FLOW_KEY_SIZE + 8], sock[100];
	char peer[INET_ADDRSTRLEN];
	struct rb_flow flow;
	json_t *value;
	size_t i;

	json_array_foreach ((json_t *)flows, i, value) {
		if (rb_flow_parse(value, &flow, NULL) < 0 || (only_translated && !flow.translated))
			continue;
		inet_ntop(AF_INET, &flow.peer, peer, sizeof(peer));
		snprintf(name, sizeof(name), "%s %s", rb_flow_protocol(&flow),
			 rb_flow_inner(&flow, ".", key));
		name_socket(sock, sizeof(sock), rb_flow_protocol(&flow), flow.port, peer,
			    flow.peer_port);
		if (!json_object_get(sockets, sock) || json_object_get(names, name))
			continue;
		json_object_set_new(names, name, json_true());
		json_array_append(to, value);
	}
}

/*
 * This kernel may track a connection that only passes its bridge on the way to another host
 * (bridge-nf-call-iptables). So what is translated here goes by this host, what else is known to go
 * by another one does that, and only then the rest counts.
 */
int rb_ports_flows(const struct rb_node *node, const json_t *inspect, struct rb_conntrack *listener,
		   json_t *own, json_t *passed, struct rb_err *err)
{
	_cleanup_json_ json_t *here = json_array(), *names = json_object(), *there = NULL;
	_cleanup_json_ json_t *sockets = NULL;
	int r = tracked(listener, inspect, here, err);

	there = passed_on(node, rb_json_str(inspect, "Id", ""));
	/* the kernel walks all its hash buckets for that, twice for each table (10 ms) */
	if (json_array_size(here) || json_array_size(there))
		sockets = sockets_of(inspect);
	add_named(own, here, true, sockets, names);
	add_named(passed, there, false, sockets, names);
	add_named(own, here, false, sockets, names);
	if (r < 0)
		return r;
	return (int)json_array_size(own) +
	       (r > (int)json_array_size(here) ? r - (int)json_array_size(here) : 0);
}

/* those that this host translates */
static json_t *translated(const json_t *flows)
{
	json_t *some = json_array(), *flow;
	size_t i;

	json_array_foreach ((json_t *)flows, i, flow)
		if (json_object_get(flow, "host"))
			json_array_append(some, flow);
	return some;
}

void rb_ports_listen(struct rb_migration *m)
{
	struct rb_err why = {};

	if (m->tracked)
		return;
	if (open_tracked(inspect_of(m), &m->tracked, &why) < 0)
		rb_warn("freeze: %s; it is tried again when the container stands still", why.msg);
	else
		rb_conntrack_listen(m->tracked);
}

void rb_ports_look(struct rb_migration *m)
{
	_cleanup_json_ json_t *flows = json_array();

	if (m->tracked)
		rb_conntrack_flows(m->tracked, flows, NULL);
}

void rb_ports_note(struct rb_migration *m)
{
	json_t *flows = json_array(), *passed = json_array();
	struct rb_err why = {};

	if (rb_ports_flows(m->node, inspect_of(m), m->tracked, flows, passed, &why) < 0)
		rb_warn("dump: connections by this host's address will be lost: %s", why.msg);
	if (!rb_ports_forwards(m->entry.facts, inspect_of(m)))
		json_array_clear(flows);
	rb_migration_fact(m, "flows", flows);
	rb_migration_fact(m, "flows_passed", passed);
}

int rb_ports_keep(struct rb_migration *m, struct rb_err *err)
{
	_cleanup_json_ json_t *row = NULL;
	_cleanup_json_ json_t *flows = translated(json_object_get(m->entry.facts, "flows"));
	_cleanup_close_ int lock = rb_ports_lock(m->node, err);
	struct rb_err why = {};
	const json_t *facts;
	const char *ip;
	json_t *ports;
	int r = lock < 0 ? lock
			 : rb_forwards_get(m->node->journal, m->entry.id, "forward", &row, err);

	if (r < 0 || (r == 0 && !json_array_size(flows)))
		return r;
	/* the container may be gone already: what stage `ports` found of it counts */
	facts = json_object_get(row, "facts");
	ports = json_object_get(facts, "ports");
	ip = rb_json_str(json_array_get(flows, 0), "ip", "");
	r = put(m, "kept", rb_json_str(facts, "ip", ip), ports ? json_incref(ports) : json_array(),
		TAKE_PTR(flows), &why);
	if (r < 0)
		rb_warn("finish: %s; it is tried again every few seconds", why.msg);
	return 0;
}

int rb_ports_leave(struct rb_migration *m, struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL;
	_cleanup_close_ int lock = rb_ports_lock(m->node, err);
	const json_t *row;
	size_t i;
	int r = lock < 0 ? lock : rb_forwards_list(m->node->journal, "back", &rows, err);

	json_array_foreach (rows, i, row)
		if (r >= 0 && strcmp(rb_json_str(json_object_get(row, "facts"), "container_id", ""),
				     m->entry.container_id) == 0)
			r = rb_ports_drop(m->node, rb_json_str(row, "id", ""), "back", err);
	return r;
}
