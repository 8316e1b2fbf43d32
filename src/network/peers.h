/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.h - ask the agents of other nodes: one request, one answer, one connection
 */
#pragma once

#include <jansson.h>
#include <sys/socket.h>

struct rb_err;
struct rb_node;

/** rb_network_ask - request {"op", ...} to a node, answer in @ret (may be NULL). Return: 0 or
 * negative errno; what the peer reports has its name in front. */
int rb_network_ask(const struct rb_node *node, const char *peer, const json_t *request,
		   int64_t timeout_ms, json_t **ret, struct rb_err *err);

/** rb_peer_address - a node's address, as the configuration says. Return: 0, -ENOENT: not in it */
int rb_peer_address(const struct rb_node *node, const char *peer, struct sockaddr_storage *ret,
		    struct rb_err *err);
