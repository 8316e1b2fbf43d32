/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forwards.h - what this host goes on doing for containers that moved, in the journal
 *
 * Two kinds of rows, each named by the migration that made it:
 *
 *   forward  the container left; its published ports here lead to it, and so do connections that
 *	      this host translated: {"container_id","ip","target","state","ports","flows"}
 *   back     the container came; what it says on connections that go through another host's
 *	      address is led back there: {"container_id","flows"}
 *
 * A row is written before the rules that it stands for, and removed after them.
 */
#pragma once

#include <jansson.h>

struct rb_err;
struct rb_journal;

/** rb_forwards_put - make or replace a row, durable when it returns */
int rb_forwards_put(struct rb_journal *journal, const char *id, const char *kind,
		    const char *container, const json_t *facts, struct rb_err *err);

/** rb_forwards_list - all rows of a kind, or of both (NULL): array of {"id","kind","container",
 * "since_ms","facts"}, oldest first */
int rb_forwards_list(struct rb_journal *journal, const char *kind, json_t **ret,
		     struct rb_err *err);

/** rb_forwards_get - one row likewise. Return: 1, 0 when there is none, or negative errno. */
int rb_forwards_get(struct rb_journal *journal, const char *id, const char *kind, json_t **ret,
		    struct rb_err *err);

/** rb_forwards_drop - absent is fine */
int rb_forwards_drop(struct rb_journal *journal, const char *id, const char *kind,
		     struct rb_err *err);
