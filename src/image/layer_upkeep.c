// SPDX-License-Identifier: Apache-2.0
/*
 * layer_upkeep.c - which layers are new, and which are gone
 *
 * Docker's list of layers is the folder image/overlay2/layerdb/sha256: one folder for each, named
 * after its chain ID, whose file "cache-id" names the layer's folder below overlay2. Only what is
 * in this list is read: other folders there are the writable layers of containers.
 *
 * Layers that came last are taken in first: who sends an image built upon one sends it soon. The
 * chunks of a layer lie in a range of rows, which may have others' among them; with that they are
 * forgotten in short transactions, too.
 */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "layer_index_internal.h"
#include "wait.h"

#define LAYERS_MAX  100000
#define FORGET_ROWS 20000

/* a number that a query gives */
static int number_of(struct rb_scan *s, const char *query, int64_t layer, int64_t *ret)
{
	sqlite3_stmt *stmt = NULL;
	int r = 0;

	if (sqlite3_prepare_v2(s->index->db, query, -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_int64(stmt, 1, layer) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
		*ret = sqlite3_column_int64(stmt, 0);
	else
		r = rb_layer_index_failed(s->index, s->err, "look at a layer");
	sqlite3_finalize(stmt);
	return r;
}

static int run_formatted(struct rb_scan *s, const char *what, const char *format, ...)
{
	va_list args;
	char *sql;
	int r;

	va_start(args, format);
	sql = sqlite3_vmprintf(format, args);
	va_end(args);
	r = sql ? rb_scan_run(s, sql, what) : rb_err_set(s->err, -ENOMEM, "%s", what);
	sqlite3_free(sql);
	return r;
}

/* Its chunks go in slices of the table, each a transaction of its own, then it does. */
static int forget_layer(struct rb_scan *s, int64_t layer)
{
	int64_t at = 0, end = 0;
	int r = number_of(s, "SELECT first_chunk FROM layer WHERE id = ?1", layer, &at);

	if (r == 0)
		r = number_of(
			s,
			"SELECT CASE WHEN complete THEN last_chunk ELSE"
			" (SELECT coalesce(max(id), 0) FROM chunk) END FROM layer WHERE id = ?1",
			layer, &end);
	if (r < 0)
		return r;
	for (; at <= end; at += FORGET_ROWS) {
		r = rb_scan_is_over(s);
		if (r != 0)
			return r < 0 ? r : 0;
		r = run_formatted(s, "forget chunks",
				  "DELETE FROM chunk WHERE id >= %lld AND id < %lld AND"
				  " (SELECT layer FROM file WHERE file.id = chunk.file) = %lld;",
				  (long long)at, (long long)at + FORGET_ROWS, (long long)layer);
		if (r < 0)
			return r;
	}
	r = run_formatted(s, "forget a layer",
			  "BEGIN IMMEDIATE; DELETE FROM file WHERE layer = %lld;"
			  "DELETE FROM layer WHERE id = %lld; COMMIT;",
			  (long long)layer, (long long)layer);
	if (r < 0 && !sqlite3_get_autocommit(s->index->db))
		sqlite3_exec(s->index->db, "ROLLBACK", NULL, NULL, NULL);
	s->scan->gone += r == 0;
	return r;
}

struct listed {
	char folder[256];
	int64_t since; /* when it came, as Docker's folder says */
};

static int compare_age(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	return x->since < y->since ? 1 : x->since > y->since ? -1 : 0;
}

/* one of Docker's layers: where its files are, and since when. Return: 1, 0: nowhere, negative
 * errno: that cannot be told now */
static int look_at_layer(const char *path, const char *chain, struct listed *ret)
{
	_cleanup_buf_ struct rb_buf text = {};
	char file[PATH_MAX];
	struct stat st;
	int r = rb_path(file, sizeof(file), "%s/%s/cache-id", path, chain);

	if (r < 0)
		return r;
	if (stat(file, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	r = rb_read_file(file, sizeof(ret->folder) - 1, &text, NULL);
	if (r < 0)
		return r == -ENOENT || r == -EFBIG ? 0 : r;
	text.data[strcspn(text.data, "\n")] = '\0';
	if (!text.data[0] || text.data[0] == '.' || strchr(text.data, '/'))
		return 0;
	snprintf(ret->folder, sizeof(ret->folder), "%s", text.data);
	ret->since = st.st_mtime;
	return 1;
}

/* Return: 1 when @list has all of them, 0 when some are not known, negative errno */
static int read_layers(struct rb_scan *s, struct rb_buf *list)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	char path[PATH_MAX];
	int all = 1;

	if (rb_path(path, sizeof(path), "%s/image/overlay2/layerdb/sha256", s->index->root) < 0)
		return 0;
	dir = opendir(path);
	if (!dir) /* its disk may not be mounted: that says nothing of layers */
		return errno == ENOENT ? 0 : rb_err_set(s->err, -errno, "open '%s'", path);
	while ((errno = 0, entry = readdir(dir)) != NULL) {
		struct listed one;
		int r;

		if (entry->d_name[0] == '.')
			continue;
		if (list->len >= LAYERS_MAX * sizeof(one))
			return 0;
		r = look_at_layer(path, entry->d_name, &one);
		if (r < 0)
			all = 0;
		if (r > 0 && rb_buf_add(list, &one, sizeof(one)) < 0)
			return rb_err_set(s->err, -ENOMEM, "list layers");
	}
	return errno ? 0 : all;
}

/* {folder: true} of Docker's layers; those that came last are first. Return: as read_layers() */
static int list_layers(struct rb_scan *s, json_t *ret)
{
	_cleanup_buf_ struct rb_buf list = {};
	int all = read_layers(s, &list);
	size_t count = list.len / sizeof(struct listed);
	struct listed *layers = (struct listed *)list.data;

	if (count)
		qsort(layers, count, sizeof(*layers), compare_age);
	for (size_t i = 0; i < count; i++)
		json_object_set_new(ret, layers[i].folder, json_true());
	return all;
}

/* what the index has: complete ones need no work, those that are gone go first */
static int compare_layers(struct rb_scan *s, json_t *there, json_t *gone, json_t *begun)
{
	sqlite3_stmt *stmt = NULL;
	int r;

	if (sqlite3_prepare_v2(s->index->db, "SELECT id, folder, complete FROM layer", -1, &stmt,
			       NULL) != SQLITE_OK)
		return rb_layer_index_failed(s->index, s->err, "list layers");
	while ((r = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *folder = (const char *)sqlite3_column_text(stmt, 1);

		if (!folder || !json_object_get(there, folder)) {
			json_array_append_new(gone, json_integer(sqlite3_column_int64(stmt, 0)));
			continue;
		}
		json_object_del(there, folder);
		if (!sqlite3_column_int(stmt, 2))
			json_array_append_new(begun, json_string(folder));
	}
	sqlite3_finalize(stmt);
	return r == SQLITE_DONE ? 0 : rb_layer_index_failed(s->index, s->err, "list layers");
}

static int scan_all(struct rb_scan *s)
{
	_cleanup_json_ json_t *there = json_object(), *gone = json_array(), *begun = json_array();
	const char *folder;
	json_t *value;
	size_t i;
	int all = list_layers(s, there), r = all < 0 ? all : 0;

	if (r == 0)
		r = compare_layers(s, there, gone, begun);
	if (all == 0) /* what is not in an incomplete list need not be gone */
		json_array_clear(gone);
	json_array_foreach (gone, i, value)
		if (r == 0 && !s->cut_short)
			r = forget_layer(s, json_integer_value(value));
	/* with little time no layer gets all of it: those begun wait for their next turn behind
	 * what is new, if that came later */
	json_object_foreach (there, folder, value)
		if (r == 0 && !s->cut_short)
			r = rb_scan_layer(s, folder);
	json_array_foreach (begun, i, value)
		if (r == 0 && !s->cut_short)
			r = rb_scan_layer(s, json_string_value(value));
	s->scan->complete = r == 0 && !s->cut_short && !s->left_over;
	return r;
}

int rb_layer_index_scan(struct rb_layer_index *index, struct rb_layer_scan *scan,
			const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_close_ int lock = -EBADF;
	struct rb_scan *s;
	int r = 0;

	scan->layers = scan->gone = 0;
	scan->bytes = 0;
	scan->complete = index->overlay_fd < 0;
	if (scan->complete)
		return 0;
	lock = rb_layer_index_lock(index, err);
	if (lock < 0)
		return lock;
	s = calloc(1, sizeof(*s));
	if (s) {
		*s = (struct rb_scan){ .index = index, .scan = scan, .wait = wait, .err = err };
		s->deadline_ms = scan->budget_ms ? rb_now_ms() + scan->budget_ms : 0;
		s->buf = malloc(RB_SCAN_READ);
	}
	if (!s || !s->buf) {
		free(s);
		return rb_err_set(err, -ENOMEM, "index layers");
	}
	for (int i = 0; i < RB_SCAN_STATEMENTS && r == 0; i++)
		if (sqlite3_prepare_v2(index->db, rb_scan_sql[i], -1, &s->stmts[i], NULL) !=
		    SQLITE_OK)
			r = rb_layer_index_failed(index, err, "prepare");
	if (r == 0)
		r = scan_all(s);
	for (int i = 0; i < RB_SCAN_STATEMENTS; i++)
		sqlite3_finalize(s->stmts[i]);
	/* chunks of a turn that did not come to its end are not noted in their file's row */
	if (s->in_turn)
		sqlite3_exec(index->db, "ROLLBACK", NULL, NULL, NULL);
	free(s->buf);
	free(s);
	return r;
}
