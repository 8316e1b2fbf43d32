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

struct fake {
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

static const struct rb_api_ops ops = { op_migrate, op_list, op_inspect,	 op_cancel,    op_resolve,
				       op_node,	   NULL,    op_forwards, op_forward_rm };

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
	return 0;
}
