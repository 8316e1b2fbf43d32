// SPDX-License-Identifier: Apache-2.0
/*
 * migrate.c - `reberth migrate`: move a running container to another node
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "err.h"
#include "follow.h"
#include "json.h"
#include "migrate_report.h"
#include "output.h"

#define TIMEOUT_DEFAULT_MS ((int64_t)10 * 60 * 1000)
#define DRY_RUN_EXTRA_MS   5000

enum {
	OPT_STRATEGY = CLI_LONG,
	OPT_MAX_DOWNTIME,
	OPT_NO_CONVERGENCE,
	OPT_ALLOW_POST_COPY,
	OPT_BANDWIDTH,
	OPT_CONNECTIONS,
	OPT_DRY_RUN,
	OPT_JSON,
	OPT_TIMEOUT,
	OPT_KEEP_SOURCE,
	OPT_RECONNECT,
	OPT_NO_FORWARD,
	OPT_GROUP,
	OPT_VERIFY,
	OPT_WITH_BIND,
	OPT_SHARED_VOLUME,
	OPT_VOLUME_IN_USE
};

static const struct cli_option options[] = {
	{ OPT_STRATEGY, "strategy", "NAME",
	  "how memory moves: auto (default), cold, pre-copy, post-copy, hybrid" },
	{ OPT_MAX_DOWNTIME, "max-downtime", "DURATION",
	  "freeze when it is predicted to take no longer than this (default 100ms)" },
	{ OPT_NO_CONVERGENCE, "on-no-convergence", "WHAT",
	  "when memory is written too fast for that: force (default), throttle, abort, post-copy" },
	{ OPT_ALLOW_POST_COPY, "allow-post-copy", NULL,
	  "instead of forcing it, let it run there before all of its memory has arrived" },
	{ OPT_BANDWIDTH, "bandwidth", "RATE",
	  "send memory at most so fast while the container runs: 500mbit, 20MiB, ..." },
	{ OPT_CONNECTIONS, "connections", "N",
	  "send large rounds of memory over so many, 1 to 8 (default: by both hosts' processors)" },
	{ OPT_DRY_RUN, "dry-run", NULL,
	  "check both hosts and say what would be sent, change nothing" },
	{ OPT_TIMEOUT, "timeout", "DURATION",
	  "roll back if not done by then: 30s, 2m, ... (default 10m)" },
	{ OPT_NO_FORWARD, "no-forward", NULL,
	  "do not lead this host's published ports to the container any more" },
	{ OPT_KEEP_SOURCE, "keep-source", NULL, "keep the old container, stopped and renamed" },
	{ OPT_RECONNECT, "reconnect", NULL,
	  "take new addresses there: connections are reset, listening sockets move" },
	{ OPT_GROUP, "group", NULL,
	  "move all that share its network namespace (--network container:) together" },
	{ OPT_VERIFY, "verify", NULL,
	  "before it runs there, read all files on both hosts and compare (it stands still for "
	  "that)" },
	{ OPT_WITH_BIND, "with-bind", "[=PATH]",
	  "copy bind mounts, too: all, or the one of that path of this host (repeatable)" },
	{ OPT_SHARED_VOLUME, "shared-volume", "NAME",
	  "do not copy this volume or bind mount: both hosts have the same (repeatable)" },
	{ OPT_VOLUME_IN_USE, "volume-in-use", "WHAT",
	  "when another container that runs uses it, too: refuse (default), copy" },
	{ 'd', "detach", NULL, "print the migration's ID and leave it to reberthd" },
	{ OPT_JSON, "json", NULL, "print the report, or what went wrong, as JSON" },
	{},
};

static const struct cli_usage usage = {
	.verb = "migrate",
	.operands = "CONTAINER NODE",
	.options = options,
	.text = "The container keeps its name, addresses, connections and memory; its ID changes.\n"
		"Until the point of no return any failure rolls back: it runs on where it was.\n"
		"\n"
		"The migration runs in reberthd, this command only watches it. Ctrl-C asks whether "
		"to\n"
		"cancel and roll back (without a terminal, and on SIGTERM, it cancels at once), "
		"and\n"
		"pressed once more leaves the rollback to reberthd. Closing the terminal or "
		"killing\n"
		"this command detaches: the migration goes on, see 'reberth migration ls'.\n",
};

struct request {
	json_t *body;
	bool dry_run, detach;
	int64_t timeout_ms;
};

static int put_duration(json_t *body, const char *key, const char *text)
{
	int64_t ms = out_parse_duration(text);

	return ms < 0 ? -EINVAL : json_object_set_new(body, key, json_integer(ms));
}

static int put_rate(json_t *body, const char *key, const char *text)
{
	int64_t rate = out_parse_rate(text);

	return rate < 0 ? -EINVAL : json_object_set_new(body, key, json_integer(rate));
}

static int put_count(json_t *body, const char *key, const char *text)
{
	bool good = text[0] >= '1' && text[0] <= '8' && !text[1];

	return good ? json_object_set_new(body, key, json_integer(text[0] - '0')) : -EINVAL;
}

static void put_name(json_t *body, const char *key, const char *name)
{
	json_t *list = json_object_get(body, key);

	if (!list) {
		list = json_array();
		json_object_set_new(body, key, list);
	}
	json_array_append_new(list, json_string(name));
}

/* A path as Docker shows it: without a slash at its end. */
static void put_path(json_t *body, const char *key, const char *path)
{
	size_t len = strlen(path);
	char copy[4096];

	while (len > 1 && path[len - 1] == '/')
		len--;
	snprintf(copy, sizeof(copy), "%.*s", (int)len, path);
	put_name(body, key, copy);
}

/* Those of which not every value makes sense. Return: what is wrong with it, or NULL */
static const char *take_value(int id, const char *value, struct request *req)
{
	switch (id) {
	case OPT_MAX_DOWNTIME:
		return put_duration(req->body, "max_downtime_ms", value) < 0
			       ? "is no duration like 50ms or 1s"
			       : NULL;
	case OPT_BANDWIDTH:
		return put_rate(req->body, "bandwidth", value) < 0
			       ? "is no rate like 500mbit or 20MiB"
			       : NULL;
	case OPT_CONNECTIONS:
		return put_count(req->body, "connections", value) < 0 ? "is no number from 1 to 8"
								      : NULL;
	default:
		req->timeout_ms = out_parse_duration(value);
		return req->timeout_ms < 0 ? "is no duration like 30s, 2m or 1h" : NULL;
	}
}

static int parse(struct cli *cli, int argc, char **argv, struct request *req)
{
	const char *wrong;
	int id;

	req->timeout_ms = TIMEOUT_DEFAULT_MS;
	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END) {
		switch (id) {
		case OPT_STRATEGY:
			json_object_set_new(req->body, "strategy", json_string(optarg));
			break;
		case OPT_MAX_DOWNTIME:
		case OPT_BANDWIDTH:
		case OPT_CONNECTIONS:
		case OPT_TIMEOUT:
			wrong = take_value(id, optarg, req);
			if (wrong)
				return cli_fail_usage(cli, usage.verb, "'%s' %s", optarg, wrong);
			break;
		case OPT_NO_CONVERGENCE:
			json_object_set_new(req->body, "on_no_convergence", json_string(optarg));
			break;
		case OPT_ALLOW_POST_COPY:
			json_object_set_new(req->body, "allow_post_copy", json_true());
			break;
		case OPT_DRY_RUN:
			req->dry_run = true;
			json_object_set_new(req->body, "dry_run", json_true());
			break;
		case OPT_NO_FORWARD:
			json_object_set_new(req->body, "no_forward", json_true());
			break;
		case OPT_KEEP_SOURCE:
			json_object_set_new(req->body, "keep_source", json_true());
			break;
		case OPT_RECONNECT:
			json_object_set_new(req->body, "reconnect", json_true());
			break;
		case OPT_GROUP:
			json_object_set_new(req->body, "group", json_true());
			break;
		case OPT_VERIFY:
			json_object_set_new(req->body, "verify", json_true());
			break;
		case OPT_WITH_BIND:
			if (optarg)
				put_path(req->body, "binds_wanted", optarg);
			else
				json_object_set_new(req->body, "with_bind", json_true());
			break;
		case OPT_SHARED_VOLUME:
			put_path(req->body, "shared_volumes", optarg);
			break;
		case OPT_VOLUME_IN_USE:
			json_object_set_new(req->body, "volume_in_use", json_string(optarg));
			break;
		case OPT_JSON:
			cli->json = true;
			break;
		case 'd':
			req->detach = true;
			break;
		default:
			return cli->status;
		}
	}
	return CLI_END;
}

static int dry_run(const struct cli *cli, struct client *client, const struct request *req)
{
	_cleanup_json_ json_t *plan = NULL;
	struct rb_err err = {};

	if (client_request(client, "POST", "/v1/migrations", req->body,
			   req->timeout_ms + DRY_RUN_EXTRA_MS, &plan, &err) < 0)
		return cli_fail(cli, &err);
	return migrate_print_plan(cli, plan);
}

static int migrate(const struct cli *cli, struct client *client, const struct request *req)
{
	_cleanup_json_ json_t *started = NULL, *migration = NULL;
	_cleanup_close_ int signal_fd = -EBADF;
	struct rb_err err = {};
	const char *id;

	signal_fd = follow_block_signals(&err);
	if (signal_fd < 0)
		return cli_fail(cli, &err);
	if (client_request(client, "POST", "/v1/migrations", req->body, CLIENT_TIMEOUT_MS, &started,
			   &err) < 0 ||
	    rb_json_need_str(started, "id", &id, &err) < 0)
		return cli_fail(cli, &err);
	if (req->detach)
		return cli_print_id(cli, id);
	if (follow(&follow_migration, client, id, signal_fd, cli->json, &migration, &err) < 0)
		return cli_fail(cli, &err);
	return migrate_print_result(cli, migration);
}

int verb_migrate(struct cli *cli, int argc, char **argv)
{
	_cleanup_json_ json_t *body = json_object();
	_cleanup_client_ struct client *client = NULL;
	struct request req = { .body = body };
	struct rb_err err = {};
	int r;

	json_object_set_new(body, "strategy", json_string("auto"));
	r = parse(cli, argc, argv, &req);
	if (r != CLI_END)
		return r;
	r = cli_operands(cli, &usage, argc, argv, 2, 2);
	if (r != 0)
		return r;
	if (req.dry_run && req.detach)
		return cli_fail_usage(cli, usage.verb, "--dry-run and --detach exclude each other");
	client = client_new(cli->socket);
	if (!client || json_object_set_new(body, "container", json_string(argv[optind])) < 0 ||
	    json_object_set_new(body, "target", json_string(argv[optind + 1])) < 0 ||
	    json_object_set_new(body, "timeout_ms", json_integer(req.timeout_ms)) < 0) {
		rb_err_code(&err, RB_E_USAGE, -EINVAL,
			    "the container or the node is not text in UTF-8: correct it");
		return cli_fail(cli, &err);
	}
	return req.dry_run ? dry_run(cli, client, &req) : migrate(cli, client, &req);
}
