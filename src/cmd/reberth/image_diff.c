// SPDX-License-Identifier: Apache-2.0
/*
 * image_diff.c - `reberth image diff`: what a push of an image would send
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

#define TIMEOUT_MS 3660000 /* reberthd gives up before, and says why */

enum { OPT_JSON = CLI_LONG };

static const struct cli_option options[] = {
	{ OPT_JSON, "json", NULL, "the comparison as JSON" },
	{},
};

static const struct cli_usage usage = {
	.verb = "image diff",
	.operands = "IMAGE NODE",
	.options = options,
	.text = "Says which layers of an image of this host the node has, and how much 'reberth "
		"image\n"
		"push' would send. Nothing is changed.\n",
};

static const char *const headings[] = { "LAYER", "SIZE", "THERE", "TO SEND" };

static int add_row(struct out_table *table, const json_t *layer)
{
	const char *id = rb_json_str(layer, "diff_id", "");
	bool present = rb_json_bool(layer, "present", false);
	char name[OUT_TEXT_MAX], size[OUT_TEXT_MAX], send[OUT_TEXT_MAX];
	const char *const cells[] = {
		out_short_id(name, strncmp(id, "sha256:", 7) == 0 ? id + 7 : id),
		rb_json_int(layer, "size", -1) < 0 ? NULL
						   : out_size(size, rb_json_int(layer, "size", -1)),
		present ? "yes" : "no",
		out_size(send, rb_json_int(layer, "bytes_missing", -1)),
	};

	return out_table_row(table, cells);
}

static int print_diff(const json_t *diff)
{
	_cleanup_(out_table_free) struct out_table table = { .headings = headings,
							     .columns = ARRAY_SIZE(headings) };
	const char *image = rb_json_str(diff, "image", "?"), *node = rb_json_str(diff, "node", "?");
	int64_t total = rb_json_int(diff, "bytes_total", 0);
	int64_t missing = rb_json_int(diff, "bytes_missing", 0);
	_cleanup_buf_ struct rb_buf text = {};
	char send[OUT_TEXT_MAX], all[OUT_TEXT_MAX];
	json_t *layer;
	size_t i;

	json_array_foreach (json_object_get(diff, "layers"), i, layer)
		if (add_row(&table, layer) < 0)
			return 1;
	if (out_table_render(&table, &text) < 0)
		return 1;
	fputs(text.data, stdout);
	if (rb_json_bool(diff, "image_present", false))
		printf("%s is on %s: nothing would be sent\n", image, node);
	else
		printf("%s lacks %d of %zu layers, %s: %s of it would be sent, before it is "
		       "compressed\n",
		       node, (int)rb_json_int(diff, "layers_missing", 0), i, out_size(all, total),
		       out_size(send, missing));
	return 0;
}

int verb_image_diff(struct cli *cli, int argc, char **argv)
{
	_cleanup_json_ json_t *request = NULL, *diff = NULL;
	_cleanup_client_ struct client *client = NULL;
	struct rb_err err = {};
	int id, r;

	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		cli->json |= id == OPT_JSON;
	}
	r = cli_operands(cli, &usage, argc, argv, 2, 2);
	if (r != 0)
		return r;
	request = json_pack("{s:s, s:s}", "image", argv[optind], "node", argv[optind + 1]);
	if (!request) {
		rb_err_code(&err, RB_E_USAGE, -EINVAL,
			    "the image or the node is not text in UTF-8: correct it");
		return cli_fail(cli, &err);
	}
	client = client_new(cli->socket);
	if (!client)
		return 1;
	if (client_request(client, "POST", "/v1/images/diff", request, TIMEOUT_MS, &diff, &err) < 0)
		return cli_fail(cli, &err);
	return cli->json ? cli_print_json(diff) : print_diff(diff);
}
