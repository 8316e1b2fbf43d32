// SPDX-License-Identifier: Apache-2.0
/* flow.c - a connection of a container that goes by a host it has left */
#include "flow.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ether.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "net.h"
#include "nft.h"

static bool parse_end(const json_t *value, const char *ip_key, const char *port_key,
		      struct in_addr *ret_ip, uint16_t *ret_port)
{
	int64_t port = rb_json_int(value, port_key, -1);

	*ret_port = (uint16_t)port;
	return port > 0 && port <= UINT16_MAX &&
	       inet_pton(AF_INET, rb_json_str(value, ip_key, ""), ret_ip) == 1;
}

int rb_flow_parse(const json_t *value, struct rb_flow *ret, struct rb_err *err)
{
	const char *protocol = rb_json_str(value, "proto", "");
	struct rb_flow flow = { .protocol = strcmp(protocol, "udp") == 0 ? IPPROTO_UDP
									 : IPPROTO_TCP };
	struct ether_addr mac;

	flow.translated = json_object_get(value, "host") != NULL;
	if ((flow.protocol == IPPROTO_TCP && strcmp(protocol, "tcp") != 0) ||
	    !parse_end(value, "peer", "peer_port", &flow.peer, &flow.peer_port) ||
	    !parse_end(value, "ip", "port", &flow.ip, &flow.port) ||
	    (flow.translated &&
	     !parse_end(value, "host", "host_port", &flow.host, &flow.host_port)) ||
	    !ether_aton_r(rb_json_str(value, "mac", ""), &mac))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "that is no connection");
	rb_mac_text(flow.mac, &mac);
	*ret = flow;
	return 0;
}

json_t *rb_flow_json(const struct rb_flow *flow)
{
	char peer[INET_ADDRSTRLEN], host[INET_ADDRSTRLEN], ip[INET_ADDRSTRLEN];
	json_t *value;

	inet_ntop(AF_INET, &flow->peer, peer, sizeof(peer));
	inet_ntop(AF_INET, &flow->host, host, sizeof(host));
	inet_ntop(AF_INET, &flow->ip, ip, sizeof(ip));
	value = json_pack("{s:s, s:s, s:i, s:s, s:i, s:s}", "proto", rb_flow_protocol(flow), "peer",
			  peer, "peer_port", flow->peer_port, "ip", ip, "port", flow->port, "mac",
			  flow->mac);
	if (value && flow->translated) {
		json_object_set_new(value, "host", json_string(host));
		json_object_set_new(value, "host_port", json_integer(flow->host_port));
	}
	return value;
}

static const char *join(const struct in_addr *from, uint16_t from_port, const struct in_addr *to,
			uint16_t to_port, const char *glue, char *ret)
{
	char a[INET_ADDRSTRLEN], b[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, from, a, sizeof(a));
	inet_ntop(AF_INET, to, b, sizeof(b));
	snprintf(ret, RB_FLOW_KEY_SIZE, "%s%s%u%s%s%s%u", a, glue, from_port, glue, b, glue,
		 to_port);
	return ret;
}

const char *rb_flow_outer(const struct rb_flow *flow, const char *glue, char *ret)
{
	return join(&flow->peer, flow->peer_port, &flow->host, flow->host_port, glue, ret);
}

const char *rb_flow_inner(const struct rb_flow *flow, const char *glue, char *ret)
{
	return join(&flow->ip, flow->port, &flow->peer, flow->peer_port, glue, ret);
}

json_t *rb_flows_keep(const json_t *flows, const json_t *live,
		      const char *(*name)(const struct rb_flow *, const char *, char *))
{
	json_t *kept = json_array(), *value;
	char key[RB_FLOW_KEY_SIZE], full[RB_FLOW_KEY_SIZE + 8];
	struct rb_flow flow;
	size_t i;

	json_array_foreach ((json_t *)flows, i, value) {
		if (rb_flow_parse(value, &flow, NULL) < 0)
			continue;
		snprintf(full, sizeof(full), "%s %s", rb_flow_protocol(&flow),
			 name(&flow, ".", key));
		if (json_object_get(live, full))
			json_array_append(kept, value);
	}
	return kept;
}

struct question {
	const char *command;
	int fd;
};

static int ask(void *arg, struct rb_err *err)
{
	const struct question *question = arg;
	_cleanup_buf_ struct rb_buf text = {};
	int r = rb_nft_list_json(question->command, &text, err);

	return r < 0 || !text.len ? r : rb_write_all(question->fd, text.data, text.len);
}

/* {"elem":{"val":{"concat":[...]}, ...}} or {"concat":[...]}; in a map the first of two */
static const json_t *parts_of(const json_t *element)
{
	const json_t *key = json_is_array(element) ? json_array_get(element, 0) : element;
	const json_t *value = rb_json_path(key, "elem.val");

	return json_object_get(value ? value : key, "concat");
}

static void add_live(const json_t *object, const char *protocol, json_t *live)
{
	const json_t *elements = json_object_get(object, "elem"), *element;
	size_t i;

	json_array_foreach (elements, i, element) {
		const json_t *parts = parts_of(element);
		char key[RB_FLOW_KEY_SIZE + 8];

		snprintf(key, sizeof(key), "%s %s.%d.%s.%d", protocol,
			 json_string_value(json_array_get(parts, 0)) ?: "",
			 (int)json_integer_value(json_array_get(parts, 1)),
			 json_string_value(json_array_get(parts, 2)) ?: "",
			 (int)json_integer_value(json_array_get(parts, 3)));
		json_object_set_new(live, key, json_true());
	}
}

int rb_flows_live(const char *family, const char *table, const char *set, const char *protocol,
		  json_t *live, struct rb_err *err)
{
	_cleanup_close_ int fd = memfd_create("reberth-flows", MFD_CLOEXEC);
	_cleanup_json_ json_t *answer = NULL;
	const json_t *list, *item;
	char command[160];
	struct question question = { command, fd };
	size_t i;
	int r;

	snprintf(command, sizeof(command), "list %s %s %s %s",
		 strcmp(family, "bridge") == 0 ? "map" : "set", family, table, set);
	if (fd < 0)
		return rb_err_set(err, -errno, "make a file in memory");
	r = rb_netns_fork(RB_NETNS_OWN, ask, &question, err);
	if (r < 0)
		return r;
	answer = lseek(fd, 0, SEEK_SET) < 0 ? NULL : json_loadfd(fd, 0, NULL);
	list = json_object_get(answer, "nftables");
	json_array_foreach (list, i, item) {
		add_live(json_object_get(item, "set"), protocol, live);
		add_live(json_object_get(item, "map"), protocol, live);
	}
	return list ? 0 : rb_err_code(err, RB_E_INTERNAL, -EPROTO, "nftables: no list");
}
