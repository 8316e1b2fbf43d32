// SPDX-License-Identifier: Apache-2.0
/*
 * network_rm.c - `reberth network rm`
 */
#include <getopt.h>
#include <stdio.h>

#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "err.h"
#include "json.h"

#define TIMEOUT_MS 300000

static const struct cli_option options[] = {
	{ 'f', "force", NULL, "go on without nodes that cannot be reached" },
	{},
};

static const struct cli_usage usage = {
	.verb = "network rm",
	.operands = "NETWORK...",
	.options = options,
	.text = "A network with a container in it, on any node, is not removed. On a node that was "
		"left\n"
		"out with --force it stays until the command is given there.\n",
};

static int remove_one(struct cli *cli, struct client *client, const char *name, bool force)
{
	_cleanup_json_ json_t *body = json_pack("{s:b}", "force", force), *answer = NULL;
	char path[CLIENT_PATH_MAX];
	struct rb_err err = {};
	const json_t *missed;
	size_t i;

	if (client_network_path(path, name, "/rm", &err) < 0 ||
	    client_request(client, "POST", path, body, TIMEOUT_MS, &answer, &err) < 0)
		return cli_fail(cli, &err);
	json_array_foreach (json_object_get(answer, "missed"), i, missed)
		cli_say("network '%s' stays on node '%s': 'reberth network rm' it there", name,
			json_string_value(missed));
	printf("%s\n", rb_json_str(answer, "name", name));
	return 0;
}

int verb_network_rm(struct cli *cli, int argc, char **argv)
{
	_cleanup_client_ struct client *client = NULL;
	bool force = false;
	int id, r, status = 0;

	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		force |= id == 'f';
	}
	r = cli_operands(cli, &usage, argc, argv, 1, 1000);
	if (r != 0)
		return r;
	client = client_new(cli->socket);
	if (!client)
		return 1;
	for (int i = optind; i < argc; i++) {
		r = remove_one(cli, client, argv[i], force);
		if (r != 0)
			status = r;
	}
	return status;
}
