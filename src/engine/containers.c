// SPDX-License-Identifier: Apache-2.0
/*
 * containers.c - the engine's verbs for containers, networks and volumes
 */
#include "engine.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "io.h"
#include "json.h"
#include "spec.h"
#include "wait.h"

#define NAME_MAX_BYTES 1024 /* percent-encoded; Docker's own names are far shorter */

/* one request to "/<kind>/<name>/<rest>"; @rest may be "" and bring its own query */
static int call_on(struct rb_engine *engine, const char *method, const char *kind, const char *name,
		   const char *rest, const json_t *body, json_t **ret, const struct rb_wait *wait,
		   struct rb_err *err)
{
	char escaped[NAME_MAX_BYTES], path[PATH_MAX];
	int r;

	/* an empty name would turn "/containers/X" into the listing of all of them */
	if (!name || !*name)
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "a name is missing");
	r = rb_engine_escape(name, escaped, sizeof(escaped));
	if (r == 0)
		r = rb_path(path, sizeof(path), "/%s/%s%s", kind, escaped, rest);
	if (r < 0)
		return rb_err_set(err, r, "the name '%.64s...'", name);
	return rb_engine_call(engine, method, path, body, ret, wait, err);
}

static int out_of_memory(struct rb_err *err)
{
	return rb_err_set(err, -ENOMEM, "prepare a request to Docker");
}

/* --- containers --- */

int rb_engine_inspect(struct rb_engine *engine, const char *name, json_t **ret,
		      const struct rb_wait *wait, struct rb_err *err)
{
	return call_on(engine, "GET", "containers", name, "/json", NULL, ret, wait, err);
}

int rb_engine_create(struct rb_engine *engine, const char *name, const json_t *body,
		     char ret_id[65], const struct rb_wait *wait, struct rb_err *err)
{
	char escaped[NAME_MAX_BYTES], path[PATH_MAX];
	_cleanup_json_ json_t *fitted = NULL, *answer = NULL;
	const char *id;
	int r;

	r = rb_engine_escape(name, escaped, sizeof(escaped));
	if (r == 0)
		r = rb_path(path, sizeof(path), "/containers/create?name=%s", escaped);
	if (r < 0)
		return rb_err_set(err, r, "the name '%.64s...'", name);
	r = rb_engine_api(engine, wait, err);
	if (r < 0)
		return r;
	r = rb_spec_for_api(body, r, &fitted, err);
	if (r < 0)
		return r;
	r = rb_engine_call(engine, "POST", path, fitted, &answer, wait, err);
	if (r < 0)
		return r;
	r = rb_json_need_str(answer, "Id", &id, err);
	if (r < 0)
		return rb_err_wrap(err, r, "Docker's answer to create");
	if (strlen(id) != 64)
		return rb_err_code(err, RB_E_ENGINE, -EPROTO, "Docker made a container of ID '%s'",
				   id);
	memcpy(ret_id, id, 65);
	return 0;
}

int rb_engine_start(struct rb_engine *engine, const char *id, const struct rb_wait *wait,
		    struct rb_err *err)
{
	return call_on(engine, "POST", "containers", id, "/start", NULL, NULL, wait, err);
}

int rb_engine_kill(struct rb_engine *engine, const char *id, const char *signal,
		   const struct rb_wait *wait, struct rb_err *err)
{
	char rest[64];
	int r = rb_path(rest, sizeof(rest), "/kill?signal=%s", signal);

	if (r < 0)
		return rb_err_set(err, r, "the signal '%.64s...'", signal);
	return call_on(engine, "POST", "containers", id, rest, NULL, NULL, wait, err);
}

int rb_engine_remove(struct rb_engine *engine, const char *id, bool force, bool volumes,
		     const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_err why = {};
	char rest[64];
	int r;

	snprintf(rest, sizeof(rest), "?force=%d&v=%d", force, volumes);
	r = call_on(engine, "DELETE", "containers", id, rest, NULL, NULL, wait, &why);
	/* one with --rm that has just ended: Docker is about it already */
	if (r == -EBUSY && strstr(why.msg, "already in progress"))
		r = call_on(engine, "POST", "containers", id, "/wait?condition=removed", NULL, NULL,
			    wait, &why);
	if (r < 0 && r != -ENOENT) {
		if (err)
			*err = why;
		return r;
	}
	return 0;
}

int rb_engine_rename(struct rb_engine *engine, const char *id, const char *new_name,
		     const struct rb_wait *wait, struct rb_err *err)
{
	char escaped[NAME_MAX_BYTES], rest[NAME_MAX_BYTES + 16];
	int r = rb_engine_escape(new_name, escaped, sizeof(escaped));
	_cleanup_json_ json_t *inspect = NULL;
	const char *now;

	if (r < 0)
		return rb_err_set(err, r, "the name '%.64s...'", new_name);
	/* Docker refuses a container its own name, with the same answer as for nonsense */
	r = rb_engine_inspect(engine, id, &inspect, wait, err);
	if (r < 0)
		return r;
	now = rb_json_str(inspect, "Name", "/");
	if (strcmp(now + (now[0] == '/'), new_name) == 0)
		return 0;
	snprintf(rest, sizeof(rest), "/rename?name=%s", escaped);
	return call_on(engine, "POST", "containers", id, rest, NULL, NULL, wait, err);
}

bool rb_engine_policy_restarts(const json_t *policy)
{
	const char *name = rb_json_str(policy, "Name", "");

	return *name && strcmp(name, "no") != 0;
}

int rb_engine_restart_policy(struct rb_engine *engine, const char *id, const json_t *policy,
			     const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *inspect = NULL, *body = NULL;
	const json_t *now;
	const char *name = rb_json_str(policy, "Name", "");
	int r;

	r = rb_engine_inspect(engine, id, &inspect, wait, err);
	if (r < 0)
		return r;
	/* An update is never free: on a running container Docker also has the runtime update its
	 * cgroup, and it refuses one with --rm although that has no policy but "no". */
	now = rb_json_path(inspect, "HostConfig.RestartPolicy");
	if (!*name)
		name = "no";
	if (strcmp(rb_json_str(now, "Name", "no"), name) == 0 &&
	    rb_json_int(now, "MaximumRetryCount", 0) == rb_json_int(policy, "MaximumRetryCount", 0))
		return 0;
	body = json_pack("{s:{s:s, s:I}}", "RestartPolicy", "Name", name, "MaximumRetryCount",
			 (json_int_t)rb_json_int(policy, "MaximumRetryCount", 0));
	if (!body)
		return out_of_memory(err);
	return call_on(engine, "POST", "containers", id, "/update", body, NULL, wait, err);
}

int rb_engine_wait_stopped(struct rb_engine *engine, const char *id, const struct rb_wait *wait,
			   struct rb_err *err)
{
	int r = call_on(engine, "POST", "containers", id, "/wait?condition=not-running", NULL, NULL,
			wait, err);

	if (r != -ENOENT)
		return r;
	rb_err_clear(err);
	return 0;
}

int rb_engine_use_image(struct rb_engine *engine, json_t *body, const char *image_id,
			const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *image = NULL;
	const char *name = rb_json_str(body, "Image", "");
	int r;

	if (*name) {
		r = rb_engine_image_inspect(engine, name, &image, wait, err);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0 && strcmp(rb_json_str(image, "Id", ""), image_id) == 0)
			return 0;
		rb_err_clear(err);
	}
	return json_object_set_new(body, "Image", json_string(image_id)) ? out_of_memory(err) : 0;
}

/* --- images, networks, volumes, the engine --- */

int rb_engine_image_inspect(struct rb_engine *engine, const char *ref, json_t **ret,
			    const struct rb_wait *wait, struct rb_err *err)
{
	return call_on(engine, "GET", "images", ref, "/json", NULL, ret, wait, err);
}

int rb_engine_network_inspect(struct rb_engine *engine, const char *network, json_t **ret,
			      const struct rb_wait *wait, struct rb_err *err)
{
	return call_on(engine, "GET", "networks", network, "", NULL, ret, wait, err);
}

int rb_engine_network_connect(struct rb_engine *engine, const char *network, const char *id,
			      const json_t *endpoint, const struct rb_wait *wait,
			      struct rb_err *err)
{
	_cleanup_json_ json_t *body =
		json_pack("{s:s, s:O*}", "Container", id, "EndpointConfig", endpoint);

	if (!body)
		return out_of_memory(err);
	return call_on(engine, "POST", "networks", network, "/connect", body, NULL, wait, err);
}

int rb_engine_connect_missing(struct rb_engine *engine, const char *id, const json_t *more,
			      const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *inspect = NULL;
	json_t *there, *entry;
	size_t i;
	int r;

	if (json_array_size(more) == 0)
		return 0;
	r = rb_engine_inspect(engine, id, &inspect, wait, err);
	there = rb_json_path(inspect, "NetworkSettings.Networks");
	json_array_foreach (more, i, entry) {
		const char *network = rb_json_str(entry, "network", "");

		if (r < 0)
			return r;
		if (!json_object_get(there, network))
			r = rb_engine_network_connect(
				engine, network, id, json_object_get(entry, "endpoint"), wait, err);
	}
	return r;
}

int rb_engine_network_disconnect(struct rb_engine *engine, const char *network, const char *id,
				 bool force, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *body = json_pack("{s:s, s:b}", "Container", id, "Force", force);

	if (!body)
		return out_of_memory(err);
	return call_on(engine, "POST", "networks", network, "/disconnect", body, NULL, wait, err);
}

int rb_engine_volume_inspect(struct rb_engine *engine, const char *name, json_t **ret,
			     const struct rb_wait *wait, struct rb_err *err)
{
	return call_on(engine, "GET", "volumes", name, "", NULL, ret, wait, err);
}

int rb_engine_volume_create(struct rb_engine *engine, const json_t *volume, json_t **ret,
			    const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *body = json_pack(
		"{s:s, s:s, s:O*, s:O*}", "Name", rb_json_str(volume, "name", ""), "Driver",
		rb_json_str(volume, "driver", "local"), "DriverOpts",
		json_object_get(volume, "options"), "Labels", json_object_get(volume, "labels"));

	if (!body)
		return out_of_memory(err);
	return rb_engine_call(engine, "POST", "/volumes/create", body, ret, wait, err);
}

int rb_engine_volume_remove(struct rb_engine *engine, const char *name, const struct rb_wait *wait,
			    struct rb_err *err)
{
	int r = call_on(engine, "DELETE", "volumes", name, "", NULL, NULL, wait, err);

	if (r != -ENOENT)
		return r;
	rb_err_clear(err);
	return 0;
}

int rb_engine_describe_volumes(struct rb_engine *engine, json_t *volumes,
			       const struct rb_wait *wait, struct rb_err *err)
{
	json_t *entry;
	size_t i;

	json_array_foreach (volumes, i, entry) {
		_cleanup_json_ json_t *volume = NULL;
		json_t *options, *labels;
		int r;

		r = rb_engine_volume_inspect(engine, rb_json_str(entry, "name", ""), &volume, wait,
					     err);
		if (r < 0)
			return r;
		options = json_object_get(volume, "Options");
		labels = json_object_get(volume, "Labels");
		if (json_is_object(options) && json_object_set(entry, "options", options))
			return out_of_memory(err);
		if (json_is_object(labels) && json_object_set(entry, "labels", labels))
			return out_of_memory(err);
	}
	return 0;
}

int rb_engine_info(struct rb_engine *engine, json_t **ret, const struct rb_wait *wait,
		   struct rb_err *err)
{
	return rb_engine_call(engine, "GET", "/info", NULL, ret, wait, err);
}
