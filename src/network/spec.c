// SPDX-License-Identifier: Apache-2.0
/*
 * spec.c - the description of a network that all its nodes have
 */
#include "spec.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "json.h"

#define ID_LEN	     16
#define NET_NAME_MAX 63
#define MTU_MAX	     65535
#define VNI_MAX	     0xffffff
#define NODES_MAX    256

static const char name_characters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_-";

struct rb_subnet rb_net_subnet(const json_t *spec)
{
	struct rb_subnet subnet = {};

	rb_subnet_parse(rb_json_str(spec, "subnet", ""), &subnet, NULL);
	return subnet;
}

uint32_t rb_net_gateway(const json_t *spec)
{
	struct rb_subnet subnet = rb_net_subnet(spec);
	uint32_t gateway;

	if (rb_address_parse(rb_json_str(spec, "gateway", ""), &gateway) < 0)
		gateway = rb_subnet_gateway(&subnet);
	return gateway;
}

bool rb_net_usable(const json_t *spec, uint32_t address)
{
	struct rb_subnet subnet = rb_net_subnet(spec);

	return rb_subnet_has(&subnet, address) && rb_subnet_usable(&subnet, address) &&
	       address != rb_net_gateway(spec);
}

bool rb_net_is(const json_t *spec, const char *driver)
{
	return strcmp(rb_json_str(spec, "driver", ""), driver) == 0;
}

bool rb_net_has_node(const json_t *spec, const char *node)
{
	const json_t *name;
	size_t i;

	json_array_foreach (json_object_get(spec, "nodes"), i, name)
		if (strcmp(json_string_value(name), node) == 0)
			return true;
	return false;
}

const char *rb_net_bridge(char ret[RB_DEVICE_NAME], const json_t *spec)
{
	snprintf(ret, RB_DEVICE_NAME, "rb-%.8s", rb_json_str(spec, "id", ""));
	return ret;
}

const char *rb_net_vxlan(char ret[RB_DEVICE_NAME], const json_t *spec)
{
	snprintf(ret, RB_DEVICE_NAME, "rbx-%.8s", rb_json_str(spec, "id", ""));
	return ret;
}

static int check_name(const char *name, struct rb_err *err)
{
	size_t len = strlen(name);

	if (len == 0 || len > NET_NAME_MAX || strspn(name, name_characters) != len ||
	    *name == '-' || *name == '_')
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "'%.70s' cannot be a network's name: up to %d letters, digits, "
				   "'-' and '_', the first one no sign",
				   name, NET_NAME_MAX);
	return 0;
}

static int check_nodes(const json_t *nodes, struct rb_err *err)
{
	const json_t *node;
	size_t i;

	if (json_array_size(nodes) == 0 || json_array_size(nodes) > NODES_MAX)
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "a network has 1 to %d nodes",
				   NODES_MAX);
	json_array_foreach (nodes, i, node)
		if (!json_is_string(node) || json_string_length(node) == 0 ||
		    json_string_length(node) > NET_NAME_MAX)
			return rb_err_code(err, RB_E_USAGE, -EINVAL,
					   "a network's nodes are names of nodes");
	return 0;
}

static int check_driver(const json_t *spec, struct rb_err *err)
{
	const char *driver = rb_json_str(spec, "driver", "");
	const char *parent = rb_json_str(spec, "parent", "");
	int64_t vni = rb_json_int(spec, "vni", 0);

	if (strcmp(driver, "vxlan") == 0 && vni > 0 && vni <= VNI_MAX)
		return 0;
	if (strcmp(driver, "macvlan") == 0 && *parent && strlen(parent) < IFNAMSIZ &&
	    !strchr(parent, '/'))
		return 0;
	return rb_err_code(err, RB_E_USAGE, -EINVAL,
			   "the driver has to be vxlan, or macvlan with a parent interface");
}

int rb_net_check(const json_t *spec, struct rb_err *err)
{
	const char *id = rb_json_str(spec, "id", "");
	int64_t mtu = rb_json_int(spec, "mtu", 0);
	struct rb_subnet subnet;
	int r;

	if (strlen(id) != ID_LEN || strspn(id, "0123456789abcdef") != ID_LEN)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "'%.40s' is not a network's id",
				   id);
	r = check_name(rb_json_str(spec, "name", ""), err);
	if (r >= 0)
		r = rb_subnet_parse(rb_json_str(spec, "subnet", ""), &subnet, err);
	if (r >= 0)
		r = check_nodes(json_object_get(spec, "nodes"), err);
	if (r >= 0)
		r = check_driver(spec, err);
	if (r < 0)
		return r;
	if (!rb_subnet_has(&subnet, rb_net_gateway(spec)))
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "gateway %s is not in subnet %s",
				   rb_json_str(spec, "gateway", "?"),
				   rb_json_str(spec, "subnet", "?"));
	if (mtu < 576 || mtu > MTU_MAX)
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "%lld is not an MTU for a network",
				   (long long)mtu);
	return 0;
}
