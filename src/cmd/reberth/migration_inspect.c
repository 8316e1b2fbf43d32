// SPDX-License-Identifier: Apache-2.0
/*
 * migration_inspect.c - `reberth migration inspect`: everything known of migrations, as JSON
 */
#include "cli.h"
#include "client.h"
#include "err.h"
#include "json.h"

#include <getopt.h>
#include <limits.h>

enum { OPT_JSON = CLI_LONG };

static const struct cli_option options[] = {
	{ OPT_JSON, "json", NULL, "as JSON, which it is anyway" },
	{},
};

static const struct cli_usage usage = {
	.verb = "migration inspect",
	.operands = "ID...",
	.options = options,
	.text = "Prints a JSON array of those that were found. The beginning of an ID will do "
		"where\n"
		"no other has it.\n",
};

static int fetch(struct client *client, const char *id, json_t **ret, struct rb_err *err)
{
	char path[CLIENT_PATH_MAX];
	int r = client_migration_path(path, id, "", err);

	if (r < 0)
		return r;
	return client_request(client, "GET", path, NULL, CLIENT_TIMEOUT_MS, ret, err);
}

int verb_migration_inspect(struct cli *cli, int argc, char **argv)
{
	_cleanup_json_ json_t *found = json_array();
	_cleanup_client_ struct client *client = NULL;
	struct rb_err first = {};
	int id, r;

	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END)
		if (id == CLI_STOP)
			return cli->status;
	r = cli_operands(cli, &usage, argc, argv, 1, INT_MAX);
	if (r != 0)
		return r;
	client = client_new(cli->socket);
	if (!client)
		return 1;
	for (int i = optind; i < argc; i++) {
		json_t *migration = NULL;
		struct rb_err err = {};

		if (fetch(client, argv[i], &migration, &err) == 0) {
			json_array_append_new(found, migration);
			continue;
		}
		if (first.code == RB_OK)
			first = err;
		cli_say("%s", err.msg);
	}
	if (cli->json && json_array_size(found) == 0) {
		_cleanup_json_ json_t *error = json_pack("{s:o}", "error", cli_error_json(&first));

		cli_print_json(error);
	} else if (cli_print_json(found) != 0) {
		return 1;
	}
	return rb_code_exit(first.code);
}
