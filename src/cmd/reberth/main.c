// SPDX-License-Identifier: Apache-2.0
/*
 * main.c - `reberth`, the command line of reberthd
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "err.h"

const struct cli_verb cli_verbs[] = {
	{ "migrate", verb_migrate, "move a running container to another node" },
	{ "migration ls", verb_migration_ls, "list migrations" },
	{ "migration inspect", verb_migration_inspect, "everything known of migrations, as JSON" },
	{ "migration cancel", verb_migration_cancel, "stop a migration and roll it back" },
	{ "migration resolve", verb_migration_resolve,
	  "decide a migration whose other host is gone for good" },
	{ "network create", verb_network_create, "make a Docker network that spans nodes" },
	{ "network ls", verb_network_ls, "list networks that span nodes" },
	{ "network inspect", verb_network_inspect,
	  "everything known of a network, on all its nodes" },
	{ "network join", verb_network_join, "add a node to a network" },
	{ "network leave", verb_network_leave, "take a node out of a network" },
	{ "network rm", verb_network_rm, "remove a network from all its nodes" },
	{ "forward ls", verb_forward_ls,
	  "list what this host forwards to containers that left it" },
	{ "forward rm", verb_forward_rm, "end such forwards" },
	{ "image push", verb_image_push, "bring an image to other nodes" },
	{ "image diff", verb_image_diff, "what that would send" },
	{ "image pushes", verb_image_pushes, "list such pushes" },
	{ "image cancel", verb_image_cancel, "end one" },
	{ "node", verb_node, "this host and the nodes that it can migrate to" },
	{ "version", verb_version, "versions of this program and of reberthd" },
	{ "help", verb_help, "explain a command" },
};
const size_t cli_verb_count = ARRAY_SIZE(cli_verbs);

static void print_help(FILE *to, const char *group)
{
	fprintf(to, "Usage: reberth [--socket PATH] %s [ARGUMENT...]\n\n",
		group ? group : "COMMAND");
	if (!group)
		fprintf(to, "Moves running Docker containers between hosts.\n\n");
	fprintf(to, "Commands:\n");
	for (size_t i = 0; i < cli_verb_count; i++)
		if (!group || strncmp(cli_verbs[i].name, group, strlen(group)) == 0)
			fprintf(to, "  %-19s%s\n", cli_verbs[i].name, cli_verbs[i].summary);
	fprintf(to, "\n'reberth COMMAND --help' explains one. "
		    "Speaks to reberthd on this host, as root or a member of group reberth.\n");
}

/* Does the table have commands of two words that begin with this one? */
static bool is_group(const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i < cli_verb_count; i++)
		if (strncmp(cli_verbs[i].name, word, len) == 0 && cli_verbs[i].name[len] == ' ')
			return true;
	return false;
}

/* The row whose words the arguments begin with. @ret_words: how many it has. */
static const struct cli_verb *find_verb(int argc, char **argv, int *ret_words)
{
	char two[128] = "";

	if (argc > 1)
		snprintf(two, sizeof(two), "%s %s", argv[0], argv[1]);
	for (size_t i = 0; i < cli_verb_count; i++) {
		bool has_two = strchr(cli_verbs[i].name, ' ') != NULL;

		if (strcmp(cli_verbs[i].name, has_two ? two : argv[0]) == 0) {
			*ret_words = has_two ? 2 : 1;
			return &cli_verbs[i];
		}
	}
	return NULL;
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int unknown_verb(const struct cli *cli, int argc, char **argv)
{
	bool group = is_group(argv[0]);
	char words[128];
	const char *meant;

	if (group && (argc < 2 || is_help(argv[1]))) {
		print_help(argc < 2 ? stderr : stdout, argv[0]);
		return argc < 2 ? rb_code_exit(RB_E_USAGE) : 0;
	}
	snprintf(words, sizeof(words), "%s%s%s", argv[0], group ? " " : "", group ? argv[1] : "");
	meant = cli_suggest(group ? argv[1] : argv[0], cli_verbs, sizeof(cli_verbs[0]),
			    cli_verb_count);
	if (!meant && is_group(argv[0]))
		return cli_fail_usage(cli, argv[0], "unknown command '%s'", words);
	if (meant)
		return cli_fail_usage(cli, NULL, "unknown command '%s', did you mean '%s'?", words,
				      meant);
	return cli_fail_usage(cli, NULL, "unknown command '%s'", words);
}

static int run_verb(struct cli *cli, int argc, char **argv)
{
	int words = 1;
	const struct cli_verb *verb = find_verb(argc, argv, &words);

	if (!verb)
		return unknown_verb(cli, argc, argv);
	return verb->run(cli, argc - words + 1, argv + words - 1);
}

int verb_help(struct cli *cli, int argc, char **argv)
{
	char *args[4] = {};
	int count = 0;

	if (argc < 2 || is_help(argv[1])) {
		print_help(stdout, NULL);
		return 0;
	}
	if (argc > 3 || strcmp(argv[1], "help") == 0)
		return cli_fail_usage(cli, NULL, "'reberth help' takes the name of a command");
	for (int i = 1; i < argc; i++)
		args[count++] = argv[i];
	args[count++] = (char *)"--help";
	return run_verb(cli, count, args);
}

/* Options before the command. Return: index of the command, 0 when done with cli->status. */
static int global_options(struct cli *cli, int argc, char **argv)
{
	int i = 1;

	while (i < argc && argv[i][0] == '-') {
		if (is_help(argv[i])) {
			print_help(stdout, NULL);
			cli->status = 0;
			return 0;
		}
		if (strcmp(argv[i], "--version") == 0) {
			printf("reberth %s\n", RB_VERSION);
			cli->status = 0;
			return 0;
		}
		if (strncmp(argv[i], "--socket=", 9) == 0) {
			cli->socket = argv[i++] + 9;
		} else if (strcmp(argv[i], "--socket") == 0 && i + 1 < argc) {
			cli->socket = argv[i + 1];
			i += 2;
		} else {
			cli->status = cli_fail_usage(cli, NULL, "unknown option '%s'", argv[i]);
			return 0;
		}
	}
	if (i < argc)
		return i;
	print_help(stderr, NULL);
	cli->status = rb_code_exit(RB_E_USAGE);
	return 0;
}

int main(int argc, char **argv)
{
	const char *socket = getenv("REBERTH_SOCKET");
	struct cli cli = { .socket = socket && *socket ? socket : CLIENT_SOCKET };
	int first;

	/* A wrong command line, too, is to be reported in the form that was asked for. */
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		cli.json |= strcmp(argv[i], "--json") == 0;
	first = global_options(&cli, argc, argv);
	if (first == 0)
		return cli.status;
	return run_verb(&cli, argc - first, argv + first);
}
