// SPDX-License-Identifier: Apache-2.0
/* netlink.c - ask the kernel for devices and neighbours */
#include "netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "cleanup.h"

struct mnl_socket *rb_netlink_open(int bus)
{
	struct mnl_socket *nl = mnl_socket_open2(bus, SOCK_CLOEXEC);

	if (nl && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		mnl_socket_close(nl);
		nl = NULL;
	}
	return nl;
}

int rb_netlink_ask(struct mnl_socket *nl, const struct nlmsghdr *request, mnl_cb_t each, void *arg)
{
	char buffer[NETLINK_BYTES];
	int r;

	if (mnl_socket_sendto(nl, request, request->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t n = mnl_socket_recvfrom(nl, buffer, sizeof(buffer));

		r = n < 0 ? -1
			  : mnl_cb_run(buffer, (size_t)n, request->nlmsg_seq,
				       mnl_socket_get_portid(nl), each, arg);
	} while (r == MNL_CB_OK);
	return r < 0 ? -errno : 0;
}

void rb_netlink_close(struct mnl_socket **nl)
{
	if (*nl)
		mnl_socket_close(*nl);
}

int rb_netlink_once(const struct nlmsghdr *request, mnl_cb_t each, void *arg)
{
	_cleanup_(rb_netlink_close) struct mnl_socket *nl = rb_netlink_open(NETLINK_ROUTE);

	return nl ? rb_netlink_ask(nl, request, each, arg) : -errno;
}

struct nlmsghdr *rb_netlink_request(void *buffer, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	request->nlmsg_seq = 1;
	return request;
}
