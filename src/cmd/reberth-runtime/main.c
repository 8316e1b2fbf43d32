// SPDX-License-Identifier: Apache-2.0
/*
 * main.c - reberth-runtime: the OCI runtime for containers that arrive
 *
 * Theory of operation. Docker starts an arriving container with this runtime. `create` finds an
 * arrival ticket (arrival.h) and starts a placeholder process instead of a container (create.c,
 * placeholder.c); the placeholder later has `runc restore` fill its place. As long as there is no
 * restored container, start, state, kill and delete are answered here. Everything else, and every
 * container without a ticket, is runc's: we become it with the same arguments.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "runtime.h"

static const struct {
	const char *name;
	int (*run)(const struct runtime_call *call);
} verbs[] = {
	{ "create", runtime_create },	    { "start", runtime_start },
	{ "state", runtime_state },	    { "kill", runtime_kill },
	{ "delete", runtime_delete },	    { "exec", runtime_wait_restored },
	{ "pause", runtime_wait_restored }, { "update", runtime_wait_restored },
};

/* Options of runc that take a value as an argument of its own. */
static const char *const value_options[] = {
	"root",		"log",	  "log-format", "criu",		  "rootless",
	"bundle",	"b",	  "pid-file",	"console-socket", "preserve-fds",
	"pidfd-socket", "format", "f",		"process",
};

/* Returns the name of an option that takes a value, without its dashes and "=value". */
static const char *value_option(const char *arg, const char **ret_inline)
{
	size_t len;

	if (arg[0] != '-' || !arg[1])
		return NULL;
	arg += 1 + (arg[1] == '-');
	len = strcspn(arg, "=");
	*ret_inline = arg[len] ? arg + len + 1 : NULL;
	for (size_t i = 0; i < ARRAY_SIZE(value_options); i++)
		if (strlen(value_options[i]) == len && strncmp(arg, value_options[i], len) == 0)
			return value_options[i];
	return NULL;
}

static void take_option(struct runtime_call *call, const char *name, const char *value)
{
	if (strcmp(name, "root") == 0)
		call->root = value;
	else if (strcmp(name, "log") == 0)
		call->log = value;
	else if (strcmp(name, "log-format") == 0)
		call->log_json = strcmp(value, "json") == 0;
	else if (strcmp(name, "bundle") == 0 || strcmp(name, "b") == 0)
		call->bundle = value;
	else if (strcmp(name, "pid-file") == 0)
		call->pid_file = value;
	else if (strcmp(name, "console-socket") == 0)
		call->console_socket = value;
}

static void parse(struct runtime_call *call, int argc, char **argv)
{
	*call = (struct runtime_call){ .argv = argv, .root = "/run/runc", .bundle = "." };
	for (int i = 1; i < argc; i++) {
		const char *value = NULL, *name = value_option(argv[i], &value);

		if (name && !value && i + 1 < argc)
			value = argv[++i];
		if (name && value)
			take_option(call, name, value);
		else if (argv[i][0] != '-' && !call->verb) {
			call->verb = argv[i];
			call->verb_at = i;
		} else if (argv[i][0] != '-' && !call->id) {
			call->id = argv[i];
		}
	}
}

int main(int argc, char **argv)
{
	struct runtime_call call;
	struct rb_err err = {};
	int status = -1;

	if (argc > 1 && strcmp(argv[1], "criu-action") == 0)
		return runtime_criu_action(argc, argv);
	if (argc > 1 && strcmp(argv[1], "criu-dump") == 0)
		return runtime_criu_dump(argc, argv);
	parse(&call, argc, argv);
	for (size_t i = 0; status < 0 && call.verb && call.id && i < ARRAY_SIZE(verbs); i++)
		if (strcmp(call.verb, verbs[i].name) == 0)
			status = verbs[i].run(&call);
	if (status >= 0)
		return status;
	runtime_exec_runc(&call, &err);
	return runtime_fail(&call, &err);
}
