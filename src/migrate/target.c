// SPDX-License-Identifier: Apache-2.0
/*
 * target.c - the target's half of a migration: what it answers, and what it does when nobody calls
 *
 * Until READY the target may give up by itself, whatever the reason. READY binds it: from then on
 * only the source's journal decides. COMMIT there lets the container go here, ABORT there ends it,
 * anything else (the source cannot be reached, has not decided) means to wait, with the restored
 * tasks held. GO is written before they run.
 */
#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "arrival.h"
#include "cleanup.h"
#include "conn.h"
#include "engine.h"
#include "err.h"
#include "fault.h"
#include "json.h"
#include "log.h"
#include "peer.h"
#include "proc.h"
#include "push.h"
#include "report.h"
#include "rounds.h"
#include "serve.h"
#include "source.h"
#include "strategy.h"
#include "target_lanes.h"

#define ANSWER_MS     20000
#define ASK_EVERY_MS  500
#define RECOVER_MS    60000
#define DEAF_MS	      2000
#define SYNC_AFTER_MS 1000

/* clang-format off */
const struct rb_stage rb_target_stages[] = {
	{ "image",  .undo = rb_target_image_undo },
	{ "create", .undo = rb_target_create_undo },
	{ "start",  .undo = rb_target_start_undo },
	{ 0 },
};

static const struct verb {
	const char *name;
	int (*serve)(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err);
	enum rb_state state; /* that the migration must be in */
} verbs[] = {
	{ "image",   rb_target_image,   RB_PREPARING },
	{ "create",  rb_target_create,  RB_PREPARING },
	{ "tree",    rb_target_tree,    RB_PREPARING },
	{ "verify",  rb_target_verify,  RB_PREPARING },
	{ "images",  rb_target_images,  RB_PREPARING },
	{ "log",     rb_target_log,     RB_PREPARING },
	{ "start",   rb_target_start,   RB_PREPARING },
	{ "shared",  rb_target_shared,  RB_PREPARING },
	{ "lanes",   rb_target_lanes,   RB_PREPARING },
	{ "pages",   rb_target_pages,   RB_PREPARING },
	{ "arm",     rb_target_arm,     RB_PREPARING },
	{ "restore", rb_target_restore, RB_PREPARING },
	{ "ready",   rb_target_ready,   RB_PREPARING }, /* -> READY */
	{ "go",      rb_target_go,      RB_READY },	/* -> GO */
	{ "running", rb_target_running, RB_GO },
	{ "frames",  rb_target_frames,  RB_GO },
	{ "settle",  rb_target_settle,  RB_GO },
	{ "fetched", rb_target_fetched, RB_GO },
	{ "finish",  rb_target_finish,  RB_GO },	/* -> DONE */
};
/* clang-format on */

/* Undo everything; ABORT stands in the journal. */
static int undo(struct rb_migration *m, const struct rb_err *why, struct rb_err *err)
{
	struct rb_err undo_err = {};
	int r = rb_stages_undo(m, rb_target_stages, &undo_err);

	if (r < 0) {
		*err = undo_err;
		return rb_err_wrap(err, r, "cleaning up is not finished, it is tried again");
	}
	r = rb_report_save(m, "rolled-back", why, err);
	if (r >= 0)
		r = rb_journal_move(m->node->journal, m->entry.id, RB_IN(RB_ABORT), RB_ABORTED,
				    err);
	if (r >= 0)
		rb_info("rolled back: nothing of '%s' is left here", m->entry.container);
	return r;
}

static int give_up(struct rb_migration *m, const struct rb_err *why, struct rb_err *err)
{
	int r = rb_journal_move(m->node->journal, m->entry.id,
				RB_IN(RB_PREPARING) | RB_IN(RB_READY), RB_ABORT, err);

	if (r < 0)
		return r;
	m->entry.state = RB_ABORT;
	rb_warn("%s: %s; cleaning up", why->stage[0] ? why->stage : m->entry.stage, why->msg);
	return undo(m, why, err);
}

static int finish_alone(struct rb_migration *m, struct rb_err *err)
{
	int r = 0;

	m->wait = (struct rb_wait){ .cancel_fd = -EBADF };
	rb_progress_stage(m, "go");
	if (!rb_json_bool(m->entry.facts, "running", false) || rb_migration_rebooted(m))
		r = rb_target_go(m, NULL, NULL, err);
	if (r >= 0)
		r = rb_target_running(m, NULL, NULL, err);
	return r < 0 ? r : rb_target_finish(m, NULL, NULL, err);
}

/* READY, and nobody to talk to: ask the source's journal until it has decided. */
static int in_doubt(struct rb_migration *m, struct rb_err *err)
{
	struct rb_err why = { .code = RB_E_CANCELED };
	int r;

	snprintf(why.msg, sizeof(why.msg), "node '%s' rolled the migration back", m->entry.peer);
	for (;;) {
		struct rb_wait wait = rb_migration_cleanup_wait(10000);
		enum rb_state theirs = RB_STATE_MAX;
		struct rb_err ask = {};

		rb_target_begin_sync(m);
		r = rb_peer_state(m, &theirs, &wait, &ask);
		/* it never ran here, and the memory that it needs is gone */
		if (r >= 0 && theirs == RB_COMMIT && m->peer_rebooted && rb_memory_stays(m)) {
			rb_err_code(&why, RB_E_PEER, -ECANCELED,
				    "node '%s' was restarted, and memory of it was there",
				    m->entry.peer);
			return give_up(m, &why, err);
		}
		if (r >= 0 && (theirs == RB_COMMIT || theirs == RB_DONE)) {
			r = finish_alone(m, err);
			if (r < 0 && rb_migration_reload(m, NULL) >= 0 &&
			    m->entry.state == RB_ABORT)
				return undo(m, err, err);
			return r;
		}
		if (r >= 0 && (theirs == RB_ABORT || theirs == RB_ABORTED))
			return give_up(m, &why, err);
		r = rb_migration_reload(m, err);
		if (r < 0)
			return r;
		if (m->entry.state == RB_GO)
			return finish_alone(m, err);
		if (m->entry.state == RB_ABORT)
			return undo(m, &why, err);
		rb_migration_doubt(m,
				   "in doubt: '%s' is held until node '%s' says how it decided: %s",
				   m->entry.container, m->entry.peer, ask.msg);
		rb_wait_ms(ASK_EVERY_MS, NULL, NULL);
	}
}

/* The conversation is over. What now? */
static int conclude(struct rb_migration *m, const struct rb_err *why, struct rb_err *err)
{
	int r;

	rb_migration_hang_up(m);
	rb_migration_hurry(m, false);
	r = rb_migration_reload(m, err);
	if (r < 0)
		return r;
	switch (m->entry.state) {
	case RB_PREPARING:
		return give_up(m, why, err);
	case RB_READY:
		return in_doubt(m, err);
	case RB_GO:
		return finish_alone(m, err);
	case RB_ABORT:
		return undo(m, why, err);
	default:
		return 0;
	}
}

/* "query": the state of a migration in our journal */
static int answer_query(const struct rb_node *node, struct rb_conn *conn, const json_t *args,
			const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_entry_ struct rb_entry entry = {};
	_cleanup_json_ json_t *answer = NULL;
	const char *id = rb_json_str(args, "id", "");
	char boot_id[37] = "";
	bool known = strlen(id) == RB_ID_LEN &&
		     rb_journal_get(node->journal, id, &entry, NULL) >= 0 &&
		     strcmp(entry.peer, rb_conn_peer(conn)) == 0;

	rb_boot_id(boot_id, NULL);
	answer = known ? json_pack("{s:s, s:s, s:b}", "state", rb_state_name(entry.state),
				   "boot_id", entry.boot_id, "rebooted",
				   strcmp(entry.boot_id, boot_id) != 0)
		       : json_pack("{s:n}", "state");
	return rb_conn_answer(conn, answer, wait, err);
}

/* "network": see network/serve.h; has nothing to do with a migration */
static int answer_network(const struct rb_node *node, struct rb_conn *conn, const json_t *args,
			  struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ANSWER_MS);
	_cleanup_json_ json_t *answer = NULL;
	int r = rb_network_serve(node, rb_conn_peer(conn), args, &answer, err);

	return r < 0 ? r : rb_conn_answer(conn, answer, &wait, err);
}

/* the containers beyond the first one, each with its own offer */
static int add_members(json_t *facts, const json_t *offer, struct rb_err *err)
{
	json_t *members = json_array();
	json_t *one;
	size_t i;

	if (json_array_size(json_object_get(offer, "members")) >= RB_MEMBERS_MAX) {
		json_decref(members);
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "more than %d containers are offered at once", RB_MEMBERS_MAX);
	}
	json_array_foreach (json_object_get(offer, "members"), i, one) {
		const char *container, *source_id;
		int r = rb_json_need_str(one, "container", &container, err);

		if (r >= 0)
			r = rb_json_need_str(one, "source_id", &source_id, err);
		if (r < 0) {
			json_decref(members);
			return r;
		}
		json_array_append_new(members, json_pack("{s:s, s:s, s:O}", "container", container,
							 "source_id", source_id, "offer", one));
	}
	if (json_array_size(members))
		json_object_set(facts, "members", members);
	json_decref(members);
	return 0;
}

static void count_energy(void *arg)
{
	struct rb_migration *m = arg;

	rb_energy_look(&m->energy);
}

/* "prepare" begins a migration on this connection */
static int begin(struct rb_migration *m, const struct rb_node *node, struct rb_conn *conn,
		 const json_t *offer, int cancel_fd, struct rb_err *err)
{
	struct rb_entry entry = { .role = RB_TARGET };
	const char *id, *container, *source_id;
	json_t *first;
	int r;

	r = rb_json_need_str(offer, "id", &id, err);
	if (r >= 0)
		r = rb_json_need_str(offer, "container", &container, err);
	if (r >= 0)
		r = rb_json_need_str(offer, "source_id", &source_id, err);
	if (r < 0)
		return r;
	if (strlen(id) != RB_ID_LEN || strspn(id, "0123456789abcdef") != RB_ID_LEN)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "'%.40s' is not the id of a migration", id);
	snprintf(entry.id, sizeof(entry.id), "%s", id);
	snprintf(entry.container, sizeof(entry.container), "%s", container);
	snprintf(entry.peer, sizeof(entry.peer), "%s", rb_conn_peer(conn));
	first = json_copy((json_t *)offer);
	json_object_del(first, "members");
	entry.facts = json_pack("{s:o, s:s}", "offer", first, "source_id", source_id);
	r = add_members(entry.facts, offer, err);
	if (r < 0) {
		json_decref(entry.facts);
		return r;
	}
	r = rb_journal_add(node->journal, &entry, err);
	if (r < 0) {
		json_decref(entry.facts);
		return r;
	}
	r = rb_migration_open(m, node, &entry, cancel_fd, err);
	m->conn = conn;
	/* one stream can take longer than a counter needs to go round */
	rb_conn_on_stream(conn, count_energy, m);
	return r;
}

static int answer_prepare(struct rb_migration *m, const struct rb_node *node, struct rb_conn *conn,
			  const json_t *offer, int cancel_fd, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ANSWER_MS);
	_cleanup_json_ json_t *obstacles = json_array(), *answer = json_object();
	int r = rb_target_check(node, offer, obstacles, answer, &wait, err);

	if (r >= 0 && !rb_json_bool(offer, "dry_run", false))
		r = begin(m, node, conn, offer, cancel_fd, err);
	if (r < 0)
		return r;
	json_object_set(answer, "obstacles", obstacles);
	json_object_set_new(answer, "lazy", json_boolean(rb_lazy_restore_works()));
	return rb_conn_answer(conn, answer, &wait, err);
}

static int serve_verb(struct rb_migration *m, const struct verb *verb, const json_t *args,
		      struct rb_err *err)
{
	struct rb_wait wait;
	_cleanup_json_ json_t *answer = NULL;
	int64_t began_us = rb_now_us();
	char point[96];
	int r;

	if (m->entry.state != verb->state)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "'%s' is not called for in state %s", verb->name,
				   rb_state_name(m->entry.state));
	rb_progress_stage(m, verb->name);
	for (const struct rb_stage *stage = rb_target_stages; stage->name; stage++)
		if (strcmp(stage->name, verb->name) == 0) {
			snprintf(m->entry.stage, sizeof(m->entry.stage), "%s", verb->name);
			r = rb_migration_save(m, err);
			if (r < 0)
				return r;
		}
	snprintf(point, sizeof(point), "target.%s.begin", verb->name);
	r = rb_fault_point(point, &m->wait, err);
	if (r >= 0)
		r = verb->serve(m, args, &answer, err);
	snprintf(point, sizeof(point), "target.%s.end", verb->name);
	if (r >= 0)
		r = rb_fault_point(point, &m->wait, err);
	json_array_append_new(m->timings,
			      json_pack("{s:s, s:f}", "name", verb->name, "ms",
					(double)((rb_now_us() - began_us) / 100) / 10.0));
	if (r < 0 && err && !err->stage[0])
		snprintf(err->stage, sizeof(err->stage), "%s", verb->name);
	/* from now on: the verb may have taken any time */
	wait = rb_migration_cleanup_wait(ANSWER_MS);
	return r < 0 ? r : rb_conn_answer(m->conn, answer, &wait, err);
}

static int serve_call(struct rb_migration *m, const struct rb_node *node, struct rb_conn *conn,
		      const char *name, const json_t *args, int cancel_fd, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ANSWER_MS);

	if (strcmp(name, "query") == 0)
		return answer_query(node, conn, args, &wait, err);
	if (strcmp(name, "network") == 0 && !m->conn)
		return answer_network(node, conn, args, err);
	if (strcmp(name, "fetch") == 0 && !m->conn)
		return rb_source_serve_memory(node, conn, args, cancel_fd, err);
	if (strcmp(name, "lane") == 0 && !m->conn)
		return rb_target_serve_lane(node, conn, args, cancel_fd, err);
	if ((strcmp(name, "image-ask") == 0 || strcmp(name, "image-push") == 0) && !m->conn)
		return rb_image_serve(node, conn, name, args, cancel_fd, err);
	if (strcmp(name, "prepare") == 0 && !m->conn)
		return answer_prepare(m, node, conn, args, cancel_fd, err);
	for (size_t i = 0; m->conn && i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return serve_verb(m, &verbs[i], args, err);
	return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "'%.40s' is not called for here", name);
}

/* Return: 0 when the peer closed, 1 when it called "abort", negative errno with the reason */
static int serve_calls(struct rb_migration *m, const struct rb_node *node, struct rb_conn *conn,
		       int cancel_fd, struct rb_err *err)
{
	for (;;) {
		struct rb_wait idle = { .cancel_fd = cancel_fd };
		bool deaf = m->entry.state == RB_GO && !m->settled;
		struct rb_wait answer = rb_migration_cleanup_wait(ANSWER_MS);
		_cleanup_json_ json_t *args = NULL;
		const char *name;
		int r;

		/* the container runs, and does not hear yet: a source that has nothing more to say
		 * must not keep it deaf */
		if (deaf)
			idle = rb_wait_within(&idle, DEAF_MS);
		else if (m->sync_due)
			idle = rb_wait_within(&idle, SYNC_AFTER_MS);
		r = rb_conn_next_call(conn, &name, &args, &idle, err);
		if (r == -ETIMEDOUT && deaf) {
			rb_target_end_silence(m);
			continue;
		}
		if (r == -ETIMEDOUT && m->sync_due) {
			rb_target_begin_sync(m);
			continue;
		}
		if (r <= 0)
			return r;
		if (strcmp(name, "abort") == 0)
			return 1;
		r = serve_call(m, node, conn, name, args, cancel_fd, err);
		/* what may still come there belongs to a round that nobody waits for */
		if (r >= 0 && !m->conn && strcmp(name, "lane") == 0)
			return 0;
		if (r < 0) {
			/* the source may be sending still, and must find these words */
			rb_conn_answer_error(conn, err, &answer, NULL);
			rb_conn_see_off(conn, &answer);
			return r;
		}
	}
}

int rb_target_serve(const struct rb_node *node, struct rb_conn *conn, int cancel_fd,
		    struct rb_err *err)
{
	struct rb_migration m = { .lock_fd = -EBADF };
	struct rb_err why = {};
	int r, r2;

	r = serve_calls(&m, node, conn, cancel_fd, &why);
	if (!m.conn) {
		rb_conn_free(conn);
		if (r < 0)
			*err = why;
		return r < 0 ? r : 0;
	}
	if (r >= 0)
		rb_err_code(&why, r ? RB_E_CANCELED : RB_E_PEER, -ECANCELED,
			    r ? "node '%s' rolled the migration back"
			      : "node '%s' closed the connection",
			    m.entry.peer);
	if (r == 1) {
		/* the source has ABORT in its journal: the one word that a READY target may take */
		struct rb_wait wait = rb_migration_cleanup_wait(ANSWER_MS);

		rb_migration_hurry(&m, false);
		r2 = give_up(&m, &why, err);
		/* told that we have, the source gives the container its restart policy back */
		if (r2 >= 0)
			rb_conn_answer(conn, NULL, &wait, NULL);
		else
			rb_conn_answer_error(conn, err, &wait, NULL);
		rb_migration_hang_up(&m);
	} else {
		r2 = conclude(&m, &why, err);
	}
	rb_migration_close(&m);
	return r2;
}

int rb_target_recover(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(RECOVER_MS);
	struct rb_err why = {};
	char mark[600];
	int r;

	rb_info("recovery: found in state %s, stage '%s'", rb_state_name(m->entry.state),
		m->entry.stage);
	r = rb_engine_wait_ready(m->node->engine, &wait, err);
	if (r < 0)
		return r;
	rb_err_code(&why, RB_E_INTERNAL, -EIO, "the target's worker ended in stage '%s'",
		    m->entry.stage);
	/* who brought the images to the disk has ended with that worker; what a reboot has left of
	 * them is not to be trusted */
	rb_path(mark, sizeof(mark), "%s/images.synced", m->work_dir);
	m->sync_due = m->entry.state == RB_READY && !rb_migration_rebooted(m) &&
		      access(mark, F_OK) < 0;
	return conclude(m, &why, err);
}

int rb_target_resolve_commit(const struct rb_node *node, const struct rb_entry *entry,
			     struct rb_err *err)
{
	if (entry->role != RB_TARGET || entry->state != RB_READY)
		return rb_err_code(err, RB_E_CONFLICT, -EINVAL,
				   "migration %s is %s on its %s here: only a target that is ready "
				   "can be told to"
				   " commit",
				   entry->id, rb_state_name(entry->state),
				   rb_role_name(entry->role));
	if (rb_json_bool(entry->facts, "memory_stays", false))
		return rb_err_code(err, RB_E_CONFLICT, -EINVAL,
				   "migration %s cannot be committed by hand: memory of '%s' is "
				   "still on node '%s' and lost with it; --abort gives it up here",
				   entry->id, entry->container, entry->peer);
	return rb_journal_move(node->journal, entry->id, RB_IN(RB_READY), RB_GO, err);
}

int rb_target_resolve_abort(const struct rb_node *node, const struct rb_entry *entry,
			    struct rb_err *err)
{
	if (entry->state != RB_READY)
		return rb_err_code(err, RB_E_CONFLICT, -EINVAL,
				   "migration %s is in state %s here: only one that is ready can "
				   "be aborted by hand",
				   entry->id, rb_state_name(entry->state));
	return rb_journal_move(node->journal, entry->id, RB_IN(RB_READY), RB_ABORT, err);
}
