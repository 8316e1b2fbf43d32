// SPDX-License-Identifier: Apache-2.0
/*
 * source_prepare.c - the source's stages while the container still runs: nothing here disturbs it
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "conn.h"
#include "dump.h"
#include "engine.h"
#include "err.h"
#include "facts.h"
#include "freezer.h"
#include "image.h"
#include "io.h"
#include "json.h"
#include "obstacles.h"
#include "ports.h"
#include "proc.h"
#include "reconnect.h"
#include "send.h"
#include "slowdown.h"
#include "sockets.h"
#include "source.h"
#include "spec.h"
#include "strategy.h"
#include "sync.h"

#define CONNECT_MS 10000
#define CALL_MS	   60000

int rb_source_connect(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, CONNECT_MS);
	const char *address = rb_json_str(m->node->peers, m->entry.peer, NULL);

	if (!address)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
				   "node '%s' is not known here: see 'reberth node'",
				   m->entry.peer);
	return rb_conn_connect(m->node->tls, address, m->entry.peer, &wait, &m->conn, err);
}

/* does the container's way to the world lead through this endpoint? */
static bool is_default(const json_t *inspect, const json_t *endpoint)
{
	int pid = (int)rb_json_int(json_object_get(inspect, "State"), "Pid", 0);
	struct rb_ip way, gateway;

	return rb_default_gateway(pid, &way) &&
	       rb_ip_parse(rb_json_str(endpoint, "Gateway", ""), &gateway) &&
	       rb_ip_equal(&way, &gateway);
}

/* the container's networks: its addresses in each, and the subnets that the target's must have */
static int describe_networks(struct rb_migration *m, const json_t *inspect, json_t **ret,
			     const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *networks = json_object();
	const char *name;
	json_t *endpoint;

	json_object_foreach (rb_json_path(inspect, "NetworkSettings.Networks"), name, endpoint) {
		_cleanup_json_ json_t *network = NULL;
		int r = rb_engine_network_inspect(m->node->engine, name, &network, wait, err);

		if (r < 0)
			return r;
		json_object_set_new(networks, name,
				    json_pack("{s:s, s:s, s:s, s:O*, s:b, s:b}", "IPAddress",
					      rb_json_str(endpoint, "IPAddress", ""),
					      "GlobalIPv6Address",
					      rb_json_str(endpoint, "GlobalIPv6Address", ""),
					      "MacAddress", rb_json_str(endpoint, "MacAddress", ""),
					      "ipam", rb_json_path(network, "IPAM.Config"),
					      "masquerade", rb_network_masquerades(network),
					      "default", is_default(inspect, endpoint)));
	}
	*ret = TAKE_PTR(networks);
	return 0;
}

/* what the target must know before it promises anything */
static int describe(struct rb_migration *m, json_t **ret, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, CALL_MS);
	const json_t *inspect = json_object_get(m->entry.facts, "inspect");
	_cleanup_json_ json_t *spec = NULL, *volumes = NULL, *image = NULL, *host = NULL;
	_cleanup_json_ json_t *networks = NULL, *macs = NULL, *more = NULL;
	uint64_t file_bytes = 0;
	int r;

	r = rb_spec_from_inspect(inspect, "reberth-runtime", &spec, err);
	if (r >= 0)
		r = rb_spec_volumes(inspect, &volumes, err);
	if (r >= 0)
		r = rb_image_describe(m->node->engine, rb_json_str(inspect, "Image", ""), &image,
				      &wait, err);
	if (r >= 0)
		r = rb_sync_size(m, &file_bytes, err);
	if (r >= 0)
		r = rb_host_facts(&host, &wait, err);
	if (r >= 0)
		r = describe_networks(m, inspect, &networks, &wait, err);
	if (r >= 0)
		r = rb_spec_macs(inspect, &macs, err);
	if (r >= 0)
		r = rb_spec_more_networks(inspect, &more, err);
	if (r < 0)
		return r;
	*ret = json_pack("{s:s, s:s, s:s, s:O, s:O, s:O, s:O, s:I, s:I, s:O, s:O, s:O, s:O*}", "id",
			 m->entry.id, "container", m->entry.container, "source_id",
			 m->entry.container_id, "spec", spec, "volumes", volumes, "image", image,
			 "host", host, "file_bytes", (json_int_t)file_bytes, "memory_bytes",
			 (json_int_t)rb_container_memory(inspect), "networks", networks, "macs",
			 macs, "more_networks", more, "restart_policy",
			 json_object_get(m->entry.facts, "restart_policy"));
	if (!*ret)
		return rb_err_set(err, -ENOMEM, "describe the container");
	if (rb_reconnect_wanted(m))
		rb_reconnect_describe(*ret, inspect);
	json_object_set_new(*ret, "connections", rb_connections_describe(inspect));
	rb_migration_fact(m, "image", json_incref(image));
	rb_migration_fact(m, "file_bytes", json_integer((json_int_t)file_bytes));
	return 0;
}

/* the container's real init (Docker may know a placeholder) and what it is frozen with */
static int find_tasks(struct rb_migration *m, struct rb_err *err)
{
	char freezer[512];
	int pid, r;

	r = rb_criu_init_pid(m->node->runtime_root, m->entry.container_id, &pid, err);
	if (r >= 0)
		r = rb_freezer_find(pid, freezer, sizeof(freezer), err);
	if (r < 0)
		return r;
	rb_migration_fact(m, "init_pid", json_integer(pid));
	rb_migration_fact(m, "init_start", json_integer((json_int_t)rb_pid_starttime(pid)));
	rb_migration_fact(m, "freezer", json_string(freezer));
	return 0;
}

int rb_source_check(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, CALL_MS);
	_cleanup_json_ json_t *obstacles = json_array(), *offer = NULL, *answer = NULL;
	bool dry_run = rb_json_bool(m->entry.facts, "dry_run", false);
	json_t *theirs;
	int r;

	r = rb_obstacles_source(m->node, json_object_get(m->entry.facts, "inspect"),
				rb_reconnect_wanted(m), obstacles, &wait, err);
	if (r >= 0)
		rb_obstacles_ports_source(m->node, m->entry.facts,
					  json_object_get(m->entry.facts, "inspect"), obstacles);
	if (r >= 0)
		r = find_tasks(m, err);
	if (r >= 0)
		r = rb_wait_placed(m, err);
	if (r >= 0)
		r = describe(m, &offer, err);
	/* one that cannot even be described: what is in its way here is known */
	if (r == -EOPNOTSUPP && rb_obstacles_refuse(obstacles, NULL) < 0) {
		rb_migration_fact(m, "obstacles", json_incref(obstacles));
		return dry_run ? 0 : rb_obstacles_refuse(obstacles, err);
	}
	if (r < 0)
		return r;
	json_object_set_new(offer, "dry_run", json_boolean(dry_run));
	json_object_set_new(offer, "forwards",
			    json_boolean(rb_ports_forwards(
				    m->entry.facts, json_object_get(m->entry.facts, "inspect"))));
	r = rb_conn_call(m->conn, "prepare", offer, &wait, err);
	if (r >= 0)
		r = rb_conn_reply(m->conn, &answer, &wait, err);
	if (r < 0)
		return r;
	if (!dry_run)
		r = rb_strategy_choose(m, rb_json_bool(answer, "lazy", false), err);
	if (r < 0)
		return r;
	theirs = json_object_get(answer, "obstacles");
	if (json_is_array(theirs))
		json_array_extend(obstacles, theirs);
	rb_migration_fact(m, "obstacles", json_incref(obstacles));
	rb_migration_fact(m, "layers_present",
			  json_integer(rb_json_int(answer, "layers_present", 0)));
	/* an upper bound: layers that are there already do not travel */
	if (rb_json_int(answer, "layers_present", 0) >= 0)
		rb_migration_fact(
			m, "image_bytes",
			json_integer(rb_json_int(json_object_get(offer, "image"), "size", 0)));
	if (dry_run)
		return 0;
	m->bytes_total = (uint64_t)rb_json_int(offer, "file_bytes", 0) +
			 (uint64_t)rb_json_int(offer, "memory_bytes", 0) +
			 (uint64_t)rb_json_int(m->entry.facts, "image_bytes", 0);
	return rb_obstacles_refuse(obstacles, err);
}

int rb_source_image(struct rb_migration *m, struct rb_err *err)
{
	int64_t present = rb_json_int(m->entry.facts, "layers_present", 0);
	const json_t *image = json_object_get(m->entry.facts, "image");
	int r;

	if (present < 0)
		return 0;
	r = rb_conn_call(m->conn, "image", NULL, &m->wait, err);
	if (r >= 0)
		r = rb_image_send(m->node->engine, image, (int)present, m->conn, &m->wait, err);
	if (r >= 0)
		r = rb_conn_reply(m->conn, NULL, &m->wait, err);
	return r;
}

int rb_source_create(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, CALL_MS);
	_cleanup_json_ json_t *answer = NULL;
	const char *new_id;
	int r;

	r = rb_mkdir_p(m->work_dir, 0700, err);
	if (r >= 0)
		r = rb_conn_call(m->conn, "create", NULL, &wait, err);
	if (r >= 0)
		r = rb_conn_reply(m->conn, &answer, &wait, err);
	if (r >= 0)
		r = rb_json_need_str(answer, "new_id", &new_id, err);
	if (r < 0)
		return r;
	rb_migration_fact(m, "new_id", json_string(new_id));
	return 0;
}

int rb_source_forget_work(struct rb_migration *m, struct rb_err *err)
{
	return rb_source_remove_work(m, err);
}

int rb_source_sync(struct rb_migration *m, struct rb_err *err)
{
	return rb_sync_round(m, err);
}

int rb_source_start(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, CALL_MS);
	_cleanup_json_ json_t *answer = NULL;
	int r = rb_conn_call(m->conn, "start", NULL, &wait, err);

	if (r >= 0)
		r = rb_conn_reply(m->conn, &answer, &wait, err);
	if (r >= 0 && rb_reconnect_wanted(m))
		rb_migration_fact(m, "addresses",
				  json_incref(json_object_get(answer, "addresses")));
	return r;
}

int rb_source_memory(struct rb_migration *m, struct rb_err *err)
{
	const struct rb_strategy *strategy = rb_strategy_of(m);

	return strategy->rounds ? strategy->rounds(m, err) : 0;
}

/* The kernel itself ends what follows the memory, with the worker. */
int rb_source_memory_undo(struct rb_migration *m, struct rb_err *err)
{
	rb_memory_free(TAKE_PTR(m->memory));
	return rb_slowdown_end(m, err);
}
