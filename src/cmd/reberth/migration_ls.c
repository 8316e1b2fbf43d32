// SPDX-License-Identifier: Apache-2.0
/*
 * migration_ls.c - `reberth migration ls`: list migrations that this host knows of
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "listing.h"
#include "output.h"

enum { OPT_JSON = CLI_LONG, OPT_STAYS };

static const struct cli_option options[] = {
	{ 'a', "all", NULL, "those that have ended too" },
	{ 'q', "quiet", NULL, "IDs only, one a line" },
	{ OPT_STAYS, "stays", NULL, "files on this host that migrations could not remove" },
	{ OPT_JSON, "json", NULL, "as a JSON array" },
	{},
};

static const struct cli_usage usage = {
	.verb = "migration ls",
	.operands = "",
	.options = options,
};

/* One that is in doubt, or whose worker was killed, has not. */
static bool has_ended(const json_t *migration)
{
	return !rb_json_bool(migration, "active", true);
}

/* "started" is RFC 3339 in UTC, or ms since 1970. */
static const char *started_ago(const json_t *migration, char ret[OUT_TEXT_MAX])
{
	const char *text = rb_json_str(migration, "started", NULL);
	int64_t ms = rb_json_int(migration, "started", -1);
	struct tm tm = {};

	if (text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
		ms = (int64_t)timegm(&tm) * 1000;
	return ms < 0 ? "-" : out_ago(ret, time(NULL) - ms / 1000);
}

static const char *progress_text(const json_t *migration, char ret[OUT_TEXT_MAX])
{
	int64_t percent = rb_json_int(rb_json_path(migration, "progress"), "percent", -1);

	if (has_ended(migration))
		return rb_json_str(migration, "result", "-");
	if (percent < 0)
		return "-";
	snprintf(ret, OUT_TEXT_MAX, "%d%%", (int)percent);
	return ret;
}

static int add_row(struct out_table *table, const json_t *migration)
{
	char progress[OUT_TEXT_MAX], started[OUT_TEXT_MAX];
	const char *const cells[] = {
		rb_json_str(migration, "id", NULL),	rb_json_str(migration, "container", NULL),
		rb_json_str(migration, "source", NULL), rb_json_str(migration, "target", NULL),
		rb_json_str(migration, "state", NULL),	rb_json_str(migration, "stage", NULL),
		progress_text(migration, progress),	started_ago(migration, started),
	};

	return out_table_row(table, cells);
}

static const char *const headings[] = { "ID",	 "CONTAINER", "FROM",	  "TO",
					"STATE", "STAGE",     "PROGRESS", "STARTED" };

static const struct listing listing = {
	.path = "/v1/migrations",
	.key = "id",
	.headings = headings,
	.columns = ARRAY_SIZE(headings),
	.add_row = add_row,
};

/* --- what they have left --- */

static int add_stays_row(struct out_table *table, const json_t *file)
{
	const char *const cells[] = { rb_json_str(file, "path", NULL),
				      rb_json_str(file, "why", NULL),
				      rb_json_str(file, "container", NULL),
				      rb_json_str(file, "migration", NULL) };

	return out_table_row(table, cells);
}

static const char *const stays_headings[] = { "PATH", "WHY", "CONTAINER", "MIGRATION" };

static const struct listing stays_listing = {
	.path = "/v1/migrations",
	.key = "path",
	.headings = stays_headings,
	.columns = ARRAY_SIZE(stays_headings),
	.add_row = add_stays_row,
};

/* What somebody has removed since is no matter any more. */
static bool is_there(const char *path)
{
	return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

static json_t *find_stays(const json_t *migrations)
{
	json_t *found = json_array();
	const json_t *migration, *file;
	size_t i, k;

	json_array_foreach (migrations, i, migration)
		json_array_foreach (rb_json_path(migration, "report.stays"), k, file)
			if (is_there(rb_json_str(file, "path", "")))
				json_array_append_new(
					found,
					json_pack("{s:s, s:s, s:s, s:s}", "path",
						  rb_json_str(file, "path", ""), "why",
						  rb_json_str(file, "why", ""), "container",
						  rb_json_str(migration, "container", ""),
						  "migration", rb_json_str(migration, "id", "")));
	return found;
}

int verb_migration_ls(struct cli *cli, int argc, char **argv)
{
	_cleanup_client_ struct client *client = NULL;
	_cleanup_json_ json_t *migrations = NULL, *files = NULL;
	bool all = false, quiet = false, stays = false;
	struct rb_err err = {};
	int id, r;

	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		all |= id == 'a';
		quiet |= id == 'q';
		stays |= id == OPT_STAYS;
		cli->json |= id == OPT_JSON;
	}
	r = cli_operands(cli, &usage, argc, argv, 0, 0);
	if (r != 0)
		return r;
	client = client_new(cli->socket);
	if (!client)
		return 1;
	if (client_request(client, "GET", listing.path, NULL, CLIENT_TIMEOUT_MS, &migrations,
			   &err) < 0)
		return cli_fail(cli, &err);
	if (stays) {
		files = find_stays(migrations);
		return listing_print(cli, &stays_listing, files, quiet);
	}
	for (size_t i = json_array_size(migrations); !all && i-- > 0;)
		if (has_ended(json_array_get(migrations, i)))
			json_array_remove(migrations, i);
	return listing_print(cli, &listing, migrations, quiet);
}
