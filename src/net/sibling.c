// SPDX-License-Identifier: Apache-2.0
/*
 * sibling.c - the way into a macvlan: a sibling
 *
 * A macvlan has no other end on the host, and what is sent to its parent goes out. But in mode
 * `bridge` a frame from one macvlan to the hardware address of another on the same parent is
 * received by the parent as if it had come in (drivers/net/macvlan.c: macvlan_queue_xmit()). Frames
 * for many would go out, too: those are not to be sent here as they are.
 *
 * Ours is in a network namespace that has nothing else in it, and that nothing keeps but the packet
 * socket: no name on the host is taken, nothing of it speaks, and nothing of it outlives the
 * process, however that ends.
 */
#include "sibling.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "net.h"
#include "netlink.h"

#define NAME	      "sibling0"
#define REQUEST_BYTES 512

/* @outside: a netlink socket of the parent's namespace */
static int make_macvlan(struct mnl_socket *outside, int parent, int netns_fd)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct nlattr *info, *data;
	struct ifinfomsg *link;

	request->nlmsg_type = RTM_NEWLINK;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
	link = mnl_nlmsg_put_extra_header(request, sizeof(*link));
	link->ifi_family = AF_UNSPEC;
	mnl_attr_put_u32(request, IFLA_LINK, (uint32_t)parent);
	mnl_attr_put_strz(request, IFLA_IFNAME, NAME);
	mnl_attr_put_u32(request, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	info = mnl_attr_nest_start(request, IFLA_LINKINFO);
	mnl_attr_put_str(request, IFLA_INFO_KIND, "macvlan");
	data = mnl_attr_nest_start(request, IFLA_INFO_DATA);
	mnl_attr_put_u32(request, IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE);
	mnl_attr_nest_end(request, data);
	mnl_attr_nest_end(request, info);
	return rb_netlink_ask(outside, request, NULL, NULL);
}

static int set_up(unsigned int index)
{
	char buffer[REQUEST_BYTES];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct mnl_socket *nl = rb_netlink_open(NETLINK_ROUTE);
	struct ifinfomsg *link;
	int r;

	if (!nl)
		return -errno;
	request->nlmsg_type = RTM_SETLINK;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	link = mnl_nlmsg_put_extra_header(request, sizeof(*link));
	link->ifi_family = AF_UNSPEC;
	link->ifi_index = (int)index;
	link->ifi_flags = link->ifi_change = IFF_UP;
	r = rb_netlink_ask(nl, request, NULL, NULL);
	mnl_socket_close(nl);
	return r;
}

static int enter_new_netns(struct rb_err *err)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return rb_err_set(err, -errno, "make a network namespace");
	/* absent: a kernel without IPv6, which says nothing either */
	rb_write_knob("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1", NULL);
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? rb_err_set(err, -errno, "open a network namespace") : fd;
}

/* in a thread, which stays in the new namespace */
static int open_sibling(void *arg, struct rb_err *err)
{
	struct sockaddr_ll here = { .sll_family = AF_PACKET };
	struct mnl_socket *outside = rb_netlink_open(NETLINK_ROUTE);
	_cleanup_close_ int netns = -EBADF, fd = -EBADF;
	int r = outside ? 0 : -errno;

	if (r == 0)
		r = netns = enter_new_netns(err);
	if (r >= 0)
		r = make_macvlan(outside, *(const int *)arg, netns);
	if (outside)
		mnl_socket_close(outside);
	here.sll_ifindex = (int)if_nametoindex(NAME);
	if (r >= 0)
		r = set_up((unsigned int)here.sll_ifindex);
	if (r >= 0) {
		fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
		/* for getsockname(): it receives nothing */
		r = fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0 ? -errno : 0;
	}
	return r < 0 ? rb_err_set(err, r, "make a macvlan") : TAKE_FD(fd);
}

int rb_sibling_open(int parent, int *ret_index, struct rb_err *err)
{
	_cleanup_close_ int fd = rb_netns_run(RB_NETNS_OWN, open_sibling, &parent, err);
	struct sockaddr_ll here = {};
	socklen_t len = sizeof(here);

	if (fd < 0)
		return fd;
	if (getsockname(fd, (struct sockaddr *)&here, &len) < 0)
		return rb_err_set(err, -errno, "examine a packet socket");
	*ret_index = here.sll_ifindex;
	return TAKE_FD(fd);
}
