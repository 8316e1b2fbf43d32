// SPDX-License-Identifier: Apache-2.0
/*
 * journal.c - migrations in SQLite
 *
 * The table `claim` keeps a second migration of one container out, whoever starts it: it names the
 * containers of all migrations that are not final, also those of groups. An entry is added with its
 * claims in one transaction. All other writes are single statements, so each is atomic by itself;
 * compare-and-swap is an UPDATE with the expected states in its WHERE.
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "journal_internal.h"
#include "json.h"
#include "proc.h"
#include "wait.h"

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS migration ("
	" id TEXT PRIMARY KEY, role INTEGER NOT NULL, state TEXT NOT NULL, active INTEGER NOT NULL,"
	" stage TEXT NOT NULL DEFAULT '', container TEXT NOT NULL, container_id TEXT NOT NULL "
	"DEFAULT '',"
	" peer TEXT NOT NULL, boot_id TEXT NOT NULL, worker INTEGER NOT NULL DEFAULT 0,"
	" worker_start INTEGER NOT NULL DEFAULT 0, created_ms INTEGER NOT NULL,"
	" updated_ms INTEGER NOT NULL, facts TEXT NOT NULL DEFAULT '{}', report TEXT);"
	"CREATE UNIQUE INDEX IF NOT EXISTS one_at_a_time ON migration(role, container) WHERE "
	"active;"
	"CREATE TABLE IF NOT EXISTS claim ("
	" role INTEGER NOT NULL, container TEXT NOT NULL, id TEXT NOT NULL,"
	" PRIMARY KEY (role, container)) WITHOUT ROWID;"
	"CREATE TRIGGER IF NOT EXISTS claim_none AFTER UPDATE OF active ON migration"
	" WHEN NOT new.active BEGIN DELETE FROM claim WHERE id = new.id; END;"
	"PRAGMA user_version = 1;";

#define COLUMNS                                                                                 \
	"id, role, state, stage, container, container_id, peer, boot_id, worker, worker_start," \
	" created_ms, updated_ms, facts, report"

int rb_journal_error(struct rb_journal *journal, struct rb_err *err, const char *what)
{
	int code = sqlite3_errcode(journal->db);
	int negerr = code == SQLITE_FULL || code == SQLITE_NOMEM ? -ENOSPC : -EIO;

	return rb_err_code(err, negerr == -ENOSPC ? RB_E_NO_SPACE : RB_E_INTERNAL, negerr,
			   "journal: %s: %s", what, sqlite3_errmsg(journal->db));
}

int rb_journal_open(const char *path, struct rb_journal **ret, struct rb_err *err)
{
	struct rb_journal *journal = calloc(1, sizeof(*journal));
	char *why = NULL;
	int r;

	if (!journal)
		return rb_err_set(err, -ENOMEM, "open the journal");
	r = rb_boot_id(journal->boot_id, err);
	if (r < 0)
		goto fail;
	r = sqlite3_open_v2(path, &journal->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
	if (r != SQLITE_OK) {
		r = rb_err_code(err, RB_E_INTERNAL, -EIO, "open the journal '%s': %s", path,
				sqlite3_errstr(r));
		goto fail;
	}
	sqlite3_busy_timeout(journal->db, 10000);
	/* with synchronous=FULL a commit in WAL mode ends with an fsync */
	if (sqlite3_exec(
		    journal->db,
		    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF;",
		    NULL, NULL, &why) != SQLITE_OK ||
	    sqlite3_exec(journal->db, schema, NULL, NULL, &why) != SQLITE_OK ||
	    sqlite3_exec(journal->db, rb_networks_schema, NULL, NULL, &why) != SQLITE_OK ||
	    sqlite3_exec(journal->db, rb_forwards_schema, NULL, NULL, &why) != SQLITE_OK) {
		r = rb_journal_error(journal, err, "set up");
		sqlite3_free(why);
		goto fail;
	}
	*ret = journal;
	return 0;
fail:
	rb_journal_close(journal);
	return r;
}

void rb_journal_close(struct rb_journal *journal)
{
	if (!journal)
		return;
	sqlite3_close(journal->db);
	free(journal);
}

void rb_entry_release(struct rb_entry *entry)
{
	json_decref(entry->facts);
	json_decref(entry->report);
	entry->facts = entry->report = NULL;
}

static bool has_container(const struct rb_entry *entry, const char *name)
{
	const json_t *members = json_object_get(entry->facts, "members"), *member;
	size_t i;

	if (strcmp(entry->container, name) == 0)
		return true;
	json_array_foreach (members, i, member)
		if (strcmp(rb_json_str(member, "container", ""), name) == 0)
			return true;
	return false;
}

bool rb_entry_shares(const struct rb_entry *a, const struct rb_entry *b)
{
	const json_t *members = json_object_get(a->facts, "members"), *member;
	size_t i;

	if (has_container(b, a->container))
		return true;
	json_array_foreach (members, i, member)
		if (has_container(b, rb_json_str(member, "container", "")))
			return true;
	return false;
}

void rb_journal_new_id(char ret[RB_ID_LEN + 1])
{
	unsigned char raw[RB_ID_LEN / 2] = {};

	if (getrandom(raw, sizeof(raw), 0) != sizeof(raw))
		abort();
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(ret + 2 * i, 3, "%02x", raw[i]);
}

static void statement_end(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
}
#define _cleanup_stmt_ _cleanup_(statement_end)

static int prepare(struct rb_journal *journal, const char *sql, sqlite3_stmt **ret,
		   struct rb_err *err)
{
	if (sqlite3_prepare_v2(journal->db, sql, -1, ret, NULL) != SQLITE_OK)
		return rb_journal_error(journal, err, "prepare a statement");
	return 0;
}

static void bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
	sqlite3_bind_text(stmt, at, text, -1, SQLITE_TRANSIENT);
}

/* bound as NULL when there is no value */
static void bind_json(sqlite3_stmt *stmt, int at, const json_t *value)
{
	_cleanup_free_ char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;

	sqlite3_bind_text(stmt, at, text, -1, SQLITE_TRANSIENT);
}

/* runs a writing statement; @ret_changed: rows that it met */
static int step(struct rb_journal *journal, sqlite3_stmt *stmt, int *ret_changed,
		struct rb_err *err, const char *what)
{
	if (sqlite3_step(stmt) != SQLITE_DONE)
		return rb_journal_error(journal, err, what);
	if (ret_changed)
		*ret_changed = sqlite3_changes(journal->db);
	return 0;
}

static int refuse_second(const char *name, struct rb_err *err)
{
	return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
			   "container '%s' is being migrated already: wait for that, or see"
			   " 'reberth migration ls'",
			   name);
}

static int insert(struct rb_journal *journal, sqlite3_stmt *stmt, const char *name,
		  struct rb_err *err)
{
	if (sqlite3_step(stmt) == SQLITE_DONE)
		return 0;
	if (sqlite3_errcode(journal->db) == SQLITE_CONSTRAINT)
		return refuse_second(name, err);
	return rb_journal_error(journal, err, "add");
}

static int add_claim(struct rb_journal *journal, const struct rb_entry *entry, const char *name,
		     struct rb_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r = prepare(journal, "INSERT INTO claim VALUES(?1,?2,?3)", &stmt, err);

	if (r < 0)
		return r;
	sqlite3_bind_int(stmt, 1, entry->role);
	bind_text(stmt, 2, name);
	bind_text(stmt, 3, entry->id);
	return insert(journal, stmt, name, err);
}

static int add_claims(struct rb_journal *journal, const struct rb_entry *entry, struct rb_err *err)
{
	const json_t *members = json_object_get(entry->facts, "members"), *member;
	int r = add_claim(journal, entry, entry->container, err);
	size_t i;

	json_array_foreach (members, i, member)
		if (r >= 0)
			r = add_claim(journal, entry, rb_json_str(member, "container", ""), err);
	return r;
}

static int add_entry(struct rb_journal *journal, const struct rb_entry *entry, struct rb_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int64_t now = rb_realtime_ms();
	int r;

	r = prepare(journal,
		    "INSERT INTO migration(id, role, state, active, container, container_id, peer,"
		    " boot_id, created_ms, updated_ms, facts, worker, worker_start)"
		    " VALUES(?1,?2,'preparing',1,?3,?4,?5,?6,?7,?7,?8,?9,?10)",
		    &stmt, err);
	if (r < 0)
		return r;
	bind_text(stmt, 1, entry->id);
	sqlite3_bind_int(stmt, 2, entry->role);
	bind_text(stmt, 3, entry->container);
	bind_text(stmt, 4, entry->container_id);
	bind_text(stmt, 5, entry->peer);
	bind_text(stmt, 6, journal->boot_id);
	sqlite3_bind_int64(stmt, 7, now);
	bind_json(stmt, 8, entry->facts);
	sqlite3_bind_int(stmt, 9, getpid());
	sqlite3_bind_int64(stmt, 10, (sqlite3_int64)rb_pid_starttime(getpid()));
	return insert(journal, stmt, entry->container, err);
}

int rb_journal_add(struct rb_journal *journal, const struct rb_entry *entry, struct rb_err *err)
{
	int r;

	if (sqlite3_exec(journal->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
		return rb_journal_error(journal, err, "begin to add");
	r = add_entry(journal, entry, err);
	if (r >= 0)
		r = add_claims(journal, entry, err);
	if (r >= 0 && sqlite3_exec(journal->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		r = rb_journal_error(journal, err, "add");
	if (r < 0)
		sqlite3_exec(journal->db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

static json_t *column_json(sqlite3_stmt *stmt, int at)
{
	const char *text = (const char *)sqlite3_column_text(stmt, at);

	return text ? json_loads(text, 0, NULL) : NULL;
}

static void column_copy(sqlite3_stmt *stmt, int at, char *ret, size_t size)
{
	const char *text = (const char *)sqlite3_column_text(stmt, at);

	snprintf(ret, size, "%s", text ? text : "");
}

static void read_entry(sqlite3_stmt *stmt, struct rb_entry *ret)
{
	*ret = (struct rb_entry){ .role = (enum rb_role)sqlite3_column_int(stmt, 1),
				  .state = rb_state_parse(
					  (const char *)sqlite3_column_text(stmt, 2)),
				  .worker = sqlite3_column_int(stmt, 8),
				  .worker_start = (unsigned long long)sqlite3_column_int64(stmt, 9),
				  .created_ms = sqlite3_column_int64(stmt, 10),
				  .updated_ms = sqlite3_column_int64(stmt, 11),
				  .facts = column_json(stmt, 12),
				  .report = column_json(stmt, 13) };
	column_copy(stmt, 0, ret->id, sizeof(ret->id));
	column_copy(stmt, 3, ret->stage, sizeof(ret->stage));
	column_copy(stmt, 4, ret->container, sizeof(ret->container));
	column_copy(stmt, 5, ret->container_id, sizeof(ret->container_id));
	column_copy(stmt, 6, ret->peer, sizeof(ret->peer));
	column_copy(stmt, 7, ret->boot_id, sizeof(ret->boot_id));
	if (!ret->facts)
		ret->facts = json_object();
}

int rb_journal_state(struct rb_journal *journal, const char *id, enum rb_state *ret,
		     struct rb_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r = prepare(journal, "SELECT state FROM migration WHERE id = ?1", &stmt, err);

	if (r < 0)
		return r;
	bind_text(stmt, 1, id);
	r = sqlite3_step(stmt);
	if (r == SQLITE_DONE)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "no migration '%s' here", id);
	if (r != SQLITE_ROW)
		return rb_journal_error(journal, err, "read");
	*ret = rb_state_parse((const char *)sqlite3_column_text(stmt, 0));
	return 0;
}

int rb_journal_get(struct rb_journal *journal, const char *id, struct rb_entry *ret,
		   struct rb_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	if (!*id || strspn(id, "0123456789abcdef") != strlen(id))
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
				   "'%s' is not the id of a migration", id);
	r = prepare(journal, "SELECT " COLUMNS " FROM migration WHERE id GLOB ?1 || '*' LIMIT 2",
		    &stmt, err);
	if (r < 0)
		return r;
	bind_text(stmt, 1, id);
	r = sqlite3_step(stmt);
	if (r == SQLITE_DONE)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
				   "no migration '%s' here: see 'reberth migration ls --all'", id);
	if (r != SQLITE_ROW)
		return rb_journal_error(journal, err, "read");
	read_entry(stmt, ret);
	if (sqlite3_step(stmt) == SQLITE_ROW) {
		rb_entry_release(ret);
		return rb_err_code(err, RB_E_USAGE, -EINVAL, "several migrations begin with '%s'",
				   id);
	}
	return 0;
}

int rb_journal_each(struct rb_journal *journal, bool active,
		    int (*fn)(void *arg, const struct rb_entry *entry), void *arg,
		    struct rb_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = prepare(
		journal,
		active ? "SELECT " COLUMNS " FROM migration WHERE active ORDER BY created_ms DESC"
		       : "SELECT " COLUMNS " FROM migration ORDER BY created_ms DESC LIMIT 1000",
		&stmt, err);
	if (r < 0)
		return r;
	while ((r = sqlite3_step(stmt)) == SQLITE_ROW) {
		_cleanup_entry_ struct rb_entry entry = {};

		read_entry(stmt, &entry);
		r = fn(arg, &entry);
		if (r)
			return r;
	}
	return r == SQLITE_DONE ? 0 : rb_journal_error(journal, err, "list");
}

int rb_journal_move_with(struct rb_journal *journal, const char *id, unsigned int from,
			 enum rb_state to, const json_t *facts, struct rb_err *err)
{
	_cleanup_entry_ struct rb_entry entry = {};
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	char sql[512];
	size_t len;
	int r, changed = 0;

	len = (size_t)snprintf(sql, sizeof(sql),
			       "UPDATE migration SET state=?1, active=?2, boot_id=?3, updated_ms=?4"
			       "%s WHERE id=?5 AND state IN (''",
			       facts ? ", facts=?6" : "");
	for (int s = 0; s < RB_STATE_MAX; s++)
		if (from & RB_IN(s))
			len += (size_t)snprintf(sql + len, sizeof(sql) - len, ",'%s'",
						rb_state_name((enum rb_state)s));
	snprintf(sql + len, sizeof(sql) - len, ")");
	r = prepare(journal, sql, &stmt, err);
	if (r < 0)
		return r;
	bind_text(stmt, 1, rb_state_name(to));
	sqlite3_bind_int(stmt, 2, !rb_state_is_final(to));
	bind_text(stmt, 3, journal->boot_id);
	sqlite3_bind_int64(stmt, 4, rb_realtime_ms());
	bind_text(stmt, 5, id);
	if (facts)
		bind_json(stmt, 6, facts);
	r = step(journal, stmt, &changed, err, "change the state");
	if (r < 0 || changed)
		return r;
	r = rb_journal_get(journal, id, &entry, err);
	if (r < 0 || entry.state == to)
		return r;
	return rb_err_code(err, RB_E_CONFLICT, -ESTALE,
			   "migration %s is in state %s, not on its way to %s", id,
			   rb_state_name(entry.state), rb_state_name(to));
}

int rb_journal_move(struct rb_journal *journal, const char *id, unsigned int from, enum rb_state to,
		    struct rb_err *err)
{
	return rb_journal_move_with(journal, id, from, to, NULL, err);
}

int rb_journal_stage(struct rb_journal *journal, const char *id, const char *stage,
		     const json_t *facts, struct rb_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r = prepare(journal,
			"UPDATE migration SET stage=?1, facts=?2, updated_ms=?3 WHERE id=?4", &stmt,
			err);

	if (r < 0)
		return r;
	bind_text(stmt, 1, stage);
	bind_json(stmt, 2, facts);
	sqlite3_bind_int64(stmt, 3, rb_realtime_ms());
	bind_text(stmt, 4, id);
	return step(journal, stmt, NULL, err, "note a stage");
}

static int set_text(struct rb_journal *journal, const char *id, const char *sql, const char *text,
		    struct rb_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r = prepare(journal, sql, &stmt, err);

	if (r < 0)
		return r;
	bind_text(stmt, 1, text);
	bind_text(stmt, 2, id);
	return step(journal, stmt, NULL, err, "note a fact");
}

int rb_journal_container_id(struct rb_journal *journal, const char *id, const char *container_id,
			    struct rb_err *err)
{
	return set_text(journal, id, "UPDATE migration SET container_id=?1 WHERE id=?2",
			container_id, err);
}

int rb_journal_report(struct rb_journal *journal, const char *id, const json_t *report,
		      struct rb_err *err)
{
	_cleanup_free_ char *text = json_dumps(report, JSON_COMPACT);

	return set_text(journal, id, "UPDATE migration SET report=?1 WHERE id=?2", text, err);
}

int rb_journal_worker(struct rb_journal *journal, const char *id, struct rb_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r = prepare(journal, "UPDATE migration SET worker=?1, worker_start=?2 WHERE id=?3",
			&stmt, err);

	if (r < 0)
		return r;
	sqlite3_bind_int(stmt, 1, getpid());
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)rb_pid_starttime(getpid()));
	bind_text(stmt, 3, id);
	return step(journal, stmt, NULL, err, "note the worker");
}
