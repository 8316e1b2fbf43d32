/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.h - watch a migration, or a push, to its end, and let the user cancel it
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "client.h"

struct rb_err;

/** What is watched: where the API has it, and what its user is told. */
struct follow_kind {
	int (*path)(char ret[CLIENT_PATH_MAX], const char *id, const char *suffix,
		    struct rb_err *err);
	const char *question;  /* before Ctrl-C on a terminal cancels; NULL: none */
	const char *canceling; /* that it does */
	int (*lost)(const char *id, struct rb_err *err); /* the error when reberthd is gone */
	int (*left)(const char *id, struct rb_err *err); /* and when the user went before the end */
};
extern const struct follow_kind follow_migration, follow_push;

/**
 * follow_block_signals - from now on SIGINT, SIGTERM and SIGHUP wait for follow()
 *
 * To be called before it is started: a Ctrl-C in between must not be lost.
 *
 * Return: descriptor to read them from, or negative errno.
 */
int follow_block_signals(struct rb_err *err);

/**
 * follow - show progress until it ended or the user left
 * @signal_fd: from follow_block_signals()
 * @json: show nothing but on a terminal
 * @ret: it, as the API last gave it, new reference
 *
 * Return: 0 when it has ended; negative errno, -ECANCELED/RB_E_CANCELED when the user left: it goes
 * on in reberthd then.
 */
int follow(const struct follow_kind *kind, struct client *client, const char *id, int signal_fd,
	   bool json, json_t **ret, struct rb_err *err);
