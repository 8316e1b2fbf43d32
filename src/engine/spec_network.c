// SPDX-License-Identifier: Apache-2.0
/*
 * spec_network.c - a container's networks, with the addresses and ports that it really has
 *
 * The peers of a container know its IP address and its MAC, whoever chose them. So both are asked
 * for at the target as if the user had given them (IPAMConfig, MacAddress), and ports that Docker
 * chose become fixed. A fixed IP needs a user-defined network with a configured subnet at the
 * target; Docker's own networks ("bridge") accept a MAC only.
 *
 * Config.MacAddress is what engines before API 1.44 read, the endpoint's MacAddress what later ones
 * read; rb_spec_for_api() chooses. Old engines apply it to the network that HostConfig.NetworkMode
 * names literally, so a network ID there becomes the name, which is also all that both hosts share.
 */
#include "spec.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "json.h"
#include "spec_internal.h"

static bool is_mode(const char *mode, const char *name)
{
	return strcmp(mode, name) == 0;
}

static bool has_networks(const json_t *inspect)
{
	const char *mode = rb_json_str(json_object_get(inspect, "HostConfig"), "NetworkMode", "");

	return !is_mode(mode, "host") && !is_mode(mode, "none") &&
	       strncmp(mode, "container:", 10) != 0 &&
	       !rb_json_bool(json_object_get(inspect, "Config"), "NetworkDisabled", false);
}

/* Docker's own networks take neither a fixed IP nor an alias */
static bool is_user_defined(const char *network)
{
	return !is_mode(network, "bridge") && !is_mode(network, "default") &&
	       !is_mode(network, "host") && !is_mode(network, "none");
}

/*
 * The network that HostConfig.NetworkMode means, by name (borrowed from @inspect). When the user
 * has disconnected that one since, the first of those that are left; NULL when there is none.
 */
static const char *main_network(const json_t *inspect)
{
	json_t *networks = rb_json_path(inspect, "NetworkSettings.Networks"), *endpoint;
	const char *mode = rb_json_str(json_object_get(inspect, "HostConfig"), "NetworkMode", "");
	const char *name, *first = NULL;

	if (!has_networks(inspect))
		return NULL;
	if (!*mode || is_mode(mode, "default"))
		mode = "bridge";
	json_object_foreach (networks, name, endpoint)
		if (is_mode(mode, name))
			return name;
	json_object_foreach (networks, name, endpoint) {
		const char *id = rb_json_str(endpoint, "NetworkID", "");

		if (*id && strncmp(id, mode, strlen(mode)) == 0)
			return name;
		if (!first || strcmp(name, first) < 0)
			first = name;
	}
	return first;
}

/* --- endpoints --- */

static int set_text(json_t *object, const char *key, const char *text)
{
	return *text ? json_object_set_new(object, key, json_string(text)) : 0;
}

static json_t *endpoint_ipam(const json_t *endpoint)
{
	const json_t *old = json_object_get(endpoint, "IPAMConfig");
	const char *ipv4 = rb_json_str(endpoint, "IPAddress", "");
	const char *ipv6 = rb_json_str(endpoint, "GlobalIPv6Address", "");
	json_t *local = json_object_get(old, "LinkLocalIPs"), *out = json_object();
	int r = 0;

	if (!out)
		return NULL;
	r |= set_text(out, "IPv4Address", *ipv4 ? ipv4 : rb_json_str(old, "IPv4Address", ""));
	r |= set_text(out, "IPv6Address", *ipv6 ? ipv6 : rb_json_str(old, "IPv6Address", ""));
	if (json_array_size(local))
		r |= json_object_set(out, "LinkLocalIPs", local);
	if (r) {
		json_decref(out);
		return NULL;
	}
	return out;
}

/* without the short ID, which engines add by themselves and which is another one then */
static json_t *endpoint_aliases(const json_t *endpoint, const char *id)
{
	json_t *out = json_array(), *alias;
	size_t i;

	json_array_foreach (json_object_get(endpoint, "Aliases"), i, alias) {
		const char *text = json_string_value(alias);

		if (!text || (strlen(text) >= 12 && strncmp(id, text, strlen(text)) == 0))
			continue;
		if (json_array_append(out, alias)) {
			json_decref(out);
			return NULL;
		}
	}
	return out;
}

static const char *endpoint_mac(const json_t *inspect, const char *network, const json_t *endpoint)
{
	const char *mac = rb_json_str(endpoint, "MacAddress", ""), *first = main_network(inspect);

	/* no operational data when it does not run: what the user asked for */
	if (!*mac && first && is_mode(first, network))
		mac = rb_json_str(json_object_get(inspect, "Config"), "MacAddress", "");
	return mac;
}

static int fill_endpoint(json_t *out, const json_t *inspect, const char *network)
{
	const json_t *endpoint =
		json_object_get(rb_json_path(inspect, "NetworkSettings.Networks"), network);
	json_t *links = json_object_get(endpoint, "Links");
	json_t *options = json_object_get(endpoint, "DriverOpts");
	json_int_t priority = rb_json_int(endpoint, "GwPriority", 0);
	const char *chosen = rb_json_str(json_object_get(inspect, "Config"), "MacAddress", "");
	int r = set_text(out, "MacAddress",
			 is_user_defined(network) ? endpoint_mac(inspect, network, endpoint)
						  : chosen);

	if (json_object_size(options))
		r |= json_object_set_new(out, "DriverOpts", json_deep_copy(options));
	if (priority)
		r |= json_object_set_new(out, "GwPriority", json_integer(priority));
	if (json_array_size(links))
		r |= json_object_set(out, "Links", links);
	if (is_user_defined(network)) {
		_cleanup_json_ json_t *ipam = endpoint_ipam(endpoint);
		_cleanup_json_ json_t *aliases =
			endpoint_aliases(endpoint, rb_json_str(inspect, "Id", ""));

		if (!ipam || !aliases)
			return -ENOMEM;
		if (json_object_size(ipam))
			r |= json_object_set(out, "IPAMConfig", ipam);
		if (json_array_size(aliases))
			r |= json_object_set(out, "Aliases", aliases);
	}
	return r ? -ENOMEM : 0;
}

static json_t *make_endpoint(const json_t *inspect, const char *network)
{
	json_t *out = json_object();

	if (out && fill_endpoint(out, inspect, network) < 0) {
		json_decref(out);
		return NULL;
	}
	return out;
}

/* --- ports --- */

/* "", "0" and ranges leave the choice to Docker */
static bool is_chosen_by_docker(const json_t *bindings)
{
	json_t *binding;
	size_t i;

	if (json_array_size(bindings) == 0)
		return true;
	json_array_foreach (bindings, i, binding) {
		const char *port = rb_json_str(binding, "HostPort", "");

		if (!*port || strcmp(port, "0") == 0 || strchr(port, '-'))
			return true;
	}
	return false;
}

static bool has_binding(const json_t *list, const char *ip, const char *port)
{
	json_t *binding;
	size_t i;

	json_array_foreach (list, i, binding)
		if (is_mode(rb_json_str(binding, "HostIp", ""), ip) &&
		    is_mode(rb_json_str(binding, "HostPort", ""), port))
			return true;
	return false;
}

/* The ports in use, as a user would write them: 0.0.0.0 and :: with one port are one entry. */
static json_t *actual_bindings(const json_t *actual)
{
	json_t *out = json_array(), *binding;
	size_t i;

	json_array_foreach (actual, i, binding) {
		const char *ip = rb_json_str(binding, "HostIp", "");
		const char *port = rb_json_str(binding, "HostPort", "");
		bool v4 = is_mode(ip, "0.0.0.0"), v6 = is_mode(ip, "::");

		if ((v4 && has_binding(actual, "::", port)) ||
		    (v6 && has_binding(actual, "0.0.0.0", port)))
			ip = "";
		if (has_binding(out, ip, port))
			continue;
		if (json_array_append_new(
			    out, json_pack("{s:s, s:s}", "HostIp", ip, "HostPort", port))) {
			json_decref(out);
			return NULL;
		}
	}
	return out;
}

static int fix_ports(const json_t *inspect, json_t *host)
{
	json_t *actual = rb_json_path(inspect, "NetworkSettings.Ports"), *list;
	json_t *bindings = json_object_get(host, "PortBindings");
	const char *port;

	if (!json_is_object(bindings) && json_object_size(actual)) {
		bindings = json_object();
		if (json_object_set_new(host, "PortBindings", bindings))
			return -ENOMEM;
	}
	json_object_foreach (actual, port, list) {
		if (json_array_size(list) == 0 ||
		    !is_chosen_by_docker(json_object_get(bindings, port)))
			continue;
		if (json_object_set_new(bindings, port, actual_bindings(list)))
			return -ENOMEM;
	}
	return 0;
}

/* --- together --- */

/* the names of all networks, main first; owned, NULL without memory */
static json_t *network_names(const json_t *inspect)
{
	_cleanup_json_ json_t *keys = NULL, *out = json_array();
	const char *first = main_network(inspect);
	json_t *key;
	size_t i;

	if (!first)
		return TAKE_PTR(out);
	keys = rb_spec_sorted_keys(rb_json_path(inspect, "NetworkSettings.Networks"));
	if (!keys || json_array_append_new(out, json_string(first)))
		return NULL;
	json_array_foreach (keys, i, key)
		if (!is_mode(json_string_value(key), first) && json_array_append(out, key))
			return NULL;
	return TAKE_PTR(out);
}

static int set_endpoints(const json_t *inspect, json_t *body)
{
	_cleanup_json_ json_t *names = network_names(inspect), *endpoints = json_object();
	json_t *name;
	size_t i;

	if (!names || !endpoints)
		return -ENOMEM;
	json_array_foreach (names, i, name) {
		const char *text = json_string_value(name);
		json_t *endpoint = make_endpoint(inspect, text);
		json_t *mac = json_object_get(endpoint, "MacAddress");

		if (json_object_set_new(endpoints, text, endpoint))
			return -ENOMEM;
		if (i == 0 && mac && json_object_set(body, "MacAddress", mac))
			return -ENOMEM;
	}
	return json_object_set_new(body, "NetworkingConfig",
				   json_pack("{s:O}", "EndpointsConfig", endpoints))
		       ? -ENOMEM
		       : 0;
}

int rb_spec_apply_network(const json_t *inspect, json_t *body, json_t *host)
{
	const char *network = main_network(inspect);
	const char *mode = rb_json_str(host, "NetworkMode", "");
	int r;

	r = fix_ports(inspect, host);
	if (r < 0 || !has_networks(inspect))
		return r;
	if (!network) /* the user has disconnected it from everything */
		return json_object_set_new(host, "NetworkMode", json_string("none")) ? -ENOMEM : 0;
	if (!(is_mode(network, "bridge") && (is_mode(mode, "default") || !*mode)) &&
	    json_object_set_new(host, "NetworkMode", json_string(network)))
		return -ENOMEM;
	return set_endpoints(inspect, body);
}

static int out_of_memory(struct rb_err *err)
{
	return rb_err_set(err, -ENOMEM, "list the networks");
}

int rb_spec_more_networks(const json_t *inspect, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *names = network_names(inspect), *out = json_array();
	json_t *name;
	size_t i;

	if (!names || !out)
		return out_of_memory(err);
	json_array_foreach (names, i, name) {
		const char *text = json_string_value(name);

		if (i > 0 &&
		    json_array_append_new(out, json_pack("{s:s, s:o}", "network", text, "endpoint",
							 make_endpoint(inspect, text))))
			return out_of_memory(err);
	}
	*ret = TAKE_PTR(out);
	return 0;
}

static void forget_addresses(json_t *endpoint)
{
	json_object_del(endpoint, "IPAMConfig");
	json_object_del(endpoint, "MacAddress");
}

void rb_spec_forget_addresses(json_t *body, json_t *more)
{
	const char *name;
	json_t *value;
	size_t i;

	json_object_del(body, "MacAddress");
	json_object_foreach (rb_json_path(body, "NetworkingConfig.EndpointsConfig"), name, value)
		forget_addresses(value);
	json_array_foreach (more, i, value)
		forget_addresses(json_object_get(value, "endpoint"));
}

int rb_spec_addresses(const json_t *inspect, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *names = network_names(inspect), *out = json_array();
	json_t *name;
	size_t i;

	if (!names || !out)
		return out_of_memory(err);
	json_array_foreach (names, i, name) {
		const char *text = json_string_value(name);
		const json_t *endpoint =
			json_object_get(rb_json_path(inspect, "NetworkSettings.Networks"), text);
		json_t *entry = json_pack("{s:s, s:s, s:s, s:s}", "network", text, "mac",
					  endpoint_mac(inspect, text, endpoint), "ipv4",
					  rb_json_str(endpoint, "IPAddress", ""), "ipv6",
					  rb_json_str(endpoint, "GlobalIPv6Address", ""));

		if (json_array_append_new(out, entry))
			return out_of_memory(err);
	}
	*ret = TAKE_PTR(out);
	return 0;
}

int rb_spec_macs(const json_t *inspect, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *addresses = NULL, *out = json_array();
	json_t *address;
	size_t i;
	int r;

	r = rb_spec_addresses(inspect, &addresses, err);
	if (r < 0)
		return r;
	json_array_foreach (addresses, i, address) {
		const char *mac = rb_json_str(address, "mac", "");

		if (*mac && json_array_append_new(out, json_string(mac)))
			return out_of_memory(err);
	}
	if (!out)
		return out_of_memory(err);
	*ret = TAKE_PTR(out);
	return 0;
}
