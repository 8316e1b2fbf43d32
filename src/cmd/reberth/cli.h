/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - what the verbs of `reberth` share: options, errors, help
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct rb_err;

/** One run of the program. */
struct cli {
	const char *socket;
	bool json;  /* errors go to standard output as JSON too */
	int status; /* exit status after cli_option() said CLI_STOP */
};

/** A verb of the table in main.c; "migration ls" has two words. */
struct cli_verb {
	const char *name;
	int (*run)(struct cli *cli, int argc, char **argv); /* returns the exit status */
	const char *summary;
};

extern const struct cli_verb cli_verbs[];
extern const size_t cli_verb_count;

struct cli_option {
	int id; /* its letter; above 255: it has none */
	const char *name;
	const char *arg; /* what stands for its argument in the help; NULL: takes none; "[=X]": may
			    take one */
	const char *help;
};

/** Description of a verb, from which its command line is parsed and its help printed. */
struct cli_usage {
	const char *verb;
	const char *operands;		  /* "CONTAINER NODE" */
	const struct cli_option *options; /* ends with a name of NULL; --socket, --help are added */
	const char *text;		  /* rest of the help, may be NULL */
};

#define CLI_END	 (-1)
#define CLI_STOP (-2)
#define CLI_LONG 256 /* first id of options without a letter */

/**
 * cli_option - next option of a verb's command line
 *
 * Its argument is in optarg. Handles --socket and --help itself.
 *
 * Return: id; CLI_END: operands start at argv[optind]; CLI_STOP: help or an error was printed,
 * leave with cli->status.
 */
int cli_option(struct cli *cli, const struct cli_usage *usage, int argc, char **argv);

/**
 * cli_operands - check how many operands follow
 *
 * Return: 0, or the exit status to leave with.
 */
int cli_operands(struct cli *cli, const struct cli_usage *usage, int argc, char **argv, int min,
		 int max);

/** cli_help - print a verb's help to standard output */
void cli_help(const struct cli_usage *usage);

/** cli_fail - report an error: text to stderr, in JSON mode {"error":...} to stdout. Return: exit
 * status. */
int cli_fail(const struct cli *cli, const struct rb_err *err);

/** cli_fail_usage - the same for a wrong command line of a verb (NULL: of the program) */
int cli_fail_usage(const struct cli *cli, const char *verb, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** cli_print_json - value to standard output, indented. Return: exit status. */
int cli_print_json(const json_t *value);

/** cli_print_id - of what goes on without us, for --detach. Return: exit status. */
int cli_print_id(const struct cli *cli, const char *id);

/** cli_error_json - {"code","errno","stage","message"}, new reference */
json_t *cli_error_json(const struct rb_err *err);

/** cli_say - a line to standard error that starts with "reberth: "; controls are replaced */
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** cli_suggest - that of @count texts (@stride bytes apart) which @word most likely meant, or NULL
 */
const char *cli_suggest(const char *word, const void *first, size_t stride, size_t count);

/** cli_interactive - is there somebody to answer questions? (terminal on stdin and stderr, and we
 * are its foreground) */
bool cli_interactive(void);

int verb_migrate(struct cli *cli, int argc, char **argv);
int verb_migration_ls(struct cli *cli, int argc, char **argv);
int verb_migration_inspect(struct cli *cli, int argc, char **argv);
int verb_migration_cancel(struct cli *cli, int argc, char **argv);
int verb_migration_resolve(struct cli *cli, int argc, char **argv);
int verb_network_create(struct cli *cli, int argc, char **argv);
int verb_network_ls(struct cli *cli, int argc, char **argv);
int verb_network_inspect(struct cli *cli, int argc, char **argv);
int verb_network_join(struct cli *cli, int argc, char **argv);
int verb_network_leave(struct cli *cli, int argc, char **argv);
int verb_network_rm(struct cli *cli, int argc, char **argv);
int verb_forward_ls(struct cli *cli, int argc, char **argv);
int verb_forward_rm(struct cli *cli, int argc, char **argv);
int verb_image_push(struct cli *cli, int argc, char **argv);
int verb_image_diff(struct cli *cli, int argc, char **argv);
int verb_image_pushes(struct cli *cli, int argc, char **argv);
int verb_image_cancel(struct cli *cli, int argc, char **argv);
int verb_node(struct cli *cli, int argc, char **argv);
int verb_version(struct cli *cli, int argc, char **argv);
int verb_help(struct cli *cli, int argc, char **argv);
