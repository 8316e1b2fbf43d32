// SPDX-License-Identifier: Apache-2.0
/*
 * network_inspect.c - `reberth network inspect`: a network as each of its nodes has it
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "output.h"

#define TIMEOUT_MS 120000 /* every node is asked */

enum { OPT_JSON = CLI_LONG };

static const struct cli_option options[] = {
	{ OPT_JSON, "json", NULL, "as JSON, with all addresses and chunks" },
	{},
};

static const struct cli_usage usage = {
	.verb = "network inspect",
	.operands = "NETWORK",
	.options = options,
};

static int print_members(const json_t *network)
{
	static const char *const headings[] = { "NODE",	      "ADDRESS", "CHUNKS",
						"CONTAINERS", "STATE",	 "NAMES" };
	_cleanup_(out_table_free) struct out_table table = { .headings = headings,
							     .columns = ARRAY_SIZE(headings) };
	_cleanup_buf_ struct rb_buf text = {};
	const json_t *member;
	size_t i;

	json_array_foreach (json_object_get(network, "members"), i, member) {
		char chunks[OUT_TEXT_MAX], containers[OUT_TEXT_MAX];
		const char *const cells[] = { rb_json_str(member, "node", NULL),
					      rb_json_str(member, "gateway", NULL),
					      chunks,
					      containers,
					      rb_json_str(member, "state", NULL),
					      rb_json_str(member, "names", NULL) };

		snprintf(chunks, sizeof(chunks), "%zu",
			 json_array_size(json_object_get(member, "chunks")));
		snprintf(containers, sizeof(containers), "%zu",
			 json_array_size(json_object_get(member, "containers")));
		if (out_table_row(&table, cells) < 0)
			return -ENOMEM;
	}
	if (out_table_render(&table, &text) < 0)
		return -ENOMEM;
	printf("\n%s", text.data);
	return 0;
}

static int print_containers(const json_t *network)
{
	static const char *const headings[] = { "CONTAINER", "NODE", "ADDRESS" };
	_cleanup_(out_table_free) struct out_table table = { .headings = headings,
							     .columns = ARRAY_SIZE(headings) };
	_cleanup_buf_ struct rb_buf text = {};
	const json_t *member, *container;
	size_t i, j;

	json_array_foreach (json_object_get(network, "members"), i, member)
		json_array_foreach (json_object_get(member, "containers"), j, container) {
			const char *const cells[] = { rb_json_str(container, "name", NULL),
						      rb_json_str(member, "node", NULL),
						      rb_json_str(container, "address", NULL) };

			if (out_table_row(&table, cells) < 0)
				return -ENOMEM;
		}
	if (table.rows == 0)
		return 0;
	if (out_table_render(&table, &text) < 0)
		return -ENOMEM;
	printf("\n%s", text.data);
	return 0;
}

static int print(const json_t *network)
{
	static const struct {
		const char *key, *label;
	} facts[] = { { "name", "Network" },  { "id", "ID" },		{ "driver", "Driver" },
		      { "subnet", "Subnet" }, { "gateway", "Gateway" }, { "parent", "Parent" },
		      { "state", "State" } };

	for (size_t i = 0; i < ARRAY_SIZE(facts); i++) {
		const char *text = rb_json_str(network, facts[i].key, NULL);

		if (text)
			printf("%-12s%s\n", facts[i].label, text);
	}
	printf("%-12s%d\n", "MTU", (int)rb_json_int(network, "mtu", 0));
	if (json_object_get(network, "vni"))
		printf("%-12s%d\n", "VNI", (int)rb_json_int(network, "vni", 0));
	if (print_members(network) < 0 || print_containers(network) < 0)
		return 1;
	return 0;
}

int verb_network_inspect(struct cli *cli, int argc, char **argv)
{
	_cleanup_client_ struct client *client = NULL;
	_cleanup_json_ json_t *network = NULL;
	char path[CLIENT_PATH_MAX];
	struct rb_err err = {};
	int id, r;

	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		cli->json |= id == OPT_JSON;
	}
	r = cli_operands(cli, &usage, argc, argv, 1, 1);
	if (r != 0)
		return r;
	if (client_network_path(path, argv[optind], "", &err) < 0)
		return cli_fail(cli, &err);
	client = client_new(cli->socket);
	if (!client)
		return 1;
	if (client_request(client, "GET", path, NULL, TIMEOUT_MS, &network, &err) < 0)
		return cli_fail(cli, &err);
	return cli->json ? cli_print_json(network) : print(network);
}
