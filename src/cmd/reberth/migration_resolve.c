// SPDX-License-Identifier: Apache-2.0
/*
 * migration_resolve.c - `reberth migration resolve`: decide a migration that is in doubt
 *
 * When the other host vanished between COMMIT and GO nobody can tell from here whether it runs the
 * container. A person who knows decides; who is wrong has it running twice, or not at all. So the
 * question says what will happen on this host and what one has to be sure of.
 */
#include <getopt.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "err.h"
#include "json.h"

enum { OPT_COMMIT = CLI_LONG, OPT_ABORT, OPT_JSON };

static const struct cli_option options[] = {
	{ OPT_COMMIT, "commit", NULL, "the container is to run on the target" },
	{ OPT_ABORT, "abort", NULL, "the container is to run on the source" },
	{ 'y', "yes", NULL, "do not ask" },
	{ OPT_JSON, "json", NULL, "errors as JSON on standard output" },
	{},
};

static const struct cli_usage usage = {
	.verb = "migration resolve",
	.operands = "ID --commit|--abort",
	.options = options,
	.text = "For a migration whose other host is gone for good in the one moment in which "
		"nobody\n"
		"can tell which of the two runs the container. Before it may run here, be sure "
		"that the\n"
		"other host is off, or that the container is removed there: if both run, they "
		"damage\n"
		"what they share. If the other host can come back, wait: the two agree by "
		"themselves.\n",
};

static const struct {
	const char *role, *decision;
	bool runs_here;
} effects[] = {
	{ "source", "abort", true },
	{ "target", "commit", true },
	{ "source", "commit", false },
	{ "target", "abort", false },
};

static bool runs_here(const json_t *migration, const char *decision)
{
	const char *role = rb_json_str(migration, "role", "");

	for (size_t i = 0; i < ARRAY_SIZE(effects); i++)
		if (strcmp(effects[i].role, role) == 0 &&
		    strcmp(effects[i].decision, decision) == 0)
			return effects[i].runs_here;
	return true; /* the more dangerous one */
}

/* Explain and ask. Return: whether the answer is yes. */
static bool confirm(const json_t *migration, const char *decision)
{
	bool on_source = strcmp(rb_json_str(migration, "role", ""), "source") == 0;
	const char *other =
		rb_json_str(migration, on_source ? "target" : "source", "the other host");
	const char *container = rb_json_str(migration, "container", "the container");
	char line[64];

	if (runs_here(migration, decision))
		fprintf(stderr,
			"%s will run on this host, from the state in which it was frozen.\n"
			"Be sure that %s is off, or that %s is removed there. If it runs on both\n"
			"hosts, it writes the same data twice and both copies may be lost.\n",
			container, other, container);
	else
		fprintf(stderr,
			"%s will be given up on this host, for good.\n"
			"Be sure that it runs on %s. If it does not, it is lost.\n",
			container, other);
	fprintf(stderr, "Is that so? Type yes to go on: ");
	fflush(stderr);
	return fgets(line, sizeof(line), stdin) && strncasecmp(line, "yes\n", 4) == 0;
}

static int resolve(const struct cli *cli, const char *id, const char *decision, bool yes)
{
	_cleanup_client_ struct client *client = client_new(cli->socket);
	_cleanup_json_ json_t *migration = NULL, *answer = NULL;
	_cleanup_json_ json_t *body = json_pack("{s:s}", "decision", decision);
	char path[CLIENT_PATH_MAX];
	struct rb_err err = {};

	if (!client || client_migration_path(path, id, "", &err) < 0 ||
	    client_request(client, "GET", path, NULL, CLIENT_TIMEOUT_MS, &migration, &err) < 0)
		return cli_fail(cli, &err);
	if (!yes && !confirm(migration, decision)) {
		rb_err_code(&err, RB_E_CANCELED, -ECANCELED, "nothing was changed");
		return cli_fail(cli, &err);
	}
	/* Its full ID: another one may have begun that starts in the same way. */
	if (client_migration_path(path, rb_json_str(migration, "id", id), "/resolve", &err) < 0 ||
	    client_request(client, "POST", path, body, CLIENT_TIMEOUT_MS, &answer, &err) < 0)
		return cli_fail(cli, &err);
	if (!cli->json)
		printf("%s\n", rb_json_str(migration, "id", id));
	return 0;
}

int verb_migration_resolve(struct cli *cli, int argc, char **argv)
{
	bool commit = false, abort = false, yes = false;
	int id, r;

	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		commit |= id == OPT_COMMIT;
		abort |= id == OPT_ABORT;
		yes |= id == 'y';
		cli->json |= id == OPT_JSON;
	}
	r = cli_operands(cli, &usage, argc, argv, 1, 1);
	if (r != 0)
		return r;
	if (commit == abort)
		return cli_fail_usage(cli, usage.verb, "say one of --commit and --abort");
	if (!yes && !cli_interactive())
		return cli_fail_usage(cli, usage.verb,
				      "nobody can be asked without a terminal: make sure that the "
				      "other host is off and say --yes");
	return resolve(cli, argv[optind], commit ? "commit" : "abort", yes);
}
