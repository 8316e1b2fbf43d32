/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.h - the source's half of a migration
 */
#pragma once

#include <jansson.h>

#include "migration.h"

struct rb_dump;

/**
 * rb_source_begin - check a request and enter it into the journal
 * @request: {"container","target","strategy","timeout_ms","keep_source","reconnect","group"}
 *
 * Finds what can be told at once: unknown container or node, the same node, not running, paused, a
 * second migration of one container. Runs in the daemon; asks only the local engine.
 */
int rb_source_begin(const struct rb_node *node, const json_t *request, struct rb_entry *ret,
		    struct rb_err *err);

/**
 * rb_source_run - do it; in a worker of its own
 *
 * Whatever happens, the journal is in a final state afterwards, or a later rb_source_recover() is
 * needed (in doubt after COMMIT with an unreachable target; an undo that failed).
 *
 * Return: 0 when moved; otherwise the reason in @err.
 */
int rb_source_run(struct rb_migration *m, struct rb_err *err);

/** rb_source_recover - finish or undo what a killed worker or a reboot left */
int rb_source_recover(struct rb_migration *m, struct rb_err *err);

/** rb_source_plan - dry run: connect and check, change nothing. @ret as in the API's answer. */
int rb_source_plan(const struct rb_node *node, const json_t *request, json_t **ret,
		   struct rb_err *err);

/**
 * rb_source_resolve_abort - a person vouches that nobody let the container go on the target
 *
 * For a source that was restarted and cannot ask the target: the container is started again here.
 * Or for one whose target has not confirmed a roll-back: the container gets its restart policy
 * back.
 */
int rb_source_resolve_abort(const struct rb_node *node, const struct rb_entry *entry,
			    struct rb_err *err);

/* --- shared by the source's files --- */

extern const struct rb_stage rb_source_stages[];

/* source_prepare.c */
int rb_source_connect(struct rb_migration *m, struct rb_err *err);
int rb_source_check(struct rb_migration *m, struct rb_err *err);
int rb_source_check_undo(struct rb_migration *m, struct rb_err *err);
int rb_source_image(struct rb_migration *m, struct rb_err *err);
int rb_source_create(struct rb_migration *m, struct rb_err *err);
int rb_source_sync(struct rb_migration *m, struct rb_err *err);
int rb_source_start(struct rb_migration *m, struct rb_err *err);
int rb_source_memory(struct rb_migration *m, struct rb_err *err);
int rb_source_memory_undo(struct rb_migration *m, struct rb_err *err);
int rb_source_forget_work(struct rb_migration *m, struct rb_err *err);

/** rb_source_group - what Docker's inspect said of all containers, as an array */
json_t *rb_source_group(struct rb_migration *m);

/* source_freeze.c */
int rb_source_arm(struct rb_migration *m, struct rb_err *err);
int rb_source_freeze(struct rb_migration *m, struct rb_err *err);
int rb_source_dump(struct rb_migration *m, struct rb_err *err);
int rb_source_transfer(struct rb_migration *m, struct rb_err *err);
int rb_source_restore(struct rb_migration *m, struct rb_err *err);

/* source_thaw.c */

int rb_source_arm_undo(struct rb_migration *m, struct rb_err *err);
int rb_source_freeze_undo(struct rb_migration *m, struct rb_err *err);
int rb_source_policy_back(struct rb_migration *m, struct rb_err *err);

/** rb_member_init / rb_member_freezer - as stage `check` found them; 0 and "" before */
int rb_member_init(const struct rb_member *c);
const char *rb_member_freezer(const struct rb_member *c);
void rb_source_fill_dump(const struct rb_migration *m, const struct rb_member *c,
			 struct rb_dump *ret);

/** rb_source_give_back - the tasks run again, whatever state they were left in */
int rb_source_give_back(struct rb_migration *m, struct rb_err *err);

/** rb_member_alive - is the container's init still the very process that was frozen? */
bool rb_member_alive(const struct rb_member *c);
/** rb_source_all_alive - of all containers */
bool rb_source_all_alive(const struct rb_migration *m);
/** rb_source_netns - the network namespace, which any of them holds. Return: descriptor. */
int rb_source_netns(const struct rb_migration *m, struct rb_err *err);

/* source_commit.c */
int rb_source_commit(struct rb_migration *m, struct rb_err *err);
int rb_source_finish(struct rb_migration *m, struct rb_err *err);

/* source_fetch.c */

/** rb_source_fetch - with memory that stays: wait until the target has fetched it */
int rb_source_fetch(struct rb_migration *m, struct rb_err *err);

#define RB_FETCH_IDLE_MS 20000 /* who asks for nothing that long is hung up on */

/**
 * rb_source_serve_memory - give a peer pages of a frozen container, until it closes the connection
 * @first: arguments of the first call of "fetch" {"id", "member"}
 *
 * Return: 0; negative errno for the peer to hear, -ESRCH: they are lost for good.
 */
int rb_source_serve_memory(const struct rb_node *node, struct rb_conn *conn, const json_t *first,
			   int cancel_fd, struct rb_err *err);

/** rb_source_wait_target - past COMMIT: ask the target until its journal says GO or DONE; with
 * memory that stays here only DONE will do. Does not give up while the target cannot be reached.
 * -ECANCELED: its journal says ABORT. */
int rb_source_wait_target(struct rb_migration *m, struct rb_err *err);
