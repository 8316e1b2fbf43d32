// SPDX-License-Identifier: Apache-2.0
/*
 * cli.c - what the verbs of `reberth` share: options, errors, help
 */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "json.h"
#include "output.h"

#define OPTIONS_MAX 32
#define HELP_COLUMN 28
#define WORD_MAX    40

enum { OPT_SOCKET = CLI_LONG + 1000 };

static const struct cli_option common_options[] = {
	{ OPT_SOCKET, "socket", "PATH",
	  "reberthd's socket (default $REBERTH_SOCKET, or /run/reberth/api.sock)" },
	{ 'h', "help", NULL, "show this help" },
};

static const struct cli_option *option_at(const struct cli_usage *usage, size_t i)
{
	size_t own = 0;

	while (usage->options[own].name)
		own++;
	if (i < own)
		return &usage->options[i];
	return i - own < ARRAY_SIZE(common_options) ? &common_options[i - own] : NULL;
}

/* --- did you mean --- */

/* Levenshtein distance with swaps of neighbours (Damerau 1964, optimal string alignment). */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][WORD_MAX + 1], len_a = strlen(a), len_b = strlen(b);

	if (len_a > WORD_MAX || len_b > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= len_b; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= len_a; i++) {
		size_t *now = rows[i % 3], *before = rows[(i + 2) % 3],
		       *earlier = rows[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= len_b; j++) {
			size_t best = before[j - 1] + (a[i - 1] != b[j - 1]);

			best = before[j] + 1 < best ? before[j] + 1 : best;
			best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    earlier[j - 2] + 1 < best)
				best = earlier[j - 2] + 1;
			now[j] = best;
		}
	}
	return rows[len_a % 3][len_b];
}

const char *cli_suggest(const char *word, const void *first, size_t stride, size_t count)
{
	/* one mistake in a short word, two in a longer one, but never most of the word */
	size_t len = strlen(word), best = len < 3 ? 1 : len < 6 ? 2 : 3;
	const char *found = NULL;

	for (size_t i = 0; i < count; i++) {
		const char *text = *(const char *const *)((const char *)first + i * stride);
		const char *last = strrchr(text, ' ');
		size_t d = distance(word, text);

		if (last && distance(word, last + 1) < d)
			d = distance(word, last + 1);
		if (d < best || (d == best && !found && d < len)) {
			best = d;
			found = text;
		}
	}
	return found;
}

static const char *suggest_option(const struct cli_usage *usage, const char *word)
{
	const char *names[OPTIONS_MAX];
	char plain[WORD_MAX];
	size_t count = 0;

	snprintf(plain, sizeof(plain), "%.*s", (int)strcspn(word, "="), word);
	for (const struct cli_option *o; count < OPTIONS_MAX && (o = option_at(usage, count));)
		names[count++] = o->name;
	return cli_suggest(plain, names, sizeof(names[0]), count);
}

/* --- options --- */

static int stop(struct cli *cli, int status)
{
	cli->status = status;
	return CLI_STOP;
}

static int bad_option(struct cli *cli, const struct cli_usage *usage, const char *word)
{
	const char *meant;

	if (optopt && optopt < CLI_LONG && strncmp(word, "--", 2) != 0)
		return stop(cli, cli_fail_usage(cli, usage->verb, "unknown option '-%c'", optopt));
	if (optopt) /* known, but with an argument that it does not take */
		return stop(cli, cli_fail_usage(cli, usage->verb, "'%.*s' takes no argument",
						(int)strcspn(word, "="), word));
	meant = suggest_option(usage, word + 2);
	if (meant)
		return stop(cli, cli_fail_usage(cli, usage->verb,
						"unknown option '%s', did you mean '--%s'?", word,
						meant));
	return stop(cli, cli_fail_usage(cli, usage->verb, "unknown option '%s'", word));
}

static int argument_of(const struct cli_option *o)
{
	if (!o->arg)
		return no_argument;
	return o->arg[0] == '[' ? optional_argument : required_argument;
}

int cli_option(struct cli *cli, const struct cli_usage *usage, int argc, char **argv)
{
	struct option longs[OPTIONS_MAX] = {};
	char letters[2 * OPTIONS_MAX + 2] = ":";
	size_t used = 1;
	int id;

	for (size_t i = 0; i + 1 < OPTIONS_MAX; i++) {
		const struct cli_option *o = option_at(usage, i);

		if (!o)
			break;
		longs[i] = (struct option){ o->name, argument_of(o), NULL, o->id };
		if (o->id >= CLI_LONG)
			continue;
		letters[used++] = (char)o->id;
		if (o->arg)
			letters[used++] = ':';
	}
	opterr = 0;
	id = getopt_long(argc, argv, letters, longs, NULL);
	switch (id) {
	case OPT_SOCKET:
		cli->socket = optarg;
		return cli_option(cli, usage, argc, argv);
	case 'h':
		cli_help(usage);
		return stop(cli, 0);
	case ':':
		return stop(cli, cli_fail_usage(cli, usage->verb, "'%s' needs an argument",
						argv[optind - 1]));
	case '?':
		return bad_option(cli, usage, argv[optind - 1]);
	default:
		return id;
	}
}

int cli_operands(struct cli *cli, const struct cli_usage *usage, int argc, char **argv, int min,
		 int max)
{
	int count = argc - optind;

	if (count < min)
		return cli_fail_usage(cli, usage->verb, "'reberth %s' needs %s", usage->verb,
				      usage->operands);
	if (count > max)
		return cli_fail_usage(cli, usage->verb, "'%s' is one argument too many",
				      argv[optind + max]);
	for (int i = optind; i < argc; i++)
		if (!*argv[i])
			return cli_fail_usage(cli, usage->verb, "an argument is empty");
	return 0;
}

void cli_help(const struct cli_usage *usage)
{
	const struct cli_option *o;

	printf("Usage: reberth %s%s%s [OPTION...]\n", usage->verb, *usage->operands ? " " : "",
	       usage->operands);
	for (size_t i = 0; i < cli_verb_count; i++)
		if (strcmp(cli_verbs[i].name, usage->verb) == 0)
			printf("\n%s\n", cli_verbs[i].summary);
	printf("\nOptions:\n");
	for (size_t i = 0; (o = option_at(usage, i)); i++) {
		char left[80];

		snprintf(left, sizeof(left), "%c%c%c --%s%s%s", o->id < CLI_LONG ? '-' : ' ',
			 o->id < CLI_LONG ? o->id : ' ', o->id < CLI_LONG ? ',' : ' ', o->name,
			 o->arg && o->arg[0] != '[' ? " " : "", o->arg ? o->arg : "");
		printf("  %-*s %s\n", HELP_COLUMN - 2, left, o->help);
	}
	if (usage->text)
		printf("\n%s", usage->text);
}

/* --- errors --- */

void cli_say(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	out_clean(text);
	fprintf(stderr, "reberth: %s\n", text);
}

json_t *cli_error_json(const struct rb_err *err)
{
	json_t *message = json_string(err->msg);

	if (!message) /* it quotes an argument that is not UTF-8 */
		message = json_string("an argument is not text in UTF-8: correct it");
	return json_pack("{s:s, s:i, s:s, s:o}", "code", rb_code_name(err->code), "errno",
			 err->errnum, "stage", err->stage, "message", message);
}

int cli_fail(const struct cli *cli, const struct rb_err *err)
{
	if (*err->stage)
		cli_say("%s (stage %s)", err->msg, err->stage);
	else
		cli_say("%s", err->msg);
	if (cli->json) {
		_cleanup_json_ json_t *value = json_pack("{s:o}", "error", cli_error_json(err));

		cli_print_json(value);
	}
	return rb_code_exit(err->code);
}

int cli_fail_usage(const struct cli *cli, const char *verb, const char *fmt, ...)
{
	struct rb_err err = {};
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rb_err_code(&err, RB_E_USAGE, -EINVAL, "%s (see 'reberth %s%s--help')", text,
		    verb ? verb : "", verb ? " " : "");
	return cli_fail(cli, &err);
}

int cli_print_json(const json_t *value)
{
	if (!value || json_dumpf(value, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF ||
	    fflush(stdout) == EOF) {
		cli_say("cannot write to standard output: %s", strerror(errno));
		return 1;
	}
	return 0;
}

int cli_print_id(const struct cli *cli, const char *id)
{
	if (cli->json) {
		_cleanup_json_ json_t *value = json_pack("{s:s}", "id", id);

		return cli_print_json(value);
	}
	printf("%s\n", id);
	return 0;
}

bool cli_interactive(void)
{
	return isatty(STDIN_FILENO) && isatty(STDERR_FILENO) &&
	       tcgetpgrp(STDIN_FILENO) == getpgrp();
}
