// SPDX-License-Identifier: Apache-2.0
/*
 * migration_cancel.c - `reberth migration cancel`: stop a migration and roll it back
 */
#include <getopt.h>
#include <stdio.h>

#include "cli.h"
#include "client.h"
#include "err.h"
#include "json.h"

enum { OPT_JSON = CLI_LONG };

static const struct cli_option options[] = {
	{ OPT_JSON, "json", NULL, "errors as JSON on standard output" },
	{},
};

static const struct cli_usage usage = {
	.verb = "migration cancel",
	.operands = "ID",
	.options = options,
	.text = "The container runs on at the source. Returns as soon as reberthd has begun to "
		"roll\n"
		"back; 'reberth migration inspect ID' tells when it is done. Refused after the "
		"point of\n"
		"no return.\n",
};

int verb_migration_cancel(struct cli *cli, int argc, char **argv)
{
	_cleanup_client_ struct client *client = NULL;
	_cleanup_json_ json_t *answer = NULL;
	char path[CLIENT_PATH_MAX];
	struct rb_err err = {};
	int id, r;

	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		cli->json = true;
	}
	r = cli_operands(cli, &usage, argc, argv, 1, 1);
	if (r != 0)
		return r;
	client = client_new(cli->socket);
	if (!client)
		return 1;
	if (client_migration_path(path, argv[optind], "/cancel", &err) < 0 ||
	    client_request(client, "POST", path, NULL, CLIENT_TIMEOUT_MS, &answer, &err) < 0)
		return cli_fail(cli, &err);
	if (!cli->json)
		printf("%s\n", argv[optind]);
	return 0;
}
