// SPDX-License-Identifier: Apache-2.0
/*
 * links.c - devices, addresses and routes of the namespace that the caller is in (rtnetlink(7))
 */
#include "links.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "json.h"
#include "netlink.h"

#define REQUEST_BYTES 1024

/* --- devices --- */

static void read_vxlan(const struct nlattr *data, struct rb_link *link)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&link->local;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&link->local;
	const struct nlattr *attr;

	mnl_attr_for_each_nested (attr, data)
		switch (mnl_attr_get_type(attr)) {
		case IFLA_VXLAN_ID:
			link->vni = mnl_attr_get_u32(attr);
			break;
		case IFLA_VXLAN_PORT:
			link->port = ntohs(mnl_attr_get_u16(attr));
			break;
		case IFLA_VXLAN_LOCAL:
			in->sin_family = AF_INET;
			memcpy(&in->sin_addr, mnl_attr_get_payload(attr), 4);
			break;
		case IFLA_VXLAN_LOCAL6:
			in6->sin6_family = AF_INET6;
			memcpy(&in6->sin6_addr, mnl_attr_get_payload(attr), 16);
			break;
		}
}

static void read_link(const struct nlmsghdr *message, struct rb_link *link)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	const struct nlattr *attr, *nested, *data = NULL;

	*link = (struct rb_link){ .index = info->ifi_index, .up = info->ifi_flags & IFF_UP };
	mnl_attr_for_each (attr, message, sizeof(*info))
		switch (mnl_attr_get_type(attr)) {
		case IFLA_MTU:
			link->mtu = mnl_attr_get_u32(attr);
			break;
		case IFLA_MASTER:
			link->master = (int)mnl_attr_get_u32(attr);
			break;
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(attr) == 6)
				memcpy(link->mac, mnl_attr_get_payload(attr), 6);
			break;
		case IFLA_LINKINFO:
			mnl_attr_for_each_nested (nested, attr) {
				if (mnl_attr_get_type(nested) == IFLA_INFO_KIND)
					snprintf(link->kind, sizeof(link->kind), "%s",
						 mnl_attr_get_str(nested));
				else if (mnl_attr_get_type(nested) == IFLA_INFO_DATA)
					data = nested;
			}
			break;
		}
	if (data && strcmp(link->kind, "vxlan") == 0)
		read_vxlan(data, link);
}

static int take_link(const struct nlmsghdr *message, void *arg)
{
	read_link(message, arg);
	return MNL_CB_OK;
}

int rb_link_get(const char *name, struct rb_link *ret, struct rb_err *err)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = rb_netlink_request(buffer, RTM_GETLINK, 0);
	struct rb_link link = {};
	int r;

	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(request, IFLA_IFNAME, name);
	r = rb_netlink_once(request, take_link, &link);
	if (r < 0)
		return rb_err_set(err, r, "look at device '%s'", name);
	*ret = link;
	return 0;
}

int rb_link_delete(const char *name, struct rb_err *err)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = rb_netlink_request(buffer, RTM_DELLINK, 0);
	int r;

	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(request, IFLA_IFNAME, name);
	r = rb_netlink_once(request, NULL, NULL);
	return r < 0 && r != -ENODEV ? rb_err_set(err, r, "remove device '%s'", name) : 0;
}

int rb_link_set_mac(const char *name, const uint8_t mac[6], struct rb_err *err)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = rb_netlink_request(buffer, RTM_NEWLINK, 0);
	int r;

	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(request, IFLA_IFNAME, name);
	mnl_attr_put(request, IFLA_ADDRESS, 6, mac);
	r = rb_netlink_once(request, NULL, NULL);
	return r < 0 ? rb_err_set(err, r, "set the hardware address of '%s'", name) : 0;
}

/* --- VXLAN --- */

static bool same_address(const struct sockaddr_storage *one, const struct sockaddr_storage *other)
{
	if (one->ss_family != other->ss_family)
		return false;
	if (one->ss_family == AF_INET)
		return ((const struct sockaddr_in *)one)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)other)->sin_addr.s_addr;
	return memcmp(&((const struct sockaddr_in6 *)one)->sin6_addr,
		      &((const struct sockaddr_in6 *)other)->sin6_addr, 16) == 0;
}

static void put_address(struct nlmsghdr *request, uint16_t type4, uint16_t type6,
			const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		mnl_attr_put(request, type4, 4, &((const struct sockaddr_in *)address)->sin_addr);
	else
		mnl_attr_put(request, type6, 16,
			     &((const struct sockaddr_in6 *)address)->sin6_addr);
}

static int create_vxlan(const struct rb_vxlan *vxlan)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request =
		rb_netlink_request(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct nlattr *info, *data;

	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(request, IFLA_IFNAME, vxlan->name);
	mnl_attr_put_u32(request, IFLA_MTU, vxlan->mtu);
	info = mnl_attr_nest_start(request, IFLA_LINKINFO);
	mnl_attr_put_strz(request, IFLA_INFO_KIND, "vxlan");
	data = mnl_attr_nest_start(request, IFLA_INFO_DATA);
	mnl_attr_put_u32(request, IFLA_VXLAN_ID, vxlan->vni);
	mnl_attr_put_u16(request, IFLA_VXLAN_PORT, htons(vxlan->port));
	mnl_attr_put_u8(request, IFLA_VXLAN_LEARNING, 1);
	/* the packets inside have checksums of their own, and VXLAN says that zero is usual (RFC
	 * 7348, section 5); over IPv6 there has to be one */
	mnl_attr_put_u8(request, IFLA_VXLAN_UDP_CSUM, 0);
	put_address(request, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6, &vxlan->local);
	mnl_attr_nest_end(request, data);
	mnl_attr_nest_end(request, info);
	return rb_netlink_once(request, NULL, NULL);
}

static int plug_in(const struct rb_vxlan *vxlan, int bridge)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = rb_netlink_request(buffer, RTM_NEWLINK, 0);
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(request, sizeof(*info));

	info->ifi_flags = IFF_UP;
	info->ifi_change = IFF_UP;
	mnl_attr_put_strz(request, IFLA_IFNAME, vxlan->name);
	mnl_attr_put_u32(request, IFLA_MTU, vxlan->mtu);
	mnl_attr_put_u32(request, IFLA_MASTER, (uint32_t)bridge);
	return rb_netlink_once(request, NULL, NULL);
}

int rb_vxlan_ensure(const struct rb_vxlan *vxlan, struct rb_err *err)
{
	struct rb_link link = {}, bridge;
	int r = rb_link_get(vxlan->bridge, &bridge, err), made = 0;

	if (r < 0)
		return r;
	r = rb_link_get(vxlan->name, &link, err);
	if (r >= 0 && (strcmp(link.kind, "vxlan") != 0 || link.vni != vxlan->vni ||
		       link.port != vxlan->port || !same_address(&link.local, &vxlan->local))) {
		r = rb_link_delete(vxlan->name, err);
		if (r < 0)
			return r;
		r = -ENODEV;
	}
	if (r < 0 && r != -ENODEV)
		return r;
	rb_err_clear(err);
	if (r == -ENODEV) {
		r = create_vxlan(vxlan);
		if (r < 0)
			return rb_err_set(err, r, "make VXLAN device '%s'", vxlan->name);
		made = 1;
		link = (struct rb_link){};
	}
	if (link.up && link.master == bridge.index && link.mtu == vxlan->mtu)
		return made;
	r = plug_in(vxlan, bridge.index);
	return r < 0 ? rb_err_set(err, r, "put '%s' into bridge '%s'", vxlan->name, vxlan->bridge)
		     : 1;
}

static int look_for_vni(const struct nlmsghdr *message, void *arg)
{
	struct rb_link link;
	uint32_t *vni = arg;

	read_link(message, &link);
	if (strcmp(link.kind, "vxlan") == 0 && link.vni == *vni)
		*vni = UINT32_MAX;
	return MNL_CB_OK;
}

int rb_vxlan_vni_used(uint32_t vni, struct rb_err *err)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = rb_netlink_request(buffer, RTM_GETLINK, NLM_F_DUMP);
	int r;

	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	r = rb_netlink_once(request, look_for_vni, &vni);
	return r < 0 ? rb_err_set(err, r, "list devices") : vni == UINT32_MAX;
}

/* --- where a VXLAN device floods to --- */

#define PEERS_MAX 256

struct peers {
	int index;
	struct sockaddr_storage found[PEERS_MAX];
	size_t n;
};

static int take_peer(const struct nlmsghdr *message, void *arg)
{
	const struct ndmsg *entry = mnl_nlmsg_get_payload(message);
	static const uint8_t zero[6];
	struct sockaddr_storage address = {};
	struct peers *peers = arg;
	const struct nlattr *attr;
	bool for_many = false;

	if (entry->ndm_ifindex != peers->index || entry->ndm_family != AF_BRIDGE)
		return MNL_CB_OK;
	mnl_attr_for_each (attr, message, sizeof(*entry)) {
		const void *data = mnl_attr_get_payload(attr);
		uint16_t len = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == NDA_LLADDR)
			for_many = len == 6 && memcmp(data, zero, 6) == 0;
		if (mnl_attr_get_type(attr) == NDA_DST && len == 4) {
			address.ss_family = AF_INET;
			memcpy(&((struct sockaddr_in *)&address)->sin_addr, data, 4);
		}
		if (mnl_attr_get_type(attr) == NDA_DST && len == 16) {
			address.ss_family = AF_INET6;
			memcpy(&((struct sockaddr_in6 *)&address)->sin6_addr, data, 16);
		}
	}
	if (for_many && address.ss_family != AF_UNSPEC && peers->n < PEERS_MAX)
		peers->found[peers->n++] = address;
	return MNL_CB_OK;
}

static int change_peer(int index, const struct sockaddr_storage *peer, bool add)
{
	static const uint8_t zero[6];
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = rb_netlink_request(buffer, add ? RTM_NEWNEIGH : RTM_DELNEIGH,
						      add ? NLM_F_CREATE | NLM_F_APPEND : 0);
	struct ndmsg *entry = mnl_nlmsg_put_extra_header(request, sizeof(*entry));

	entry->ndm_family = AF_BRIDGE;
	entry->ndm_ifindex = index;
	entry->ndm_flags = NTF_SELF;
	entry->ndm_state = NUD_NOARP | NUD_PERMANENT;
	mnl_attr_put(request, NDA_LLADDR, 6, zero);
	put_address(request, NDA_DST, NDA_DST, peer);
	return rb_netlink_once(request, NULL, NULL);
}

static bool is_in(const struct sockaddr_storage *address, const struct sockaddr_storage *list,
		  size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (same_address(address, &list[i]))
			return true;
	return false;
}

int rb_vxlan_peers(const char *name, const struct sockaddr_storage *peers, size_t n,
		   struct rb_err *err)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = rb_netlink_request(buffer, RTM_GETNEIGH, NLM_F_DUMP);
	struct ndmsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	struct peers have = {};
	struct rb_link link;
	int r = rb_link_get(name, &link, err), changed = 0;

	if (r < 0)
		return r;
	header->ndm_family = AF_BRIDGE;
	header->ndm_ifindex = link.index;
	have.index = link.index;
	r = rb_netlink_once(request, take_peer, &have);
	for (size_t i = 0; r >= 0 && i < have.n; i++)
		if (!is_in(&have.found[i], peers, n)) {
			r = change_peer(link.index, &have.found[i], false);
			changed = 1;
		}
	for (size_t i = 0; r >= 0 && i < n; i++)
		if (!is_in(&peers[i], have.found, have.n)) {
			r = change_peer(link.index, &peers[i], true);
			changed = 1;
		}
	return r < 0 ? rb_err_set(err, r, "set the peers of '%s'", name) : changed;
}

/* --- addresses and routes --- */

int rb_link_add_address(const char *name, uint32_t address, unsigned int prefix, struct rb_err *err)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request =
		rb_netlink_request(buffer, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
	struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	int r;

	info->ifa_family = AF_INET;
	info->ifa_prefixlen = (uint8_t)prefix;
	info->ifa_index = if_nametoindex(name);
	if (!info->ifa_index)
		return rb_err_set(err, -errno, "look at device '%s'", name);
	mnl_attr_put_u32(request, IFA_LOCAL, htonl(address));
	mnl_attr_put_u32(request, IFA_ADDRESS, htonl(address));
	r = rb_netlink_once(request, NULL, NULL);
	return r < 0 && r != -EEXIST ? rb_err_set(err, r, "give '%s' an address", name) : 0;
}

int rb_link_of_address(const struct sockaddr_storage *address, char ret_name[16],
		       unsigned int *ret_mtu, struct rb_err *err)
{
	struct ifaddrs *all = NULL;
	struct rb_link link;
	int r = -EADDRNOTAVAIL;

	if (getifaddrs(&all) < 0)
		return rb_err_set(err, -errno, "list network addresses");
	for (const struct ifaddrs *at = all; at && r < 0; at = at->ifa_next)
		if (at->ifa_addr &&
		    (at->ifa_addr->sa_family == AF_INET || at->ifa_addr->sa_family == AF_INET6) &&
		    same_address((const struct sockaddr_storage *)(void *)at->ifa_addr, address)) {
			snprintf(ret_name, 16, "%.*s", (int)strcspn(at->ifa_name, ":"),
				 at->ifa_name);
			r = 0;
		}
	freeifaddrs(all);
	if (r < 0)
		return rb_err_set(err, r, "find the device with this node's address");
	r = rb_link_get(ret_name, &link, err);
	if (r >= 0)
		*ret_mtu = link.mtu;
	return r;
}

static int take_route(const struct nlmsghdr *message, void *arg)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	char address[INET_ADDRSTRLEN] = "", dev[IF_NAMESIZE] = "", to[32];
	const struct nlattr *attr;

	if (route->rtm_table != RT_TABLE_MAIN || route->rtm_dst_len == 0)
		return MNL_CB_OK;
	mnl_attr_for_each (attr, message, sizeof(*route)) {
		if (mnl_attr_get_type(attr) == RTA_DST)
			inet_ntop(AF_INET, mnl_attr_get_payload(attr), address, sizeof(address));
		if (mnl_attr_get_type(attr) == RTA_OIF)
			if_indextoname(mnl_attr_get_u32(attr), dev);
	}
	snprintf(to, sizeof(to), "%s/%u", address, route->rtm_dst_len);
	json_array_append_new(arg, json_pack("{s:s, s:s}", "to", to, "dev", dev));
	return MNL_CB_OK;
}

int rb_route_list(json_t **ret, struct rb_err *err)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = rb_netlink_request(buffer, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *route = mnl_nlmsg_put_extra_header(request, sizeof(*route));
	json_t *list = json_array();
	int r;

	route->rtm_family = AF_INET;
	r = rb_netlink_once(request, take_route, list);
	if (r < 0) {
		json_decref(list);
		return rb_err_set(err, r, "list routes");
	}
	*ret = list;
	return 0;
}
