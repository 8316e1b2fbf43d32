// SPDX-License-Identifier: Apache-2.0
/*
 * ops.c - the operations of the local API
 */
#include "ops.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "err.h"
#include "journal.h"
#include "json.h"
#include "ports.h"
#include "proc.h"
#include "pushes.h"
#include "source.h"
#include "target.h"
#include "workers.h"

static void answer_later(void *arg, json_t *answer, const struct rb_err *why)
{
	rb_api_answer(arg, answer, why);
}

/* it only reads, and for long where the image is large: who does not wait any more ends it */
static bool is_gone(void *arg)
{
	return rb_api_is_gone(arg);
}

static int op_migrate(void *ctx, const json_t *request, json_t **ret, struct rb_err *err)
{
	struct rb_ops_context *ops = ctx;
	struct rb_entry entry = {};
	int r;

	if (rb_json_bool(request, "dry_run", false))
		return rb_workers_start_question(ops->workers, "plan", request, answer_later, NULL,
						 rb_api_later(ops->api), err);
	r = rb_source_begin(&ops->config->node, request, &entry, err);
	if (r >= 0)
		r = rb_workers_start_source(ops->workers, entry.id, err);
	if (r >= 0)
		*ret = json_pack("{s:s}", "id", entry.id);
	rb_entry_release(&entry);
	return r;
}

static void format_time(int64_t realtime_ms, char *ret, size_t size)
{
	time_t seconds = (time_t)(realtime_ms / 1000);
	struct tm tm;
	size_t len;

	gmtime_r(&seconds, &tm);
	len = strftime(ret, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret + len, size - len, ".%03dZ", (int)(realtime_ms % 1000));
}

/* A roll-back is over for its user when the container runs on, although the target has not heard of
 * it yet. */
static bool is_active(const struct rb_entry *entry)
{
	return !rb_state_is_final(entry->state) && !(entry->state == RB_ABORT && entry->report);
}

static json_t *show_entry(const struct rb_node *node, const struct rb_entry *entry)
{
	bool source = entry->role == RB_SOURCE, active = is_active(entry);
	_cleanup_json_ json_t *progress =
		rb_state_is_final(entry->state) ? NULL : rb_progress_read(node, entry->id);
	char started[40], updated[40];

	format_time(entry->created_ms, started, sizeof(started));
	format_time(entry->updated_ms, updated, sizeof(updated));
	return json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:o*, s:s, s:s, s:s, s:s, s:b, s:s, s:O*, s:s, s:s, "
		"s:O*, s:O*, s:O*, s:i}",
		"id", entry->id, "role", rb_role_name(entry->role), "container", entry->container,
		"container_id", rb_json_str(entry->facts, "source_id", entry->container_id),
		"new_container_id", rb_json_str(entry->facts, "new_id", ""), "members",
		rb_members_list(entry), "source", source ? node->name : entry->peer, "target",
		source ? entry->peer : node->name, "strategy",
		rb_json_str(entry->facts, "strategy", "cold"), "state", rb_state_name(entry->state),
		"active", active, "stage", rb_json_str(progress, "stage", entry->stage), "progress",
		progress, "started", started, "updated", updated, "result",
		json_object_get(entry->report, "result"), "reason",
		json_object_get(entry->report, "reason"), "report", entry->report, "worker",
		(int)entry->worker);
}

struct listing {
	const struct rb_node *node;
	json_t *out;
};

static int add_entry(void *arg, const struct rb_entry *entry)
{
	struct listing *listing = arg;

	json_array_append_new(listing->out, show_entry(listing->node, entry));
	return 0;
}

static int op_list(void *ctx, json_t **ret, struct rb_err *err)
{
	const struct rb_node *node = &((struct rb_ops_context *)ctx)->config->node;
	struct listing listing = { node, json_array() };
	int r = rb_journal_each(node->journal, false, add_entry, &listing, err);

	if (r < 0) {
		json_decref(listing.out);
		return r;
	}
	*ret = listing.out;
	return 0;
}

static int op_inspect(void *ctx, const char *id, json_t **ret, struct rb_err *err)
{
	const struct rb_node *node = &((struct rb_ops_context *)ctx)->config->node;
	_cleanup_entry_ struct rb_entry entry = {};
	int r = rb_journal_get(node->journal, id, &entry, err);

	if (r >= 0)
		*ret = show_entry(node, &entry);
	return r;
}

static int op_cancel(void *ctx, const char *id, struct rb_err *err)
{
	const struct rb_node *node = &((struct rb_ops_context *)ctx)->config->node;
	_cleanup_entry_ struct rb_entry entry = {};
	int r = rb_journal_get(node->journal, id, &entry, err);
	pid_t pid;

	if (r < 0)
		return r;
	if (rb_state_is_final(entry.state))
		return rb_err_code(err, RB_E_CONFLICT, -EINVAL,
				   "migration %s has ended (%s): too late to cancel", entry.id,
				   rb_state_name(entry.state));
	if (entry.role != RB_SOURCE)
		return rb_err_code(err, RB_E_CONFLICT, -EINVAL,
				   "migration %s can only be cancelled on its source, node '%s'",
				   entry.id, entry.peer);
	if (entry.state != RB_PREPARING && entry.state != RB_FROZEN)
		return rb_err_code(err, RB_E_CONFLICT, -EINVAL,
				   "migration %s is in state %s: too late to cancel", entry.id,
				   rb_state_name(entry.state));
	/* one that was just started has not signed yet: then our own pid stands there */
	pid = rb_workers_pid(((struct rb_ops_context *)ctx)->workers, entry.id);
	if (!pid && entry.worker != getpid() && rb_pid_alive(entry.worker, entry.worker_start))
		pid = entry.worker;
	if (!pid || kill(pid, SIGTERM) < 0)
		return rb_err_code(
			err, RB_E_CONFLICT, -ESRCH,
			"migration %s has no worker at the moment: it is being rolled back",
			entry.id);
	return 0;
}

static int op_resolve(void *ctx, const char *id, const char *decision, struct rb_err *err)
{
	const struct rb_node *node = &((struct rb_ops_context *)ctx)->config->node;
	_cleanup_entry_ struct rb_entry entry = {};
	int r = rb_journal_get(node->journal, id, &entry, err);

	if (r < 0)
		return r;
	if (strcmp(decision, "commit") == 0)
		return rb_target_resolve_commit(node, &entry, err);
	return entry.role == RB_TARGET ? rb_target_resolve_abort(node, &entry, err)
				       : rb_source_resolve_abort(node, &entry, err);
}

static int op_node(void *ctx, json_t **ret, struct rb_err *err)
{
	const struct rb_config *config = ((struct rb_ops_context *)ctx)->config;
	char boot_id[37];
	int r = rb_boot_id(boot_id, err);

	if (r >= 0)
		*ret = json_pack("{s:s, s:s, s:s, s:s, s:O*}", "node", config->node.name, "version",
				 RB_VERSION, "boot_id", boot_id, "listen", config->listen, "nodes",
				 config->node.peers);
	return r;
}

/* asks other nodes, and Docker */
static int op_network(void *ctx, const json_t *request, json_t **ret, struct rb_err *err)
{
	struct rb_ops_context *ops = ctx;

	(void)ret;
	return rb_workers_start_question(ops->workers, "network", request, answer_later, NULL,
					 rb_api_later(ops->api), err);
}

static int op_forwards(void *ctx, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *list = NULL;
	json_t *forward;
	char since[40];
	size_t i;
	int r = rb_ports_list(&((struct rb_ops_context *)ctx)->config->node, &list, err);

	if (r < 0)
		return r;
	json_array_foreach (list, i, forward) {
		format_time(rb_json_int(forward, "since", 0), since, sizeof(since));
		json_object_set_new(forward, "since", json_string(since));
	}
	*ret = json_incref(list);
	return 0;
}

static int op_forward_rm(void *ctx, const char *id, struct rb_err *err)
{
	_cleanup_json_ json_t *request = json_pack("{s:s}", "id", id);
	struct rb_ops_context *ops = ctx;

	return rb_workers_start_question(ops->workers, "forward-rm", request, answer_later, NULL,
					 rb_api_later(ops->api), err);
}

static int op_push(void *ctx, const json_t *request, json_t **ret, struct rb_err *err)
{
	struct rb_ops_context *ops = ctx;
	char id[RB_ID_LEN + 1];
	int r = rb_pushes_begin(&ops->config->node, request, id, err);

	if (r < 0)
		return r;
	r = rb_workers_start_push(ops->workers, id, err);
	if (r < 0)
		rb_pushes_remove(&ops->config->node, id);
	else
		*ret = json_pack("{s:s}", "id", id);
	return r;
}

/* what the file says, and what only we know: whether anybody still works on it */
static json_t *show_push(const struct rb_ops_context *ops, const char *id, json_t *push)
{
	bool ended = rb_json_str(push, "result", NULL) != NULL;
	bool active = !ended && (rb_workers_pid(ops->workers, id) || rb_pushes_worker(push));
	char started[40];

	format_time(rb_json_int(push, "started_ms", 0), started, sizeof(started));
	json_object_set_new(push, "started", json_string(started));
	json_object_set_new(push, "source", json_string(ops->config->node.name));
	json_object_set_new(push, "active", json_boolean(active));
	if (!ended && !active) {
		json_object_set_new(push, "result", json_string("failed"));
		rb_pushes_end_nodes(push, "failed");
		json_object_set_new(push, "error",
				    json_pack("{s:s, s:i, s:s}", "code",
					      rb_code_name(RB_E_INTERNAL), "errno", ECHILD,
					      "message",
					      "its worker process was killed: push it again, what "
					      "has arrived is used"));
	}
	json_object_del(push, "started_ms");
	json_object_del(push, "worker_start");
	return push;
}

static int load_push(const struct rb_ops_context *ops, const char *id, json_t **ret,
		     struct rb_err *err)
{
	_cleanup_json_ json_t *push = NULL;
	int r = rb_pushes_load(&ops->config->node, id, &push, err);

	if (r >= 0)
		*ret = json_incref(show_push(ops, id, push));
	return r;
}

struct push_listing {
	const struct rb_ops_context *ops;
	json_t *out;
};

static int add_push(void *arg, const char *id)
{
	struct push_listing *listing = arg;
	json_t *push = NULL;

	if (load_push(listing->ops, id, &push, NULL) >= 0)
		json_array_append_new(listing->out, push);
	return 0;
}

static int op_pushes(void *ctx, json_t **ret, struct rb_err *err)
{
	struct push_listing listing = { ctx, json_array() };

	(void)err;
	rb_pushes_each(&listing.ops->config->node, add_push, &listing);
	*ret = listing.out;
	return 0;
}

static int op_push_inspect(void *ctx, const char *id, json_t **ret, struct rb_err *err)
{
	struct rb_ops_context *ops = ctx;
	char whole[RB_ID_LEN + 1];
	int r = rb_pushes_find(&ops->config->node, id, whole, err);

	return r < 0 ? r : load_push(ops, whole, ret, err);
}

static int op_push_cancel(void *ctx, const char *id, struct rb_err *err)
{
	struct rb_ops_context *ops = ctx;
	_cleanup_json_ json_t *push = NULL;
	char whole[RB_ID_LEN + 1];
	pid_t pid;
	int r = rb_pushes_find(&ops->config->node, id, whole, err);

	if (r >= 0)
		r = rb_pushes_load(&ops->config->node, whole, &push, err);
	if (r < 0)
		return r;
	if (rb_json_str(push, "result", NULL))
		return rb_err_code(err, RB_E_CONFLICT, -EINVAL,
				   "push %s has ended (%s): too late to cancel", whole,
				   rb_json_str(push, "result", ""));
	pid = rb_workers_pid(ops->workers, whole);
	if (!pid)
		pid = rb_pushes_worker(push);
	if (!pid || kill(pid, SIGTERM) < 0)
		return rb_err_code(err, RB_E_CONFLICT, -ESRCH,
				   "push %s has ended: its worker was killed", whole);
	return 0;
}

/* asks the other node, and Docker */
static int op_image_diff(void *ctx, const json_t *request, json_t **ret, struct rb_err *err)
{
	struct rb_ops_context *ops = ctx;
	const struct rb_node *node = &ops->config->node;
	const char *peer = rb_json_str(request, "node", "");

	(void)ret;
	if (!rb_json_str(node->peers, peer, NULL) || strcmp(peer, node->name) == 0)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
				   "node '%.100s' is %s: 'reberth node' lists the others", peer,
				   strcmp(peer, node->name) == 0 ? "this host" : "not known here");
	return rb_workers_start_question(ops->workers, "diff", request, answer_later, is_gone,
					 rb_api_later(ops->api), err);
}

const struct rb_api_ops rb_ops = {
	.migrate = op_migrate,
	.list = op_list,
	.inspect = op_inspect,
	.cancel = op_cancel,
	.resolve = op_resolve,
	.node = op_node,
	.network = op_network,
	.forwards = op_forwards,
	.forward_rm = op_forward_rm,
	.push = op_push,
	.pushes = op_pushes,
	.push_inspect = op_push_inspect,
	.push_cancel = op_push_cancel,
	.image_diff = op_image_diff,
};
