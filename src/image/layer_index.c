// SPDX-License-Identifier: Apache-2.0
/*
 * layer_index.c - which chunks this host's layers hold: looking up
 *
 * layer   one row each, `folder` is its folder's name below overlay2; its chunks are among the rows
 *         from first_chunk to last_chunk
 * file    path below the layer's "diff"; chunked up to done_to
 * chunk   key: the first 8 bytes of the id. That is enough to look a chunk up; that it is the one
 * is seen by reading it.
 *
 * Locks. Readers need none (WAL). <path>.lock is held by who scans, and by who throws a damaged
 * file away: he looks again first, since another may have done it meanwhile.
 */
#include "layer_index.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beneath.h"
#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "layer_index_internal.h"
#include "log.h"

#define BUSY_MS	 500
#define BUSY_MAX 4
#define VERSION	 "1" /* of the tables */

static const char schema[] =
	"BEGIN IMMEDIATE;"
	"CREATE TABLE IF NOT EXISTS layer ("
	" id INTEGER PRIMARY KEY, folder TEXT NOT NULL UNIQUE, complete INTEGER NOT NULL DEFAULT 0,"
	" first_chunk INTEGER NOT NULL DEFAULT 0, last_chunk INTEGER NOT NULL DEFAULT 0);"
	"CREATE TABLE IF NOT EXISTS file ("
	" id INTEGER PRIMARY KEY, layer INTEGER NOT NULL, path BLOB NOT NULL,"
	" done_to INTEGER NOT NULL, complete INTEGER NOT NULL DEFAULT 0);"
	"CREATE UNIQUE INDEX IF NOT EXISTS file_path ON file(layer, path);"
	"CREATE TABLE IF NOT EXISTS chunk ("
	" id INTEGER PRIMARY KEY, key INTEGER NOT NULL, file INTEGER NOT NULL,"
	" offset INTEGER NOT NULL, len INTEGER NOT NULL);"
	"CREATE INDEX IF NOT EXISTS chunk_key ON chunk(key);"
	"PRAGMA user_version = " VERSION ";"
	"COMMIT;";

/* some: two chunks may have one key, and a layer be gone */
static const char find[] = "SELECT file.id, layer.folder, file.path, chunk.offset FROM chunk"
			   " JOIN file ON file.id = chunk.file JOIN layer ON layer.id = file.layer"
			   " WHERE chunk.key = ?1 AND chunk.len = ?2 LIMIT 4";

int rb_layer_index_failed(struct rb_layer_index *index, struct rb_err *err, const char *what)
{
	int code = sqlite3_errcode(index->db);

	if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
		return rb_err_set(err, -EAGAIN, "index of layers: %s", what);
	if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
		index->damaged = true;
	return rb_err_code(err, code == SQLITE_FULL ? RB_E_NO_SPACE : RB_E_INTERNAL,
			   code == SQLITE_FULL ? -ENOSPC : -EIO, "index of layers '%s': %s: %s",
			   index->path, what, sqlite3_errmsg(index->db));
}

static void close_database(struct rb_layer_index *index)
{
	sqlite3_finalize(index->find);
	index->find = NULL;
	sqlite3_close(index->db);
	index->db = NULL;
}

/* Return: whose tables these are; 0: there are none yet; negative errno */
static int read_version(struct rb_layer_index *index, struct rb_err *err)
{
	sqlite3_stmt *stmt = NULL;
	int r = -EIO;

	if (sqlite3_prepare_v2(index->db, "PRAGMA user_version", -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW)
		r = sqlite3_column_int(stmt, 0);
	else
		r = rb_layer_index_failed(index, err, "read");
	sqlite3_finalize(stmt);
	return r;
}

/* One that is there already is only read: who fills it may have the lock nearly all the time. */
static int open_database(struct rb_layer_index *index, struct rb_err *err)
{
	int r = sqlite3_open_v2(index->path, &index->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
				NULL);

	if (r != SQLITE_OK)
		return rb_layer_index_failed(index, err, "open");
	sqlite3_busy_timeout(index->db, BUSY_MS);
	/* what a power loss takes is found again; the caches stay small whatever the size */
	if (sqlite3_exec(index->db,
			 "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
			 "PRAGMA trusted_schema=OFF; PRAGMA cache_size=-16384;"
			 "PRAGMA wal_autocheckpoint=2000;",
			 NULL, NULL, NULL) != SQLITE_OK)
		return rb_layer_index_failed(index, err, "set up");
	r = read_version(index, err);
	if (r < 0)
		return r;
	if (r == 0 && sqlite3_exec(index->db, schema, NULL, NULL, NULL) != SQLITE_OK)
		return rb_layer_index_failed(index, err, "set up");
	if (r != 0 && r != atoi(VERSION)) {
		index->damaged = true; /* as good as that */
		return rb_err_code(err, RB_E_INTERNAL, -EIO, "'%s' is of another version",
				   index->path);
	}
	if (sqlite3_prepare_v3(index->db, find, -1, SQLITE_PREPARE_PERSISTENT, &index->find,
			       NULL) == SQLITE_OK)
		return 0;
	/* tables of another shape */
	index->damaged = sqlite3_errcode(index->db) == SQLITE_ERROR;
	return rb_layer_index_failed(index, err, "prepare");
}

static void remove_database(const struct rb_layer_index *index)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	char path[600];

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++)
		if (rb_path(path, sizeof(path), "%s%s", index->path, suffixes[i]) >= 0)
			unlink(path);
}

static int on_check(void *arg, int count, char **values, char **names)
{
	(void)names;
	*(bool *)arg = count > 0 && values[0] && strcmp(values[0], "ok") == 0;
	return 0;
}

/* is it damaged, whoever says so? A busy one is not. */
static bool is_damaged(struct rb_layer_index *index)
{
	bool good = false;

	close_database(index);
	index->damaged = false;
	if (open_database(index, NULL) < 0)
		return index->damaged;
	/* what it finds is a row; only what keeps it from looking is an error */
	if (sqlite3_exec(index->db, "PRAGMA quick_check(1);", on_check, &good, NULL) != SQLITE_OK)
		rb_layer_index_failed(index, NULL, "check");
	else if (!good)
		index->damaged = true;
	return index->damaged;
}

int rb_layer_index_lock(struct rb_layer_index *index, struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char path[600];

	rb_path(path, sizeof(path), "%s.lock", index->path);
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return rb_err_set(err, -errno, "open '%s'", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return rb_err_set(err, errno == EWOULDBLOCK ? -EBUSY : -errno, "lock '%s'", path);
	return TAKE_FD(fd);
}

static int mend(struct rb_layer_index *index, struct rb_err *err)
{
	_cleanup_close_ int lock = rb_layer_index_lock(index, err);

	if (lock < 0)
		return lock;
	if (is_damaged(index)) {
		rb_warn("the index of layers '%s' is damaged: it is made anew", index->path);
		close_database(index);
		remove_database(index);
		index->damaged = false;
	}
	close_database(index);
	rb_err_clear(err);
	return open_database(index, err);
}

static int open_index(struct rb_layer_index *index, const char *state_dir, const char *docker_root,
		      struct rb_err *err)
{
	char overlay[PATH_MAX];
	int r;

	r = rb_path(index->path, sizeof(index->path), "%s/layers.db", state_dir);
	if (r == 0)
		r = rb_path(index->root, sizeof(index->root), "%s", docker_root);
	if (r == 0)
		r = rb_path(overlay, sizeof(overlay), "%s/overlay2", docker_root);
	if (r < 0)
		return rb_err_set(err, r, "the index of layers");
	index->overlay_fd = open(overlay, O_PATH | O_DIRECTORY | O_CLOEXEC);
	index->digest = rb_digest_new();
	if (!index->digest)
		return rb_err_set(err, -ENOMEM, "open the index of layers");
	r = open_database(index, err);
	return r < 0 && index->damaged ? mend(index, err) : r;
}

int rb_layer_index_open(const char *state_dir, const char *docker_root, struct rb_layer_index **ret,
			struct rb_err *err)
{
	struct rb_layer_index *index = calloc(1, sizeof(*index));
	int r;

	if (!index)
		return rb_err_set(err, -ENOMEM, "open the index of layers");
	index->overlay_fd = index->file_fd = -EBADF;
	r = open_index(index, state_dir, docker_root, err);
	if (r < 0) {
		rb_layer_index_close(index);
		return r;
	}
	*ret = index;
	return 0;
}

void rb_layer_index_close(struct rb_layer_index *index)
{
	if (!index)
		return;
	/* who had to do with it as it broke, sees to it that the next one has another */
	if (index->damaged)
		mend(index, NULL);
	close_database(index);
	rb_close_fd(&index->file_fd);
	rb_close_fd(&index->overlay_fd);
	rb_digest_free(index->digest);
	free(index);
}

int64_t rb_layer_index_key(const uint8_t id[RB_CHUNK_ID_BYTES])
{
	uint64_t key;

	memcpy(&key, id, sizeof(key));
	return (int64_t)be64toh(key);
}

int rb_layer_index_open_file(struct rb_layer_index *index, const char *folder, const char *path)
{
	_cleanup_close_ int fd = -EBADF;
	char below[PATH_MAX];
	struct stat st;
	int r = rb_path(below, sizeof(below), "%s/diff/%s", folder, path);

	if (r < 0)
		return r;
	/* NONBLOCK: one that is a FIFO by now must not hold us */
	fd = open_beneath(index->overlay_fd, below, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? TAKE_FD(fd) : -EINVAL;
}

/* the row that was found says where: is it there? */
static bool read_row(struct rb_layer_index *index, const uint8_t *id, uint32_t len, uint8_t *buf)
{
	const char *folder = (const char *)sqlite3_column_text(index->find, 1);
	int path_len = sqlite3_column_bytes(index->find, 2);
	const void *path = sqlite3_column_blob(index->find, 2);
	int64_t file_id = sqlite3_column_int64(index->find, 0);
	int64_t offset = sqlite3_column_int64(index->find, 3);
	uint8_t found[RB_CHUNK_ID_BYTES];
	char text[PATH_MAX];

	if (file_id != index->file_id || index->file_fd < 0) {
		if (!folder || !path || path_len <= 0 || path_len >= PATH_MAX)
			return false;
		memcpy(text, path, (size_t)path_len);
		text[path_len] = '\0';
		rb_close_fd(&index->file_fd);
		index->file_fd = rb_layer_index_open_file(index, folder, text);
		index->file_id = file_id;
	}
	return index->file_fd >= 0 && offset >= 0 &&
	       pread(index->file_fd, buf, len, offset) == (ssize_t)len &&
	       rb_chunk_id(index->digest, buf, len, found) &&
	       memcmp(found, id, RB_CHUNK_ID_BYTES) == 0;
}

bool rb_layer_index_fetch(struct rb_layer_index *index, const uint8_t id[RB_CHUNK_ID_BYTES],
			  uint32_t len, uint8_t *buf)
{
	bool found = false;
	int r;

	/* whoever keeps it busy that long: an image must not wait for each of its chunks */
	if (index->overlay_fd < 0 || index->damaged || index->busy >= BUSY_MAX)
		return false;
	sqlite3_bind_int64(index->find, 1, rb_layer_index_key(id));
	sqlite3_bind_int64(index->find, 2, len);
	while (!found && (r = sqlite3_step(index->find)) == SQLITE_ROW)
		found = read_row(index, id, len, buf);
	if (!found && r != SQLITE_DONE && rb_layer_index_failed(index, NULL, "look up") == -EAGAIN)
		index->busy++;
	sqlite3_reset(index->find);
	return found;
}
