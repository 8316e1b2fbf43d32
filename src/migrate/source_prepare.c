// SPDX-License-Identifier: Apache-2.0
/*
 * source_prepare.c - the source's stages while the container still runs: nothing here disturbs it
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "attached.h"
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
#include "sizes.h"
#include "slowdown.h"
#include "sockets.h"
#include "source.h"
#include "spec.h"
#include "storage.h"
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

/* of one container, what the target must know before it promises anything */
static int describe_one(struct rb_migration *m, struct rb_member *c, json_t **ret,
			const struct rb_wait *wait, struct rb_err *err)
{
	const json_t *inspect = json_object_get(c->facts, "inspect");
	_cleanup_json_ json_t *spec = NULL, *image = NULL, *sizes = NULL;
	int r;

	r = rb_member_number(m, c) ? rb_spec_of_member(inspect, "reberth-runtime", &spec, err)
				   : rb_spec_from_inspect(inspect, "reberth-runtime", &spec, err);
	if (r >= 0)
		r = rb_storage_mark_spec(m, spec, err);
	if (r >= 0)
		r = rb_image_describe(m->node->engine, rb_json_str(inspect, "Image", ""), &image,
				      wait, err);
	if (r >= 0)
		r = rb_image_sizes(m->node->engine, image, &sizes, wait, err);
	if (r < 0)
		return r;
	rb_storage_note_moves(m, c);
	*ret = json_pack("{s:s, s:s, s:O, s:I, s:O, s:O, s:O*, s:O, s:O*}", "container", c->name,
			 "source_id", c->container_id, "moves", json_object_get(c->facts, "moves"),
			 "joins", (json_int_t)rb_json_int(c->facts, "joins", 0), "spec", spec,
			 "volumes", json_object_get(c->facts, "volumes"), "binds",
			 json_object_get(c->facts, "binds"), "image", image, "restart_policy",
			 json_object_get(c->facts, "restart_policy"));
	json_object_set(image, "layer_bytes", sizes);
	if (!*ret)
		return rb_err_set(err, -ENOMEM, "describe the container");
	rb_member_fact(c, "image", json_incref(image));
	return 0;
}

static int describe_members(struct rb_migration *m, json_t *offer, const struct rb_wait *wait,
			    struct rb_err *err)
{
	json_t *members = json_array();

	json_object_set_new(offer, "members", members);
	rb_each_member (c, m) {
		json_t *one = NULL;
		int r = rb_member_number(m, c) ? describe_one(m, c, &one, wait, err) : 0;

		if (r < 0)
			return r;
		if (one)
			json_array_append_new(members, one);
	}
	return 0;
}

/* what there is once: addresses, and how much there is of everything */
static int describe_shared(struct rb_migration *m, json_t *offer, const struct rb_wait *wait,
			   struct rb_err *err)
{
	const json_t *inspect = json_object_get(m->entry.facts, "inspect");
	_cleanup_json_ json_t *host = NULL, *networks = NULL, *macs = NULL, *more = NULL;
	struct rb_memory_size memory = {};
	uint64_t file_bytes = 0;
	int r;

	r = rb_sync_size(m, &file_bytes, err);
	if (r >= 0)
		r = rb_host_facts(&host, wait, err);
	if (r >= 0)
		r = describe_networks(m, inspect, &networks, wait, err);
	if (r >= 0)
		r = rb_spec_macs(inspect, &macs, err);
	if (r >= 0)
		r = rb_spec_more_networks(inspect, &more, err);
	if (r < 0)
		return r;
	rb_each_member (c, m)
		rb_memory_measure(rb_json_str(c->facts, "freezer", ""), &memory);
	rb_migration_fact(m, "pages_bytes", json_integer((json_int_t)memory.private));
	rb_migration_fact(m, "shared_bytes", json_integer((json_int_t)memory.shared));
	rb_migration_fact(m, "once_bytes", json_integer((json_int_t)memory.once));
	json_object_set_new(offer, "id", json_string(m->entry.id));
	json_object_set(offer, "host", host);
	json_object_set_new(offer, "file_bytes", json_integer((json_int_t)file_bytes));
	json_object_set_new(offer, "memory_bytes", json_integer((json_int_t)memory.resident));
	json_object_set_new(offer, "pages_bytes", json_integer((json_int_t)memory.private));
	json_object_set_new(offer, "shared_bytes", json_integer((json_int_t)memory.shared));
	json_object_set_new(offer, "locked_bytes", json_integer((json_int_t)memory.locked));
	json_object_set_new(offer, "strategy", json_string(rb_strategy_hoped(m)));
	if (rb_strategy_may_fetch(m))
		json_object_set_new(offer, "fetch_from", json_string(m->node->name));
	json_object_set(offer, "networks", networks);
	json_object_set(offer, "macs", macs);
	json_object_set(offer, "more_networks", more);
	rb_migration_fact(m, "file_bytes", json_integer((json_int_t)file_bytes));
	rb_migration_fact(m, "memory_bytes", json_integer((json_int_t)memory.resident));
	return 0;
}

static int describe(struct rb_migration *m, json_t **ret, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, CALL_MS);
	const json_t *inspect = json_object_get(m->entry.facts, "inspect");
	_cleanup_json_ json_t *offer = NULL;
	int r = describe_one(m, &m->members[0], &offer, &wait, err);

	if (r >= 0)
		r = describe_members(m, offer, &wait, err);
	if (r >= 0)
		r = describe_shared(m, offer, &wait, err);
	if (r < 0)
		return r;
	if (rb_reconnect_wanted(m))
		rb_reconnect_describe(offer, inspect);
	json_object_set_new(offer, "connections", rb_connections_describe(inspect));
	json_object_set_new(offer, "forwards",
			    json_boolean(rb_ports_forwards(m->entry.facts, inspect)));
	json_object_set_new(offer, "dry_run",
			    json_boolean(rb_json_bool(m->entry.facts, "dry_run", false)));
	*ret = TAKE_PTR(offer);
	return 0;
}

/* the container's real init (Docker may know a placeholder) and what it is frozen with */
static int find_tasks(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	char freezer[512];
	int pid, r;

	r = rb_criu_init_pid(m->node->runtime_root, c->container_id, &pid, err);
	if (r >= 0)
		r = rb_freezer_find(pid, freezer, sizeof(freezer), err);
	if (r < 0)
		return r;
	rb_member_fact(c, "init_pid", json_integer(pid));
	rb_member_fact(c, "init_start", json_integer((json_int_t)rb_pid_starttime(pid)));
	rb_member_fact(c, "freezer", json_string(freezer));
	return 0;
}

static int find_rootfs(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
		       struct rb_err *err)
{
	_cleanup_json_ json_t *info = NULL;
	struct rb_rootfs rootfs;
	int r = rb_engine_info(m->node->engine, &info, wait, err);

	if (r >= 0)
		r = rb_engine_rootfs(json_object_get(c->facts, "inspect"), info, &rootfs, wait,
				     err);
	if (r >= 0)
		rb_member_fact(c, "upper", json_string(rootfs.upper));
	return r;
}

json_t *rb_source_group(struct rb_migration *m)
{
	json_t *group = json_array();

	rb_each_member (c, m)
		json_array_append(group, json_object_get(c->facts, "inspect"));
	return group;
}

/* what stands in the way here, of each container */
static int find_obstacles(struct rb_migration *m, json_t *obstacles, const struct rb_wait *wait,
			  struct rb_err *err)
{
	_cleanup_json_ json_t *group = rb_source_group(m);

	rb_each_member (c, m) {
		_cleanup_json_ json_t *own = json_array();
		const json_t *inspect = json_object_get(c->facts, "inspect");
		int r = rb_obstacles_source(m->node, inspect, rb_reconnect_wanted(m), group, own,
					    wait, err);

		if (r >= 0 && !rb_member_number(m, c))
			rb_obstacles_ports_source(m->node, m->entry.facts, inspect, own);
		if (r >= 0)
			r = find_tasks(m, c, err);
		if (r >= 0)
			r = find_rootfs(m, c, wait, err);
		if (r >= 0)
			r = rb_storage_settle(m, c, own, wait, err);
		if (r >= 0)
			rb_storage_check_users(m, c, group, own, wait);
		if (m->members_count > 1)
			rb_obstacles_name(own, c->name);
		json_array_extend(obstacles, own);
		if (r < 0)
			return r;
	}
	rb_storage_settle_inside(m, obstacles);
	return 0;
}

/* An image that several use travels with the first of them. */
static bool has_image_before(struct rb_migration *m, const struct rb_member *c)
{
	const char *id = rb_json_str(json_object_get(c->facts, "inspect"), "Image", "");

	rb_each_member (other, m) {
		if (other == c)
			return false;
		if (strcmp(rb_json_str(json_object_get(other->facts, "inspect"), "Image", "-"),
			   id) == 0)
			return true;
	}
	return false;
}

/* @answer: of the target; layers_present -1: the image is there */
static void note_layers(struct rb_migration *m, const json_t *answer)
{
	int64_t bytes = 0;

	rb_each_member (c, m) {
		int64_t present = rb_json_int(rb_member_answer(m, c, answer), "layers_present", 0);

		if (has_image_before(m, c))
			present = -1;
		rb_member_fact(c, "layers_present", json_integer(present));
		if (present >= 0)
			bytes += rb_json_int(json_object_get(c->facts, "image"), "size", 0);
	}
	/* an upper bound: layers that are there already do not travel */
	rb_migration_fact(m, "image_bytes", json_integer(bytes));
}

int rb_source_check(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, CALL_MS);
	_cleanup_json_ json_t *obstacles = json_array(), *offer = NULL, *answer = NULL;
	bool dry_run = rb_json_bool(m->entry.facts, "dry_run", false);
	struct rb_err why = {};
	json_t *theirs;
	int r;

	r = find_obstacles(m, obstacles, &wait, err);
	if (r >= 0 && rb_storage_locked(m, &why) < 0)
		rb_obstacle_add(obstacles, "error", NULL, "%s", why.msg);
	if (r >= 0)
		rb_migration_fact(m, "storage", rb_storage_list(m));
	if (r >= 0)
		r = rb_attached_note(m, err);
	if (r >= 0)
		r = rb_wait_placed(m, NULL, &m->wait, err);
	if (r >= 0)
		r = rb_storage_put_tokens(m, !dry_run && rb_obstacles_refuse(obstacles, NULL) >= 0,
					  err);
	if (r >= 0)
		r = describe(m, &offer, err);
	/* one that cannot even be described: what is in its way here is known */
	if (r == -EOPNOTSUPP && rb_obstacles_refuse(obstacles, NULL) < 0) {
		rb_migration_fact(m, "obstacles", json_incref(obstacles));
		return dry_run ? 0 : rb_obstacles_refuse(obstacles, err);
	}
	if (r < 0)
		return r;
	rb_strategy_warn(m, obstacles);
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
	note_layers(m, answer);
	if (dry_run)
		return 0;
	m->bytes_total = (uint64_t)rb_json_int(offer, "file_bytes", 0) +
			 (uint64_t)rb_json_int(offer, "memory_bytes", 0) +
			 (uint64_t)rb_json_int(m->entry.facts, "image_bytes", 0);
	return rb_obstacles_refuse(obstacles, err);
}

int rb_source_check_undo(struct rb_migration *m, struct rb_err *err)
{
	(void)err;
	rb_storage_remove_tokens(m);
	return 0;
}

static void show_image(void *arg, const struct rb_image_stats *stats)
{
	(void)stats;
	rb_progress_bytes(arg);
}

static int send_image(struct rb_migration *m, struct rb_member *c, struct rb_err *err)
{
	int64_t present = rb_json_int(c->facts, "layers_present", 0);
	const json_t *image = json_object_get(c->facts, "image");
	_cleanup_json_ json_t *args = rb_member_args(m, c);
	struct rb_image_stats stats = {};
	struct rb_image_send_options options = { .stats = &stats,
						 .progress = show_image,
						 .arg = m };
	int r;

	if (present < 0)
		return 0;
	r = rb_conn_call(m->conn, "image", args, &m->wait, err);
	if (r >= 0)
		r = rb_image_send(m->node->engine, image, (int)present, m->conn, &options, &m->wait,
				  err);
	if (r >= 0)
		r = rb_conn_reply(m->conn, NULL, &m->wait, err);
	if (r >= 0)
		rb_member_fact(c, "image_sent",
			       json_pack("{s:I, s:I, s:I, s:I}", "bytes",
					 (json_int_t)stats.bytes_total, "found",
					 (json_int_t)stats.bytes_found, "missing",
					 (json_int_t)stats.bytes_missing, "packed",
					 (json_int_t)stats.bytes_packed));
	rb_image_stats_clear(&stats);
	return r;
}

int rb_source_image(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	rb_each_member (c, m)
		if (r >= 0)
			r = send_image(m, c, err);
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
	rb_each_member (c, m) {
		if (r >= 0)
			r = rb_json_need_str(rb_member_answer(m, c, answer), "new_id", &new_id,
					     err);
		if (r >= 0)
			rb_member_fact(c, "new_id", json_string(new_id));
	}
	return r < 0 ? r : 0;
}

int rb_source_forget_work(struct rb_migration *m, struct rb_err *err)
{
	return rb_migration_remove_work(m, err);
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
	if (r >= 0)
		r = rb_storage_prove(m, err);
	if (r >= 0)
		rb_storage_remove_tokens(m);
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
	rb_each_member (c, m)
		rb_memory_free(TAKE_PTR(c->memory));
	return rb_slowdown_end(m, err);
}
