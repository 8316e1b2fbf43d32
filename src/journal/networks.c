// SPDX-License-Identifier: Apache-2.0
/*
 * networks.c - the networks across hosts, in the journal
 *
 * Several processes of a host write here (workers that serve peers, the agent's two halves, those
 * of `reberth network`). Each change is one statement, with what it relies on in its WHERE: whoever
 * comes second changes nothing, and is told so.
 */
#include "networks.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "journal_internal.h"
#include "json.h"
#include "wait.h"

const char rb_networks_schema[] =
	"CREATE TABLE IF NOT EXISTS network ("
	" id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, state TEXT NOT NULL, spec TEXT NOT NULL,"
	" since_ms INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS chunk ("
	" network TEXT NOT NULL, chunk INTEGER NOT NULL, node TEXT NOT NULL,"
	" settled INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(network, chunk));"
	"CREATE TABLE IF NOT EXISTS address ("
	" network TEXT NOT NULL, address INTEGER NOT NULL, node TEXT NOT NULL, state TEXT NOT NULL,"
	" peer TEXT NOT NULL DEFAULT '', since_ms INTEGER NOT NULL,"
	" PRIMARY KEY(network, address, node));";

static void statement_end(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
}

/* @kinds: a letter for each argument, bound as ?1, ?2, ...: s a text, i an int64_t */
static int prepare(struct rb_journal *journal, sqlite3_stmt **ret, struct rb_err *err,
		   const char *sql, const char *kinds, va_list ap)
{
	if (sqlite3_prepare_v2(journal->db, sql, -1, ret, NULL) != SQLITE_OK)
		return rb_journal_error(journal, err, "prepare a statement");
	for (int i = 0; kinds[i]; i++) {
		if (kinds[i] == 's')
			sqlite3_bind_text(*ret, i + 1, va_arg(ap, const char *), -1,
					  SQLITE_TRANSIENT);
		else
			sqlite3_bind_int64(*ret, i + 1, va_arg(ap, int64_t));
	}
	return 0;
}

/* Return: rows that were changed */
static int run(struct rb_journal *journal, struct rb_err *err, const char *sql, const char *kinds,
	       ...)
{
	_cleanup_(statement_end) sqlite3_stmt *stmt = NULL;
	va_list ap;
	int r;

	va_start(ap, kinds);
	r = prepare(journal, &stmt, err, sql, kinds, ap);
	va_end(ap);
	if (r < 0)
		return r;
	r = sqlite3_step(stmt);
	if (r == SQLITE_CONSTRAINT)
		return -EEXIST;
	if (r != SQLITE_DONE)
		return rb_journal_error(journal, err, "write about a network");
	return sqlite3_changes(journal->db);
}

/* rows as objects, by the names of the columns */
static int query(struct rb_journal *journal, json_t **ret, struct rb_err *err, const char *sql,
		 const char *kinds, ...)
{
	_cleanup_(statement_end) sqlite3_stmt *stmt = NULL;
	_cleanup_json_ json_t *rows = json_array();
	va_list ap;
	int r;

	va_start(ap, kinds);
	r = prepare(journal, &stmt, err, sql, kinds, ap);
	va_end(ap);
	if (r < 0)
		return r;
	while ((r = sqlite3_step(stmt)) == SQLITE_ROW) {
		json_t *row = json_object();

		for (int i = 0; i < sqlite3_column_count(stmt); i++)
			json_object_set_new(
				row, sqlite3_column_name(stmt, i),
				sqlite3_column_type(stmt, i) == SQLITE_INTEGER
					? json_integer(sqlite3_column_int64(stmt, i))
					: json_string((const char *)sqlite3_column_text(stmt, i)));
		json_array_append_new(rows, row);
	}
	if (r != SQLITE_DONE)
		return rb_journal_error(journal, err, "read about networks");
	*ret = TAKE_PTR(rows);
	return 0;
}

/* --- networks --- */

int rb_network_add(struct rb_journal *journal, const json_t *spec, const char *state,
		   struct rb_err *err)
{
	_cleanup_free_ char *text = json_dumps(spec, JSON_COMPACT);
	const char *name = rb_json_str(spec, "name", "");
	int r = run(journal, err,
		    "INSERT INTO network(id, name, state, spec, since_ms) VALUES(?1,?2,?3,?4,?5)",
		    "ssssi", rb_json_str(spec, "id", ""), name, state, text ? text : "{}",
		    rb_realtime_ms());

	if (r == -EEXIST)
		return rb_err_code(err, RB_E_CONFLICT, -EEXIST,
				   "there is a network '%s' already: see 'reberth network ls'",
				   name);
	return r < 0 ? r : 0;
}

/* "spec" is text in the row; what comes out is the spec with the row's other columns in it */
static json_t *unfold(const json_t *row)
{
	json_t *spec = json_loads(rb_json_str(row, "spec", "{}"), 0, NULL);

	if (!spec)
		spec = json_object();
	json_object_set(spec, "id", json_object_get(row, "id"));
	json_object_set(spec, "name", json_object_get(row, "name"));
	json_object_set(spec, "state", json_object_get(row, "state"));
	json_object_set(spec, "since_ms", json_object_get(row, "since_ms"));
	return spec;
}

int rb_network_get(struct rb_journal *journal, const char *name, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL;
	int r = query(journal, &rows, err,
		      "SELECT * FROM network WHERE name=?1 OR id=?1 OR (length(?1) >= 8 AND"
		      " substr(id, 1, length(?1)) = ?1) ORDER BY name != ?1 LIMIT 1",
		      "s", name);

	if (r < 0)
		return r;
	if (json_array_size(rows) == 0)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
				   "reberth has no network '%s': see 'reberth network ls'", name);
	*ret = unfold(json_array_get(rows, 0));
	return 0;
}

int rb_network_list(struct rb_journal *journal, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL;
	int r = query(journal, &rows, err, "SELECT * FROM network ORDER BY name", "");
	const json_t *row;
	size_t i;

	if (r < 0)
		return r;
	*ret = json_array();
	json_array_foreach (rows, i, row)
		json_array_append_new(*ret, unfold(row));
	return 0;
}

int rb_network_state(struct rb_journal *journal, const char *id, const char *state,
		     struct rb_err *err)
{
	int r = run(journal, err, "UPDATE network SET state=?1, since_ms=?2 WHERE id=?3", "sis",
		    state, rb_realtime_ms(), id);

	return r < 0 ? r : 0;
}

int rb_network_update(struct rb_journal *journal, const json_t *spec, struct rb_err *err)
{
	_cleanup_free_ char *text = json_dumps(spec, JSON_COMPACT);
	int r = run(journal, err, "UPDATE network SET spec=?1 WHERE id=?2", "ss",
		    text ? text : "{}", rb_json_str(spec, "id", ""));

	return r < 0 ? r : 0;
}

int rb_network_forget(struct rb_journal *journal, const char *id, struct rb_err *err)
{
	int r = run(journal, err, "DELETE FROM address WHERE network=?1", "s", id);

	if (r >= 0)
		r = run(journal, err, "DELETE FROM chunk WHERE network=?1", "s", id);
	if (r >= 0)
		r = run(journal, err, "DELETE FROM network WHERE id=?1", "s", id);
	return r < 0 ? r : 0;
}

/* --- chunks --- */

int rb_chunk_claim(struct rb_journal *journal, const char *network, uint32_t chunk,
		   const char *node, char *ret_owner, struct rb_err *err)
{
	int r = run(journal, err,
		    "INSERT OR IGNORE INTO chunk(network, chunk, node) VALUES(?1,?2,?3)", "sis",
		    network, (int64_t)chunk, node);

	return r < 0 ? r : rb_chunk_owner(journal, network, chunk, ret_owner, err);
}

int rb_chunk_settle(struct rb_journal *journal, const char *network, uint32_t chunk,
		    struct rb_err *err)
{
	int r = run(journal, err, "UPDATE chunk SET settled=1 WHERE network=?1 AND chunk=?2", "si",
		    network, (int64_t)chunk);

	return r < 0 ? r : 0;
}

int rb_chunk_withdraw(struct rb_journal *journal, const char *network, uint32_t chunk,
		      const char *node, struct rb_err *err)
{
	int r = run(journal, err, "DELETE FROM chunk WHERE network=?1 AND chunk=?2 AND node=?3",
		    "sis", network, (int64_t)chunk, node);

	return r < 0 ? r : 0;
}

int rb_chunk_list(struct rb_journal *journal, const char *network, const char *node, json_t **ret,
		  struct rb_err *err)
{
	return query(journal, ret, err,
		     "SELECT chunk, node, settled FROM chunk WHERE network=?1 AND"
		     " (?2 = '' OR node=?2) ORDER BY chunk",
		     "ss", network, node ? node : "");
}

int rb_chunk_owner(struct rb_journal *journal, const char *network, uint32_t chunk, char *ret,
		   struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL;
	int r = query(journal, &rows, err, "SELECT node FROM chunk WHERE network=?1 AND chunk=?2",
		      "si", network, (int64_t)chunk);

	if (r < 0)
		return r;
	snprintf(ret, 64, "%s", rb_json_str(json_array_get(rows, 0), "node", ""));
	return 0;
}

int rb_chunk_inherit(struct rb_journal *journal, const char *network, const char *node,
		     const char *heir, bool settled, struct rb_err *err)
{
	int r = run(journal, err,
		    "UPDATE chunk SET node=?3, settled=?4 WHERE network=?1 AND node=?2", "sssi",
		    network, node, heir, (int64_t)settled);

	if (r >= 0)
		r = run(journal, err, "DELETE FROM address WHERE network=?1 AND node=?2", "ss",
			network, node);
	return r < 0 ? r : 0;
}

/* --- addresses --- */

int rb_address_add(struct rb_journal *journal, const char *network, uint32_t address,
		   const char *node, const char *state, const char *peer, const char *beside,
		   struct rb_err *err)
{
	return run(journal, err,
		   "INSERT OR IGNORE INTO address(network, address, node, state, peer, since_ms)"
		   " SELECT ?1,?2,?3,?4,?5,?6 WHERE NOT EXISTS (SELECT 1 FROM address"
		   " WHERE network=?1 AND address=?2 AND node != ?7)",
		   "sisssis", network, (int64_t)address, node, state, peer, rb_realtime_ms(),
		   beside);
}

int rb_address_move(struct rb_journal *journal, const char *network, uint32_t address,
		    const char *node, const char *from, const char *state, const char *peer,
		    struct rb_err *err)
{
	return run(journal, err,
		   "UPDATE address SET state=?4, peer=?5, since_ms=?6 WHERE network=?1 AND"
		   " address=?2 AND node=?3 AND (?7 = '' OR state=?7)",
		   "sisssis", network, (int64_t)address, node, state, peer, rb_realtime_ms(),
		   from ? from : "");
}

int rb_address_hand(struct rb_journal *journal, const char *network, uint32_t address,
		    const char *node, const char *to, struct rb_err *err)
{
	return run(journal, err,
		   "UPDATE OR REPLACE address SET node=?4, state='lent', peer='', since_ms=?5"
		   " WHERE network=?1 AND address=?2 AND node=?3",
		   "sissi", network, (int64_t)address, node, to, rb_realtime_ms());
}

int rb_address_drop(struct rb_journal *journal, const char *network, uint32_t address,
		    const char *node, const char *state, struct rb_err *err)
{
	return run(journal, err,
		   "DELETE FROM address WHERE network=?1 AND address=?2 AND node=?3 AND"
		   " (?4 = '' OR state=?4)",
		   "siss", network, (int64_t)address, node, state ? state : "");
}

int rb_address_list(struct rb_journal *journal, const char *network, uint32_t first, uint32_t last,
		    json_t **ret, struct rb_err *err)
{
	return query(journal, ret, err,
		     "SELECT address, node, state, peer, since_ms FROM address WHERE network=?1 AND"
		     " address BETWEEN ?2 AND ?3 ORDER BY address",
		     "sii", network, (int64_t)first, (int64_t)last);
}
