// SPDX-License-Identifier: Apache-2.0
/*
 * fake_reberthd.c - a daemon without migrations, to drive the command line end to end
 *
 * The real API (api.c) with operations that play a part. What happens depends on the name of the
 * container; a migration moves on each time somebody asks for it, so nothing depends on time:
 *
 *   web      completes              broken   rolls back, CRIU failed at "dump"
 *   doubt    fails, in doubt        refused  cannot be started
 *   slow     waits until cancelled, then rolls back
 *   late     refuses to be cancelled, and completes after that
 *   stuck    refuses to be cancelled, and never ends
 *   mute     ends without a report, as when its worker was killed
 *   lost     waits, but is known to a new daemon too, and completes there
 *
 * And of the image that is pushed:
 *
 *   app      arrives everywhere; h3 had it already
 *   halfway  arrives but at h2, which cannot be reached
 *   slow     waits until cancelled
 *   killed   its worker is killed when it has begun
 *   absent   is not on this host
 *   taken    only its configuration was missing; its name is another image's there
 *
 * usage: fake_reberthd SOCKET    (prints "ready", serves until standard input ends)
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "cleanup.h"
#include "err.h"
#include "json.h"

#define MIGRATIONS_MAX 64
#define OLD_ID	       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define NEW_ID	       "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

static const char *const stages[] = {
	"prepare", "sync", "freeze", "transfer", "restore", "finish"
};

struct migration {
	char id[64], container[64];
	size_t step;
	bool canceled, refused, adopted;
	const char *result;
};

struct push {
	char id[64], image[64];
	json_t *nodes;
	int step;
	bool canceled;
};

struct fake {
	struct push pushes[MIGRATIONS_MAX];
	size_t push_count;
	struct rb_api *api;
	struct migration migrations[MIGRATIONS_MAX];
	size_t count;
};

static struct migration *add(struct fake *fake, const char *container)
{
	struct migration *m = &fake->migrations[fake->count];

	snprintf(m->container, sizeof(m->container), "%s", container);
	snprintf(m->id, sizeof(m->id), "%.20s-%zu-0123456789", container, ++fake->count);
	return m;
}

static struct migration *find(struct fake *fake, const char *id, struct rb_err *err)
{
	struct migration *found = NULL;

	for (size_t i = 0; i < fake->count; i++)
		if (strncmp(fake->migrations[i].id, id, strlen(id)) == 0)
			found = &fake->migrations[i];
	if (!found && strncmp(id, "lost-", 5) == 0) {
		found = add(fake, "lost");
		found->adopted = true;
	}
	if (!found)
		rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "no such migration: %s", id);
	return found;
}

static bool is(const struct migration *m, const char *container)
{
	return strcmp(m->container, container) == 0;
}

static void advance(struct migration *m)
{
	bool waits = (is(m, "slow") && !m->canceled) || (is(m, "late") && !m->refused) ||
		     is(m, "stuck") || (is(m, "lost") && !m->adopted);

	if (m->result)
		return;
	m->step++;
	if (waits && m->step >= 3)
		m->step = 3;
	if (m->step < ARRAY_SIZE(stages) && !(m->canceled && m->step > 4))
		return;
	if (m->canceled || is(m, "broken"))
		m->result = "rolled-back";
	else
		m->result = is(m, "doubt") ? "failed" : "completed";
	m->step = ARRAY_SIZE(stages) - 1;
}

static json_t *report_json(const struct migration *m)
{
	json_t *report = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:s, s:s, s:[{s:s, s:i}]}",
		"id", m->id, "container", m->container, "source", "h1", "target", "h2", "strategy",
		"cold", "result", m->result, "reason", "", "downtime_ms", 143, "total_ms", 1230,
		"bytes_sent", 71617740, "bytes_received", 4711, "old_id", OLD_ID, "new_id", NEW_ID,
		"stages", "name", "prepare", "ms", 100);

	if (is(m, "broken")) {
		json_object_set_new(report, "reason",
				    json_string("CRIU refused: Error (x.c:1): no"));
		json_object_set_new(report, "error",
				    json_pack("{s:s, s:s}", "code", "criu", "stage", "dump"));
	} else if (is(m, "doubt")) {
		json_object_set_new(report, "reason",
				    json_string("h2 vanished between COMMIT and GO"));
		json_object_set_new(report, "error", json_pack("{s:s}", "code", "in-doubt"));
	} else if (m->canceled) {
		json_object_set_new(report, "reason", json_string("the user canceled it"));
		json_object_set_new(report, "error", json_pack("{s:s}", "code", "canceled"));
	}
	return report;
}

static json_t *migration_json(const struct migration *m)
{
	const char *stage = m->canceled ? "rollback" : stages[m->step];
	json_t *value = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:s?, s:s}", "id", m->id,
		"role", "source", "container", m->container, "container_id", OLD_ID, "source", "h1",
		"target", "h2", "strategy", "cold", "state", m->result ? "done" : "preparing",
		"active", !m->result, "stage", stage, "result", is(m, "mute") ? NULL : m->result,
		"started", "2020-01-01T00:00:00Z");

	json_object_set_new(value, "progress",
			    json_pack("{s:i, s:i, s:i, s:i, s:i, s:s}", "percent",
				      (int)m->step * 20, "bytes_done", (int)m->step << 20,
				      "bytes_total", 5 << 20, "rate_bytes_s", 1 << 20, "eta_ms",
				      1500, "message", ""));
	if (m->result && !is(m, "mute"))
		json_object_set_new(value, "report", report_json(m));
	return value;
}

static json_t *plan_json(const char *container)
{
	bool possible = strcmp(container, "impossible") != 0;
	json_t *plan = json_pack("{s:s, s:s, s:s, s:b, s:[], s:{s:i, s:i, s:i, s:i}}", "container",
				 container, "source", "h1", "target", "h2", "possible", possible,
				 "obstacles", "estimate", "memory_bytes", 64 << 20, "image_bytes",
				 4 << 20, "fs_bytes", 512, "total_bytes", (68 << 20) + 512);

	if (!possible)
		json_array_append_new(json_object_get(plan, "obstacles"),
				      json_pack("{s:s, s:s, s:s}", "severity", "error", "what",
						"it uses the host's network", "remedy",
						"give it a network of its own"));
	return plan;
}

static int op_migrate(void *ctx, const json_t *request, json_t **ret, struct rb_err *err)
{
	const char *container = rb_json_str(request, "container", "");

	if (strcmp(container, "refused") == 0)
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
				   "refused is not running: start it with 'docker start refused'");
	*ret = rb_json_bool(request, "dry_run", false)
		       ? plan_json(container)
		       : json_pack("{s:s}", "id", add(ctx, container)->id);
	return 0;
}

static int op_list(void *ctx, json_t **ret, struct rb_err *err)
{
	const struct fake *fake = ctx;

	(void)err;
	*ret = json_array();
	for (size_t i = 0; i < fake->count; i++)
		json_array_append_new(*ret, migration_json(&fake->migrations[i]));
	return 0;
}

static int op_inspect(void *ctx, const char *id, json_t **ret, struct rb_err *err)
{
	struct migration *m = find(ctx, id, err);

	if (!m)
		return -ENOENT;
	advance(m);
	*ret = migration_json(m);
	return 0;
}

static int op_cancel(void *ctx, const char *id, struct rb_err *err)
{
	struct migration *m = find(ctx, id, err);

	if (!m)
		return -ENOENT;
	m->refused = is(m, "late") || is(m, "stuck");
	if (m->refused)
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY, "it is past the point of no return");
	m->canceled = true;
	return 0;
}

static int op_resolve(void *ctx, const char *id, const char *decision, struct rb_err *err)
{
	struct migration *m = find(ctx, id, err);

	if (!m)
		return -ENOENT;
	if (!is(m, "doubt"))
		return rb_err_code(err, RB_E_CONFLICT, -EINVAL, "%s is not in doubt", id);
	fprintf(stderr, "resolved %s\n", decision);
	return 0;
}

static int op_node(void *ctx, json_t **ret, struct rb_err *err)
{
	(void)ctx;
	(void)err;
	*ret = json_pack("{s:s, s:s, s:{s:s, s:s, s:s}}", "node", "h1", "listen", "10.77.0.1:7480",
			 "nodes", "h1", "10.77.0.1:7480", "h2", "10.77.0.2:7480", "h3",
			 "10.77.0.3:7480");
	return 0;
}

static bool forwards = true;

static int op_forwards(void *ctx, json_t **ret, struct rb_err *err)
{
	(void)ctx;
	(void)err;
	*ret = forwards ? json_pack("[{s:s, s:s, s:s, s:s, s:[{s:s, s:s, s:i, s:s, s:i}], s:i, "
				    "s:s}]",
				    "id", "0123456789abcdef", "container", "web", "moved_to", "h2",
				    "state", "kept", "ports", "proto", "tcp", "host_ip", "",
				    "host_port", 8080, "ip", "10.88.1.1", "port", 80, "connections",
				    2, "since", "2026-01-01T00:00:00.000Z")
			: json_array();
	return 0;
}

/* its answer comes at once; that of the real one comes later */
static int op_forward_rm(void *ctx, const char *id, struct rb_err *err)
{
	if (!forwards || strcmp(id, "0123456789abcdef") != 0)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "no forward '%s'", id);
	forwards = false;
	rb_api_answer(rb_api_later(((struct fake *)ctx)->api), json_object(), NULL);
	return 0;
}

/* --- pushes --- */

static json_t *push_error(const char *code, const char *message)
{
	return json_pack("{s:s, s:i, s:s}", "code", code, "errno", EIO, "message", message);
}

static bool is_image(const struct push *push, const char *image)
{
	return strcmp(push->image, image) == 0;
}

static json_t *pushed_node(const struct push *push, const char *name, bool ended)
{
	bool fails = is_image(push, "halfway") && strcmp(name, "h2") == 0;
	bool was_there = strcmp(name, "h3") == 0, taken = is_image(push, "taken");
	bool no_layer = was_there || taken;
	json_t *node = json_pack("{s:s, s:s, s:i, s:i, s:{s:i, s:i}, s:i}", "node", name, "state",
				 !ended	 ? "sending"
				 : fails ? "failed"
					 : "completed",
				 "bytes_sent", was_there ? 512 : 3 << 20, "bytes_total",
				 was_there ? 0 : 9 << 20, "layers", "present", no_layer ? 5 : 3,
				 "sent", no_layer ? 0 : 2, "ms", 1230);

	json_object_set_new(node, "image_present", json_boolean(was_there));
	if (taken) {
		json_object_set_new(node, "image_id", json_string("sha256:" OLD_ID));
		json_object_set_new(
			node, "tags",
			json_pack("{s:[s], s:[s]}", "given", "taken:1", "taken", "taken:latest"));
	}
	if (ended && fails)
		json_object_set_new(node, "error", push_error("peer", "h2 cannot be reached"));
	if (push->canceled) {
		json_object_set_new(node, "state", json_string("canceled"));
		json_object_set_new(node, "error", push_error("canceled", "it was cancelled"));
	}
	return node;
}

static json_t *push_json(const struct push *push)
{
	bool waits = is_image(push, "slow") && !push->canceled;
	bool ended = (push->step > 3 && !waits) || push->canceled;
	const char *result = push->canceled ? "canceled" : "completed";
	json_t *nodes = json_array(), *name, *value;
	size_t i;

	json_array_foreach (push->nodes, i, name)
		json_array_append_new(nodes, pushed_node(push, json_string_value(name), ended));
	value = json_pack("{s:s, s:s, s:b, s:s, s:o, s:{s:i, s:i, s:i, s:i, s:i}}", "id", push->id,
			  "image", push->image, "active", !ended, "stage", "to h2", "nodes", nodes,
			  "progress", "percent", 40, "bytes_done", 2 << 20, "bytes_total", 5 << 20,
			  "rate_bytes_s", 1 << 20, "eta_ms", 1500);
	if (!ended)
		return value;
	if (is_image(push, "halfway") || is_image(push, "killed") || is_image(push, "absent"))
		result = "failed";
	json_object_set_new(value, "result", json_string(result));
	if (is_image(push, "halfway"))
		json_object_set_new(value, "error", push_error("peer", "h2 cannot be reached"));
	if (push->canceled)
		json_object_set_new(value, "error", push_error("canceled", "it was cancelled"));
	if (is_image(push, "killed"))
		json_object_set_new(value, "error",
				    push_error("internal", "its worker process was killed"));
	if (is_image(push, "absent"))
		json_object_set_new(value, "error", push_error("not-found", "there is no image"));
	return value;
}

static int op_push(void *ctx, const json_t *request, json_t **ret, struct rb_err *err)
{
	struct fake *fake = ctx;
	struct push *push = &fake->pushes[fake->push_count];
	json_t *nodes = json_object_get(request, "nodes");

	if (strcmp(json_string_value(json_array_get(nodes, 0)), "h9") == 0)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "node 'h9' is not known here");
	snprintf(push->image, sizeof(push->image), "%s", rb_json_str(request, "image", ""));
	snprintf(push->id, sizeof(push->id), "push-%zu", ++fake->push_count);
	push->nodes = json_incref(nodes);
	*ret = json_pack("{s:s}", "id", push->id);
	return 0;
}

static int op_pushes(void *ctx, json_t **ret, struct rb_err *err)
{
	const struct fake *fake = ctx;

	(void)err;
	*ret = json_array();
	for (size_t i = 0; i < fake->push_count; i++)
		json_array_append_new(*ret, push_json(&fake->pushes[i]));
	return 0;
}

static struct push *find_push(struct fake *fake, const char *id, struct rb_err *err)
{
	for (size_t i = 0; i < fake->push_count; i++)
		if (strcmp(fake->pushes[i].id, id) == 0)
			return &fake->pushes[i];
	rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "there is no push '%s'", id);
	return NULL;
}

static int op_push_inspect(void *ctx, const char *id, json_t **ret, struct rb_err *err)
{
	struct push *push = find_push(ctx, id, err);

	if (!push)
		return -ENOENT;
	push->step++;
	*ret = push_json(push);
	return 0;
}

static int op_push_cancel(void *ctx, const char *id, struct rb_err *err)
{
	struct push *push = find_push(ctx, id, err);

	if (!push)
		return -ENOENT;
	push->canceled = true;
	return 0;
}

static int op_image_diff(void *ctx, const json_t *request, json_t **ret, struct rb_err *err)
{
	(void)ctx;
	if (strcmp(rb_json_str(request, "image", ""), "absent") == 0)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "there is no image 'absent'");
	*ret = json_pack("{s:O, s:O, s:b, s:i, s:i, s:i, s:i, s:i, s:[{s:s, s:i, s:b, s:i}, {s:s, "
			 "s:i, s:b, s:i}]}",
			 "image", json_object_get(request, "image"), "node",
			 json_object_get(request, "node"), "image_present", false, "layers_present",
			 1, "layers_missing", 1, "bytes_present", 8 << 20, "bytes_missing", 1 << 19,
			 "bytes_total", 1 << 20, "layers", "diff_id", "sha256:" OLD_ID, "size",
			 8 << 20, "present", true, "bytes_missing", 0, "diff_id", "sha256:" NEW_ID,
			 "size", 1 << 20, "present", false, "bytes_missing", 1 << 19);
	return 0;
}

static const struct rb_api_ops ops = {
	.migrate = op_migrate,
	.list = op_list,
	.inspect = op_inspect,
	.cancel = op_cancel,
	.resolve = op_resolve,
	.node = op_node,
	.forwards = op_forwards,
	.forward_rm = op_forward_rm,
	.push = op_push,
	.pushes = op_pushes,
	.push_inspect = op_push_inspect,
	.push_cancel = op_push_cancel,
	.image_diff = op_image_diff,
};

int main(int argc, char **argv)
{
	struct fake fake = {};
	struct rb_api *api = NULL;
	struct rb_err err = {};

	if (argc != 2 || rb_api_start(argv[1], &ops, &fake, &api, &err) < 0) {
		fprintf(stderr, "fake_reberthd: %s\n", argc == 2 ? err.msg : "which socket?");
		return 1;
	}
	fake.api = api;
	signal(SIGPIPE, SIG_IGN);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		struct pollfd fds[] = { { rb_api_fd(api), POLLIN, 0 },
					{ STDIN_FILENO, POLLIN, 0 } };

		poll(fds, 2, rb_api_timeout_ms(api));
		if (fds[1].revents)
			break;
		rb_api_run(api);
	}
	rb_api_stop(api);
	for (size_t i = 0; i < fake.push_count; i++)
		json_decref(fake.pushes[i].nodes);
	return 0;
}
