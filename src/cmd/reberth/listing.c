// SPDX-License-Identifier: Apache-2.0
/*
 * listing.c - verbs that list things: a table, their names alone, or JSON
 */
#include "listing.h"

#include <errno.h>
#include <stdio.h>

#include "cleanup.h"
#include "client.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "output.h"

static int print_table(const struct listing *listing, const json_t *items)
{
	_cleanup_(out_table_free) struct out_table table = { .headings = listing->headings,
							     .columns = listing->columns };
	_cleanup_buf_ struct rb_buf text = {};
	const json_t *item;
	size_t i;

	json_array_foreach (items, i, item)
		if (listing->add_row(&table, item) < 0)
			return -ENOMEM;
	if (out_table_render(&table, &text) < 0)
		return -ENOMEM;
	fputs(text.data, stdout);
	return 0;
}

int listing_print(const struct cli *cli, const struct listing *listing, const json_t *items,
		  bool quiet)
{
	const json_t *item;
	size_t i;

	if (cli->json)
		return cli_print_json(items);
	if (!quiet)
		return print_table(listing, items) < 0 ? 1 : 0;
	json_array_foreach (items, i, item)
		printf("%s\n", rb_json_str(item, listing->key, "-"));
	return 0;
}

int listing_verb(struct cli *cli, const struct listing *listing, const struct cli_usage *usage,
		 int argc, char **argv)
{
	_cleanup_client_ struct client *client = NULL;
	_cleanup_json_ json_t *items = NULL;
	struct rb_err err = {};
	bool quiet = false;
	int id, r;

	while ((id = cli_option(cli, usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		quiet |= id == 'q';
		cli->json |= id == LISTING_JSON;
	}
	r = cli_operands(cli, usage, argc, argv, 0, 0);
	if (r != 0)
		return r;
	client = client_new(cli->socket);
	if (!client)
		return 1;
	if (client_request(client, "GET", listing->path, NULL, CLIENT_TIMEOUT_MS, &items, &err) < 0)
		return cli_fail(cli, &err);
	return listing_print(cli, listing, items, quiet);
}
