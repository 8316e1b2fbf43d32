// SPDX-License-Identifier: Apache-2.0
/*
 * forward_ls.c - `reberth forward ls`: what this host forwards to containers that left it
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "io.h"
#include "json.h"
#include "listing.h"
#include "output.h"

static const struct cli_option options[] = {
	{ 'q', "quiet", NULL, "IDs only, one a line" },
	{ LISTING_JSON, "json", NULL, "as a JSON array" },
	{},
};

static const struct cli_usage usage = {
	.verb = "forward ls",
	.operands = "",
	.options = options,
	.text = "A forward is made when a container with published ports (-p) leaves this host: "
		"who\n"
		"comes to these ports is led to where it is now. It lasts until the container "
		"comes\n"
		"back, or until 'reberth forward rm'. One without ports only serves connections "
		"that\n"
		"were open, and goes with the last of them.\n",
};

/* "0.0.0.0:8080->10.88.1.1:80/tcp, ..." */
static int add_ports(const json_t *ports, struct rb_buf *text)
{
	const json_t *port;
	size_t i;
	int r = 0;

	json_array_foreach (ports, i, port) {
		const char *host = rb_json_str(port, "host_ip", "");

		if (r == 0)
			r = rb_buf_addf(
				text, "%s%s:%d->%s:%d/%s", i ? ", " : "", *host ? host : "0.0.0.0",
				(int)rb_json_int(port, "host_port", 0),
				rb_json_str(port, "ip", "?"), (int)rb_json_int(port, "port", 0),
				rb_json_str(port, "proto", "?"));
	}
	return r;
}

static const char *ago(const json_t *forward, char ret[OUT_TEXT_MAX])
{
	struct tm tm = {};

	if (!strptime(rb_json_str(forward, "since", ""), "%Y-%m-%dT%H:%M:%S", &tm))
		return "-";
	return out_ago(ret, time(NULL) - timegm(&tm));
}

static int add_row(struct out_table *table, const json_t *forward)
{
	_cleanup_buf_ struct rb_buf ports = {};
	char count[OUT_TEXT_MAX], since[OUT_TEXT_MAX];
	const char *cells[] = { rb_json_str(forward, "id", NULL),
				rb_json_str(forward, "container", NULL),
				NULL,
				rb_json_str(forward, "moved_to", NULL),
				count,
				ago(forward, since) };

	if (add_ports(json_object_get(forward, "ports"), &ports) < 0)
		return -ENOMEM;
	cells[2] = ports.len ? ports.data : "-";
	snprintf(count, sizeof(count), "%d", (int)rb_json_int(forward, "connections", 0));
	return out_table_row(table, cells);
}

static const char *const headings[] = { "ID",	    "CONTAINER",   "PORTS",
					"MOVED TO", "CONNECTIONS", "SINCE" };

static const struct listing listing = {
	.path = "/v1/forwards",
	.key = "id",
	.headings = headings,
	.columns = ARRAY_SIZE(headings),
	.add_row = add_row,
};

int verb_forward_ls(struct cli *cli, int argc, char **argv)
{
	return listing_verb(cli, &listing, &usage, argc, argv);
}
