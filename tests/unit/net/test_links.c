// SPDX-License-Identifier: Apache-2.0
/*
 * test_links.c - VXLAN devices, addresses and routes, in a namespace of their own
 */
#include "links.h"

#include "json.h"
#include "mesh_rules.h"
#include "testnet.h"

static struct rb_err err;
static int inside;

static struct sockaddr_storage v4(const char *text)
{
	struct sockaddr_storage address = { .ss_family = AF_INET };

	inet_pton(AF_INET, text, &((struct sockaddr_in *)&address)->sin_addr);
	return address;
}

/* a namespace with an underlay "u0" 10.9.0.1/24 and a bridge "b0" */
static void begin(void)
{
	if (unshare(CLONE_NEWNET) < 0) {
		printf("Bail out! unshare: %s\n", strerror(errno));
		exit(1);
	}
	inside = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	sh(inside, "ip link add u0 type veth peer name u1 && ip addr add 10.9.0.1/24 dev u0 &&"
		   " ip link set u0 up && ip link set u1 up && ip link add b0 type bridge &&"
		   " ip link set b0 up");
}

static struct rb_vxlan device(void)
{
	return (struct rb_vxlan){ .name = "x0",
				  .vni = 77,
				  .port = 7481,
				  .mtu = 1450,
				  .local = v4("10.9.0.1"),
				  .bridge = "b0" };
}

static void made_and_kept(void)
{
	struct rb_vxlan vxlan = device();
	struct rb_link link, bridge;
	int index;

	begin();
	CHECK_INT(rb_vxlan_ensure(&vxlan, &err), 1);
	CHECK_INT(rb_vxlan_ensure(&vxlan, &err), 0);
	CHECK_INT(rb_link_get("x0", &link, &err), 0);
	CHECK_INT(rb_link_get("b0", &bridge, &err), 0);
	CHECK_STR(link.kind, "vxlan");
	CHECK_INT(link.vni, 77);
	CHECK_INT(link.port, 7481);
	CHECK_INT(link.mtu, 1450);
	CHECK_INT(link.master, bridge.index);
	CHECK(link.up);
	CHECK_INT(rb_vxlan_vni_used(77, &err), 1);
	CHECK_INT(rb_vxlan_vni_used(78, &err), 0);
	/* taken out of the bridge, and down: put back */
	index = link.index;
	sh(inside, "ip link set x0 nomaster down mtu 1400");
	CHECK_INT(rb_vxlan_ensure(&vxlan, &err), 1);
	CHECK_INT(rb_link_get("x0", &link, &err), 0);
	CHECK_INT(link.index, index);
	CHECK_INT(link.master, bridge.index);
	CHECK_INT(link.mtu, 1450);
	/* another identifier: another device */
	vxlan.vni = 78;
	CHECK_INT(rb_vxlan_ensure(&vxlan, &err), 1);
	CHECK_INT(rb_link_get("x0", &link, &err), 0);
	CHECK_INT(link.vni, 78);
	CHECK_INT(rb_link_delete("x0", &err), 0);
	CHECK_INT(rb_link_delete("x0", &err), 0);
	vxlan.bridge = "none";
	CHECK_INT(rb_vxlan_ensure(&vxlan, &err), -ENODEV);
}

static void peers_come_and_go(void)
{
	struct rb_vxlan vxlan = device();
	struct sockaddr_storage peers[] = { v4("10.9.0.2"), v4("10.9.0.3"), v4("10.9.0.4") };

	begin();
	CHECK_INT(rb_vxlan_ensure(&vxlan, &err), 1);
	CHECK_INT(rb_vxlan_peers("x0", peers, 2, &err), 1);
	CHECK_INT(rb_vxlan_peers("x0", peers, 2, &err), 0);
	CHECK_INT(sh(inside, "test $(bridge fdb show dev x0 | grep -c '^00:00:00:00:00:00') = 2"),
		  0);
	CHECK_INT(rb_vxlan_peers("x0", peers + 1, 2, &err), 1);
	CHECK_INT(sh(inside, "bridge fdb show dev x0 | grep -q 'dst 10.9.0.4'"), 0);
	CHECK_INT(sh(inside, "! bridge fdb show dev x0 | grep -q 'dst 10.9.0.2'"), 0);
	CHECK_INT(rb_vxlan_peers("x0", peers, 0, &err), 1);
	CHECK_INT(sh(inside, "! bridge fdb show dev x0 | grep -q dst"), 0);
}

static void addresses_and_routes(void)
{
	struct sockaddr_storage own = v4("10.9.0.1"), other = v4("10.9.0.9");
	static const uint8_t mac[6] = { 2, 0x42, 10, 20, 0, 2 };
	_cleanup_json_ json_t *routes = NULL;
	struct rb_link link;
	unsigned int mtu;
	char dev[16];

	begin();
	CHECK_INT(rb_link_add_address("b0", 0x0a140001, 32, &err), 0);
	CHECK_INT(rb_link_add_address("b0", 0x0a140001, 32, &err), 0);
	CHECK_INT(sh(inside, "ip -4 addr show b0 | grep -q 'inet 10.20.0.1/32'"), 0);
	CHECK_INT(rb_link_set_mac("b0", mac, &err), 0);
	CHECK_INT(rb_link_get("b0", &link, &err), 0);
	CHECK(memcmp(link.mac, mac, 6) == 0);
	sh(inside, "ip link set u0 mtu 1300");
	CHECK_INT(rb_link_of_address(&own, dev, &mtu, &err), 0);
	CHECK_STR(dev, "u0");
	CHECK_INT(mtu, 1300);
	CHECK_INT(rb_link_of_address(&other, dev, &mtu, &err), -EADDRNOTAVAIL);
	CHECK_INT(rb_route_list(&routes, &err), 0);
	CHECK_INT(json_array_size(routes), 1);
	CHECK_STR(rb_json_str(json_array_get(routes, 0), "to", ""), "10.9.0.0/24");
	CHECK_STR(rb_json_str(json_array_get(routes, 0), "dev", ""), "u0");
}

static void filters(void)
{
	_cleanup_json_ json_t *devices = json_pack("[{s:s, s:s, s:s, s:s}]", "dev", "x0", "gateway",
						   "10.20.0.1", "bridge", "b0", "names",
						   "10.20.0.2:7482");
	_cleanup_json_ json_t *bad =
		json_pack("[{s:s, s:s}]", "dev", "x0 accept; x", "gateway", "10.20.0.1");
	_cleanup_json_ json_t *peers = json_pack("[s, s]", "10.9.0.2", "fd09::2");
	_cleanup_json_ json_t *none = json_array(), *resolvers = json_pack("[s]", "10.9.0.53");

	begin();
	CHECK_INT(rb_mesh_rules_there(&err), 0);
	CHECK_INT(rb_mesh_rules_set(devices, peers, 7481, resolvers, &err), 0);
	CHECK_INT(rb_mesh_rules_there(&err), 1);
	CHECK_INT(rb_mesh_rules_set(devices, peers, 7481, resolvers, &err), 0);
	CHECK_INT(sh(inside, "nft list table inet reberth_mesh | grep -q 10.9.0.2"), 0);
	CHECK_INT(sh(inside, "test $(nft list table bridge reberth_mesh | grep -c 10.20.0.1) = 4"),
		  0);
	CHECK_INT(sh(inside, "nft list table ip reberth_mesh | grep -q 'ip daddr 10.9.0.53 udp "
			     "dport 53 dnat to 10.20.0.2:7482'"),
		  0);
	CHECK(rb_mesh_rules_set(bad, peers, 7481, resolvers, &err) < 0);
	sh(inside, "nft delete table bridge reberth_mesh");
	CHECK_INT(rb_mesh_rules_there(&err), 0);
	CHECK_INT(rb_mesh_rules_set(none, peers, 7481, resolvers, &err), 0);
	CHECK_INT(sh(inside, "test -z \"$(nft list ruleset)\""), 0);
}

int main(void)
{
	TAP_RUN(made_and_kept);
	TAP_RUN(peers_come_and_go);
	TAP_RUN(addresses_and_routes);
	TAP_RUN(filters);
	return tap_done();
}
