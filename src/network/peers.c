// SPDX-License-Identifier: Apache-2.0
/*
 * peers.c - ask the agents of other nodes
 */
#include "peers.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "ipam.h"
#include "json.h"
#include "node.h"
#include "wait.h"

#define IPAM_ASK_MS 3000

static void free_conn(struct rb_conn **conn)
{
	rb_conn_free(*conn);
}

static int not_known(const struct rb_node *node, const char *peer, struct rb_err *err)
{
	return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
			   "node '%s' is not in the configuration of node '%s'", peer, node->name);
}

int rb_network_ask(const struct rb_node *node, const char *peer, const json_t *request,
		   int64_t timeout_ms, json_t **ret, struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, timeout_ms);
	const char *address = rb_json_str(node->peers, peer, NULL);
	_cleanup_(free_conn) struct rb_conn *conn = NULL;
	int r;

	if (!address)
		return not_known(node, peer, err);
	r = rb_conn_connect(node->tls, address, peer, &wait, &conn, err);
	if (r >= 0)
		r = rb_conn_call(conn, "network", request, &wait, err);
	if (r < 0) {
		if (err && err->code == RB_E_TIMEOUT)
			rb_err_code(err, RB_E_PEER, r, "node '%s' cannot be reached at %s", peer,
				    address);
		return r;
	}
	return rb_conn_reply(conn, ret, &wait, err);
}

int rb_peer_address(const struct rb_node *node, const char *peer, struct sockaddr_storage *ret,
		    struct rb_err *err)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				  .ai_socktype = SOCK_STREAM };
	const char *text = rb_json_str(node->peers, peer, NULL), *colon;
	struct addrinfo *found = NULL;
	char host[128];

	if (!text)
		return not_known(node, peer, err);
	colon = strrchr(text, ':');
	snprintf(host, sizeof(host), "%.*s", colon ? (int)(colon - text) : 0, text);
	if (host[0] == '[') {
		memmove(host, host + 1, strlen(host));
		host[strcspn(host, "]")] = '\0';
	}
	if (getaddrinfo(host, "0", &hints, &found) != 0)
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "'%s' is not an address of node '%s'",
				   text, peer);
	*ret = (struct sockaddr_storage){};
	memcpy(ret, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return 0;
}

static int ask_for_ipam(void *arg, const char *peer, const json_t *request, json_t **ret,
			struct rb_err *err)
{
	return rb_network_ask(arg, peer, request, IPAM_ASK_MS, ret, err);
}

struct rb_ipam rb_ipam_of(const struct rb_node *node)
{
	return (struct rb_ipam){ .journal = node->journal,
				 .node = node->name,
				 .ask = ask_for_ipam,
				 .arg = (void *)node };
}
