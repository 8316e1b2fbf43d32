// SPDX-License-Identifier: Apache-2.0
/*
 * park.c - a macvlan is there, but nobody on the host reaches it by its address
 *
 * Macvlans in mode `bridge` on one parent hand frames to each other by hardware address, before the
 * parent and so past everything that could be filtered there (drivers/net/macvlan.c:
 * macvlan_queue_xmit()). So as soon as the device of an arriving container is up, its siblings on
 * the target would send to it, and no more to the container that still runs on the source; and as
 * long as the frozen one on the source is up, its siblings there do not reach the container in its
 * new place. No announcement changes that.
 *
 * Therefore the device that must not be reached gets another hardware address, at random. IP
 * addresses and routes stay. The true one stands in the device's alias, so that whoever comes after
 * a worker that was killed finds it in the kernel itself: rb_unpark() may be repeated, and the
 * device's end is the end of it all.
 *
 * What siblings on the target send in the short time between Docker's `up` and ours is passed on
 * (passon.c).
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <netinet/ether.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "devices.h"
#include "err.h"
#include "net.h"
#include "netlink.h"

#define REQUEST_BYTES 512

/* @alias and @address: or NULL to leave it as it is */
static int set_device(struct mnl_socket *nl, int index, const char *alias, const uint8_t *address)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *link;

	request->nlmsg_type = RTM_SETLINK;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	link = mnl_nlmsg_put_extra_header(request, sizeof(*link));
	link->ifi_family = AF_UNSPEC;
	link->ifi_index = index;
	if (alias)
		mnl_attr_put(request, IFLA_IFALIAS, strlen(alias), alias);
	if (address)
		mnl_attr_put(request, IFLA_ADDRESS, ETH_ALEN, address);
	return rb_netlink_ask(nl, request, NULL, NULL);
}

static int park_device(struct mnl_socket *nl, const struct rb_device *device)
{
	char alias[64], text[24];
	uint8_t address[ETH_ALEN];
	int r;

	if (device->parked)
		return 0;
	if (getrandom(address, sizeof(address), 0) != (ssize_t)sizeof(address))
		return -errno;
	address[0] =
		(uint8_t)((address[0] & 0xfc) | 0x02); /* administered locally, of one device */
	ether_ntoa_r((const struct ether_addr *)device->address, text);
	snprintf(alias, sizeof(alias), RB_PARKED_ALIAS "%s", text);
	/* first the note, then what it is about */
	r = set_device(nl, device->index, alias, NULL);
	return r < 0 ? r : set_device(nl, device->index, NULL, address);
}

static int unpark_device(struct mnl_socket *nl, const struct rb_device *device)
{
	int r;

	if (!device->parked)
		return 0;
	r = set_device(nl, device->index, NULL, device->address);
	return r < 0 ? r : set_device(nl, device->index, "", NULL);
}

/* Return: number of macvlans */
static int each(int (*fn)(struct mnl_socket *nl, const struct rb_device *device))
{
	struct rb_devices devices = {};
	struct mnl_socket *nl;
	int r = rb_devices_ask(0, &devices), n = 0;

	if (r < 0)
		return r;
	nl = rb_netlink_open(NETLINK_ROUTE);
	if (!nl)
		return -errno;
	for (size_t i = 0; i < devices.n; i++) {
		int one;

		if (devices.list[i].kind != RB_DEVICE_MACVLAN)
			continue;
		n++;
		one = fn(nl, &devices.list[i]);
		r = one < 0 ? one : r;
	}
	mnl_socket_close(nl);
	return r < 0 ? r : n;
}

static int park(void *arg, struct rb_err *err)
{
	int r = each(park_device);

	(void)arg;
	return r < 0 ? rb_err_set(err, r, "hide a macvlan from its siblings") : r;
}

static int unpark(void *arg, struct rb_err *err)
{
	int r = each(unpark_device);

	(void)arg;
	return r < 0 ? rb_err_set(err, r, "give a macvlan its hardware address") : r;
}

int rb_park(int netns_fd, struct rb_err *err)
{
	return rb_netns_run(netns_fd, park, NULL, err);
}

int rb_unpark(int netns_fd, struct rb_err *err)
{
	return rb_netns_run(netns_fd, unpark, NULL, err);
}
