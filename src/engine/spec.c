// SPDX-License-Identifier: Apache-2.0
/*
 * spec.c - from `docker inspect` of a container to the body that creates the same one elsewhere
 *
 * Inspect returns container.Config and container.HostConfig as Docker keeps them: what the user
 * gave, merged with the image's configuration and the engine's defaults at the time of create. Sent
 * back, nearly every field means again what it meant, and fields of versions that we do not know
 * yet ride along. So both are copied whole, and only this is changed:
 *
 * - Entrypoint null: the user has reset it (--entrypoint ""), but create takes null for "as in the
 *   image", and takes the image's Cmd then too. [""] is what create reads as "none".
 * - Hostname stays even where Docker made it from the ID, but --uts=host refuses any.
 * - Config.MacAddress and the networks: spec_network.c; Binds, Mounts, VolumesFrom: spec_mounts.c.
 * - SecurityOpt: Docker appends label=disable for privileged ones at each create; duplicates go.
 * - Links are shown as "/db:/web/alias"; "db:alias" is what a user writes.
 * - ContainerIDFile is a file that the user's docker wrote; Runtime, RestartPolicy, AutoRemove are
 *   ours during a migration.
 *
 * Namespaces of another container cannot be had on another host: refused, but for the network of
 * one that comes along (rb_spec_of_member()). Docker then shows what its owner has (host name,
 * domain name), or the image (exposed ports), and refuses it from a user:
 * runconfig/hostconfig_unix.go, validateNetContainerMode().
 * Source: moby v20.10.24, v28.5.2 and docker-v29.7.2, daemon/create*.go, commit.go (merge()),
 * runconfig/, api/server/router/container.
 */
#include "spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "json.h"
#include "spec_internal.h"

static int out_of_memory(struct rb_err *err)
{
	return rb_err_set(err, -ENOMEM, "describe the container");
}

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

json_t *rb_spec_sorted_keys(const json_t *object)
{
	size_t count = json_object_size(object), n = 0;
	_cleanup_free_ const char **keys = calloc(count + 1, sizeof(*keys));
	json_t *out = json_array(), *value;
	const char *key;

	if (!keys || !out) {
		json_decref(out);
		return NULL;
	}
	json_object_foreach ((json_t *)object, key, value)
		keys[n++] = key;
	qsort(keys, n, sizeof(*keys), compare_text);
	for (size_t i = 0; i < n; i++) {
		if (json_array_append_new(out, json_string(keys[i]))) {
			json_decref(out);
			return NULL;
		}
	}
	return out;
}

/* --- Config --- */

static int fix_config(json_t *config, const json_t *host)
{
	int r = 0;

	if (json_array_size(json_object_get(config, "Entrypoint")) == 0)
		r |= json_object_set_new(config, "Entrypoint", json_pack("[s]", ""));
	if (strcmp(rb_json_str(host, "UTSMode", ""), "host") == 0)
		json_object_del(config, "Hostname");
	json_object_del(config, "MacAddress"); /* spec_network.c sets the actual one */
	return r ? -ENOMEM : 0;
}

/* --- HostConfig --- */

static int fix_security(json_t *host)
{
	json_t *options = json_object_get(host, "SecurityOpt"), *option;
	_cleanup_json_ json_t *seen = json_object();
	size_t i;

	if (!seen)
		return -ENOMEM;
	for (i = 0; i < json_array_size(options);) {
		const char *text;

		option = json_array_get(options, i);
		text = json_string_value(option);
		if (text && json_object_get(seen, text)) {
			json_array_remove(options, i);
			continue;
		}
		if (text && json_object_set_new(seen, text, json_true()))
			return -ENOMEM;
		i++;
	}
	return 0;
}

/* "/db:/web/alias" -> "db:alias" */
static int fix_links(json_t *host)
{
	json_t *links = json_object_get(host, "Links"), *link;
	size_t i;

	json_array_foreach (links, i, link) {
		const char *text = json_string_value(link), *colon, *alias;
		json_t *plain;

		if (!text || *text != '/')
			continue;
		colon = strchr(text, ':');
		alias = colon ? strrchr(colon, '/') : NULL;
		if (!alias)
			continue;
		plain = json_sprintf("%.*s:%s", (int)(colon - text - 1), text + 1, alias + 1);
		if (json_array_set_new(links, i, plain))
			return -ENOMEM;
	}
	return 0;
}

static int fix_host(json_t *host, const char *runtime)
{
	int r = 0;

	json_object_del(host, "ContainerIDFile");
	r |= json_object_set_new(host, "Runtime", json_string(runtime));
	r |= json_object_set_new(host, "AutoRemove", json_false());
	r |= json_object_set_new(host, "RestartPolicy",
				 json_pack("{s:s, s:i}", "Name", "no", "MaximumRetryCount", 0));
	if (r)
		return -ENOMEM;
	r = fix_security(host);
	return r < 0 ? r : fix_links(host);
}

static int check_movable(const json_t *host, bool member, struct rb_err *err)
{
	static const struct {
		const char *field, *what;
	} modes[] = {
		{ "NetworkMode", "network" },
		{ "IpcMode", "IPC namespace" },
		{ "PidMode", "PID namespace" },
		{ "Cgroup", "cgroup" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		const char *mode = rb_json_str(host, modes[i].field, "");

		if (starts_with(mode, "container:") && !(member && i == 0))
			return rb_err_code(err, RB_E_REFUSED, -EOPNOTSUPP,
					   "it uses the %s of another container (%.12s), which "
					   "does not come with it",
					   modes[i].what, mode + strlen("container:"));
	}
	return 0;
}

/* What Docker does not take together with --network container:, but fills in itself. (DNS, links
 * and ports it does not take either, and so a member has none.) */
static void forget_owners(json_t *body)
{
	static const char *const fields[] = { "Hostname", "Domainname", "ExposedPorts" };

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		json_object_del(body, fields[i]);
}

static int make_spec(const json_t *inspect, const char *runtime, bool member, json_t **ret,
		     struct rb_err *err)
{
	const json_t *config = json_object_get(inspect, "Config");
	const json_t *old_host = json_object_get(inspect, "HostConfig");
	_cleanup_json_ json_t *body = NULL, *host = NULL;
	int r;

	if (!json_is_object(config) || !json_is_object(old_host) ||
	    !json_is_object(json_object_get(inspect, "NetworkSettings")))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "this is not what Docker's inspect returns");
	r = check_movable(old_host, member, err);
	if (r < 0)
		return r;
	body = json_deep_copy(config);
	host = json_deep_copy(old_host);
	if (!body || !host)
		return out_of_memory(err);
	r = fix_config(body, old_host);
	if (r == 0)
		r = fix_host(host, runtime);
	if (r == 0)
		r = rb_spec_apply_mounts(inspect, host);
	if (r == 0)
		r = rb_spec_apply_network(inspect, body, host);
	if (r < 0 || json_object_set(body, "HostConfig", host))
		return out_of_memory(err);
	if (member)
		forget_owners(body);
	*ret = TAKE_PTR(body);
	return 0;
}

int rb_spec_from_inspect(const json_t *inspect, const char *runtime, json_t **ret,
			 struct rb_err *err)
{
	return make_spec(inspect, runtime, false, ret, err);
}

int rb_spec_of_member(const json_t *inspect, const char *runtime, json_t **ret, struct rb_err *err)
{
	return make_spec(inspect, runtime, true, ret, err);
}

int rb_spec_join(json_t *body, const char *container_id, struct rb_err *err)
{
	if (json_object_set_new(json_object_get(body, "HostConfig"), "NetworkMode",
				json_sprintf("container:%s", container_id)))
		return out_of_memory(err);
	return 0;
}
