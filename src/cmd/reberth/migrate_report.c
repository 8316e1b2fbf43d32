// SPDX-License-Identifier: Apache-2.0
/*
 * migrate_report.c - what `reberth migrate` prints at the end
 */
#include "migrate_report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "client.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "output.h"

/* --- dry run --- */

static void print_obstacles(const json_t *obstacles)
{
	json_t *obstacle;
	size_t i;

	json_array_foreach (obstacles, i, obstacle) {
		const char *remedy = rb_json_str(obstacle, "remedy", "");

		printf("  %s: %s%s%s\n", rb_json_str(obstacle, "severity", "error"),
		       rb_json_str(obstacle, "what", "?"), *remedy ? ": " : "", remedy);
	}
}

static void print_estimate(const json_t *estimate)
{
	static const struct {
		const char *key, *name;
	} rows[] = {
		{ "memory_bytes", "memory" },
		{ "image_bytes", "image layers" },
		{ "fs_bytes", "files" },
	};
	char text[OUT_TEXT_MAX];
	const char *before = ": ";

	if (!json_is_object(estimate))
		return;
	printf("To be sent: %s", out_size(text, rb_json_int(estimate, "total_bytes", -1)));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		printf("%s%s of %s", before, out_size(text, rb_json_int(estimate, rows[i].key, -1)),
		       rows[i].name);
		before = ", ";
	}
	printf("\n");
}

/* Volumes and bind mounts that are not copied. */
static void print_storage(const json_t *storage, bool planned)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (storage, i, entry) {
		const char *volume = rb_json_str(entry, "volume", NULL);
		const char *type = rb_json_str(entry, "file_system", NULL);

		if (strcmp(rb_json_str(entry, "how", ""), "shared") != 0)
			continue;
		printf("%s %s %s copied: both hosts share it%s%s%s\n",
		       volume ? "volume" : "bind mount",
		       volume ? volume : rb_json_str(entry, "bind", "?"),
		       planned ? "is not" : "was not",
		       rb_json_bool(entry, "declared", false) ? ", as you say" : "",
		       type && !rb_json_bool(entry, "declared", false) ? ", on " : "",
		       type && !rb_json_bool(entry, "declared", false) ? type : "");
	}
}

int migrate_print_plan(const struct cli *cli, const json_t *plan)
{
	bool possible = rb_json_bool(plan, "possible", false);
	const json_t *obstacles = json_object_get(plan, "obstacles");

	if (cli->json) {
		int status = cli_print_json(plan);

		return status ? status : possible ? 0 : rb_code_exit(RB_E_REFUSED);
	}
	printf("%s %s be moved from %s to %s%s\n", rb_json_str(plan, "container", "?"),
	       possible ? "can" : "cannot", rb_json_str(plan, "source", "?"),
	       rb_json_str(plan, "target", "?"), json_array_size(obstacles) ? ":" : "");
	print_obstacles(obstacles);
	print_storage(json_object_get(plan, "storage"), true);
	if (possible)
		print_estimate(json_object_get(plan, "estimate"));
	return possible ? 0 : rb_code_exit(RB_E_REFUSED);
}

/* --- result --- */

/* A number that nobody knows (the worker crashed) is left out. */
static void print_figure(const json_t *report, const char *key,
			 const char *(*format)(char *, int64_t), const char *what, bool *any)
{
	int64_t value = rb_json_int(report, key, -1);
	char text[OUT_TEXT_MAX];

	if (value < 0)
		return;
	printf("%s%s%s", *any ? ", " : ": ", format(text, value), what);
	*any = true;
}

/* @name: "" where it is clear */
static void print_ids(const char *name, const char *old_id, const char *new_id)
{
	char from[OUT_TEXT_MAX], to[OUT_TEXT_MAX];

	printf("%s%scontainer ID %s -> %s\n", name, *name ? ": " : "", out_short_id(from, old_id),
	       out_short_id(to, new_id));
}

/* --group */
static void print_members(const json_t *members)
{
	const json_t *member;
	size_t i;

	json_array_foreach (members, i, member)
		print_ids(rb_json_str(member, "container", "?"),
			  rb_json_str(member, "container_id", NULL),
			  rb_json_str(member, "new_id", NULL));
}

static void print_summary(const json_t *migration, const json_t *report)
{
	size_t members = json_array_size(json_object_get(migration, "members"));
	bool any = false;

	printf("%s", rb_json_str(migration, "container", "?"));
	if (members)
		printf(" and %zu more", members - 1);
	printf(" moved from %s to %s", rb_json_str(migration, "source", "?"),
	       rb_json_str(migration, "target", "?"));
	print_figure(report, "downtime_ms", out_duration, " of downtime", &any);
	print_figure(report, "total_ms", out_duration, " in all", &any);
	print_figure(report, "bytes_sent", out_size, " sent", &any);
	printf("\n");
	if (json_array_size(json_object_get(migration, "members")))
		print_members(json_object_get(migration, "members"));
	else
		print_ids(
			"",
			rb_json_str(report, "old_id", rb_json_str(migration, "container_id", NULL)),
			rb_json_str(report, "new_id",
				    rb_json_str(migration, "new_container_id", NULL)));
}

/* Where both hosts can tell. */
static void print_energy(const json_t *migration, const json_t *energy)
{
	const json_t *source = json_object_get(energy, "source_j");
	const json_t *target = json_object_get(energy, "target_j");

	if (json_is_number(source) && json_is_number(target))
		printf("energy meanwhile: %.1f J at %s, %.1f J at %s\n", json_number_value(source),
		       rb_json_str(migration, "source", "?"), json_number_value(target),
		       rb_json_str(migration, "target", "?"));
}

/* --reconnect: where it can be reached now */
static void print_addresses(const json_t *report)
{
	const json_t *address;
	size_t i;

	json_array_foreach (json_object_get(report, "addresses"), i, address) {
		const char *ipv4 = rb_json_str(address, "ipv4", "");
		const char *ipv6 = rb_json_str(address, "ipv6", "");

		printf("new address %s%s%s in network %s\n", ipv4, *ipv4 && *ipv6 ? ", " : "", ipv6,
		       rb_json_str(address, "network", "?"));
	}
}

/* What came of it; told by the state where the worker was killed before it wrote a report. */
static const char *find_result(const json_t *migration)
{
	const char *state = rb_json_str(migration, "state", "");
	const char *from_state = "failed";

	if (strcmp(state, "done") == 0)
		from_state = "completed";
	else if (strcmp(state, "aborted") == 0)
		from_state = "rolled-back";
	return rb_json_str(migration, "result", from_state);
}

/* Why it was not moved, as an error with a code. */
static void result_error(const json_t *migration, const json_t *report, struct rb_err *err)
{
	const json_t *error = json_object_get(report, "error");
	const char *reason = rb_json_str(migration, "reason", "");

	if (!json_is_object(error))
		error = json_object_get(migration, "error");
	client_error(error, err);
	if (!*reason)
		reason = rb_json_str(report, "reason", err->msg);
	if (!rb_json_str(error, "message", NULL))
		snprintf(err->msg, sizeof(err->msg), "%s", reason);
	out_clean(err->msg);
}

static void say_failure(const json_t *migration, const char *result, const struct rb_err *err)
{
	const char *container = rb_json_str(migration, "container", "?");
	const char *source = rb_json_str(migration, "source", "?");
	const char *target = rb_json_str(migration, "target", "?");
	const char *before = *err->stage ? ", stage " : "";

	if (strcmp(result, "rolled-back") == 0)
		cli_say("%s was not moved, it runs on at %s (rolled back%s%s): %s", container,
			source, before, err->stage, err->msg);
	else
		cli_say("moving %s from %s to %s failed%s%s: %s", container, source, target, before,
			err->stage, err->msg);
}

int migrate_print_result(const struct cli *cli, const json_t *migration)
{
	json_t *report = json_object_get(migration, "report");
	const char *result = find_result(migration);
	bool completed = strcmp(result, "completed") == 0;
	_cleanup_json_ json_t *printed = NULL;
	struct rb_err err = {};
	int status = 0;

	if (!completed) {
		result_error(migration, report, &err);
		say_failure(migration, result, &err);
		status = rb_code_exit(err.code);
	}
	if (!cli->json) {
		if (completed)
			print_summary(migration, report);
		if (completed)
			print_addresses(report);
		if (completed)
			print_energy(migration, json_object_get(report, "energy"));
		if (completed)
			print_storage(json_object_get(report, "storage"), false);
		return status;
	}
	/* Without a report (its worker was killed, say) the migration itself says the most. */
	printed = json_object_size(report) ? json_copy(report) : json_copy((json_t *)migration);
	if (!completed)
		json_object_set_new(printed, "error", cli_error_json(&err));
	return cli_print_json(printed) ? 1 : status;
}
