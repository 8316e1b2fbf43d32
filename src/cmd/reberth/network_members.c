// SPDX-License-Identifier: Apache-2.0
/*
 * network_members.c - `reberth network join` and `leave`: which nodes are part of a network
 */
#include <getopt.h>
#include <stdio.h>

#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "err.h"
#include "json.h"

#define TIMEOUT_MS 300000

enum { OPT_JSON = CLI_LONG };

static const struct cli_option join_options[] = {
	{ OPT_JSON, "json", NULL, "print the network's description as JSON" },
	{},
};

static const struct cli_usage join_usage = {
	.verb = "network join",
	.operands = "NETWORK NODE",
	.options = join_options,
	.text = "To be given on a node that is part of the network.\n",
};

static const struct cli_option leave_options[] = {
	{ 'f', "force", NULL, "the node is gone for good: go on without it" },
	{ OPT_JSON, "json", NULL, "print the network's description as JSON" },
	{},
};

static const struct cli_usage leave_usage = {
	.verb = "network leave",
	.operands = "NETWORK NODE",
	.options = leave_options,
	.text = "To be given on a node that stays.\n",
};

/* @done: "joined" */
static int change(struct cli *cli, const struct cli_usage *usage, const char *operation,
		  const char *done, int argc, char **argv)
{
	_cleanup_json_ json_t *body = json_object(), *answer = NULL;
	_cleanup_client_ struct client *client = NULL;
	char path[CLIENT_PATH_MAX];
	struct rb_err err = {};
	int id, r;

	while ((id = cli_option(cli, usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		cli->json |= id == OPT_JSON;
		if (id == 'f')
			json_object_set_new(body, "force", json_true());
	}
	r = cli_operands(cli, usage, argc, argv, 2, 2);
	if (r != 0)
		return r;
	json_object_set_new(body, "node", json_string(argv[optind + 1]));
	client = client_new(cli->socket);
	if (!client)
		return 1;
	if (client_network_path(path, argv[optind], operation, &err) < 0 ||
	    client_request(client, "POST", path, body, TIMEOUT_MS, &answer, &err) < 0)
		return cli_fail(cli, &err);
	if (cli->json)
		return cli_print_json(answer);
	printf("node %s %s network %s\n", argv[optind + 1], done, argv[optind]);
	return 0;
}

int verb_network_join(struct cli *cli, int argc, char **argv)
{
	return change(cli, &join_usage, "/join", "joined", argc, argv);
}

int verb_network_leave(struct cli *cli, int argc, char **argv)
{
	return change(cli, &leave_usage, "/leave", "left", argc, argv);
}
