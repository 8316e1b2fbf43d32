// SPDX-License-Identifier: Apache-2.0
/*
 * source.c - the source's half of a migration: the table of its stages, its ends, its recovery
 *
 * What fails before COMMIT is undone, and the container runs on here. What fails after COMMIT is
 * tried again until it is done: by this worker, or by the next one.
 */
#include "source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "log.h"
#include "peer.h"
#include "ports.h"
#include "report.h"
#include "rounds.h"
#include "send.h"
#include "switchover.h"
#include "sync.h"
#include "travel.h"

#define UNDO_MS	     60000
#define ASK_EVERY_MS 500
#define ASK_MS	     10000

/* clang-format off */
const struct rb_stage rb_source_stages[] = {
	{ "connect",  rb_source_connect },
	{ "check",    rb_source_check,   rb_source_check_undo },
	{ "image",    rb_source_image },
	{ "create",   rb_source_create,  rb_source_forget_work },
	{ "sync",     rb_source_sync },
	{ "start",    rb_source_start },
	{ "memory",   rb_source_memory,  rb_source_memory_undo },
	{ "ports",    rb_source_ports,   rb_source_ports_undo },
	{ "arm",      rb_source_arm,     rb_source_arm_undo },
	{ "freeze",   rb_source_freeze,  rb_source_freeze_undo, .undo_first = true },
	{ "dump",     rb_source_dump },
	{ "transfer", rb_source_transfer },
	{ "restore",  rb_source_restore },
	/* until here everything can be undone; beyond, everything is finished */
	{ "commit",   rb_source_commit },
	{ "fetch",    rb_source_fetch },
	{ "finish",   rb_source_finish },
	{ 0 },
};
/* clang-format on */

static bool has_policy(const struct rb_member *c)
{
	return rb_engine_policy_restarts(json_object_get(c->facts, "restart_policy"));
}

static bool any_has_policy(const struct rb_migration *m)
{
	rb_each_member (c, m)
		if (has_policy(c))
			return true;
	return false;
}

/* A new state brings the new boot id with it, so which of them ended, and are to be started again,
 * is noted before. @all: whatever their policies say */
static int note_ended(struct rb_migration *m, bool all, struct rb_err *err)
{
	rb_migration_fact(m, "restart_here", json_true());
	rb_each_member (c, m)
		if (!rb_member_alive(c) && (all || has_policy(c)))
			rb_member_fact(c, "ended_here", json_true());
	return rb_migration_save(m, err);
}

/* What Docker refuses now it refuses later, too: that becomes part of @why, and the rest of the
 * undo goes on. */
static void start_one(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
		      struct rb_err *why)
{
	struct rb_err refused = {};
	size_t len = strlen(why->msg);
	int r = rb_engine_start(m->node->engine, c->container_id, wait, &refused);

	if (r >= 0) {
		rb_info("recovery: '%s' was started again", c->name);
	} else if (r != -ENOENT) {
		rb_error("recovery: '%s' could not be started again: %s", c->name, refused.msg);
		snprintf(why->msg + len, sizeof(why->msg) - len,
			 "; it could not be started again: %.200s", refused.msg);
	}
}

static int start_again(struct rb_migration *m, struct rb_err *why, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(UNDO_MS);
	int r = rb_engine_wait_ready(m->node->engine, &wait, err);

	rb_each_member (c, m)
		if (r >= 0 && rb_json_bool(c->facts, "ended_here", false))
			start_one(m, c, &wait, why);
	return r < 0 ? r : 0;
}

static int complete(struct rb_migration *m, struct rb_err *err)
{
	int r;

	r = rb_report_save(m, "completed", NULL, err);
	if (r >= 0)
		r = rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_COMMIT), RB_DONE, err);
	if (r >= 0)
		rb_info("done: '%s' runs on node '%s'", m->entry.container, m->entry.peer);
	return r;
}

/* closing the connection is enough for the target; an answer means that it has cleaned up */
static bool tell_target(struct rb_migration *m)
{
	struct rb_wait wait = rb_migration_cleanup_wait(UNDO_MS);
	bool heard = false;
	int r = 0;

	if (!m->conn)
		return false;
	/* A call that was cancelled is answered first, and that answer means nothing now. Before
	 * "ready" the target may wait for the rest of a stream instead. */
	while (m->ready_asked && r != -ECONNRESET && r != -ETIMEDOUT && rb_conn_unanswered(m->conn))
		r = rb_conn_reply(m->conn, NULL, &wait, NULL);
	if (rb_conn_unanswered(m->conn) == 0)
		heard = rb_conn_call(m->conn, "abort", NULL, &wait, NULL) >= 0 &&
			rb_conn_reply(m->conn, NULL, &wait, NULL) >= 0;
	rb_migration_hang_up(m);
	return heard;
}

/*
 * ABORT stands in the journal, the container runs here, but a target that may be READY has not
 * heard of it. Until it has, Docker must not start the container at a boot of this host behind our
 * back: somebody may take the host for lost, and tell the target by hand to go on.
 *
 * Return: 0 when the target will never let it go; 1 when it has, told so by hand.
 */
static int await_confirmation(struct rb_migration *m, struct rb_err *err)
{
	int r;

	/* a person's word may be newer than what we know */
	r = rb_migration_reload_all(m, err);
	if (r < 0 || rb_json_bool(m->entry.facts, "confirmed_by_hand", false))
		return r;
	rb_migration_fact(m, "unconfirmed", json_true());
	r = rb_migration_save(m, err);
	while (r >= 0) {
		struct rb_wait wait = rb_migration_cleanup_wait(ASK_MS);
		_cleanup_entry_ struct rb_entry now = {};
		enum rb_state theirs = RB_STATE_MAX;
		struct rb_err why = {};

		r = rb_journal_get(m->node->journal, m->entry.id, &now, err);
		if (r < 0 || rb_json_bool(now.facts, "confirmed_by_hand", false))
			return r < 0 ? r : 0;
		if (rb_peer_state(m, &theirs, &wait, &why) >= 0 && theirs != RB_PREPARING &&
		    theirs != RB_READY)
			return theirs == RB_GO || theirs == RB_DONE;
		rb_migration_doubt(m,
				   "'%s' runs on here; it gets its restart policy back when node "
				   "'%s' has confirmed the roll-back: %s",
				   m->entry.container, m->entry.peer, why.msg);
		rb_wait_ms(ASK_EVERY_MS, NULL, NULL);
	}
	return r;
}

/* A person made the target go on; @here: what there is on this side, and what to do about it. */
static int report_told_by_hand(struct rb_migration *m, const char *when, const char *here,
			       struct rb_err *err)
{
	struct rb_err why = { .code = RB_E_IN_DOUBT };

	snprintf(why.msg, sizeof(why.msg), "node '%s' was told by hand to go on with '%s'%s",
		 m->entry.peer, m->entry.container, here);
	rb_error("%s: %s", when, why.msg);
	return rb_report_save(m, "failed", &why, err);
}

/* Return: 0 when Docker may start the container again, 1 when it runs at the target */
static int confirm(struct rb_migration *m, struct rb_err *err)
{
	int r = await_confirmation(m, err);

	if (r <= 0)
		return r;
	r = report_told_by_hand(m, "roll-back", ", which runs here, too: remove one of them", err);
	return r < 0 ? r : 1;
}

/* The undo of stage "freeze" is journalled from its very beginning. */
static bool may_have_been_frozen(const struct rb_migration *m)
{
	return strcmp(m->entry.stage, "freeze") == 0;
}

/* ABORT stands in the journal; give the container back and tell the target. What cannot be undone
 * keeps nothing else from being undone. */
static int undo(struct rb_migration *m, const struct rb_err *why, struct rb_err *err)
{
	struct rb_err undo_err = {};
	int undone = rb_stages_undo(m, rb_source_stages, &undo_err), r = 0;
	bool confirmed = tell_target(m);

	rb_switchover_close(m);
	rb_travel_stay(m->node, rb_json_path(m->entry.facts, "inspect.NetworkSettings.Networks"),
		       NULL);
	/* what a killed worker has reported is nearer to the cause than what its successor knows */
	if (undone >= 0 && !m->entry.report)
		r = rb_report_save(m, "rolled-back", why, err);
	if (r >= 0 && may_have_been_frozen(m)) {
		if (!confirmed && m->ready_asked && any_has_policy(m))
			r = confirm(m, err);
		if (r == 0)
			r = rb_source_policy_back(m, err);
	}
	if (r < 0)
		return r;
	if (undone < 0) {
		*err = undo_err;
		return rb_err_wrap(err, undone, "rolling back is not finished, it is tried again");
	}
	return rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_ABORT), RB_ABORTED, err);
}

/*
 * The frozen tasks died, and Docker was told not to start the container again: with a policy that
 * says otherwise we owe it that. Without one it is as if its user had stopped it.
 */
static bool ended_by_accident(const struct rb_migration *m)
{
	rb_each_member (c, m)
		if (m->entry.state == RB_FROZEN && !rb_member_alive(c) && has_policy(c))
			return true;
	return false;
}

static int roll_back(struct rb_migration *m, struct rb_err *err)
{
	unsigned int before_commit = RB_IN(RB_PREPARING) | RB_IN(RB_FROZEN);
	struct rb_err why = *err, undo_err = {};
	int r = 0;

	rb_warn("%s: %s; rolling back", why.stage, why.msg);
	rb_migration_hurry(m, false);
	if (ended_by_accident(m))
		r = note_ended(m, false, &undo_err);
	if (r >= 0)
		r = rb_journal_move(m->node->journal, m->entry.id, before_commit, RB_ABORT,
				    &undo_err);
	if (r == -ENOSPC) {
		/* the images share the journal's disk, and nobody needs them any more */
		rb_migration_remove_work(m, NULL);
		r = rb_journal_move(m->node->journal, m->entry.id, before_commit, RB_ABORT,
				    &undo_err);
	}
	if (r >= 0 && rb_json_bool(m->entry.facts, "restart_here", false))
		r = start_again(m, &why, &undo_err);
	if (r >= 0)
		r = undo(m, &why, &undo_err);
	if (r < 0) {
		rb_error("roll-back: %s", undo_err.msg);
		*err = undo_err;
		return r;
	}
	rb_info("rolled back: '%s' runs on here", m->entry.container);
	return why.errnum ? -why.errnum : -EIO;
}

/* Past COMMIT the target said ABORT: it never ran the container and never will, so we may again. */
static int uncommit(struct rb_migration *m, struct rb_err *err)
{
	struct rb_err why = *err;
	bool lost = !rb_source_all_alive(m);
	int r = lost ? note_ended(m, true, err) : 0;

	if (r >= 0)
		r = rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_COMMIT), RB_ABORT, err);
	if (r < 0)
		return r;
	m->entry.state = RB_ABORT;
	if (lost)
		r = start_again(m, &why, err);
	if (r < 0)
		return r;
	r = undo(m, &why, err);
	if (r >= 0)
		*err = why;
	return r < 0 ? r : -ECANCELED;
}

int rb_source_run(struct rb_migration *m, struct rb_err *err)
{
	int r = rb_stages_run(m, rb_source_stages, err);

	if (r >= 0)
		r = complete(m, err);
	else if (m->entry.state != RB_COMMIT)
		r = roll_back(m, err);
	else if (r == -ECANCELED)
		r = uncommit(m, err);
	rb_each_member (c, m) {
		rb_sync_free(TAKE_PTR(c->sync));
		rb_memory_free(TAKE_PTR(c->memory));
	}
	return r;
}

static int roll_forward(struct rb_migration *m, struct rb_err *err)
{
	int r = rb_source_wait_target(m, err);

	if (r == -ECANCELED)
		return uncommit(m, err);
	if (r >= 0)
		r = rb_source_finish(m, err);
	return r < 0 ? r : complete(m, err);
}

/*
 * The frozen tasks are gone with a reboot, but a target that is READY has them: then we commit. Or
 * it has given up, or never got that far: then the container is started again here. Which of both
 * is for the target to say; a person may have told it to go on alone. It may be down for long; then
 * the container stays stopped here until it answers, or a person says otherwise here.
 */
static int ask_after_reboot(struct rb_migration *m, enum rb_state *ret_decision, struct rb_err *err)
{
	bool aborted = m->entry.state == RB_ABORT;

	/* what it has restored is nothing without the memory that was here */
	*ret_decision = RB_ABORT;
	if (rb_memory_stays(m))
		return 0;
	for (;;) {
		struct rb_wait wait = rb_migration_cleanup_wait(ASK_MS);
		_cleanup_entry_ struct rb_entry now = {};
		enum rb_state theirs = RB_STATE_MAX;
		struct rb_err why = {};
		int r = rb_journal_get(m->node->journal, m->entry.id, &now, err);

		*ret_decision = RB_ABORT;
		if (r < 0)
			return r;
		if (rb_json_bool(now.facts, "confirmed_by_hand", false)) {
			rb_migration_fact(m, "confirmed_by_hand", json_true());
			return 0;
		}
		r = rb_peer_state(m, &theirs, &wait, &why);
		/* past ABORT the tasks may have run on here: a copy that is only READY is stale */
		if (theirs == RB_GO || theirs == RB_DONE || (theirs == RB_READY && !aborted))
			*ret_decision = RB_COMMIT;
		if (r >= 0 && theirs != RB_PREPARING && !(aborted && theirs == RB_READY))
			return 0;
		rb_migration_doubt(m,
				   "'%s' stays stopped until node '%s' says whether it has it: %s",
				   m->entry.container, m->entry.peer, why.msg);
		rb_wait_ms(ASK_EVERY_MS, NULL, NULL);
	}
}

/* The journal says ABORT from before the reboot. Only a person can have made the target go on.
 * Return: 1 when so, 0, or negative errno */
static int went_on_there(struct rb_migration *m, struct rb_err *err)
{
	enum rb_state decision = RB_ABORT;
	int r = ask_after_reboot(m, &decision, err);

	return r < 0 ? r : decision == RB_COMMIT;
}

static int stop_here(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
		     struct rb_err *err)
{
	_cleanup_json_ json_t *never = json_pack("{s:s}", "Name", "no");
	int r = rb_engine_restart_policy(m->node->engine, c->container_id, never, wait, err);

	if (r >= 0)
		r = rb_engine_kill(m->node->engine, c->container_id, "KILL", wait, NULL);
	return r == -ECANCELED || r == -ETIMEDOUT ? r : 0;
}

static int keep_stopped(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(UNDO_MS);
	int r = rb_engine_wait_ready(m->node->engine, &wait, err);

	rb_each_member (c, m)
		if (r >= 0)
			r = stop_here(m, c, &wait, err);
	if (r == -ECANCELED || r == -ETIMEDOUT)
		return r;

	r = report_told_by_hand(m, "recovery",
				"; the copy here stays, stopped: remove it when you are sure", err);
	return r < 0 ? r
		     : rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_ABORT), RB_DONE,
				       err);
}

static int recover_abort(struct rb_migration *m, bool rebooted, struct rb_err *err)
{
	struct rb_err why = { .code = RB_E_INTERNAL };
	int r;

	snprintf(why.stage, sizeof(why.stage), "%s", m->entry.stage);
	snprintf(why.msg, sizeof(why.msg), "%s after stage '%s' had begun; it was rolled back",
		 rebooted ? "this host was restarted" : "the worker ended", m->entry.stage);
	r = rebooted ? start_again(m, &why, err) : 0;
	return r < 0 ? r : undo(m, &why, err);
}

int rb_source_recover(struct rb_migration *m, struct rb_err *err)
{
	bool rebooted = rb_migration_rebooted(m) ||
			rb_json_bool(m->entry.facts, "restart_here", false) ||
			(m->entry.state == RB_FROZEN && !rb_source_all_alive(m));
	enum rb_state decision = RB_ABORT;
	int r = 0;

	rb_info("recovery: found in state %s, stage '%s'", rb_state_name(m->entry.state),
		m->entry.stage);
	m->ready_asked = may_have_been_frozen(m);
	if (m->entry.state == RB_COMMIT)
		return roll_forward(m, err);
	if (rebooted)
		r = note_ended(m, true, err);
	if (r >= 0 && rebooted && m->entry.state == RB_FROZEN)
		r = ask_after_reboot(m, &decision, err);
	if (r >= 0 && decision == RB_COMMIT) {
		r = rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_FROZEN), RB_COMMIT,
				    err);
		m->entry.state = RB_COMMIT;
		return r < 0 ? r : roll_forward(m, err);
	}
	if (r >= 0 && rebooted && m->entry.state == RB_ABORT && may_have_been_frozen(m)) {
		r = went_on_there(m, err);
		if (r > 0)
			return keep_stopped(m, err);
	}
	if (r >= 0)
		r = rb_journal_move(m->node->journal, m->entry.id,
				    RB_IN(RB_PREPARING) | RB_IN(RB_FROZEN) | RB_IN(RB_ABORT),
				    RB_ABORT, err);
	if (r < 0)
		return r;
	m->entry.state = RB_ABORT;
	return recover_abort(m, rebooted, err);
}
