// SPDX-License-Identifier: Apache-2.0
/*
 * layer_scan.c - taking a layer into the index
 *
 * A layer's files are cut as the other side cuts them, each from its first byte on. Every
 * transaction is short (TURN_ROWS, TURN_MS), and leaves things so that the next scan, whenever that
 * is, goes on behind the last chunk: a chunk's end depends on nothing before its beginning.
 *
 * Folders belong to Docker, but what is in them an image has brought: nothing is followed, nothing
 * but regular files is opened, and a sparse one is left alone, whatever size it says.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beneath.h"
#include "cdc.h"
#include "cleanup.h"
#include "cutter.h"
#include "err.h"
#include "io.h"
#include "layer_index_internal.h"
#include "wait.h"

#define TURN_ROWS   1000
#define TURN_MS	    100
#define DEPTH_MAX   200
#define LAYER_SHARE 3 /* of a budget, at most */

const char *const rb_scan_sql[RB_SCAN_STATEMENTS] = {
	[RB_ADD_FILE] = "INSERT OR IGNORE INTO file (layer, path, done_to) VALUES (?1, ?2, 0)",
	[RB_FIND_FILE] = "SELECT id, done_to, complete FROM file WHERE layer = ?1 AND path = ?2",
	[RB_NOTE_FILE] = "UPDATE file SET done_to = ?2, complete = ?3 WHERE id = ?1",
	[RB_ADD_CHUNK] = "INSERT INTO chunk (key, file, offset, len) VALUES (?1, ?2, ?3, ?4)",
};

/* --- transactions --- */

int rb_scan_run(struct rb_scan *s, const char *sql, const char *what)
{
	return sqlite3_exec(s->index->db, sql, NULL, NULL, NULL) == SQLITE_OK
		       ? 0
		       : rb_layer_index_failed(s->index, s->err, what);
}

static int begin_turn(struct rb_scan *s)
{
	int r;

	if (s->in_turn)
		return 0;
	r = rb_scan_run(s, "BEGIN IMMEDIATE", "begin");
	s->in_turn = r == 0;
	s->turn_rows = 0;
	s->turn_ms = rb_now_ms();
	return r;
}

static int end_turn(struct rb_scan *s)
{
	if (!s->in_turn)
		return 0;
	s->in_turn = false;
	return rb_scan_run(s, "COMMIT", "commit");
}

static bool turn_is_over(const struct rb_scan *s)
{
	return s->turn_rows >= TURN_ROWS || rb_now_ms() >= s->turn_ms + TURN_MS;
}

static int step(struct rb_scan *s, sqlite3_stmt *stmt, const char *what)
{
	int r = sqlite3_step(stmt);

	sqlite3_reset(stmt);
	s->turn_rows++;
	return r == SQLITE_DONE ? 0 : rb_layer_index_failed(s->index, s->err, what);
}

int rb_scan_is_over(struct rb_scan *s)
{
	struct pollfd fd = { .fd = s->wait ? s->wait->cancel_fd : -1, .events = POLLIN };

	if (fd.fd >= 0 && poll(&fd, 1, 0) > 0)
		return rb_err_code(s->err, RB_E_CANCELED, -ECANCELED, "cancelled");
	if ((s->deadline_ms && rb_now_ms() >= s->deadline_ms) || rb_wait_left_ms(s->wait) == 0 ||
	    (s->scan->hold && s->scan->hold(s->scan->arg)))
		s->cut_short = true;
	if (s->layer_until_ms && rb_now_ms() >= s->layer_until_ms)
		s->layer_over = true;
	return s->cut_short || s->layer_over;
}

/* --- files --- */

struct file {
	int64_t id, done_to; /* done_to: where the chunk under way begins */
	struct rb_cdc cdc;
};

static int note_file(struct rb_scan *s, const struct file *file, bool complete)
{
	sqlite3_stmt *stmt = s->stmts[RB_NOTE_FILE];

	sqlite3_bind_int64(stmt, 1, file->id);
	sqlite3_bind_int64(stmt, 2, file->done_to);
	sqlite3_bind_int(stmt, 3, complete);
	return step(s, stmt, "note a file");
}

/* Return: 1 when it is complete already, 0, negative errno */
static int find_file(struct rb_scan *s, struct file *file)
{
	sqlite3_stmt *stmt = s->stmts[RB_ADD_FILE];
	int r = begin_turn(s);

	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, s->layer);
	sqlite3_bind_blob(stmt, 2, s->path, (int)strlen(s->path), SQLITE_TRANSIENT);
	r = step(s, stmt, "add a file");
	if (r < 0)
		return r;
	stmt = s->stmts[RB_FIND_FILE];
	sqlite3_bind_int64(stmt, 1, s->layer);
	sqlite3_bind_blob(stmt, 2, s->path, (int)strlen(s->path), SQLITE_TRANSIENT);
	r = sqlite3_step(stmt);
	if (r == SQLITE_ROW) {
		file->id = sqlite3_column_int64(stmt, 0);
		file->done_to = sqlite3_column_int64(stmt, 1);
		r = sqlite3_column_int(stmt, 2) ? 1 : 0;
	} else {
		r = rb_layer_index_failed(s->index, s->err, "find a file");
	}
	sqlite3_reset(stmt);
	return r;
}

/* The chunk that ends here is in the digest under way. */
static int add_chunk(struct rb_scan *s, struct file *file, uint32_t len)
{
	sqlite3_stmt *stmt = s->stmts[RB_ADD_CHUNK];
	uint8_t digest[RB_DIGEST_BYTES];
	int r;

	if (!rb_digest_end(s->index->digest, digest) || !rb_digest_start(s->index->digest))
		return rb_err_code(s->err, RB_E_INTERNAL, -EIO, "OpenSSL refuses SHA-256");
	file->done_to += len;
	if (len < RB_CHUNK_WORTH)
		return 0;
	r = begin_turn(s);
	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, rb_layer_index_key(digest));
	sqlite3_bind_int64(stmt, 2, file->id);
	sqlite3_bind_int64(stmt, 3, file->done_to - len);
	sqlite3_bind_int64(stmt, 4, len);
	r = step(s, stmt, "add a chunk");
	if (r == 0 && turn_is_over(s)) {
		r = note_file(s, file, false);
		if (r == 0)
			r = end_turn(s);
	}
	return r;
}

static int cut_block(struct rb_scan *s, struct file *file, const uint8_t *data, size_t len)
{
	while (len) {
		uint32_t before = (uint32_t)file->cdc.len;
		bool cut;
		size_t n = rb_cdc_feed(&file->cdc, data, len, &cut);
		int r;

		rb_digest_add(s->index->digest, data, n);
		r = cut ? add_chunk(s, file, before + (uint32_t)n) : 0;
		if (r < 0)
			return r;
		data += n;
		len -= n;
	}
	return 0;
}

static int read_file(struct rb_scan *s, struct file *file, int fd)
{
	int64_t at = file->done_to;
	int r = 0;

	rb_digest_start(s->index->digest);
	while (r == 0) {
		ssize_t n = pread(fd, s->buf, RB_SCAN_READ, at);

		if (n <= 0) /* whatever is wrong with it: the rest is not needed */
			break;
		at += n;
		s->scan->bytes += (uint64_t)n;
		r = cut_block(s, file, s->buf, (size_t)n);
		if (r == 0)
			r = rb_scan_is_over(s);
	}
	if (r == 0 && file->cdc.len)
		r = add_chunk(s, file, (uint32_t)file->cdc.len);
	if (r < 0)
		return r;
	if (begin_turn(s) < 0 || note_file(s, file, r == 0) < 0)
		return -EIO;
	return 0;
}

static int scan_file(struct rb_scan *s, int dir_fd, const char *name, const struct stat *st)
{
	_cleanup_close_ int fd = -EBADF;
	struct file file = {};
	int r;

	/* a sparse file may be of any size, and holds nothing */
	if (st->st_size < RB_CHUNK_WORTH || st->st_blocks * 512 < st->st_size / 4)
		return 0;
	r = find_file(s, &file);
	if (r != 0)
		return r < 0 ? r : 0;
	fd = open_beneath(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_NOATIME);
	return fd < 0 ? 0 : read_file(s, &file, fd);
}

/* --- folders --- */

static int scan_folder(struct rb_scan *s, int fd, size_t path_len, int depth);

static int scan_entry(struct rb_scan *s, int dir_fd, const char *name, size_t path_len, int depth)
{
	size_t len = strlen(name);
	struct stat st;
	int fd;

	if (path_len + len + 2 > sizeof(s->path) ||
	    fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	memcpy(s->path + path_len, name, len + 1);
	if (S_ISREG(st.st_mode))
		return scan_file(s, dir_fd, name, &st);
	if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX)
		return 0;
	fd = open_beneath(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME);
	if (fd < 0)
		return 0;
	s->path[path_len + len] = '/';
	return scan_folder(s, fd, path_len + len + 1, depth + 1);
}

/* takes over @fd */
static int scan_folder(struct rb_scan *s, int fd, size_t path_len, int depth)
{
	_cleanup_closedir_ DIR *dir = fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		close(fd);
		return 0;
	}
	while ((entry = readdir(dir)) != NULL) {
		int r;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		r = rb_scan_is_over(s);
		if (r == 0)
			r = scan_entry(s, dirfd(dir), entry->d_name, path_len, depth);
		if (r < 0)
			return r;
		if (s->cut_short || s->layer_over)
			break;
	}
	return 0;
}

/* --- layers --- */

int rb_scan_layer(struct rb_scan *s, const char *folder)
{
	char below[PATH_MAX], *sql;
	int fd, r = 0;

	if (rb_path(below, sizeof(below), "%s/diff", folder) < 0)
		return 0;
	fd = open_beneath(s->index->overlay_fd, below, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (fd < 0)
		return 0;
	sql = sqlite3_mprintf("INSERT OR IGNORE INTO layer (folder, first_chunk) VALUES (%Q,"
			      " (SELECT coalesce(max(id), 0) + 1 FROM chunk));",
			      folder);
	if (sql)
		r = rb_scan_run(s, sql, "add a layer");
	sqlite3_free(sql);
	s->layer = 0;
	if (r == 0) {
		sqlite3_stmt *stmt = NULL;

		if (sqlite3_prepare_v2(s->index->db, "SELECT id FROM layer WHERE folder = ?1", -1,
				       &stmt, NULL) == SQLITE_OK &&
		    sqlite3_bind_text(stmt, 1, folder, -1, SQLITE_TRANSIENT) == SQLITE_OK &&
		    sqlite3_step(stmt) == SQLITE_ROW)
			s->layer = sqlite3_column_int64(stmt, 0);
		else
			r = rb_layer_index_failed(s->index, s->err, "find a layer");
		sqlite3_finalize(stmt);
	}
	if (r < 0) {
		close(fd);
		return r;
	}
	s->layer_over = false;
	if (s->scan->budget_ms)
		s->layer_until_ms = rb_now_ms() + s->scan->budget_ms / LAYER_SHARE;
	r = scan_folder(s, fd, 0, 0);
	s->layer_until_ms = 0;
	s->left_over |= s->layer_over;
	if (r == 0)
		r = begin_turn(s);
	if (r == 0) {
		sql = sqlite3_mprintf("UPDATE layer SET complete = %d, last_chunk ="
				      " (SELECT coalesce(max(id), 0) FROM chunk) WHERE id = %lld;",
				      !s->cut_short && !s->layer_over, (long long)s->layer);
		if (sql)
			r = rb_scan_run(s, sql, "note a layer");
		sqlite3_free(sql);
	}
	if (r == 0)
		r = end_turn(s);
	s->scan->layers += r == 0 && !s->cut_short && !s->layer_over;
	return r;
}
