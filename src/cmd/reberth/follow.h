/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.h - watch a migration to its end, and let the user cancel it
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct client;
struct rb_err;

/** What came of watching. */
enum follow_end {
	FOLLOW_ENDED,	 /* the migration has a result */
	FOLLOW_DETACHED, /* the user left; the migration goes on in reberthd */
};

/**
 * follow_block_signals - from now on SIGINT, SIGTERM and SIGHUP wait for follow_migration()
 *
 * To be called before the migration is started: a Ctrl-C in between must not be lost.
 *
 * Return: descriptor to read them from, or negative errno.
 */
int follow_block_signals(struct rb_err *err);

/**
 * follow_migration - show progress until the migration ended or the user left
 * @signal_fd: from follow_block_signals()
 * @json: show nothing but on a terminal
 * @ret: the migration as the API last gave it, new reference
 *
 * Return: an enum follow_end, or negative errno.
 */
int follow_migration(struct client *client, const char *id, int signal_fd, bool json, json_t **ret,
		     struct rb_err *err);
