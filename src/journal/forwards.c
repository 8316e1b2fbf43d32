// SPDX-License-Identifier: Apache-2.0
/*
 * forwards.c - what this host goes on doing for containers that moved, in the journal
 *
 * Workers and the daemon's upkeep write here side by side; each write is one statement.
 */
#include "forwards.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "err.h"
#include "journal_internal.h"
#include "json.h"
#include "wait.h"

const char rb_forwards_schema[] =
	"CREATE TABLE IF NOT EXISTS forward ("
	" id TEXT NOT NULL, kind TEXT NOT NULL, container TEXT NOT NULL, facts TEXT NOT NULL,"
	" since_ms INTEGER NOT NULL, PRIMARY KEY(id, kind));";

static void statement_end(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
}
#define _cleanup_stmt_ _cleanup_(statement_end)

static int prepare(struct rb_journal *journal, const char *sql, const char *id, const char *kind,
		   sqlite3_stmt **ret, struct rb_err *err)
{
	if (sqlite3_prepare_v2(journal->db, sql, -1, ret, NULL) != SQLITE_OK)
		return rb_journal_error(journal, err, "prepare a statement");
	sqlite3_bind_text(*ret, 1, id, -1, SQLITE_TRANSIENT);
	sqlite3_bind_text(*ret, 2, kind, -1, SQLITE_TRANSIENT);
	return 0;
}

/* Return: rows that it met */
static int step(struct rb_journal *journal, sqlite3_stmt *stmt, struct rb_err *err)
{
	if (sqlite3_step(stmt) != SQLITE_DONE)
		return rb_journal_error(journal, err, "note a forward");
	return sqlite3_changes(journal->db);
}

static void bind_json(sqlite3_stmt *stmt, int at, const json_t *value)
{
	_cleanup_free_ char *text = json_dumps(value, JSON_COMPACT);

	sqlite3_bind_text(stmt, at, text, -1, SQLITE_TRANSIENT);
}

int rb_forwards_put(struct rb_journal *journal, const char *id, const char *kind,
		    const char *container, const json_t *facts, struct rb_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r = prepare(journal,
			"INSERT INTO forward(id, kind, container, facts, since_ms)"
			" VALUES(?1,?2,?3,?4,?5)"
			" ON CONFLICT(id, kind) DO UPDATE SET container=?3, facts=?4",
			id, kind, &stmt, err);

	if (r < 0)
		return r;
	sqlite3_bind_text(stmt, 3, container, -1, SQLITE_TRANSIENT);
	bind_json(stmt, 4, facts);
	sqlite3_bind_int64(stmt, 5, rb_realtime_ms());
	r = step(journal, stmt, err);
	return r < 0 ? r : 0;
}

static json_t *read_row(sqlite3_stmt *stmt)
{
	const char *text = (const char *)sqlite3_column_text(stmt, 3);
	_cleanup_json_ json_t *facts = text ? json_loads(text, 0, NULL) : NULL;

	return json_pack("{s:s, s:s, s:s, s:I, s:O*}", "id", sqlite3_column_text(stmt, 0), "kind",
			 sqlite3_column_text(stmt, 1), "container", sqlite3_column_text(stmt, 2),
			 "since_ms", (json_int_t)sqlite3_column_int64(stmt, 4), "facts", facts);
}

int rb_forwards_list(struct rb_journal *journal, const char *kind, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *rows = json_array();
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r = prepare(journal,
			"SELECT id, kind, container, facts, since_ms FROM forward"
			" WHERE ?1 IS NULL AND (?2 IS NULL OR kind=?2) ORDER BY since_ms, id",
			NULL, kind, &stmt, err);

	if (r < 0)
		return r;
	while ((r = sqlite3_step(stmt)) == SQLITE_ROW)
		if (json_array_append_new(rows, read_row(stmt)))
			return rb_err_set(err, -ENOMEM, "list forwards");
	if (r != SQLITE_DONE)
		return rb_journal_error(journal, err, "list forwards");
	*ret = TAKE_PTR(rows);
	return 0;
}

int rb_forwards_get(struct rb_journal *journal, const char *id, const char *kind, json_t **ret,
		    struct rb_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r = prepare(journal,
			"SELECT id, kind, container, facts, since_ms FROM forward"
			" WHERE id=?1 AND kind=?2",
			id, kind, &stmt, err);

	if (r < 0)
		return r;
	r = sqlite3_step(stmt);
	if (r == SQLITE_DONE)
		return 0;
	if (r != SQLITE_ROW)
		return rb_journal_error(journal, err, "read a forward");
	*ret = read_row(stmt);
	return *ret ? 1 : rb_err_set(err, -ENOMEM, "read a forward");
}

int rb_forwards_drop(struct rb_journal *journal, const char *id, const char *kind,
		     struct rb_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r = prepare(journal, "DELETE FROM forward WHERE id=?1 AND kind=?2", id, kind, &stmt,
			err);

	if (r < 0)
		return r;
	r = step(journal, stmt, err);
	return r < 0 ? r : 0;
}
