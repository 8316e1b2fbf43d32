// SPDX-License-Identifier: Apache-2.0
/*
 * node.c - `reberth node`: this host and the nodes it can migrate to
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "output.h"

enum { OPT_JSON = CLI_LONG };

static const struct cli_option options[] = {
	{ 'q', "quiet", NULL, "names of the other nodes only, one a line" },
	{ OPT_JSON, "json", NULL, "as JSON" },
	{},
};

static const struct cli_usage usage = {
	.verb = "node",
	.operands = "",
	.options = options,
};

/* Text members of the answer that are shown, where they are there. */
static const struct {
	const char *key, *label;
} facts[] = {
	{ "node", "Node" },
	{ "version", "reberthd" },
	{ "listen", "Listens on" },
	{ "boot_id", "Boot ID" },
};

/* All nodes are in the configuration, this one too. */
static bool is_self(const json_t *node, const char *name)
{
	return strcmp(rb_json_str(node, "node", ""), name) == 0;
}

static int print_peers(const json_t *node)
{
	static const char *const headings[] = { "PEER", "ADDRESS" };
	_cleanup_(out_table_free) struct out_table table = { .headings = headings,
							     .columns = ARRAY_SIZE(headings) };
	_cleanup_buf_ struct rb_buf text = {};
	const char *name;
	json_t *address;

	json_object_foreach (json_object_get(node, "nodes"), name, address) {
		const char *const cells[] = { name, json_string_value(address) };

		if (!is_self(node, name) && out_table_row(&table, cells) < 0)
			return -ENOMEM;
	}
	if (out_table_render(&table, &text) < 0)
		return -ENOMEM;
	printf("\n%s", text.data);
	return 0;
}

static void print_names(const json_t *node)
{
	const char *name;
	json_t *address;

	json_object_foreach (json_object_get(node, "nodes"), name, address)
		if (!is_self(node, name))
			printf("%s\n", name);
}

static int print(const struct cli *cli, const json_t *node, bool quiet)
{
	if (cli->json)
		return cli_print_json(node);
	if (quiet) {
		print_names(node);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(facts); i++) {
		const char *text = rb_json_str(node, facts[i].key, NULL);

		if (text)
			printf("%-12s%s\n", facts[i].label, text);
	}
	return print_peers(node) < 0 ? 1 : 0;
}

int verb_node(struct cli *cli, int argc, char **argv)
{
	_cleanup_client_ struct client *client = NULL;
	_cleanup_json_ json_t *node = NULL;
	struct rb_err err = {};
	bool quiet = false;
	int id, r;

	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		quiet |= id == 'q';
		cli->json |= id == OPT_JSON;
	}
	r = cli_operands(cli, &usage, argc, argv, 0, 0);
	if (r != 0)
		return r;
	client = client_new(cli->socket);
	if (!client)
		return 1;
	if (client_request(client, "GET", "/v1/node", NULL, CLIENT_TIMEOUT_MS, &node, &err) < 0)
		return cli_fail(cli, &err);
	return print(cli, node, quiet);
}
