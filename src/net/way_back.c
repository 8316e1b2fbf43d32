// SPDX-License-Identifier: Apache-2.0
/*
 * way_back.c - what a container says on some connections goes to another host than its gateway
 *
 * A container that came here has connections whose peers know it by an address of the host that it
 * left. Its answers have to pass that host, which translates them. To the container they are
 * packets for somewhere outside, which it sends to its gateway: this host. Table `bridge
 * reberth_back_<id>` names the connections by their four numbers, and gives such frames the other
 * host's hardware address when they come in, so that the bridge carries them there. This host's
 * routing and connection tracking never see them.
 *
 * A connection that is over leaves its map by itself, as in forward.c.
 */
#include "way_back.h"

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

#define KEY "ip saddr . %1$s sport . ip daddr . %1$s dport"

static int run(void *arg, struct rb_err *err)
{
	return rb_nft_run(arg, NULL, err);
}

static int name_table(const char *id, char *ret, size_t size, struct rb_err *err)
{
	snprintf(ret, size, "reberth_back_%s", id);
	return rb_nft_word_ok(ret, strlen(ret))
		       ? 0
		       : rb_err_code(err, RB_E_USAGE, -EINVAL,
				     "'%.40s' cannot name an nftables table", id);
}

/* %1$s protocol, %2$s table, %3$s how long one is kept that is not heard of */
static int add_rules(struct rb_buf *cmd, const char *protocol, const char *table, const char *idle)
{
	int r;

	r = rb_buf_addf(cmd,
			"add map bridge %2$s %1$s_flows { typeof " KEY
			" : ether daddr; size 65535; flags dynamic,timeout; timeout %3$s; }\n"
			"add set bridge %2$s %1$s_ended { typeof " KEY
			"; size 65535; flags dynamic,timeout; timeout 2m; }\n"
			"add chain bridge %2$s %1$s_turn\n"
			"add rule bridge %2$s %1$s_turn ether daddr set " KEY " map @%1$s_flows\n",
			protocol, table, idle);
	if (r == 0 && strcmp(protocol, "tcp") == 0)
		r = rb_buf_addf(cmd,
				"add rule bridge %2$s %1$s_turn tcp flags & (fin|rst) != 0 update "
				"@%1$s_flows { " KEY " timeout 2m : ether daddr } update "
				"@%1$s_ended { " KEY " timeout 2m }\n",
				protocol, table);
	if (r == 0)
		r = rb_buf_addf(cmd,
				"add rule bridge %2$s %1$s_turn " KEY
				" != @%1$s_ended update @%1$s_flows { " KEY
				" timeout %3$s : ether daddr }\n"
				"add rule bridge %2$s pre " KEY " @%1$s_flows goto %1$s_turn\n",
				protocol, table, idle);
	return r;
}

/* All of them in one command: the container stands still meanwhile. */
static int add_flows(struct rb_buf *cmd, const char *table, const json_t *flows, int protocol,
		     struct rb_err *err)
{
	char inner[RB_FLOW_KEY_SIZE];
	const json_t *value;
	int count = 0, r = 0;
	size_t i;

	json_array_foreach (flows, i, value) {
		struct rb_flow flow;

		r = rb_flow_parse(value, &flow, err);
		if (r == 0 && flow.protocol == protocol && count++ == 0)
			r = rb_buf_addf(cmd, "add element bridge %s %s_flows {", table,
					rb_flow_protocol(&flow));
		if (r == 0 && flow.protocol == protocol)
			r = rb_buf_addf(cmd, "%s %s : %s", count > 1 ? "," : "",
					rb_flow_inner(&flow, " . ", inner), flow.mac);
		if (r < 0)
			return r;
	}
	return count ? rb_buf_addf(cmd, " }\n") : 0;
}

int rb_way_back_on(const char *id, const json_t *flows, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf cmd = {};
	char table[64];
	int r = name_table(id, table, sizeof(table), err);

	if (r < 0)
		return r;
	r = rb_buf_addf(
		&cmd,
		"add table bridge %1$s\ndelete table bridge %1$s\nadd table bridge %1$s\n"
		"add chain bridge %1$s pre { type filter hook prerouting priority -290; }\n",
		table);
	if (r == 0)
		r = add_rules(&cmd, "tcp", table, "5d");
	if (r == 0)
		r = add_rules(&cmd, "udp", table, "3m");
	if (r == 0)
		r = add_flows(&cmd, table, flows, IPPROTO_TCP, err);
	if (r == 0)
		r = add_flows(&cmd, table, flows, IPPROTO_UDP, err);
	if (r == -ENOMEM)
		return rb_err_set(err, r, "write nftables commands");
	if (r == 0)
		r = rb_netns_fork(RB_NETNS_OWN, run, cmd.data, err);
	return r < 0 ? rb_err_wrap(err, r, "lead connections back") : 0;
}

int rb_way_back_off(const char *id, struct rb_err *err)
{
	char table[64], cmd[200];
	int r = name_table(id, table, sizeof(table), err);

	if (r < 0)
		return r;
	snprintf(cmd, sizeof(cmd), "add table bridge %1$s\ndelete table bridge %1$s\n", table);
	r = rb_netns_fork(RB_NETNS_OWN, run, cmd, err);
	return r < 0 ? rb_err_wrap(err, r, "end the way back of connections") : 0;
}

int rb_way_back_flows(const char *id, const json_t *flows, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *live = json_object();
	char table[64];
	int r = name_table(id, table, sizeof(table), err);

	if (r == 0)
		r = rb_flows_live("bridge", table, "tcp_flows", "tcp", live, err);
	if (r == 0)
		r = rb_flows_live("bridge", table, "udp_flows", "udp", live, err);
	if (r == 0)
		*ret = rb_flows_keep(flows, live, rb_flow_inner);
	return r;
}
