// SPDX-License-Identifier: Apache-2.0
/*
 * version.c - `reberth version`: of this program, and of the daemon if it answers
 */
#include <stdio.h>

#include "cli.h"
#include "client.h"
#include "err.h"
#include "json.h"

#define VERSION_TIMEOUT_MS 2000

enum { OPT_JSON = CLI_LONG };

static const struct cli_option options[] = {
	{ OPT_JSON, "json", NULL, "as JSON" },
	{},
};

static const struct cli_usage usage = {
	.verb = "version",
	.operands = "",
	.options = options,
};

int verb_version(struct cli *cli, int argc, char **argv)
{
	_cleanup_client_ struct client *client = NULL;
	_cleanup_json_ json_t *answer = NULL, *value = NULL;
	struct rb_err err = {};
	const char *daemon;
	int id, r;

	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		cli->json = true;
	}
	r = cli_operands(cli, &usage, argc, argv, 0, 0);
	if (r != 0)
		return r;
	client = client_new(cli->socket);
	if (client)
		client_request(client, "GET", "/v1/version", NULL, VERSION_TIMEOUT_MS, &answer,
			       &err);
	daemon = rb_json_str(answer, "version", NULL);
	if (cli->json) {
		value = json_pack("{s:s, s:s?}", "client", RB_VERSION, "daemon", daemon);
		return cli_print_json(value);
	}
	printf("reberth   %s\nreberthd  %s\n", RB_VERSION, daemon ? daemon : "(no answer)");
	return 0; /* the question was answered, also without a daemon */
}
