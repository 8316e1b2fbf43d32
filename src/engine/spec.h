/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec.h - from `docker inspect` of a container to the body that creates the same one elsewhere
 */
#pragma once

#include <jansson.h>

struct rb_err;

/**
 * rb_spec_from_inspect - body for POST /containers/create
 * @inspect: GET /containers/ID/json of the source
 * @runtime: HostConfig.Runtime for the new container
 *
 * Carries Config (hostname, env, labels, cmd, entrypoint, user, working dir, tty, exposed ports,
 * healthcheck, stop signal, volumes, ...), HostConfig (limits, binds, mounts, caps, security,
 * sysctls, ulimits, tmpfs, log config, port bindings, ...) with RestartPolicy "no" and AutoRemove
 * false, and NetworkingConfig with the main network's own IPv4/IPv6 address, MAC, aliases and
 * links, so that the container keeps its address. Anonymous volumes are bound by name. Fields that
 * Docker fills itself and would refuse or misread are left out.
 *
 * The body is the same for every engine; rb_engine_create() fits it to the engine's API. It names
 * all networks, but engines before 25 (API 1.44) take one: see rb_engine_connect_missing().
 *
 * Return: 0; -EOPNOTSUPP/RB_E_REFUSED for a container that lives in another one's namespace;
 * -EPROTO when @inspect is not what inspect returns.
 */
int rb_spec_from_inspect(const json_t *inspect, const char *runtime, json_t **ret,
			 struct rb_err *err);

/**
 * rb_spec_of_member - the same of one that has joined the network of a container that comes along
 *
 * HostConfig.NetworkMode is what it was until rb_spec_join() says whose it is at the target.
 */
int rb_spec_of_member(const json_t *inspect, const char *runtime, json_t **ret, struct rb_err *err);
int rb_spec_join(json_t *body, const char *container_id, struct rb_err *err);

/**
 * rb_spec_more_networks - the networks beyond the main one, for rb_engine_connect_missing()
 *
 * Return in @ret: array of {"network": name, "endpoint": EndpointConfig}, by name.
 */
int rb_spec_more_networks(const json_t *inspect, json_t **ret, struct rb_err *err);

/**
 * rb_spec_forget_addresses - have the engine choose addresses for all networks
 * @body: from rb_spec_from_inspect()
 * @more: from rb_spec_more_networks()
 */
void rb_spec_forget_addresses(json_t *body, json_t *more);

/** rb_spec_addresses - array of {"network","mac","ipv4","ipv6"}, main network first, "" where there
 * is none; none at all for the networks "host" and "none" */
int rb_spec_addresses(const json_t *inspect, json_t **ret, struct rb_err *err);

/** rb_spec_macs - array of the MAC addresses as texts, main network first */
int rb_spec_macs(const json_t *inspect, json_t **ret, struct rb_err *err);

/**
 * rb_spec_volumes - named volumes of a container
 *
 * Return in @ret: array of {"name","driver","options","labels","destination","source"(path on this
 * host),"rw","anonymous"}, by destination. Options and labels are those of a volume that the
 * container's own configuration describes, else {}: see rb_engine_describe_volumes(). Bind mounts
 * are listed by rb_spec_binds() as [{"source","destination","rw"}].
 */
int rb_spec_volumes(const json_t *inspect, json_t **ret, struct rb_err *err);
int rb_spec_binds(const json_t *inspect, json_t **ret, struct rb_err *err);

/**
 * rb_spec_forbid_copy - have Docker not fill this volume from the image if it is empty
 * @body: from rb_spec_from_inspect()
 *
 * For one that other hosts have, too: its files are what they are.
 */
int rb_spec_forbid_copy(json_t *body, const char *volume, struct rb_err *err);

/**
 * rb_spec_for_api - a body as engines of one API version want it
 * @body: from rb_spec_from_inspect()
 * @minor: 41 for API 1.41
 *
 * Return in @ret: a copy.
 */
int rb_spec_for_api(const json_t *body, int minor, json_t **ret, struct rb_err *err);
