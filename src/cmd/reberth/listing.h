/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listing.h - verbs that list things: a table, their names alone, or JSON
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "cli.h"

struct out_table;

enum { LISTING_JSON = CLI_LONG };

struct listing {
	const char *path; /* of the local API, an array comes back */
	const char *key;  /* member that names an item */
	const char *const *headings;
	size_t columns;
	int (*add_row)(struct out_table *table, const json_t *item);
};

/** listing_print - the items as wanted. Return: exit status */
int listing_print(const struct cli *cli, const struct listing *listing, const json_t *items,
		  bool quiet);

/** listing_verb - a verb that has no options but -q and --json (LISTING_JSON), and lists all.
 * Return: exit status */
int listing_verb(struct cli *cli, const struct listing *listing, const struct cli_usage *usage,
		 int argc, char **argv);
