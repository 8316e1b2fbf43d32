// SPDX-License-Identifier: Apache-2.0
/*
 * readdress.c - a container that gets other addresses than those its sockets know
 *
 * CRIU restores a connection as it was, and for that the kernel wants its address to be local and
 * its peer to have a route. (CRIU's --tcp-close does without, but ends connections over loopback,
 * too, and does not restore connected UDP sockets, which are bound to the address as well.) So the
 * old addresses are lent for as long as nothing can be heard or said, the connections from them are
 * reset, and they are taken away again.
 *
 * connect(2) to AF_UNSPEC is how a TCP socket is reset from outside: it works on any kernel, in any
 * state, and lets the program read ECONNRESET once it runs. In repair mode it would be
 * ECONNABORTED; so that ends first, without the window probe.
 */
#include "readdress.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "err.h"
#include "fds.h"
#include "net.h"
#include "netlink.h"
#include "sockets.h"

#define REQUEST_BYTES	  256
#define ROUTE_LAST_RESORT 0xfffffffe /* metric */

struct change {
	const json_t *addresses;
	bool lend;
};

static int send_change(struct mnl_socket *nl, struct nlmsghdr *request, bool lend)
{
	int r;

	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	if (lend)
		request->nlmsg_flags |= NLM_F_CREATE | NLM_F_REPLACE;
	request->nlmsg_seq = 1;
	r = rb_netlink_ask(nl, request, NULL, NULL);
	/* there already, or gone already */
	if (r == -EEXIST || (!lend && (r == -EADDRNOTAVAIL || r == -ESRCH || r == -ENODEV)))
		r = 0;
	return r;
}

static int change_address(struct mnl_socket *nl, const struct rb_ip *ip, bool lend)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	size_t len = ip->family == AF_INET ? 4 : 16;
	struct ifaddrmsg *address;

	request->nlmsg_type = lend ? RTM_NEWADDR : RTM_DELADDR;
	address = mnl_nlmsg_put_extra_header(request, sizeof(*address));
	address->ifa_family = (uint8_t)ip->family;
	address->ifa_prefixlen = (uint8_t)(8 * len);
	address->ifa_flags = ip->family == AF_INET6 ? IFA_F_NODAD : 0;
	address->ifa_scope = RT_SCOPE_UNIVERSE;
	address->ifa_index = if_nametoindex("lo");
	mnl_attr_put(request, IFA_LOCAL, len, ip->bytes);
	mnl_attr_put(request, IFA_ADDRESS, len, ip->bytes);
	return send_change(nl, request, lend);
}

/* So that each peer has a route: of last resort, the real ones come first. */
static int change_route(struct mnl_socket *nl, int family, bool lend)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct rtmsg *route;

	request->nlmsg_type = lend ? RTM_NEWROUTE : RTM_DELROUTE;
	route = mnl_nlmsg_put_extra_header(request, sizeof(*route));
	route->rtm_family = (uint8_t)family;
	route->rtm_table = RT_TABLE_MAIN;
	route->rtm_protocol = RTPROT_STATIC;
	route->rtm_scope = family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	route->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(request, RTA_OIF, if_nametoindex("lo"));
	mnl_attr_put_u32(request, RTA_PRIORITY, ROUTE_LAST_RESORT);
	return send_change(nl, request, lend);
}

/* in the thread that is inside */
static int change_inside(void *arg, struct rb_err *err)
{
	const struct change *change = arg;
	struct mnl_socket *nl = rb_netlink_open(NETLINK_ROUTE);
	const json_t *value;
	struct rb_ip ip;
	size_t i;
	int r = 0;

	if (!nl)
		return rb_err_set(err, -errno, "open a netlink socket");
	json_array_foreach (change->addresses, i, value) {
		const char *text = json_string_value(value);

		if (r < 0 || !text || !rb_ip_parse(text, &ip))
			continue;
		/* the new address may be the old one: other networks, the same numbers */
		if (!change->lend || !rb_host_has_ip(&ip))
			r = change_address(nl, &ip, change->lend);
		if (r >= 0)
			r = change_route(nl, ip.family, change->lend);
		if (r < 0)
			rb_err_set(err, r, "%s the old address %s",
				   change->lend ? "lend" : "take back", text);
	}
	mnl_socket_close(nl);
	return r;
}

int rb_addresses_lend(int netns_fd, const json_t *addresses, struct rb_err *err)
{
	struct change change = { addresses, true };

	return json_array_size(addresses) ? rb_netns_run(netns_fd, change_inside, &change, err) : 0;
}

int rb_addresses_return(int netns_fd, const json_t *addresses, struct rb_err *err)
{
	struct change change = { addresses, false };

	return json_array_size(addresses) ? rb_netns_run(netns_fd, change_inside, &change, err) : 0;
}

/* a TCP connection, or one in the making, from one of @addresses? */
static bool is_from(int fd, const json_t *addresses)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} local = {};
	socklen_t len = sizeof(local);
	struct tcp_info info = {};
	struct rb_ip ip = {}, other;
	const json_t *value;
	size_t i;

	if (!rb_is_tcp(fd) || getsockname(fd, &local.any, &len) < 0)
		return false;
	len = sizeof(info);
	if (getsockopt(fd, SOL_TCP, TCP_INFO, &info, &len) < 0 || info.tcpi_state == TCP_LISTEN ||
	    info.tcpi_state == TCP_CLOSE)
		return false;
	ip.family = local.any.sa_family;
	if (ip.family == AF_INET)
		memcpy(ip.bytes, &local.v4.sin_addr, 4);
	else
		memcpy(ip.bytes, &local.v6.sin6_addr, 16);
	rb_ip_unmap(&ip);
	json_array_foreach (addresses, i, value)
		if (rb_ip_parse(json_string_value(value), &other) && rb_ip_equal(&ip, &other))
			return true;
	return false;
}

static int reset_one(int fd, int number, void *arg, struct rb_err *err)
{
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	int off = TCP_REPAIR_OFF_NO_WP;

	if (!is_from(fd, arg))
		return 0;
	if (setsockopt(fd, SOL_TCP, TCP_REPAIR, &off, sizeof(off)) < 0 ||
	    connect(fd, &nobody, sizeof(nobody)) < 0)
		return rb_err_set(err, -errno, "reset the connection of socket %d", number);
	return 1;
}

int rb_tcp_reset(int pid, const json_t *addresses, struct rb_err *err)
{
	return rb_each_socket(pid, reset_one, (void *)addresses, err);
}

static int farewell_one(int fd, int number, void *arg, struct rb_err *err)
{
	const struct linger at_once = { .l_onoff = 1 };

	if (!is_from(fd, arg))
		return 0;
	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) < 0)
		return rb_err_set(err, -errno, "have socket %d end with a RST", number);
	return 1;
}

int rb_tcp_farewell(int pid, const json_t *addresses, struct rb_err *err)
{
	return rb_each_socket(pid, farewell_one, (void *)addresses, err);
}
