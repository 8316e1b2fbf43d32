// SPDX-License-Identifier: Apache-2.0
/*
 * test_spec.c - create bodies from what real engines' inspect returned
 *
 * RB_GOLDEN_UPDATE=1 writes the bodies of fixtures/ anew.
 */
#include "spec.h"

#include <errno.h>
#include <string.h>

#include "fixture.h"
#include "tap.h"

static const char *const fixtures[] = {
	"20.10-everything",   "20.10-volumes-from", "20.10-links",   "20.10-dynamic",
	"20.10-disconnected", "20.10-network-id",   "28.5-networks",
};

static json_t *fitted(const json_t *body, int minor)
{
	json_t *out = NULL;

	rb_spec_for_api(body, minor, &out, NULL);
	return out;
}

/* --- golden files --- */

static void differences(const char *where, const json_t *got, const json_t *want)
{
	char path[512];
	const char *key;
	json_t *value;

	if (json_equal(got, want))
		return;
	if (json_is_object(got) && json_is_object(want)) {
		json_object_foreach ((json_t *)got, key, value) {
			snprintf(path, sizeof(path), "%s.%s", where, key);
			differences(path, value, json_object_get(want, key));
		}
		json_object_foreach ((json_t *)want, key, value)
			if (!json_object_get(got, key))
				printf("# %s.%s is missing\n", where, key);
		return;
	}
	printf("# %s is %s, not ", where, at(got, ""));
	printf("%s\n", at(want, ""));
}

static void golden_bodies(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(fixtures); i++) {
		_cleanup_json_ json_t *inspect = load(fixtures[i], "inspect"), *want = NULL;
		_cleanup_json_ json_t *got = inspect ? body_of(inspect) : NULL;
		char path[512];

		CHECK(got);
		rb_path(path, sizeof(path), "%s/%s.create.json", FIXTURES, fixtures[i]);
		if (getenv("RB_GOLDEN_UPDATE"))
			json_dump_file(got, path, JSON_INDENT(1) | JSON_SORT_KEYS);
		want = load(fixtures[i], "create");
		CHECK(want);
		differences(fixtures[i], got, want);
		CHECK(json_equal(got, want));
	}
}

/* --- config --- */

static void reset_entrypoint_stays_reset(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-everything", "inspect");
	_cleanup_json_ json_t *body = body_of(inspect);

	CHECK_STR(at(inspect, "Config.Entrypoint"), "null");
	CHECK_STR(at(body, "Entrypoint"), "[\"\"]");
	CHECK_STR(at(body, "Cmd"), "[\"sleep\",\"10000\"]");
}

static void hostname_is_carried_but_for_the_hosts(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-dynamic", "inspect");
	_cleanup_json_ json_t *body = body_of(inspect), *other = NULL;

	CHECK_STR(at(body, "Hostname"), at(inspect, "Config.Hostname"));
	put(inspect, "HostConfig", "UTSMode", json_string("host"));
	other = body_of(inspect);
	CHECK_STR(at(other, "Hostname"), "(absent)");
}

static void restart_and_removal_are_off(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-everything", "inspect"), *body = NULL;

	put(inspect, "HostConfig", "AutoRemove", json_true());
	put(inspect, "HostConfig", "ContainerIDFile", json_string("/tmp/cid"));
	body = body_of(inspect);
	CHECK_STR(at(body, "HostConfig.AutoRemove"), "false");
	CHECK_STR(at(body, "HostConfig.RestartPolicy"),
		  "{\"MaximumRetryCount\":0,\"Name\":\"no\"}");
	CHECK_STR(at(body, "HostConfig.ContainerIDFile"), "(absent)");
	CHECK_STR(at(body, "HostConfig.Runtime"), "\"reberth-runtime\"");
}

static void security_options_do_not_pile_up(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-links", "inspect"), *body = NULL;

	put(inspect, "HostConfig", "SecurityOpt",
	    json_pack("[s, s, s]", "label=disable", "no-new-privileges", "label=disable"));
	body = body_of(inspect);
	CHECK_STR(at(body, "HostConfig.SecurityOpt"), "[\"label=disable\",\"no-new-privileges\"]");
}

static void links_become_what_a_user_writes(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-links", "inspect");
	_cleanup_json_ json_t *body = body_of(inspect);

	CHECK_STR(at(inspect, "HostConfig.Links"), "[\"/plain:/lnk/pp\"]");
	CHECK_STR(at(body, "HostConfig.Links"), "[\"plain:pp\"]");
}

static void foreign_namespaces_are_refused(void)
{
	static const char *const fields[] = { "NetworkMode", "IpcMode", "PidMode", "Cgroup" };

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		_cleanup_json_ json_t *inspect = load("20.10-dynamic", "inspect"), *body = NULL;
		struct rb_err err = {};

		put(inspect, "HostConfig", fields[i], json_string("container:0123456789abcdef"));
		CHECK_INT(rb_spec_from_inspect(inspect, "runc", &body, &err), -EOPNOTSUPP);
		CHECK_INT(err.code, RB_E_REFUSED);
		CHECK(strstr(err.msg, "another container (0123456789ab)"));
		CHECK(!body);
	}
}

static void a_member_joins_the_network_of_one_that_comes_along(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-member", "inspect"), *body = NULL;
	struct rb_err err = {};

	CHECK_INT(rb_spec_of_member(inspect, "reberth-runtime", &body, &err), 0);
	CHECK_INT(rb_spec_join(body, "0123", &err), 0);
	CHECK_STR(at(body, "HostConfig.NetworkMode"), "\"container:0123\"");
	/* Docker refuses these of a member */
	CHECK_STR(at(inspect, "Config.ExposedPorts"), "{\"6379/tcp\":{}}");
	CHECK_STR(at(body, "ExposedPorts"), "(absent)");
	CHECK_STR(at(body, "Hostname"), "(absent)");
	CHECK_STR(at(body, "MacAddress"), "(absent)");
	CHECK_STR(at(body, "NetworkingConfig"), "(absent)");
	/* and the rest is as ever */
	CHECK_STR(at(body, "HostConfig.Binds"), at(inspect, "HostConfig.Binds"));
	CHECK_STR(at(body, "Cmd"), at(inspect, "Config.Cmd"));
	CHECK_STR(at(body, "HostConfig.RestartPolicy.Name"), "\"no\"");
}

static void a_member_has_all_other_namespaces_of_its_own(void)
{
	static const char *const fields[] = { "IpcMode", "PidMode", "Cgroup" };

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		_cleanup_json_ json_t *inspect = load("20.10-member", "inspect"), *body = NULL;

		put(inspect, "HostConfig", fields[i], json_string("container:0123456789abcdef"));
		CHECK_INT(rb_spec_of_member(inspect, "runc", &body, NULL), -EOPNOTSUPP);
	}
}

/* --- networks --- */

static void addresses_are_those_in_use(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-dynamic", "inspect");
	_cleanup_json_ json_t *body = body_of(inspect), *addresses = NULL, *macs = NULL;
	const char *endpoint = "NetworkingConfig.EndpointsConfig.net1";

	CHECK_STR(at(inspect, "NetworkSettings.Networks.net1.IPAMConfig"), "null");
	CHECK_STR(at(rb_json_path(body, endpoint), "IPAMConfig"),
		  "{\"IPv4Address\":\"10.78.0.2\",\"IPv6Address\":\"fd00:78::3\"}");
	CHECK_STR(at(rb_json_path(body, endpoint), "MacAddress"), "\"02:42:0a:4e:00:02\"");
	CHECK_STR(at(body, "MacAddress"), "\"02:42:0a:4e:00:02\"");
	CHECK_INT(rb_spec_addresses(inspect, &addresses, NULL), 0);
	CHECK_STR(at(addresses, ""), "[{\"ipv4\":\"10.78.0.2\",\"ipv6\":\"fd00:78::3\","
				     "\"mac\":\"02:42:0a:4e:00:02\",\"network\":\"net1\"}]");
	CHECK_INT(rb_spec_macs(inspect, &macs, NULL), 0);
	CHECK_STR(at(macs, ""), "[\"02:42:0a:4e:00:02\"]");
}

/* --reconnect: the engine chooses, in all networks */
static void addresses_can_be_forgotten(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-everything", "inspect"), *more = NULL;
	_cleanup_json_ json_t *body = body_of(inspect);
	json_t *endpoints = rb_json_path(body, "NetworkingConfig.EndpointsConfig"), *endpoint;
	const char *name;

	CHECK_INT(rb_spec_more_networks(inspect, &more, NULL), 0);
	CHECK_INT(json_array_size(more) > 0 && json_object_size(endpoints) > 1, true);
	rb_spec_forget_addresses(body, more);
	CHECK_STR(at(body, "MacAddress"), "(absent)");
	json_object_foreach (endpoints, name, endpoint) {
		CHECK_STR(at(endpoint, "IPAMConfig"), "(absent)");
		CHECK_STR(at(endpoint, "MacAddress"), "(absent)");
	}
	endpoint = json_object_get(json_array_get(more, 0), "endpoint");
	CHECK_STR(at(endpoint, "IPAMConfig"), "(absent)");
	CHECK_STR(at(endpoint, "MacAddress"), "(absent)");
	/* names stay */
	CHECK_STR(at(body, "NetworkingConfig.EndpointsConfig.net0.Aliases"), "[\"web\",\"hh\"]");
}

static void aliases_lose_the_old_id(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-everything", "inspect");
	_cleanup_json_ json_t *body = body_of(inspect);

	CHECK_STR(at(inspect, "NetworkSettings.Networks.net0.Aliases"),
		  "[\"web\",\"0e634804dbd6\",\"hh\"]");
	CHECK_STR(at(body, "NetworkingConfig.EndpointsConfig.net0.Aliases"), "[\"web\",\"hh\"]");
}

static void default_bridge_takes_no_address(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-links", "inspect"), *other = NULL;
	_cleanup_json_ json_t *body = body_of(inspect);
	const char *bridge = "NetworkingConfig.EndpointsConfig.bridge";

	CHECK_STR(at(body, "HostConfig.NetworkMode"), "\"default\"");
	CHECK_STR(at(body, bridge), "{}");
	CHECK_STR(at(body, "MacAddress"), "(absent)");
	/* but a MAC that the user chose */
	put(inspect, "Config", "MacAddress", json_string("02:42:00:00:00:01"));
	other = body_of(inspect);
	CHECK_STR(at(other, bridge), "{\"MacAddress\":\"02:42:00:00:00:01\"}");
}

static void network_ids_become_names(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-network-id", "inspect"), *other = NULL;
	_cleanup_json_ json_t *body = body_of(inspect);

	CHECK_STR(at(body, "HostConfig.NetworkMode"), "\"net0\"");
	put(inspect, "HostConfig", "NetworkMode", json_string("d40c4a84acba"));
	other = body_of(inspect);
	CHECK_STR(at(other, "HostConfig.NetworkMode"), "\"net0\"");
}

static void disconnected_containers_stay_so(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-disconnected", "inspect"), *more = NULL;
	_cleanup_json_ json_t *body = body_of(inspect), *macs = NULL, *left = NULL;
	_cleanup_json_ json_t *two = load("20.10-everything", "inspect"), *other = NULL;

	CHECK_STR(at(body, "HostConfig.NetworkMode"), "\"none\"");
	CHECK_STR(at(body, "NetworkingConfig"), "(absent)");
	CHECK_INT(rb_spec_more_networks(inspect, &more, NULL), 0);
	CHECK_STR(at(more, ""), "[]");
	CHECK_INT(rb_spec_macs(inspect, &macs, NULL), 0);
	CHECK_STR(at(macs, ""), "[]");
	/* one of two is left */
	json_object_del(rb_json_path(two, "NetworkSettings.Networks"), "net0");
	other = body_of(two);
	CHECK_STR(at(other, "HostConfig.NetworkMode"), "\"net1\"");
	CHECK_INT(rb_spec_more_networks(two, &left, NULL), 0);
	CHECK_STR(at(left, ""), "[]");
}

static void more_networks_are_listed(void)
{
	_cleanup_json_ json_t *inspect = load("28.5-networks", "inspect"), *more = NULL;
	_cleanup_json_ json_t *addresses = NULL;

	CHECK_INT(rb_spec_more_networks(inspect, &more, NULL), 0);
	CHECK_INT(json_array_size(more), 1);
	CHECK_STR(at(json_array_get(more, 0), "network"), "\"net1\"");
	CHECK_STR(at(json_array_get(more, 0), "endpoint.MacAddress"), "\"02:42:0a:4e:00:99\"");
	CHECK_STR(at(json_array_get(more, 0), "endpoint.GwPriority"), "5");
	CHECK_INT(rb_spec_addresses(inspect, &addresses, NULL), 0);
	CHECK_STR(at(json_array_get(addresses, 0), "network"), "\"net0\"");
	CHECK_STR(at(json_array_get(addresses, 1), "ipv6"), "\"fd00:78::3\"");
}

static void host_network_has_no_addresses(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-dynamic", "inspect"), *addresses = NULL;
	_cleanup_json_ json_t *body = NULL;

	put(inspect, "HostConfig", "NetworkMode", json_string("host"));
	body = body_of(inspect);
	CHECK_STR(at(body, "NetworkingConfig"), "(absent)");
	CHECK_STR(at(body, "MacAddress"), "(absent)");
	CHECK_INT(rb_spec_addresses(inspect, &addresses, NULL), 0);
	CHECK_STR(at(addresses, ""), "[]");
}

/* --- ports --- */

static void chosen_ports_become_fixed(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-everything", "inspect");
	_cleanup_json_ json_t *body = body_of(inspect), *published = NULL, *split = NULL;
	_cleanup_json_ json_t *range = load("28.5-networks", "inspect"), *ranged = NULL;
	const char *ports = "HostConfig.PortBindings";

	CHECK_STR(at(rb_json_path(body, ports), "80/tcp"),
		  "[{\"HostIp\":\"\",\"HostPort\":\"8080\"}]");
	CHECK_STR(at(rb_json_path(body, ports), "53/udp"),
		  "[{\"HostIp\":\"\",\"HostPort\":\"32770\"}]");
	ranged = body_of(range);
	CHECK_STR(at(rb_json_path(ranged, ports), "80/tcp"),
		  "[{\"HostIp\":\"\",\"HostPort\":\"8001\"}]");
	/* --publish-all: nothing was written at all */
	put(inspect, "HostConfig", "PortBindings", json_null());
	published = body_of(inspect);
	CHECK_STR(at(rb_json_path(published, ports), "81/tcp"),
		  "[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"32770\"}]");
	/* the two families got different ports */
	put(inspect, "NetworkSettings.Ports", "53/udp",
	    json_pack("[{s:s, s:s}, {s:s, s:s}]", "HostIp", "0.0.0.0", "HostPort", "1", "HostIp",
		      "::", "HostPort", "2"));
	split = body_of(inspect);
	CHECK_STR(at(rb_json_path(split, ports), "53/udp"),
		  "[{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"1\"},"
		  "{\"HostIp\":\"::\",\"HostPort\":\"2\"}]");
}

/* --- API versions --- */

static void old_engines_get_one_network(void)
{
	_cleanup_json_ json_t *inspect = load("28.5-networks", "inspect");
	_cleanup_json_ json_t *body = body_of(inspect), *old = fitted(body, 41);
	_cleanup_json_ json_t *new = fitted(body, 44);

	CHECK_INT(json_object_size(rb_json_path(old, "NetworkingConfig.EndpointsConfig")), 1);
	CHECK_STR(at(old, "MacAddress"), at(inspect, "NetworkSettings.Networks.net0.MacAddress"));
	CHECK_INT(json_object_size(rb_json_path(new, "NetworkingConfig.EndpointsConfig")), 2);
	CHECK_STR(at(new, "MacAddress"), "(absent)");
	CHECK_STR(at(new, "NetworkingConfig.EndpointsConfig.net0.MacAddress"),
		  at(inspect, "NetworkSettings.Networks.net0.MacAddress"));
}

static void interface_sysctls_move(void)
{
	_cleanup_json_ json_t *inspect = load("20.10-everything", "inspect");
	_cleanup_json_ json_t *body = body_of(inspect), *new = fitted(body, 51), *back = NULL;
	const json_t *options;

	CHECK_STR(at(body, "HostConfig.Sysctls"), "{\"net.core.somaxconn\":\"77\","
						  "\"net.ipv4.conf.eth0.rp_filter\":\"2\"}");
	CHECK_STR(at(new, "HostConfig.Sysctls"), "{\"net.core.somaxconn\":\"77\"}");
	options = rb_json_path(new, "NetworkingConfig.EndpointsConfig.net0.DriverOpts");
	CHECK_STR(rb_json_str(options, "com.docker.network.endpoint.sysctls", ""),
		  "net.ipv4.conf.IFNAME.rp_filter=2");
	back = fitted(new, 45);
	CHECK_STR(at(back, "HostConfig.Sysctls"), at(body, "HostConfig.Sysctls"));
}

/* --- nonsense --- */

static void other_json_is_refused(void)
{
	_cleanup_json_ json_t *body = NULL, *empty = json_object(), *list = json_array();
	struct rb_err err = {};

	CHECK_INT(rb_spec_from_inspect(empty, "runc", &body, &err), -EPROTO);
	CHECK_INT(err.code, RB_E_PROTOCOL);
	CHECK_INT(rb_spec_from_inspect(list, "runc", &body, &err), -EPROTO);
	CHECK_INT(rb_spec_from_inspect(NULL, "runc", &body, &err), -EPROTO);
}

static void try_all(const json_t *inspect)
{
	_cleanup_json_ json_t *body = NULL, *more = NULL, *macs = NULL, *volumes = NULL;
	_cleanup_json_ json_t *binds = NULL, *old = NULL, *new = NULL;

	rb_spec_more_networks(inspect, &more, NULL);
	rb_spec_macs(inspect, &macs, NULL);
	rb_spec_volumes(inspect, &volumes, NULL);
	rb_spec_binds(inspect, &binds, NULL);
	if (rb_spec_from_inspect(inspect, "runc", &body, NULL) < 0)
		return;
	rb_spec_for_api(body, 41, &old, NULL);
	rb_spec_for_api(body, 51, &new, NULL);
}

/* put a value of each type in the place of each value; @at is a part of @root */
static void mutate(const json_t *root, json_t *part)
{
	_cleanup_json_ json_t *values =
		json_pack("[n, b, i, s, s, [n], {s:n}]", 1, -7, "", "a:b/c", "x");
	const char *key;
	json_t *member, *value;
	size_t i, j;
	void *next;

	json_object_foreach_safe(part, next, key, member)
	{
		_cleanup_json_ json_t *old = json_incref(member);

		json_array_foreach (values, i, value) {
			json_object_set(part, key, value);
			try_all(root);
		}
		json_object_set(part, key, old);
		mutate(root, old);
	}
	for (j = 0; j < json_array_size(part); j++) {
		_cleanup_json_ json_t *old = json_incref(json_array_get(part, j));

		json_array_foreach (values, i, value) {
			json_array_set(part, j, value);
			try_all(root);
		}
		json_array_set(part, j, old);
		mutate(root, old);
	}
}

static void wrong_types_do_no_harm(void)
{
	static const char *const names[] = { "20.10-everything", "28.5-networks" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_json_ json_t *inspect = load(names[i], "inspect");
		_cleanup_json_ json_t *before = json_deep_copy(inspect);

		CHECK(inspect);
		mutate(inspect, inspect);
		CHECK(json_equal(inspect, before)); /* and nobody changed the inspect itself */
	}
}

int main(void)
{
	TAP_RUN(golden_bodies);
	TAP_RUN(reset_entrypoint_stays_reset);
	TAP_RUN(hostname_is_carried_but_for_the_hosts);
	TAP_RUN(restart_and_removal_are_off);
	TAP_RUN(security_options_do_not_pile_up);
	TAP_RUN(links_become_what_a_user_writes);
	TAP_RUN(foreign_namespaces_are_refused);
	TAP_RUN(a_member_joins_the_network_of_one_that_comes_along);
	TAP_RUN(a_member_has_all_other_namespaces_of_its_own);
	TAP_RUN(addresses_are_those_in_use);
	TAP_RUN(addresses_can_be_forgotten);
	TAP_RUN(aliases_lose_the_old_id);
	TAP_RUN(default_bridge_takes_no_address);
	TAP_RUN(network_ids_become_names);
	TAP_RUN(disconnected_containers_stay_so);
	TAP_RUN(more_networks_are_listed);
	TAP_RUN(host_network_has_no_addresses);
	TAP_RUN(chosen_ports_become_fixed);
	TAP_RUN(old_engines_get_one_network);
	TAP_RUN(interface_sysctls_move);
	TAP_RUN(other_json_is_refused);
	TAP_RUN(wrong_types_do_no_harm);
	return tap_done();
}
