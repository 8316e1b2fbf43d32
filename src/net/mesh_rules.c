// SPDX-License-Identifier: Apache-2.0
/*
 * mesh_rules.c - what may not cross a node's end of a VXLAN mesh
 */
#include "mesh_rules.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "err.h"
#include "io.h"
#include "json.h"
#include "net.h"
#include "nft.h"

#define TABLES_OFF                           \
	"add table inet reberth_mesh\n"      \
	"delete table inet reberth_mesh\n"   \
	"add table bridge reberth_mesh\n"    \
	"delete table bridge reberth_mesh\n" \
	"add table ip reberth_mesh\n"        \
	"delete table ip reberth_mesh\n"

static int add_peers(struct rb_buf *cmd, const json_t *peers, int family)
{
	const json_t *peer;
	size_t i, n = 0;
	int r = rb_buf_addf(cmd, " set peers%c { type %s; ", family == AF_INET ? '4' : '6',
			    family == AF_INET ? "ipv4_addr" : "ipv6_addr");

	json_array_foreach (peers, i, peer) {
		const char *text = json_string_value(peer);
		uint8_t address[16];

		if (text && inet_pton(family, text, address) == 1)
			r |= rb_buf_addf(cmd, "%s %s", n++ ? "," : "elements = {", text);
	}
	return r | rb_buf_addf(cmd, "%s}\n", n ? " }; " : "");
}

/* @match: "iifname" or "oifname" */
static int add_devices(struct rb_buf *cmd, const json_t *devices, const char *match)
{
	const json_t *device;
	size_t i;
	int r = 0;

	json_array_foreach (devices, i, device) {
		const char *dev = rb_json_str(device, "dev", "");
		const char *gateway = rb_json_str(device, "gateway", "");
		uint8_t address[4];

		if (!rb_nft_word_ok(dev, strlen(dev)) || inet_pton(AF_INET, gateway, address) != 1)
			return -EINVAL;
		r |= rb_buf_addf(cmd,
				 "  %s \"%s\" arp saddr ip %s drop\n"
				 "  %s \"%s\" arp daddr ip %s drop\n",
				 match, dev, gateway, match, dev, gateway);
	}
	return r;
}

/* Before Docker's own translations (-100): a name server that is one of Docker's published ports is
 * taken for what its address says. */
static int add_names(struct rb_buf *cmd, const json_t *devices, const json_t *resolvers)
{
	const json_t *device, *resolver;
	size_t i, j;
	int r = rb_buf_addf(cmd, "table ip reberth_mesh {\n chain names { type nat hook prerouting "
				 "priority -110;\n");

	json_array_foreach (devices, i, device) {
		const char *bridge = rb_json_str(device, "bridge", "");
		const char *names = rb_json_str(device, "names", "");

		if (!*names || !rb_nft_word_ok(bridge, strlen(bridge)) ||
		    strspn(names, "0123456789.:") != strlen(names))
			continue;
		json_array_foreach (resolvers, j, resolver) {
			const char *address = json_string_value(resolver);
			uint8_t parsed[4];

			if (!address || inet_pton(AF_INET, address, parsed) != 1)
				continue;
			r |= rb_buf_addf(cmd,
					 "  iifname \"%s\" ip daddr %s udp dport 53 dnat to %s\n"
					 "  iifname \"%s\" ip daddr %s tcp dport 53 dnat to %s\n",
					 bridge, address, names, bridge, address, names);
		}
	}
	return r | rb_buf_addf(cmd, " }\n}\n");
}

static int run(void *arg, struct rb_err *err)
{
	return rb_nft_run(arg, NULL, err);
}

int rb_mesh_rules_set(const json_t *devices, const json_t *peers, uint16_t port,
		      const json_t *resolvers, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf cmd = {};
	int r = rb_buf_addf(&cmd, TABLES_OFF);

	if (json_array_size(devices) > 0) {
		r |= rb_buf_addf(&cmd, "table inet reberth_mesh {\n");
		r |= add_peers(&cmd, peers, AF_INET);
		r |= add_peers(&cmd, peers, AF_INET6);
		r |= rb_buf_addf(&cmd,
				 " chain pre { type filter hook prerouting priority -300;\n"
				 "  udp dport %u ip saddr != @peers4 drop\n"
				 "  udp dport %u ip6 saddr != @peers6 drop\n }\n}\n"
				 "table bridge reberth_mesh {\n"
				 " chain in { type filter hook prerouting priority -250;\n",
				 port, port);
		r |= add_devices(&cmd, devices, "iifname");
		r |= rb_buf_addf(&cmd,
				 " }\n chain out { type filter hook postrouting priority 0;\n");
		r |= add_devices(&cmd, devices, "oifname");
		r |= rb_buf_addf(&cmd, " }\n}\n");
		r |= add_names(&cmd, devices, resolvers);
	}
	if (r < 0)
		return rb_err_set(err, -EINVAL, "write nftables commands");
	r = rb_netns_fork(RB_NETNS_OWN, run, cmd.data, err);
	return r < 0 ? rb_err_wrap(err, r, "set the rules of the mesh") : 0;
}

static int look(void *arg, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf out = {};
	int r;

	(void)arg;
	/* one by one: libnftables looks up but one family for a whole buffer of commands */
	r = rb_nft_run("list table inet reberth_mesh\n", &out, err);
	if (r >= 0)
		r = rb_nft_run("list table bridge reberth_mesh\n", &out, err);
	return r < 0 ? r : rb_nft_run("list table ip reberth_mesh\n", &out, err);
}

int rb_mesh_rules_there(struct rb_err *err)
{
	struct rb_err why = {};
	int r = rb_netns_fork(RB_NETNS_OWN, look, NULL, &why);

	if (r == -ENOENT)
		return 0;
	if (r < 0 && err)
		*err = why;
	return r < 0 ? r : 1;
}
