// SPDX-License-Identifier: Apache-2.0
/*
 * network_ls.c - `reberth network ls`: networks that this node is part of
 */
#include <errno.h>
#include <stdio.h>

#include "cleanup.h"
#include "io.h"
#include "json.h"
#include "listing.h"
#include "output.h"

static const struct cli_option options[] = {
	{ 'q', "quiet", NULL, "names only, one a line" },
	{ LISTING_JSON, "json", NULL, "as a JSON array" },
	{},
};

static const struct cli_usage usage = {
	.verb = "network ls",
	.operands = "",
	.options = options,
};

static int add_row(struct out_table *table, const json_t *network)
{
	_cleanup_buf_ struct rb_buf nodes = {};
	char mtu[OUT_TEXT_MAX];
	const json_t *node;
	size_t i;

	json_array_foreach (json_object_get(network, "nodes"), i, node)
		rb_buf_addf(&nodes, "%s%s", i ? "," : "", json_string_value(node));
	snprintf(mtu, sizeof(mtu), "%d", (int)rb_json_int(network, "mtu", 0));
	const char *const cells[] = {
		rb_json_str(network, "name", NULL),   rb_json_str(network, "driver", NULL),
		rb_json_str(network, "subnet", NULL), mtu,
		rb_json_str(network, "state", NULL),  nodes.data
	};

	return out_table_row(table, cells);
}

static const char *const headings[] = { "NAME", "DRIVER", "SUBNET", "MTU", "STATE", "NODES" };

static const struct listing listing = {
	.path = "/v1/networks",
	.key = "name",
	.headings = headings,
	.columns = ARRAY_SIZE(headings),
	.add_row = add_row,
};

int verb_network_ls(struct cli *cli, int argc, char **argv)
{
	return listing_verb(cli, &listing, &usage, argc, argv);
}
