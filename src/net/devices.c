// SPDX-License-Identifier: Apache-2.0
/* devices.c - a container's devices whose other side is on the host, by rtnetlink(7) */
#include "devices.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netinet/ether.h>
#include <string.h>
#include <sys/socket.h>

#include "err.h"
#include "net.h"
#include "netlink.h"

#define TRIES_MAX     8
#define REQUEST_BYTES 256

/* what of a device counts; the rest of struct rb_device is filled at once */
struct seen {
	bool veth, bridged, elsewhere;
};

static void see_info(const struct nlattr *info, struct seen *seen)
{
	const struct nlattr *attr, *data = NULL;
	bool macvlan = false;

	mnl_attr_for_each_nested (attr, info) {
		const char *kind = mnl_attr_get_payload(attr);
		size_t len = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == IFLA_INFO_KIND) {
			seen->veth = strncmp(kind, "veth", len) == 0;
			macvlan = strncmp(kind, "macvlan", len) == 0;
		} else if (mnl_attr_get_type(attr) == IFLA_INFO_DATA) {
			data = attr;
		}
	}
	if (!macvlan || !data)
		return;
	mnl_attr_for_each_nested (attr, data)
		if (mnl_attr_get_type(attr) == IFLA_MACVLAN_MODE)
			seen->bridged = mnl_attr_get_u32(attr) == MACVLAN_MODE_BRIDGE;
}

static void see_alias(const char *alias, struct rb_device *device)
{
	struct ether_addr address;

	if (strncmp(alias, RB_PARKED_ALIAS, strlen(RB_PARKED_ALIAS)) != 0 ||
	    !ether_aton_r(alias + strlen(RB_PARKED_ALIAS), &address))
		return;
	device->parked = true;
	memcpy(device->address, &address, ETH_ALEN);
}

static void see_attribute(const struct nlattr *attr, struct rb_device *device, struct seen *seen)
{
	switch (mnl_attr_get_type(attr)) {
	case IFLA_IFNAME:
		strncpy(device->name, mnl_attr_get_str(attr), IF_NAMESIZE - 1);
		break;
	case IFLA_LINK:
		device->peer = (int)mnl_attr_get_u32(attr);
		break;
	case IFLA_LINK_NETNSID:
		seen->elsewhere = true;
		break;
	case IFLA_ADDRESS:
		if (mnl_attr_get_payload_len(attr) == ETH_ALEN && !device->parked)
			memcpy(device->address, mnl_attr_get_payload(attr), ETH_ALEN);
		break;
	case IFLA_IFALIAS:
		see_alias(mnl_attr_get_str(attr), device);
		break;
	case IFLA_LINKINFO:
		see_info(attr, seen);
		break;
	default:
		break;
	}
}

static int add_device(const struct nlmsghdr *message, void *arg)
{
	const struct ifinfomsg *link = mnl_nlmsg_get_payload(message);
	struct rb_device device = { .index = link->ifi_index };
	struct rb_devices *devices = arg;
	const struct nlattr *attr;
	struct seen seen = {};

	mnl_attr_for_each (attr, message, sizeof(*link))
		see_attribute(attr, &device, &seen);
	if (seen.bridged && seen.elsewhere)
		device.kind = RB_DEVICE_MACVLAN;
	else if (!seen.veth)
		return MNL_CB_OK;
	if (devices->n < RB_DEVICES_MAX)
		devices->list[devices->n++] = device;
	return MNL_CB_OK;
}

static int ask_once(int index, struct rb_devices *ret)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct mnl_socket *nl = rb_netlink_open(NETLINK_ROUTE);
	struct ifinfomsg *link;
	int r;

	if (!nl)
		return -errno;
	request->nlmsg_type = RTM_GETLINK;
	request->nlmsg_flags = NLM_F_REQUEST | (index ? NLM_F_ACK : NLM_F_DUMP);
	link = mnl_nlmsg_put_extra_header(request, sizeof(*link));
	link->ifi_family = AF_UNSPEC;
	link->ifi_index = index;
	r = rb_netlink_ask(nl, request, add_device, ret);
	mnl_socket_close(nl);
	return r;
}

int rb_devices_ask(int index, struct rb_devices *ret)
{
	int r = -EINTR;

	/* they may change while they are listed */
	for (int i = 0; r == -EINTR && i < TRIES_MAX; i++) {
		ret->n = 0;
		r = ask_once(index, ret);
	}
	return r;
}

bool rb_device_ends_here(const struct rb_device *device)
{
	struct rb_devices here = {};

	return rb_devices_ask(device->peer, &here) == 0 && here.n == 1 &&
	       here.list[0].index == device->peer && here.list[0].peer == device->index;
}

/* in the thread that is inside */
static int list_inside(void *arg, struct rb_err *err)
{
	int r = rb_devices_ask(0, arg);

	return r < 0 ? rb_err_set(err, r, "list a container's network devices") : 0;
}

int rb_devices_of(int netns_fd, struct rb_devices *ret, struct rb_err *err)
{
	return rb_netns_run(netns_fd, list_inside, ret, err);
}

int rb_cables_of(int netns_fd, json_t **ret, struct rb_err *err)
{
	struct rb_devices devices = {};
	int r = rb_devices_of(netns_fd, &devices, err);

	if (r < 0)
		return r;
	*ret = json_array();
	for (size_t i = 0; i < devices.n; i++)
		if (devices.list[i].kind == RB_DEVICE_MACVLAN ||
		    rb_device_ends_here(&devices.list[i]))
			json_array_append_new(*ret, json_integer(devices.list[i].index));
	return 0;
}
