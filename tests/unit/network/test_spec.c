// SPDX-License-Identifier: Apache-2.0
/*
 * test_spec.c - descriptions of networks, as a peer may send them
 */
#include "spec.h"

#include "err.h"
#include "json.h"
#include "tap.h"

static struct rb_err err;

static json_t *good(void)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:[s,s], s:s}", "id", "0123456789abcdef",
			 "name", "net-1", "driver", "vxlan", "subnet", "10.20.0.0/16", "mtu", 1450,
			 "vni", 7, "nodes", "h1", "h2", "by", "h1");
}

/* what the check says when one member is another; NULL: absent */
static int with(const char *key, json_t *value)
{
	_cleanup_json_ json_t *spec = good();

	if (value)
		json_object_set_new(spec, key, value);
	else
		json_object_del(spec, key);
	return rb_net_check(spec, &err);
}

static void checks(void)
{
	CHECK_INT(with("name", json_string("net-1")), 0);
	CHECK(with("id", json_string("0123456789ABCDEF")) < 0);
	CHECK(with("id", json_string("../../../../../x")) < 0);
	CHECK(with("name", NULL) < 0);
	CHECK(with("name", json_string("a/b")) < 0);
	CHECK(with("name", json_string("-a")) < 0);
	CHECK(with("name", json_string("a b")) < 0);
	CHECK(with("subnet", json_string("10.20.0.1/16")) < 0);
	CHECK(with("gateway", json_string("10.20.7.1")) == 0);
	CHECK(with("gateway", json_string("10.21.0.1")) < 0);
	CHECK(with("mtu", json_integer(100)) < 0);
	CHECK(with("mtu", json_string("1450")) < 0);
	CHECK(with("vni", json_integer(0)) < 0);
	CHECK(with("vni", json_integer(1 << 24)) < 0);
	CHECK(with("driver", json_string("overlay")) < 0);
	CHECK(with("driver", json_string("macvlan")) < 0);
	CHECK(with("nodes", json_array()) < 0);
	CHECK(with("nodes", json_pack("[i]", 1)) < 0);
	CHECK(with("nodes", json_string("h1")) < 0);
}

static void names(void)
{
	_cleanup_json_ json_t *spec = good();
	char name[RB_DEVICE_NAME];

	CHECK_STR(rb_net_bridge(name, spec), "rb-01234567");
	CHECK_STR(rb_net_vxlan(name, spec), "rbx-01234567");
	CHECK(rb_net_has_node(spec, "h2"));
	CHECK(!rb_net_has_node(spec, "h3"));
	CHECK_INT(rb_net_gateway(spec), 0x0a140001);
	json_object_set_new(spec, "gateway", json_string("10.20.9.9"));
	CHECK_INT(rb_net_gateway(spec), 0x0a140909);
	CHECK(!rb_net_usable(spec, 0x0a140909));
	CHECK(rb_net_usable(spec, 0x0a140908));
}

int main(void)
{
	TAP_RUN(checks);
	TAP_RUN(names);
	return tap_done();
}
