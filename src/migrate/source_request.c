// SPDX-License-Identifier: Apache-2.0
/*
 * source_request.c - from a user's request to an entry in the journal; dry runs; a person's word
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "engine.h"
#include "err.h"
#include "facts.h"
#include "group.h"
#include "obstacles.h"
#include "json.h"
#include "lane_io.h"
#include "source.h"
#include "spec.h"
#include "storage.h"
#include "strategy.h"
#include "sync.h"

#define ENGINE_MS  10000
#define PLAN_MS	   20000
#define TIMEOUT_MS 600000 /* of a request that names none */

static int check_node(const struct rb_node *node, const char *target, struct rb_err *err)
{
	if (strcmp(target, node->name) == 0)
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "the container is on node '%s' already", target);
	if (!rb_json_str(node->peers, target, NULL))
		return rb_err_code(
			err, RB_E_NOT_FOUND, -ENOENT,
			"node '%s' is not known here: 'reberth node' lists those that are", target);
	return 0;
}

static int check_running(const json_t *inspect, const char *name, struct rb_err *err)
{
	const json_t *state = json_object_get(inspect, "State");

	if (rb_json_bool(state, "Paused", false))
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
				   "container '%s' is paused: 'docker unpause' it first", name);
	if (rb_json_bool(state, "Restarting", false))
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
				   "container '%s' is just being restarted: try again when it runs",
				   name);
	if (!rb_json_bool(state, "Running", false))
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
				   "container '%s' is not running: start it first", name);
	return 0;
}

/* as Docker's own names and ids are; anything else would be a path to some other question */
static int check_name(const char *name, struct rb_err *err)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_.-";

	if (strspn(name, plain) == strlen(name) && name[0] != '.' && name[0] != '-')
		return 0;
	return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "'%.100s' is not the name of a container",
			   name);
}

static bool allows_post_copy(const json_t *request)
{
	return rb_json_bool(request, "allow_post_copy", false) ||
	       strcmp(rb_json_str(request, "strategy", "auto"), "auto") != 0;
}

static int check_no_convergence(const json_t *request, struct rb_err *err)
{
	static const char *const known[] = { "force", "throttle", "abort", "post-copy" };
	const char *what = rb_json_str(request, "on_no_convergence", "force");

	if (strcmp(what, "post-copy") == 0 && !allows_post_copy(request))
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "with --on-no-convergence post-copy the container may depend on "
				   "both hosts for a while: say --allow-post-copy, too");
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(what, known[i]) == 0)
			return 0;
	return rb_err_code(err, RB_E_USAGE, -EINVAL,
			   "'%.40s' is nothing to do when memory is written too fast: force, "
			   "throttle, abort or post-copy",
			   what);
}

static int check_strategy(const char *strategy, struct rb_err *err)
{
	return rb_strategy_known(strategy)
		       ? 0
		       : rb_err_code(err, RB_E_USAGE, -EINVAL,
				     "strategy '%.40s' is not known: auto, cold, pre-copy, "
				     "post-copy or hybrid",
				     strategy);
}

static int check_volume_in_use(const char *what, struct rb_err *err)
{
	return strcmp(what, "refuse") == 0 || strcmp(what, "copy") == 0
		       ? 0
		       : rb_err_code(
				 err, RB_E_USAGE, -EINVAL,
				 "'%.40s' is nothing to do with a volume in use: refuse or copy",
				 what);
}

/* A volume that several use travels with the first of them, and so does a folder. Paths begin with
 * a
 * "/", names of volumes do not.
 * @key: that has the name */
static void drop_known(json_t *volumes, const char *key, json_t *names)
{
	for (size_t i = 0; i < json_array_size(volumes);) {
		const char *name = rb_json_str(json_array_get(volumes, i), key, "");

		if (json_object_get(names, name)) {
			json_array_remove(volumes, i);
			continue;
		}
		json_object_set_new(names, name, json_true());
		i++;
	}
}

/* the facts of one container; @names: of volumes and folders so far */
static int describe_one(const struct rb_node *node, json_t *inspect, json_t *facts, json_t *names,
			const struct rb_wait *wait, struct rb_err *err)
{
	const char *name = rb_json_str(inspect, "Name", "/"), *id;
	json_t *volumes = NULL, *binds = NULL;
	int r;

	r = check_running(inspect, name + (name[0] == '/'), err);
	if (r >= 0)
		r = rb_json_need_str(inspect, "Id", &id, err);
	if (r >= 0)
		r = rb_spec_volumes(inspect, &volumes, err);
	if (r < 0)
		return r;
	json_object_set_new(facts, "volumes", volumes);
	r = rb_spec_binds(inspect, &binds, err);
	if (r < 0)
		return r;
	drop_known(volumes, "name", names);
	drop_known(binds, "source", names);
	json_object_set(facts, "inspect", inspect);
	json_object_set_new(facts, "binds", binds);
	json_object_set(facts, "restart_policy", rb_json_path(inspect, "HostConfig.RestartPolicy"));
	return rb_engine_describe_volumes(node->engine, volumes, wait, err);
}

/* the first container is the entry's; @group: of inspects */
static int describe_group(const struct rb_node *node, const json_t *group, struct rb_entry *ret,
			  const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *names = json_object(), *others = json_array();
	json_t *inspect;
	size_t i;
	int r = 0;

	json_array_foreach (group, i, inspect) {
		const char *name = rb_json_str(inspect, "Name", "/");
		const char *id = rb_json_str(inspect, "Id", "");
		json_t *facts = ret->facts;

		name += name[0] == '/';
		if (i == 0) {
			snprintf(ret->container, sizeof(ret->container), "%s", name);
			snprintf(ret->container_id, sizeof(ret->container_id), "%s", id);
		} else {
			facts = json_pack("{s:s, s:s, s:i}", "container", name, "container_id", id,
					  "joins", rb_group_index(group, inspect));
			json_array_append_new(others, facts);
		}
		r = describe_one(node, inspect, facts, names, wait, err);
		if (r < 0)
			return r;
	}
	if (json_array_size(others))
		json_object_set(ret->facts, "members", others);
	return 0;
}

static int find_containers(const struct rb_node *node, const json_t *request, json_t **ret,
			   const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *inspect = NULL;
	int r = rb_engine_inspect(node->engine, rb_json_str(request, "container", ""), &inspect,
				  wait, err);

	if (r < 0)
		return r;
	if (rb_json_bool(request, "group", false))
		return rb_group_find(node, inspect, ret, wait, err);
	*ret = json_pack("[O]", inspect);
	return 0;
}

/* fills everything of the entry but what the journal itself knows */
static int describe_request(const struct rb_node *node, const json_t *request, struct rb_entry *ret,
			    struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, ENGINE_MS);
	static const char *const options[] = { "bandwidth",	    "max_downtime_ms",
					       "on_no_convergence", "allow_post_copy",
					       "connections",	    "verify",
					       "with_bind",	    "binds_wanted",
					       "shared_volumes",    "volume_in_use" };
	_cleanup_json_ json_t *group = NULL;
	const char *container, *target;
	int r;

	r = rb_json_need_str(request, "container", &container, err);
	if (r >= 0)
		r = rb_json_need_str(request, "target", &target, err);
	if (r < 0)
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "a container and a target node are needed");
	r = check_node(node, target, err);
	if (r >= 0)
		r = check_name(container, err);
	if (r >= 0)
		r = check_strategy(rb_json_str(request, "strategy", "auto"), err);
	if (r >= 0)
		r = check_no_convergence(request, err);
	if (r >= 0)
		r = check_volume_in_use(rb_json_str(request, "volume_in_use", "refuse"), err);
	if (r >= 0 && rb_json_int(request, "connections", 1) > RB_LANES_MAX)
		r = rb_err_code(err, RB_E_USAGE, -EINVAL, "there may be at most %d connections",
				RB_LANES_MAX);
	if (r >= 0)
		r = find_containers(node, request, &group, &wait, err);
	if (r < 0)
		return r;
	*ret = (struct rb_entry){ .role = RB_SOURCE };
	rb_journal_new_id(ret->id);
	snprintf(ret->peer, sizeof(ret->peer), "%s", target);
	ret->facts = json_pack("{s:s, s:b, s:b, s:b, s:b, s:b, s:I}", "strategy",
			       rb_json_str(request, "strategy", "auto"), "keep_source",
			       rb_json_bool(request, "keep_source", false), "no_forward",
			       rb_json_bool(request, "no_forward", false), "dry_run",
			       rb_json_bool(request, "dry_run", false), "reconnect",
			       rb_json_bool(request, "reconnect", false), "group",
			       rb_json_bool(request, "group", false), "timeout_ms",
			       (json_int_t)rb_json_int(request, "timeout_ms", TIMEOUT_MS));
	if (!ret->facts)
		return rb_err_set(err, -ENOMEM, "note the request");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (json_object_get(request, options[i]))
			json_object_set(ret->facts, options[i],
					json_object_get(request, options[i]));
	r = describe_group(node, group, ret, &wait, err);
	if (r >= 0)
		r = rb_storage_check_request(ret->facts, err);
	if (r < 0)
		rb_entry_release(ret);
	return r;
}

/* An earlier move of the container is over for its user, but not for us: say what it waits for. */
static int find_unconfirmed(void *arg, const struct rb_entry *entry)
{
	struct rb_entry *wanted = arg;

	if (!rb_entry_shares(entry, wanted) || entry->role != RB_SOURCE ||
	    !rb_json_bool(entry->facts, "unconfirmed", false))
		return 0;
	snprintf(wanted->id, sizeof(wanted->id), "%s", entry->id);
	snprintf(wanted->peer, sizeof(wanted->peer), "%s", entry->peer);
	return 1;
}

static int explain_conflict(const struct rb_node *node, struct rb_entry *entry, struct rb_err *err)
{
	if (rb_journal_each(node->journal, true, find_unconfirmed, entry, NULL) != 1)
		return -EBUSY;
	return rb_err_code(
		err, RB_E_CONFLICT, -EBUSY,
		"node '%s' has not confirmed yet that it rolled migration %s of '%s' back: bring "
		"it "
		"back, or, if it is gone for good, 'reberth migration resolve %s --abort'",
		entry->peer, entry->id, entry->container, entry->id);
}

int rb_source_begin(const struct rb_node *node, const json_t *request, struct rb_entry *ret,
		    struct rb_err *err)
{
	struct rb_entry entry = {};
	int r = describe_request(node, request, &entry, err);

	if (r >= 0)
		r = rb_journal_add(node->journal, &entry, err);
	if (r == -EBUSY && err->code == RB_E_CONFLICT && entry.id[0])
		r = explain_conflict(node, &entry, err);
	if (r < 0) {
		rb_entry_release(&entry);
		return r;
	}
	*ret = entry;
	return 0;
}

static bool is_possible(const json_t *obstacles)
{
	return rb_obstacles_refuse(obstacles, NULL) >= 0;
}

int rb_source_plan(const struct rb_node *node, const json_t *request, json_t **ret,
		   struct rb_err *err)
{
	_cleanup_entry_ struct rb_entry entry = {};
	struct rb_migration m = { .node = node, .timings = json_array(), .downtime_ms = -1 };
	const json_t *obstacles;
	uint64_t memory, files;
	int r;

	r = describe_request(node, request, &entry, err);
	if (r < 0)
		return r;
	m.entry = entry;
	m.wait = rb_wait_within(NULL, PLAN_MS);
	m.lock_fd = -EBADF;
	json_object_set_new(entry.facts, "dry_run", json_true());
	r = rb_members_bind(&m, err);
	if (r >= 0)
		r = rb_source_connect(&m, err);
	if (r >= 0)
		r = rb_source_check(&m, err);
	if (r >= 0) {
		obstacles = json_object_get(entry.facts, "obstacles");
		memory = (uint64_t)rb_json_int(entry.facts, "memory_bytes", 0);
		files = (uint64_t)rb_json_int(entry.facts, "file_bytes", 0);
		*ret = json_pack(
			"{s:s, s:s, s:s, s:s, s:b, s:O, s:o*, s:O*, s:{s:I, s:I, s:I, s:I}}",
			"container", entry.container, "container_id", entry.container_id, "source",
			node->name, "target", entry.peer, "possible", is_possible(obstacles),
			"obstacles", obstacles, "members", rb_members_list(&entry), "storage",
			json_object_get(entry.facts, "storage"), "estimate", "memory_bytes",
			(json_int_t)memory, "image_bytes",
			(json_int_t)rb_json_int(entry.facts, "image_bytes", 0), "fs_bytes",
			(json_int_t)files, "total_bytes",
			(json_int_t)(memory + files +
				     (uint64_t)rb_json_int(entry.facts, "image_bytes", 0)));
	}
	rb_each_member (c, &m)
		rb_sync_free(c->sync);
	rb_migration_hang_up(&m);
	json_decref(m.timings);
	return r;
}

int rb_source_resolve_abort(const struct rb_node *node, const struct rb_entry *entry,
			    struct rb_err *err)
{
	if (entry->role != RB_SOURCE || (entry->state != RB_FROZEN && entry->state != RB_ABORT))
		return rb_err_code(
			err, RB_E_CONFLICT, -EINVAL,
			"migration %s is in state %s on its %s here, and cannot be aborted by hand",
			entry->id, rb_state_name(entry->state), rb_role_name(entry->role));
	if (!rb_json_bool(entry->facts, "restart_here", false) &&
	    !rb_json_bool(entry->facts, "unconfirmed", false))
		return rb_err_code(err, RB_E_CONFLICT, -EINVAL,
				   "migration %s is under way and needs nobody's word: 'reberth "
				   "migration cancel %s' rolls it back",
				   entry->id, entry->id);
	/* noted before ABORT, which notes the new boot id */
	json_object_set_new(entry->facts, "confirmed_by_hand", json_true());
	return rb_journal_stage(node->journal, entry->id, entry->stage, entry->facts, err);
}
