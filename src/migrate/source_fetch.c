// SPDX-License-Identifier: Apache-2.0
/*
 * source_fetch.c - the source of a container that runs on the target, and fetches its memory
 *
 * The frozen tasks are kept until the target says that it has all, whatever becomes of the
 * conversation, the workers and the daemons. Who asks for pages has a connection of its own, and a
 * process of its own answers, which knows nothing but the journal: it reads the frozen tasks'
 * memory. So an asker whose connection broke only has to connect again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "fault.h"
#include "frozen.h"
#include "json.h"
#include "log.h"
#include "pace.h"
#include "proc.h"
#include "rounds.h"
#include "source.h"
#include "wants.h"

#define REPLY_MS  20000
#define SEND_MS	  60000
#define WANTS_MAX 4096

/* "fetched": the target answers at once when it has all, else within some seconds */
static int ask_what_is_left(struct rb_migration *m, uint64_t *ret_bytes, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(REPLY_MS);
	_cleanup_json_ json_t *answer = NULL;
	int r = rb_conn_call(m->conn, "fetched", NULL, &wait, err);

	if (r >= 0)
		r = rb_conn_reply(m->conn, &answer, &wait, err);
	if (r >= 0 && !json_is_integer(json_object_get(answer, "left_bytes")))
		r = rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "the answer does not say how much");
	*ret_bytes = r < 0 ? 1 : (uint64_t)rb_json_int(answer, "left_bytes", 1);
	return r;
}

int rb_source_fetch(struct rb_migration *m, struct rb_err *err)
{
	int64_t began_ms = rb_now_ms();
	uint64_t left = 1;
	int r = 0;

	/* without a conversation it was waited for before */
	if (!rb_memory_stays(m) || !m->conn)
		return 0;
	while (r >= 0 && left) {
		struct rb_err why = {};

		r = ask_what_is_left(m, &left, &why);
		if (r < 0)
			rb_warn("fetch: %s", why.msg);
		else if (left)
			rb_progress_say(m, "it runs there; %llu MiB of its memory are still here",
					(unsigned long long)((left >> 20) + 1));
	}
	rb_migration_fact(m, "fetch_ms", json_integer(rb_now_ms() - began_ms));
	if (r >= 0)
		return 0;
	rb_migration_hang_up(m);
	return rb_source_wait_target(m, err);
}

/* --- who asks for pages --- */

struct reader {
	struct rb_conn *conn;
	char id[RB_ID_LEN + 1];
	int64_t member;
	pid_t init;
	unsigned long long init_start;
	struct rb_frozen *frozen;
	int64_t limit; /* bytes per second, 0: none */
	struct rb_pace pace;
};

static int write_block(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		       struct rb_err *err)
{
	struct reader *reader = arg;
	struct rb_wait each = rb_wait_within(NULL, SEND_MS);
	int r = rb_stream_write(reader->conn, block, len, &each, err);

	(void)wait;
	if (r >= 0)
		r = rb_pace_wait(&reader->pace, len, NULL, err);
	return r < 0 ? r : 0;
}

static int gone(struct rb_err *err)
{
	return rb_err_code(err, RB_E_CONFLICT, -ESRCH,
			   "the frozen container is not here any more, nor its memory");
}

/* Once more for each list: a connection may be older than what became of the migration. */
static int check_still(const struct rb_node *node, const struct reader *reader, struct rb_err *err)
{
	enum rb_state state;
	int r = rb_journal_state(node->journal, reader->id, &state, err);

	if (r == -ENOENT)
		return gone(err);
	if (r < 0)
		return r;
	return (state != RB_FROZEN && state != RB_COMMIT) ||
			       rb_pid_is_gone(reader->init, reader->init_start)
		       ? gone(err)
		       : 0;
}

/* May this peer have pages of this container? -ESRCH: there are none any more */
static int open_frozen(const struct rb_node *node, const json_t *args, struct reader *reader,
		       struct rb_err *err)
{
	_cleanup_entry_ struct rb_entry entry = {};
	struct rb_migration m = { .node = node };
	const char *id = rb_json_str(args, "id", "");
	const struct rb_member *c;
	int r = strlen(id) == RB_ID_LEN ? rb_journal_get(node->journal, id, &entry, err) : -ENOENT;

	if (r < 0 && r != -ENOENT)
		return r;
	if (r < 0 || entry.role != RB_SOURCE || strcmp(entry.peer, rb_conn_peer(reader->conn)) != 0)
		return rb_err_code(err, RB_E_NOT_FOUND, -ESRCH,
				   "there is no such migration to this node");
	m.entry = entry;
	r = rb_members_bind(&m, err);
	if (r < 0)
		return r;
	c = rb_member_asked(&m, args);
	if (!c || !rb_memory_stays(&m) || rb_migration_rebooted(&m))
		return gone(err);
	snprintf(reader->id, sizeof(reader->id), "%s", entry.id);
	reader->member = rb_json_int(args, "member", 0);
	reader->init = rb_member_init(c);
	reader->init_start = (unsigned long long)rb_json_int(c->facts, "init_start", 0);
	r = check_still(node, reader, err);
	if (r < 0)
		return r;
	/* --bandwidth, but not where a thread waits */
	if (!rb_json_bool(args, "urgent", false))
		reader->limit = rb_json_int(entry.facts, "bandwidth", 0);
	return rb_frozen_open(rb_member_freezer(c), rb_member_init(c), &reader->frozen, err);
}

/* The list follows the call. Return: its length, negative errno */
static int read_wants(struct reader *reader, struct rb_want *wants, const struct rb_wait *wait,
		      struct rb_err *err)
{
	const void *block;
	size_t n = 0;
	ssize_t len;

	while ((len = rb_stream_read(reader->conn, &block, wait, err)) > 0) {
		if (len % RB_WANT_BYTES || n + (size_t)len / RB_WANT_BYTES > WANTS_MAX)
			return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
					   "a list of pages that are wanted makes no sense");
		for (ssize_t at = 0; at < len; at += RB_WANT_BYTES) {
			int r = rb_want_decode((const uint8_t *)block + at, &wants[n++], err);

			if (r < 0)
				return r;
		}
	}
	return len < 0 ? (int)len : (int)n;
}

/* One list of pages: a reply that it is understood, then the pages. */
static int answer(const struct rb_node *node, struct reader *reader, const json_t *args,
		  struct rb_err *err)
{
	static struct rb_want wants[WANTS_MAX];
	struct rb_wait wait = rb_wait_within(NULL, SEND_MS);
	int n = read_wants(reader, wants, &wait, err), r = n;
	struct rb_memory_sink sink = { write_block, reader };

	if (r >= 0 && !reader->frozen)
		r = open_frozen(node, args, reader, err);
	else if (r >= 0 && (strcmp(rb_json_str(args, "id", ""), reader->id) != 0 ||
			    rb_json_int(args, "member", 0) != reader->member))
		r = rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				"a connection is for the memory of one container");
	else if (r >= 0)
		r = check_still(node, reader, err);
	if (r >= 0)
		r = rb_fault_point("source.fetch.pages", &wait, err);
	if (r >= 0)
		r = rb_conn_answer(reader->conn, NULL, &wait, err);
	rb_pace_begin(&reader->pace, reader->limit);
	sink.held_back = reader->limit > 0;
	if (r >= 0)
		r = rb_frozen_send(reader->frozen, wants, (size_t)n, &sink, NULL, err);
	wait = rb_wait_within(NULL, SEND_MS);
	return r < 0 ? r : rb_stream_end(reader->conn, &wait, err);
}

int rb_source_serve_memory(const struct rb_node *node, struct rb_conn *conn, const json_t *first,
			   int cancel_fd, struct rb_err *err)
{
	struct reader reader = { .conn = conn };
	_cleanup_json_ json_t *args = json_incref((json_t *)first);
	int r;

	do {
		struct rb_wait idle = { .cancel_fd = cancel_fd };
		const char *verb;

		r = answer(node, &reader, args, err);
		json_decref(TAKE_PTR(args));
		/* there is a limit for how many there are */
		idle = rb_wait_within(&idle, RB_FETCH_IDLE_MS);
		if (r >= 0)
			r = rb_conn_next_call(conn, &verb, &args, &idle, err);
		if (r == -ETIMEDOUT)
			r = 0;
		if (r > 0 && strcmp(verb, "fetch") != 0)
			r = rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
					"'%.40s' is not called for among fetches", verb);
	} while (r > 0);
	rb_frozen_free(reader.frozen);
	return r;
}
