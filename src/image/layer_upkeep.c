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
#define FORGET_ROWS 5000

/* Its rows go in slices, then it does. */
static int forget_layer(struct rb_scan *s, int64_t layer)
{
	char *sql = sqlite3_mprintf(
		"DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE id BETWEEN"
		" (SELECT first_chunk FROM layer WHERE id = %lld) AND"
		" (SELECT CASE WHEN complete THEN last_chunk ELSE 9223372036854775807 END"
		" FROM layer WHERE id = %lld)"
		" AND file IN (SELECT id FROM file WHERE layer = %lld) LIMIT %d);",
		(long long)layer, (long long)layer, (long long)layer, FORGET_ROWS);
	int r;

	if (!sql)
		return rb_err_set(s->err, -ENOMEM, "forget a layer");
	do {
		r = rb_scan_is_over(s);
		if (r == 0)
			r = rb_scan_run(s, sql, "forget chunks");
	} while (r == 0 && sqlite3_changes(s->index->db) > 0);
	sqlite3_free(sql);
	if (r != 0)
		return r < 0 ? r : 0;
	sql = sqlite3_mprintf("BEGIN; DELETE FROM file WHERE layer = %lld;"
			      "DELETE FROM layer WHERE id = %lld; COMMIT;",
			      (long long)layer, (long long)layer);
	r = sql ? rb_scan_run(s, sql, "forget a layer") : -ENOMEM;
	sqlite3_free(sql);
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

/* one of Docker's layers: where its files are, and since when. Return: false: nowhere */
static bool look_at_layer(const char *path, const char *chain, struct listed *ret)
{
	_cleanup_buf_ struct rb_buf text = {};
	char file[PATH_MAX];
	struct stat st;

	if (chain[0] == '.' || rb_path(file, sizeof(file), "%s/%s/cache-id", path, chain) < 0 ||
	    stat(file, &st) < 0 || rb_read_file(file, sizeof(ret->folder) - 1, &text, NULL) < 0)
		return false;
	text.data[strcspn(text.data, "\n")] = '\0';
	if (!text.data[0] || text.data[0] == '.' || strchr(text.data, '/'))
		return false;
	snprintf(ret->folder, sizeof(ret->folder), "%s", text.data);
	ret->since = st.st_mtime;
	return true;
}

/* {folder: true} of Docker's layers; those that came last are first */
static int list_layers(struct rb_scan *s, json_t *ret)
{
	_cleanup_buf_ struct rb_buf list = {};
	_cleanup_closedir_ DIR *dir = NULL;
	struct listed *layers;
	struct dirent *entry;
	char path[PATH_MAX];
	size_t count = 0;

	if (rb_path(path, sizeof(path), "%s/image/overlay2/layerdb/sha256", s->index->root) < 0)
		return 0;
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : rb_err_set(s->err, -errno, "open '%s'", path);
	while (count < LAYERS_MAX && (entry = readdir(dir)) != NULL) {
		struct listed one;

		if (!look_at_layer(path, entry->d_name, &one))
			continue;
		if (rb_buf_add(&list, &one, sizeof(one)) < 0)
			return rb_err_set(s->err, -ENOMEM, "list layers");
		count++;
	}
	layers = (struct listed *)list.data;
	if (count)
		qsort(layers, count, sizeof(*layers), compare_age);
	for (size_t i = 0; i < count; i++)
		json_object_set_new(ret, layers[i].folder, json_true());
	return 0;
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
	int r = list_layers(s, there);

	if (r == 0)
		r = compare_layers(s, there, gone, begun);
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
	/* what is in a turn that failed is not needed; what was cancelled in good order is kept */
	if (s->in_turn)
		sqlite3_exec(index->db, r == -ECANCELED ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL);
	free(s->buf);
	free(s);
	return r;
}
