// SPDX-License-Identifier: Apache-2.0
/*
 * network_create.c - `reberth network create`
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "err.h"
#include "json.h"

#define TIMEOUT_MS 300000 /* every node is asked, and makes its part */

enum { OPT_SUBNET = CLI_LONG, OPT_NODES, OPT_PARENT, OPT_GATEWAY, OPT_MTU, OPT_JSON };

static const struct cli_option options[] = {
	{ OPT_SUBNET, "subnet", "CIDR",
	  "IPv4 addresses of the network, 10.20.0.0/16 say (needed)" },
	{ 'd', "driver", "DRIVER",
	  "vxlan (default), or macvlan: no mesh, a segment that is there" },
	{ OPT_NODES, "nodes", "NODE,...",
	  "nodes that shall have it (default: all that are configured)" },
	{ OPT_PARENT, "parent", "IF", "macvlan: interface on every node" },
	{ OPT_GATEWAY, "gateway", "ADDRESS", "default route (default: the first address)" },
	{ OPT_MTU, "mtu", "BYTES", "of the containers' devices (default: the most that fits)" },
	{ OPT_JSON, "json", NULL, "print the network's description as JSON" },
	{},
};

static const struct cli_usage usage = {
	.verb = "network create",
	.operands = "NETWORK",
	.options = options,
	.text = "Makes the same Docker network on all nodes, as one segment: containers see each "
		"other\n"
		"wherever they run, and keep their addresses when they are moved. Nothing is "
		"changed\n"
		"before every node has said that nothing stands in the way.\n",
};

static json_t *split(const char *list)
{
	json_t *nodes = json_array();

	while (*list) {
		size_t len = strcspn(list, ",");

		if (len)
			json_array_append_new(nodes, json_stringn(list, len));
		list += len + (list[len] == ',');
	}
	return nodes;
}

int verb_network_create(struct cli *cli, int argc, char **argv)
{
	_cleanup_json_ json_t *request = json_object(), *answer = NULL;
	_cleanup_client_ struct client *client = NULL;
	struct rb_err err = {};
	int id, r;

	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		if (id == OPT_SUBNET)
			json_object_set_new(request, "subnet", json_string(optarg));
		else if (id == 'd')
			json_object_set_new(request, "driver", json_string(optarg));
		else if (id == OPT_NODES)
			json_object_set_new(request, "nodes", split(optarg));
		else if (id == OPT_PARENT)
			json_object_set_new(request, "parent", json_string(optarg));
		else if (id == OPT_GATEWAY)
			json_object_set_new(request, "gateway", json_string(optarg));
		else if (id == OPT_MTU)
			json_object_set_new(request, "mtu", json_integer(atoi(optarg)));
		cli->json |= id == OPT_JSON;
	}
	r = cli_operands(cli, &usage, argc, argv, 1, 1);
	if (r != 0)
		return r;
	if (!json_object_get(request, "subnet"))
		return cli_fail_usage(cli, usage.verb, "--subnet is needed, 10.20.0.0/16 say");
	json_object_set_new(request, "name", json_string(argv[optind]));
	client = client_new(cli->socket);
	if (!client)
		return 1;
	if (client_request(client, "POST", "/v1/networks", request, TIMEOUT_MS, &answer, &err) < 0)
		return cli_fail(cli, &err);
	if (cli->json)
		return cli_print_json(answer);
	printf("network %s made on %zu nodes, MTU %d\n", rb_json_str(answer, "name", "?"),
	       json_array_size(json_object_get(answer, "nodes")),
	       (int)rb_json_int(answer, "mtu", 0));
	return 0;
}
