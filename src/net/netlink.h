/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netlink.h - private to net/: speak with the kernel: devices and neighbours (rtnetlink(7)),
 * nftables
 */
#pragma once

#include <libmnl/libmnl.h>

#define NETLINK_BYTES 32768 /* the most that a part of a dump has */

/** rb_netlink_open - in the namespace that we are in; NULL with errno. For mnl_socket_close().
 * @bus: NETLINK_ROUTE, NETLINK_NETFILTER */
struct mnl_socket *rb_netlink_open(int bus);

/** rb_netlink_close - for _cleanup_(); *@nl may be NULL */
void rb_netlink_close(struct mnl_socket **nl);

/**
 * rb_netlink_ask - send a request, and hand the answers to @each until they end
 * @request: with NLM_F_DUMP or NLM_F_ACK, or the end would not be seen
 * @each: or NULL
 *
 * Return: 0, or a negative errno as the kernel gave it; -EINTR when what was listed changed
 * meanwhile.
 */
int rb_netlink_ask(struct mnl_socket *nl, const struct nlmsghdr *request, mnl_cb_t each, void *arg);

/** rb_netlink_request - begin a request that is acknowledged, in a buffer of the caller's */
struct nlmsghdr *rb_netlink_request(void *buffer, uint16_t type, uint16_t flags);

/** rb_netlink_once - the same as rb_netlink_ask(), with a socket for this one request */
int rb_netlink_once(const struct nlmsghdr *request, mnl_cb_t each, void *arg);
