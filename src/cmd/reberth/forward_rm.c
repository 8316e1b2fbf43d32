// SPDX-License-Identifier: Apache-2.0
/*
 * forward_rm.c - `reberth forward rm`: end forwards of this host
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "err.h"
#include "json.h"

enum { OPT_JSON = CLI_LONG };

static const struct cli_option options[] = {
	{ 'a', "all", NULL, "all of them" },
	{ OPT_JSON, "json", NULL, "print what went wrong as JSON" },
	{},
};

static const struct cli_usage usage = {
	.verb = "forward rm",
	.operands = "[CONTAINER|ID...]",
	.options = options,
	.text = "New connections to these ports of this host find nobody afterwards, and those "
		"that\n"
		"are open through this host end.\n",
};

/* its ID, the beginning of it, or the container's name */
static bool is_meant(const json_t *forward, const char *name)
{
	return strcmp(rb_json_str(forward, "container", ""), name) == 0 ||
	       (*name && strncmp(rb_json_str(forward, "id", ""), name, strlen(name)) == 0);
}

static int end_one(struct client *client, const json_t *forward, struct rb_err *err)
{
	_cleanup_json_ json_t *answer = NULL;
	const char *id = rb_json_str(forward, "id", "");
	char path[CLIENT_PATH_MAX];
	int r = client_forward_path(path, id, err);

	if (r >= 0)
		r = client_request(client, "DELETE", path, NULL, CLIENT_TIMEOUT_MS, &answer, err);
	return r;
}

/* Return: how many there were, or negative errno */
static int end_meant(const struct cli *cli, struct client *client, const json_t *forwards,
		     const char *name, struct rb_err *err)
{
	const json_t *forward;
	int count = 0;
	size_t i;

	json_array_foreach (forwards, i, forward) {
		if (name && !is_meant(forward, name))
			continue;
		if (end_one(client, forward, err) < 0)
			return -EIO;
		if (!cli->json)
			printf("%s\n", name ? name : rb_json_str(forward, "id", "-"));
		count++;
	}
	return count;
}

static int end_all(const struct cli *cli, struct client *client, bool all, int argc, char **argv)
{
	_cleanup_json_ json_t *forwards = NULL;
	struct rb_err err = {};
	int r = client_request(client, "GET", "/v1/forwards", NULL, CLIENT_TIMEOUT_MS, &forwards,
			       &err);

	if (r >= 0 && all)
		r = end_meant(cli, client, forwards, NULL, &err);
	for (int i = 0; r >= 0 && i < argc; i++) {
		r = end_meant(cli, client, forwards, argv[i], &err);
		if (r == 0)
			r = rb_err_code(&err, RB_E_NOT_FOUND, -ENOENT,
					"nothing is forwarded here for '%.100s': see 'reberth "
					"forward ls'",
					argv[i]);
	}
	return r < 0 ? cli_fail(cli, &err) : 0;
}

int verb_forward_rm(struct cli *cli, int argc, char **argv)
{
	_cleanup_client_ struct client *client = NULL;
	bool all = false;
	int id, r;

	while ((id = cli_option(cli, &usage, argc, argv)) != CLI_END) {
		if (id == CLI_STOP)
			return cli->status;
		all |= id == 'a';
		cli->json |= id == OPT_JSON;
	}
	r = cli_operands(cli, &usage, argc, argv, all ? 0 : 1, all ? 0 : 64);
	if (r != 0)
		return r;
	client = client_new(cli->socket);
	if (!client)
		return 1;
	return end_all(cli, client, all, argc - optind, argv + optind);
}
