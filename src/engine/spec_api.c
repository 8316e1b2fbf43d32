// SPDX-License-Identifier: Apache-2.0
/*
 * spec_api.c - a create body as engines of one API version want it
 *
 *   below 1.44  one network only, with Config.MacAddress; endpoints' MACs are ignored
 *   from 1.44   all networks at once, each with its MAC. This is the only way to give one: a
 * network that is connected later gets a random MAC (moby v28.5.2: DesiredMacAddress is set in
 *               updateContainerNetworkSettings() alone). Config.MacAddress goes: it is deprecated,
 *               and refused from 1.52 on
 *   below 1.46  sysctls of an interface stand in HostConfig.Sysctls, "net.ipv4.conf.eth0.x"
 *   from 1.48   there they are refused: they belong to the endpoint, "net.ipv4.conf.IFNAME.x=1" in
 * a driver option. (1.46 and 1.47 take both.)
 *
 * Sysctls can be told apart for the main network's eth0 only. What cannot be carried over stays as
 * it is: new engines refuse it and say why, old ones ignore a driver option that they do not know.
 */
#include "spec.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "json.h"

#define API_ENDPOINTS	      44
#define API_ENDPOINT_SYSCTLS  46
#define API_INTERFACE_SYSCTLS 48
#define SYSCTLS_OPTION	      "com.docker.network.endpoint.sysctls"

/* the main network as EndpointsConfig names it */
static const char *main_network(const json_t *body)
{
	const char *mode = rb_json_str(json_object_get(body, "HostConfig"), "NetworkMode", "");

	return !*mode || strcmp(mode, "default") == 0 ? "bridge" : mode;
}

static json_t *main_endpoint(const json_t *body)
{
	return json_object_get(rb_json_path(body, "NetworkingConfig.EndpointsConfig"),
			       main_network(body));
}

static void keep_main_endpoint(json_t *body)
{
	json_t *endpoints = rb_json_path(body, "NetworkingConfig.EndpointsConfig"), *value;
	const char *main = main_network(body), *name;
	void *next;

	json_object_foreach_safe(endpoints, next, name, value)
	{
		if (strcmp(name, main) != 0)
			json_object_del(endpoints, name);
	}
}

/* "net.ipv4.conf.<from>.x" -> "net.ipv4.conf.<to>.x"; NULL when it is not of that form */
static char *rename_interface(const char *key, size_t len, const char *from, const char *to)
{
	const char *at = key, *end = key + len;
	size_t from_len = strlen(from);
	char *out;

	if (len < 4 || strncmp(key, "net.", 4) != 0)
		return NULL;
	for (int dots = 0; dots < 3; dots++) {
		at = memchr(at, '.', (size_t)(end - at));
		if (!at)
			return NULL;
		at++;
	}
	if ((size_t)(end - at) <= from_len || strncasecmp(at, from, from_len) != 0 ||
	    at[from_len] != '.')
		return NULL;
	if (asprintf(&out, "%.*s%s%.*s", (int)(at - key), key, to,
		     (int)(end - at - (ssize_t)from_len), at + from_len) < 0)
		return NULL;
	return out;
}

static int sysctls_to_endpoint(json_t *body)
{
	json_t *sysctls = rb_json_path(body, "HostConfig.Sysctls"), *value, *options;
	json_t *endpoint = main_endpoint(body);
	const char *key;
	void *next;

	if (!endpoint)
		return 0;
	json_object_foreach_safe(sysctls, next, key, value)
	{
		_cleanup_free_ char *moved = rename_interface(key, strlen(key), "eth0", "IFNAME");
		const char *old;

		if (!moved || !json_is_string(value))
			continue;
		options = json_object_get(endpoint, "DriverOpts");
		if (!options) {
			options = json_object();
			if (json_object_set_new(endpoint, "DriverOpts", options))
				return -ENOMEM;
		}
		old = rb_json_str(options, SYSCTLS_OPTION, "");
		if (json_object_set_new(options, SYSCTLS_OPTION,
					json_sprintf("%s%s%s=%s", old, *old ? "," : "", moved,
						     json_string_value(value))))
			return -ENOMEM;
		json_object_del(sysctls, key);
	}
	return 0;
}

static int sysctls_from_endpoint(json_t *body)
{
	json_t *options = json_object_get(main_endpoint(body), "DriverOpts");
	json_t *host = json_object_get(body, "HostConfig");
	json_t *sysctls = json_object_get(host, "Sysctls");
	const char *text = rb_json_str(options, SYSCTLS_OPTION, "");

	if (*text && !json_is_object(sysctls)) {
		sysctls = json_object();
		if (json_object_set_new(host, "Sysctls", sysctls))
			return -ENOMEM;
	}
	for (size_t len; *text; text += len + (text[len] == ',')) {
		size_t key_len;
		_cleanup_free_ char *key = NULL;

		len = strcspn(text, ",");
		key_len = strcspn(text, "=,");
		key = rename_interface(text, key_len, "IFNAME", "eth0");
		if (key && key_len < len &&
		    json_object_set_new(sysctls, key,
					json_stringn(text + key_len + 1, len - key_len - 1)))
			return -ENOMEM;
	}
	json_object_del(options, SYSCTLS_OPTION);
	return 0;
}

int rb_spec_for_api(const json_t *body, int minor, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *out = json_deep_copy(body);
	int r = out ? 0 : -ENOMEM;

	if (minor < API_ENDPOINTS)
		keep_main_endpoint(out);
	else if (json_object_get(main_endpoint(out), "MacAddress"))
		json_object_del(out, "MacAddress");
	if (r == 0 && minor < API_ENDPOINT_SYSCTLS)
		r = sysctls_from_endpoint(out);
	if (r == 0 && minor >= API_INTERFACE_SYSCTLS)
		r = sysctls_to_endpoint(out);
	if (r < 0)
		return rb_err_set(err, r, "fit the container's description to the engine");
	*ret = TAKE_PTR(out);
	return 0;
}
