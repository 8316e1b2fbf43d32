// SPDX-License-Identifier: Apache-2.0
/*
 * image_pushes.c - `reberth image pushes`, `reberth image cancel`: images on their way to other
 * nodes
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "cleanup.h"
#include "client.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "listing.h"
#include "output.h"

static const struct cli_option list_options[] = {
	{ 'q', "quiet", NULL, "IDs only, one a line" },
	{ LISTING_JSON, "json", NULL, "as a JSON array" },
	{},
};

static const struct cli_usage list_usage = {
	.verb = "image pushes",
	.operands = "",
	.options = list_options,
	.text = "Those that have ended are listed for an hour, but not more than 128 in all.\n",
};

static int add_row(struct out_table *table, const json_t *push)
{
	int64_t percent = rb_json_int(rb_json_path(push, "progress"), "percent", -1);
	_cleanup_buf_ struct rb_buf nodes = {};
	char progress[OUT_TEXT_MAX] = "-";
	json_t *node;
	size_t i;

	json_array_foreach (json_object_get(push, "nodes"), i, node)
		rb_buf_addf(&nodes, "%s%s: %s", i ? ", " : "", rb_json_str(node, "node", "?"),
			    rb_json_str(node, "state", "?"));
	if (percent >= 0)
		snprintf(progress, sizeof(progress), "%d%%", (int)percent);
	const char *const cells[] = { rb_json_str(push, "id", NULL),
				      rb_json_str(push, "image", NULL),
				      rb_json_str(push, "result", progress), nodes.data };

	return out_table_row(table, cells);
}

static const char *const headings[] = { "ID", "IMAGE", "PROGRESS", "NODES" };

static const struct listing listing = {
	.path = "/v1/pushes",
	.key = "id",
	.headings = headings,
	.columns = ARRAY_SIZE(headings),
	.add_row = add_row,
};

int verb_image_pushes(struct cli *cli, int argc, char **argv)
{
	return listing_verb(cli, &listing, &list_usage, argc, argv);
}

static const struct cli_option cancel_options[] = {
	{ LISTING_JSON, "json", NULL, "errors as JSON on standard output" },
	{},
};

static const struct cli_usage cancel_usage = {
	.verb = "image cancel",
	.operands = "ID",
	.options = cancel_options,
	.text = "Nodes that have the image by then keep it. What has arrived at the others is not "
		"sent\n"
		"again when the push is repeated.\n",
};

int verb_image_cancel(struct cli *cli, int argc, char **argv)
{
	_cleanup_client_ struct client *client = NULL;
	_cleanup_json_ json_t *answer = NULL;
	char path[CLIENT_PATH_MAX];
	struct rb_err err = {};
	int id, r;

	while ((id = cli_option(cli, &cancel_usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		cli->json = true;
	}
	r = cli_operands(cli, &cancel_usage, argc, argv, 1, 1);
	if (r != 0)
		return r;
	client = client_new(cli->socket);
	if (!client)
		return 1;
	if (client_push_path(path, argv[optind], "/cancel", &err) < 0 ||
	    client_request(client, "POST", path, NULL, CLIENT_TIMEOUT_MS, &answer, &err) < 0)
		return cli_fail(cli, &err);
	if (!cli->json)
		printf("%s\n", argv[optind]);
	return 0;
}
