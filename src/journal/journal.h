/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.h - what a host remembers of its migrations across crashes and reboots
 *
 * One SQLite database per host (WAL, synchronous=FULL: a change that was acknowledged is on disk).
 * The daemon and its workers open it side by side. An entry holds the state, the last stage that
 * was begun, and the facts that undoing needs; a stage writes its facts before it changes anything
 * outside.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "state.h"

#define RB_ID_LEN 16 /* hexadecimal digits of a migration's id */

struct rb_err;
struct rb_journal;

struct rb_entry {
	char id[RB_ID_LEN + 1];
	enum rb_role role;
	enum rb_state state;
	char stage[24];	       /* last stage that was begun */
	char container[256];   /* name */
	char container_id[65]; /* here: the source's own, or the new one on the target */
	char peer[64];	       /* node name */
	char boot_id[37];      /* of this host when the state was entered that stands now */
	pid_t worker;	       /* process that works on it; only meaningful with its start time */
	unsigned long long worker_start;
	int64_t created_ms, updated_ms; /* CLOCK_REALTIME */
	json_t *facts;			/* object, owned by the entry */
	json_t *report;			/* object, owned; NULL until there is one */
};

int rb_journal_open(const char *path, struct rb_journal **ret, struct rb_err *err);
void rb_journal_close(struct rb_journal *journal);

/** rb_entry_release - free what the entry owns */
void rb_entry_release(struct rb_entry *entry);
#define _cleanup_entry_ __attribute__((cleanup(rb_entry_release)))

/** rb_entry_shares - is there a container that both migrations move? */
bool rb_entry_shares(const struct rb_entry *a, const struct rb_entry *b);

/** rb_journal_new_id - random id of RB_ID_LEN digits */
void rb_journal_new_id(char ret[RB_ID_LEN + 1]);

/**
 * rb_journal_add - a new migration in state PREPARING
 *
 * Its containers are that of the entry, and each "container" of the fact "members", an array.
 *
 * Return: 0; -EBUSY/RB_E_CONFLICT when another one that is not final has the same role and one of
 * their names here, or the same id.
 */
int rb_journal_add(struct rb_journal *journal, const struct rb_entry *entry, struct rb_err *err);

/** rb_journal_get - by id or its unique beginning; -ENOENT/RB_E_NOT_FOUND */
int rb_journal_get(struct rb_journal *journal, const char *id, struct rb_entry *ret,
		   struct rb_err *err);

/** rb_journal_state - no more than the state of the one with this whole id. -ENOENT */
int rb_journal_state(struct rb_journal *journal, const char *id, enum rb_state *ret,
		     struct rb_err *err);

/** rb_journal_each - call @fn with each entry, newest first, until it returns non-zero
 * @active: only those whose state is not final */
int rb_journal_each(struct rb_journal *journal, bool active,
		    int (*fn)(void *arg, const struct rb_entry *entry), void *arg,
		    struct rb_err *err);

/**
 * rb_journal_move - compare-and-swap of the state, durable when it returns
 * @from: mask of RB_IN() states that it may come from
 *
 * The host's boot id is noted with it. Being in @to already counts as success.
 *
 * Return: 0; -ESTALE/RB_E_CONFLICT when the entry is in another state.
 */
int rb_journal_move(struct rb_journal *journal, const char *id, unsigned int from, enum rb_state to,
		    struct rb_err *err);

/** rb_journal_move_with - the same and the facts as they are, both or neither; where it is in @to
 * already they are not written. NULL: as they were */
int rb_journal_move_with(struct rb_journal *journal, const char *id, unsigned int from,
			 enum rb_state to, const json_t *facts, struct rb_err *err);

/** rb_journal_stage - the stage that begins now, and the facts as they are (durable) */
int rb_journal_stage(struct rb_journal *journal, const char *id, const char *stage,
		     const json_t *facts, struct rb_err *err);

/** rb_journal_container_id - once it is known (target) */
int rb_journal_container_id(struct rb_journal *journal, const char *id, const char *container_id,
			    struct rb_err *err);

int rb_journal_report(struct rb_journal *journal, const char *id, const json_t *report,
		      struct rb_err *err);

/** rb_journal_worker - this process works on it now */
int rb_journal_worker(struct rb_journal *journal, const char *id, struct rb_err *err);
