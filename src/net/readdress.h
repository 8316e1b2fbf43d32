/* SPDX-License-Identifier: Apache-2.0 */
/*
 * readdress.h - a container that gets other addresses than those its sockets know
 *
 * Lists of addresses are JSON arrays of texts.
 */
#pragma once

#include <jansson.h>

struct rb_err;

/**
 * rb_addresses_lend - have the old addresses in a network namespace while sockets are restored
 *
 * On lo, with a route of last resort for each family, so that a socket can be bound to them and
 * connected from them wherever its peer is. Only behind the silence: the kernel would answer ARP
 * for them. Those that the namespace has anyway are left alone. Idempotent.
 */
int rb_addresses_lend(int netns_fd, const json_t *addresses, struct rb_err *err);

/** rb_addresses_return - undo it; absent is fine */
int rb_addresses_return(int netns_fd, const json_t *addresses, struct rb_err *err);

/**
 * rb_tcp_reset - reset the TCP connections of a process from any of these addresses
 *
 * As if the peer had: the program reads ECONNRESET. Listening sockets and connections from other
 * addresses (127.0.0.1) stay. What goes out to the peer is for a silence to keep back.
 *
 * Return: their number or negative errno.
 */
int rb_tcp_reset(int pid, const json_t *addresses, struct rb_err *err);

/**
 * rb_tcp_farewell - have the TCP connections of a (frozen) process from any of these addresses end
 * with a RST for the peer when the process dies
 *
 * Return: their number or negative errno.
 */
int rb_tcp_farewell(int pid, const json_t *addresses, struct rb_err *err);
