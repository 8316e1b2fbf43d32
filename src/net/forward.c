// SPDX-License-Identifier: Apache-2.0
/*
 * forward.c - a host that a container has left goes on taking its connections to it
 *
 * Table `ip reberth_fwd_<id>` has two parts that know nothing of each other.
 *
 * New connections to published ports: DNAT by connection tracking, just before Docker's own rules
 * would see them, and masquerading to this host's address on the segment.
 *
 * Connections that there were: their peers know the container by this host's address, and the
 * container knows them by their own. Docker throws the kernel's entries for them away when the
 * container is removed, and with them the translation; made again afterwards they would come too
 * late for the packets in between, which this host would answer with a reset. So they are
 * translated without connection tracking, by the four numbers that name each: the destination
 * before routing, the source after it. That is there before the container goes, and nothing but we
 * takes it away; Docker flushes neither it nor what is behind it.
 *
 *   prerouting, output   -250, behind `raw` (Docker 28 has rules there that must not see the new
 *			  destination) and before connection tracking: `notrack`
 *   postrouting, input   where the source's routing is over: a packet that came in with an address
 *			  of this host for its source would not be routed
 *
 * A connection that is over leaves its set by itself: TCP two minutes after a FIN or RST, else when
 * nothing was heard for as long as connection tracking waits by default. A new connection (SYN)
 * with the same four numbers is one of the other part.
 */
#include "forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "flow.h"
#include "io.h"
#include "json.h"
#include "net.h"
#include "nft.h"

#define PORTS_MAX 4096

int rb_port_parse(const json_t *value, struct rb_port *ret, struct rb_err *err)
{
	const char *protocol = rb_json_str(value, "proto", "");
	struct rb_port port = { .protocol = strcmp(protocol, "udp") == 0 ? IPPROTO_UDP
									 : IPPROTO_TCP,
				.host_port = (int)rb_json_int(value, "host_port", 0),
				.port = (int)rb_json_int(value, "port", 0) };
	const char *host_ip = rb_json_str(value, "host_ip", ""), *ip = rb_json_str(value, "ip", "");
	struct in_addr address;

	if ((port.protocol == IPPROTO_TCP && strcmp(protocol, "tcp") != 0) ||
	    inet_pton(AF_INET, ip, &address) != 1 ||
	    (*host_ip && inet_pton(AF_INET, host_ip, &address) != 1) || port.host_port < 1 ||
	    port.host_port > UINT16_MAX || port.port < 1 || port.port > UINT16_MAX)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "that is no published port");
	snprintf(port.ip, sizeof(port.ip), "%s", ip);
	snprintf(port.host_ip, sizeof(port.host_ip), "%s",
		 strcmp(host_ip, "0.0.0.0") == 0 ? "" : host_ip);
	*ret = port;
	return 0;
}

/* --- new connections --- */

static int add_port(struct rb_buf *cmd, const char *table, const struct rb_port *port)
{
	const char *protocol = port->protocol == IPPROTO_UDP ? "udp" : "tcp";
	const char *only = *port->host_ip ? "ip daddr " : "";
	int r;

	r = rb_buf_addf(cmd,
			"add rule ip %1$s new_in %2$s %3$s fib daddr type local %4$s dport %5$d "
			"dnat to %6$s:%7$d\n"
			"add rule ip %1$s new_out ip daddr != 127.0.0.0/8 %2$s %3$s fib daddr type "
			"local %4$s dport %5$d dnat to %6$s:%7$d\n",
			table, only, port->host_ip, protocol, port->host_port, port->ip,
			port->port);
	if (r == 0)
		r = rb_buf_addf(cmd,
				"add rule ip %s new_post ip daddr %s %s dport %d ct status dnat "
				"ct original proto-dst %d masquerade\n",
				table, port->ip, protocol, port->port, port->host_port);
	return r;
}

static int add_ports(struct rb_buf *cmd, const char *table, const json_t *ports, struct rb_err *err)
{
	const json_t *value;
	size_t i;
	int r = 0;

	if (!json_array_size(ports))
		return 0;
	if (json_array_size(ports) > PORTS_MAX)
		return rb_err_code(err, RB_E_USAGE, -E2BIG, "more than %d published ports",
				   PORTS_MAX);
	r = rb_buf_addf(cmd,
			"add chain ip %1$s new_in { type nat hook prerouting priority -101; }\n"
			"add chain ip %1$s new_out { type nat hook output priority -101; }\n"
			"add chain ip %1$s new_post { type nat hook postrouting priority 99; }\n",
			table);
	json_array_foreach (ports, i, value) {
		struct rb_port port;

		if (r == 0)
			r = rb_port_parse(value, &port, err);
		if (r == 0)
			r = add_port(cmd, table, &port);
	}
	return r;
}

/* --- connections that there were --- */

/* %1$s protocol, %2$s table, %3$s how long one is kept that is not heard of */
#define KEY "ip saddr . %1$s sport . ip daddr . %1$s dport"

static int add_sets(struct rb_buf *cmd, const char *protocol, const char *table, const char *idle)
{
	return rb_buf_addf(
		cmd,
		"add set ip %2$s %1$s_flows { typeof " KEY "; size 65535; flags dynamic,timeout; "
		"timeout %3$s; }\n"
		"add set ip %2$s %1$s_ended { typeof " KEY "; size 65535; flags dynamic,timeout; "
		"timeout 2m; }\n"
		"add set ip %2$s %1$s_replies { typeof " KEY "; }\n"
		"add map ip %2$s %1$s_in_port { typeof " KEY " : %1$s dport; }\n"
		"add map ip %2$s %1$s_out_port { typeof " KEY " : %1$s sport; }\n"
		"add map ip %2$s %1$s_in_ip { typeof ip saddr . %1$s sport . %1$s dport : ip "
		"daddr; }\n"
		"add map ip %2$s %1$s_out_ip { typeof ip daddr . %1$s dport . %1$s sport : ip "
		"saddr; }\n"
		"add chain ip %2$s %1$s_back\n"
		"add chain ip %2$s %1$s_in\n"
		"add chain ip %2$s %1$s_out\n",
		protocol, table, idle);
}

/* how the peer's packets are named, told from one of the container's that was translated */
#define REVERSED "ip daddr . %1$s dport . ip saddr . %1$s sport"

/* Nothing of a TCP connection that ended keeps it any longer. Its numbers may begin a new one. */
static int add_tcp_ends(struct rb_buf *cmd, const char *table)
{
	return rb_buf_addf(cmd,
			   "add rule ip %2$s pre tcp flags & (syn|ack) == syn " KEY
			   " @%1$s_flows delete @%1$s_flows { " KEY " }\n"
			   "add rule ip %2$s %1$s_in tcp flags & (fin|rst) != 0 update "
			   "@%1$s_flows { " KEY " timeout 2m } update @%1$s_ended { " KEY
			   " timeout 2m }\n"
			   "add rule ip %2$s %1$s_back tcp flags & (fin|rst) != 0 update "
			   "@%1$s_flows { " REVERSED " timeout 2m } update @%1$s_ended { " REVERSED
			   " timeout 2m }\n",
			   "tcp", table);
}

/* The port before the address: the key of the second map has what the first step wrote. */
static int add_rules(struct rb_buf *cmd, const char *protocol, const char *table, const char *idle)
{
	int r = 0;

	if (strcmp(protocol, "tcp") == 0)
		r = add_tcp_ends(cmd, table);
	if (r == 0)
		r = rb_buf_addf(cmd,
				"add rule ip %2$s %1$s_in " KEY
				" != @%1$s_ended update @%1$s_flows { " KEY " timeout %3$s }\n"
				"add rule ip %2$s %1$s_in notrack\n"
				"add rule ip %2$s %1$s_in %1$s dport set " KEY
				" map @%1$s_in_port ip daddr set ip saddr . %1$s sport . %1$s "
				"dport map @%1$s_in_ip\n"
				"add rule ip %2$s %1$s_out %1$s sport set " KEY
				" map @%1$s_out_port ip saddr set ip daddr . %1$s dport . %1$s "
				"sport map @%1$s_out_ip\n"
				"add rule ip %2$s %1$s_out goto %1$s_back\n"
				"add rule ip %2$s %1$s_back " REVERSED
				" != @%1$s_ended update @%1$s_flows { " REVERSED
				" timeout %3$s }\n",
				protocol, table, idle);
	if (r == 0)
		r = rb_buf_addf(cmd,
				"add rule ip %2$s pre " KEY " @%1$s_flows goto %1$s_in\n"
				"add rule ip %2$s pre " KEY " @%1$s_replies notrack\n"
				"add rule ip %2$s out " KEY " @%1$s_flows goto %1$s_in\n"
				"add rule ip %2$s post " KEY " @%1$s_replies goto %1$s_out\n"
				"add rule ip %2$s in " KEY " @%1$s_replies goto %1$s_out\n",
				protocol, table);
	return r;
}

static int add_elements(struct rb_buf *cmd, const char *table, const struct rb_flow *flow)
{
	const char *protocol = rb_flow_protocol(flow);
	char outer[RB_FLOW_KEY_SIZE], inner[RB_FLOW_KEY_SIZE];
	char peer[INET_ADDRSTRLEN], host[INET_ADDRSTRLEN], ip[INET_ADDRSTRLEN];

	rb_flow_outer(flow, " . ", outer);
	rb_flow_inner(flow, " . ", inner);
	inet_ntop(AF_INET, &flow->peer, peer, sizeof(peer));
	inet_ntop(AF_INET, &flow->host, host, sizeof(host));
	inet_ntop(AF_INET, &flow->ip, ip, sizeof(ip));
	return rb_buf_addf(cmd,
			   "add element ip %1$s %2$s_flows { %3$s }\n"
			   "add element ip %1$s %2$s_replies { %4$s }\n"
			   "add element ip %1$s %2$s_in_port { %3$s : %8$u }\n"
			   "add element ip %1$s %2$s_out_port { %4$s : %7$u }\n"
			   "add element ip %1$s %2$s_in_ip { %5$s . %6$u . %8$u : %9$s }\n"
			   "add element ip %1$s %2$s_out_ip { %5$s . %6$u . %7$u : %10$s }\n",
			   table, protocol, outer, inner, peer, flow->peer_port, flow->host_port,
			   flow->port, ip, host);
}

static int add_flows(struct rb_buf *cmd, const char *table, const json_t *flows, struct rb_err *err)
{
	const json_t *value;
	size_t i;
	int r;

	/* these are there in any case: to ask for them is to ask whether the table is whole */
	r = add_sets(cmd, "tcp", table, "5d");
	if (r == 0)
		r = add_sets(cmd, "udp", table, "3m");
	if (r < 0 || !json_array_size(flows))
		return r;
	r = rb_buf_addf(cmd,
			"add chain ip %1$s pre { type filter hook prerouting priority -250; }\n"
			"add chain ip %1$s out { type route hook output priority -250; }\n"
			"add chain ip %1$s post { type filter hook postrouting priority 250; }\n"
			"add chain ip %1$s in { type filter hook input priority -250; }\n",
			table);
	if (r == 0)
		r = add_rules(cmd, "tcp", table, "5d");
	if (r == 0)
		r = add_rules(cmd, "udp", table, "3m");
	json_array_foreach (flows, i, value) {
		struct rb_flow flow;

		if (r == 0)
			r = rb_flow_parse(value, &flow, err);
		if (r == 0 && flow.translated)
			r = add_elements(cmd, table, &flow);
	}
	return r;
}

/* --- together --- */

static int run(void *arg, struct rb_err *err)
{
	return rb_nft_run(arg, NULL, err);
}

static int name_table(const char *id, char *ret, size_t size, struct rb_err *err)
{
	snprintf(ret, size, "reberth_fwd_%s", id);
	return rb_nft_word_ok(ret, strlen(ret))
		       ? 0
		       : rb_err_code(err, RB_E_USAGE, -EINVAL,
				     "'%.40s' cannot name an nftables table", id);
}

int rb_forward_on(const char *id, const json_t *ports, const json_t *flows, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf cmd = {};
	char table[64];
	int r = name_table(id, table, sizeof(table), err);

	if (r < 0)
		return r;
	/* `add` before `delete`, so that both an old table and none are fine */
	r = rb_buf_addf(&cmd, "add table ip %1$s\ndelete table ip %1$s\nadd table ip %1$s\n",
			table);
	if (r == 0)
		r = add_ports(&cmd, table, ports, err);
	if (r == 0)
		r = add_flows(&cmd, table, flows, err);
	if (r == -ENOMEM)
		return rb_err_set(err, r, "write nftables commands");
	if (r == 0)
		r = rb_netns_fork(RB_NETNS_OWN, run, cmd.data, err);
	return r < 0 ? rb_err_wrap(err, r, "forward connections") : 0;
}

int rb_forward_off(const char *id, struct rb_err *err)
{
	char table[64], cmd[200];
	int r = name_table(id, table, sizeof(table), err);

	if (r < 0)
		return r;
	snprintf(cmd, sizeof(cmd), "add table ip %1$s\ndelete table ip %1$s\n", table);
	r = rb_netns_fork(RB_NETNS_OWN, run, cmd, err);
	return r < 0 ? rb_err_wrap(err, r, "end a forward") : 0;
}

int rb_forward_flows(const char *id, const json_t *flows, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *live = json_object();
	char table[64];
	int r = name_table(id, table, sizeof(table), err);

	if (r == 0)
		r = rb_flows_live("ip", table, "tcp_flows", "tcp", live, err);
	if (r == 0)
		r = rb_flows_live("ip", table, "udp_flows", "udp", live, err);
	if (r == 0)
		*ret = rb_flows_keep(flows, live, rb_flow_outer);
	return r;
}
