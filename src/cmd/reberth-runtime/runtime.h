/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.h - what the verbs of reberth-runtime share
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct rb_err;

/** A command line as containerd's shim gives it: "<global options> <verb> <options> <id>". */
struct runtime_call {
	char **argv; /* all of it, as given */
	int verb_at; /* index of the verb in @argv, 0 when there is none */
	const char *verb;
	const char *root;	    /* --root, or runc's default */
	const char *log;	    /* --log, or NULL */
	bool log_json;		    /* --log-format json */
	const char *bundle;	    /* --bundle, or the current folder */
	const char *pid_file;	    /* --pid-file, or NULL */
	const char *console_socket; /* --console-socket, or NULL */
	const char *id;		    /* last argument, or NULL */
};

/** runtime_exec_runc - become runc with the same arguments; returns only when that fails */
int runtime_exec_runc(const struct runtime_call *call, struct rb_err *err);

/** runtime_fail - tell containerd (--log) and standard error. Return: exit status 1. */
int runtime_fail(const struct runtime_call *call, const struct rb_err *err);

/* verbs: they return an exit status, or -1 for "runc is to do it" */
int runtime_create(const struct runtime_call *call);
int runtime_start(const struct runtime_call *call);
int runtime_state(const struct runtime_call *call);
int runtime_kill(const struct runtime_call *call);
int runtime_delete(const struct runtime_call *call);
int runtime_wait_restored(const struct runtime_call *call);

/* programs of our own in the same file */
int runtime_criu_action(int argc, char **argv);
int runtime_criu_dump(int argc, char **argv);
