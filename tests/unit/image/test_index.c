// SPDX-License-Identifier: Apache-2.0
/*
 * test_index.c - the index of layers finds what is there and nothing else, survives what may happen
 * to it; and the spool
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "cdc.h"
#include "cleanup.h"
#include "err.h"
#include "image_util.h"
#include "layer_index.h"
#include "spool.h"
#include "tap.h"
#include "wait.h"

static char dir[] = "/tmp/reberth-test-index.XXXXXX";
static char root[64];

static void sh(const char *format, const char *arg)
{
	char command[700], text[600];

	snprintf(text, sizeof(text), "%s%s", format, arg);
	snprintf(command, sizeof(command), "cd %s && %s", dir, text);
	if (system(command))
		abort();
}

static struct rb_layer_index *open_index(struct rb_err *err)
{
	struct rb_layer_index *index = NULL;

	return rb_layer_index_open(dir, root, &index, err) < 0 ? NULL : index;
}

static void close_index(struct rb_layer_index **index)
{
	rb_layer_index_close(*index);
}
#define _cleanup_index_ __attribute__((cleanup(close_index)))

static void begin(void)
{
	sh("rm -rf docker images layers.db* outside", "");
}

static bool has(struct rb_layer_index *index, const void *data, uint32_t len)
{
	static uint8_t buf[RB_CHUNK_MAX];
	uint8_t id[RB_CHUNK_ID_BYTES];
	struct rb_digest *digest = rb_digest_new();

	rb_chunk_id(digest, data, len, id);
	rb_digest_free(digest);
	return rb_layer_index_fetch(index, id, len, buf) && memcmp(buf, data, len) == 0;
}

/* a layer with one file of one chunk */
static void one_file(const char *chain, const char *folder, uint64_t seed, uint8_t data[5000])
{
	_cleanup_buf_ struct rb_buf tar = {};
	struct archive *a = util_tar(&tar);

	util_fill(data, 5000, seed);
	util_tar_file(a, "etc/file", data, 5000);
	util_tar_end(a);
	util_store(root, chain, folder, &tar);
}

static void layers_come_and_go(void)
{
	uint8_t one[5000], two[5000];
	struct rb_layer_scan scan = {};
	struct rb_err err = {};
	_cleanup_index_ struct rb_layer_index *index = NULL;

	begin();
	one_file("c1", "f1", 1, one);
	index = open_index(&err);
	CHECK(index);
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, &err), 0);
	CHECK_INT(scan.layers, 1);
	CHECK(scan.complete && scan.bytes == 5000);
	CHECK(has(index, one, 5000));
	one_file("c2", "f2", 2, two);
	CHECK(!has(index, two, 5000));
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, &err), 0);
	CHECK_INT(scan.layers, 1);
	CHECK_INT(scan.bytes, 5000); /* the first one is not read again */
	CHECK(has(index, two, 5000));
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, &err), 0);
	CHECK_INT(scan.layers + scan.gone, 0);
	CHECK_INT(scan.bytes, 0);
	sh("rm -r docker/image/overlay2/layerdb/sha256/c1", "");
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, &err), 0);
	CHECK_INT(scan.gone, 1);
	CHECK(!has(index, one, 5000)); /* although its files are there still */
	CHECK(has(index, two, 5000));
}

static void files_that_changed_are_not_taken(void)
{
	uint8_t one[5000];
	struct rb_layer_scan scan = {};
	_cleanup_index_ struct rb_layer_index *index = NULL;

	begin();
	one_file("c1", "f1", 1, one);
	index = open_index(NULL);
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, NULL), 0);
	CHECK(has(index, one, 5000));
	sh("printf x | dd of=docker/overlay2/f1/diff/etc/file bs=1 seek=77 conv=notrunc "
	   "2>/dev/null",
	   "");
	CHECK(!has(index, one, 5000));
}

/* What is outside must not be read, whatever an image has in place of files and folders. */
static void links_are_not_followed(void)
{
	uint8_t one[5000], secret[5000];
	struct rb_layer_scan scan = {};
	_cleanup_index_ struct rb_layer_index *index = NULL, *other = NULL;
	char path[600];

	begin();
	one_file("c1", "f1", 1, one);
	util_fill(secret, 5000, 99);
	snprintf(path, sizeof(path), "%s/outside", dir);
	CHECK_INT(rb_mkdir_p(path, 0700, NULL), 0);
	snprintf(path, sizeof(path), "%s/outside/file", dir);
	CHECK_INT(rb_write_file(path, secret, 5000, 0600, false, NULL), 0);
	sh("ln -s $PWD/outside/file docker/overlay2/f1/diff/etc/link && "
	   "ln -s $PWD/outside docker/overlay2/f1/diff/folder && "
	   "mkfifo docker/overlay2/f1/diff/fifo && truncate -s 1T docker/overlay2/f1/diff/sparse",
	   "");
	index = open_index(NULL);
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, NULL), 0);
	CHECK(scan.complete && scan.bytes == 5000);
	CHECK(has(index, one, 5000) && !has(index, secret, 5000));
	/* after it was indexed, its folder becomes a link to where the same file is */
	sh("mkdir outside/etc && mv docker/overlay2/f1/diff/etc/file outside/etc/file && "
	   "rm -r docker/overlay2/f1/diff/etc && ln -s $PWD/outside/etc "
	   "docker/overlay2/f1/diff/etc",
	   "");
	other = open_index(NULL); /* the first one has the file open */
	CHECK(!has(other, one, 5000));
}

/* arg: the scan */
static bool hold(void *arg)
{
	const struct rb_layer_scan *scan = arg;

	return scan->bytes > (1 << 20);
}

/* the number that a query of the database gives; -1: none */
static int64_t rows_beyond(const char *query)
{
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;
	int64_t value = -1;
	char path[600];

	snprintf(path, sizeof(path), "%s/layers.db", dir);
	if (sqlite3_open(path, &db) == SQLITE_OK &&
	    sqlite3_prepare_v2(db, query, -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW)
		value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return value;
}

static void what_was_cut_short_goes_on(void)
{
	_cleanup_buf_ struct rb_buf layer = {};
	struct rb_layer_scan scan = { .hold = hold, .arg = &scan };
	_cleanup_index_ struct rb_layer_index *index = NULL;
	uint64_t bytes = 0;
	int scans = 0;

	begin();
	util_layer(&layer, 30, 1500000, 1);
	util_store(root, "c1", "f1", &layer);
	index = open_index(NULL);
	do {
		CHECK_INT(rb_layer_index_scan(index, &scan, NULL, NULL), 0);
		bytes += scan.bytes;
		CHECK(++scans < 1000);
	} while (!scan.complete);
	CHECK(scans > 3);
	/* not much was read twice: the rest of a block, at each cut */
	CHECK(bytes < layer.len + (size_t)scans * (256 << 10));
	CHECK_INT(rows_beyond(
			  "SELECT count(*) - count(DISTINCT file * 100000000 + offset) FROM chunk"),
		  0);
}

static void cancelling_ends_it(void)
{
	_cleanup_buf_ struct rb_buf layer = {};
	struct rb_layer_scan scan = {};
	struct rb_err err = {};
	_cleanup_index_ struct rb_layer_index *index = NULL;
	int fds[2];
	struct rb_wait wait = {};

	begin();
	util_layer(&layer, 30, 100000, 1);
	util_store(root, "c1", "f1", &layer);
	index = open_index(NULL);
	CHECK_INT(pipe(fds), 0);
	CHECK_INT(write(fds[1], "x", 1), 1);
	wait.cancel_fd = fds[0];
	CHECK_INT(rb_layer_index_scan(index, &scan, &wait, &err), -ECANCELED);
	close(fds[0]);
	close(fds[1]);
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, &err), 0);
	CHECK(scan.complete);
}

static void a_damaged_one_is_made_anew(void)
{
	uint8_t one[5000];
	struct rb_layer_scan scan = {};
	struct rb_err err = {};
	struct rb_layer_index *index;

	begin();
	one_file("c1", "f1", 1, one);
	sh("head -c 100000 /dev/urandom >layers.db", "");
	index = open_index(&err);
	CHECK_STR(err.msg, "");
	CHECK(index);
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, &err), 0);
	CHECK(has(index, one, 5000));
	rb_layer_index_close(index);
	/* in the middle: noticed on the way, and the next one has a new one */
	sh("for i in 1 2 3 4 5 6 7 8; do head -c 4096 /dev/zero | tr '\\0' '\\377' | "
	   "dd of=layers.db bs=4096 seek=$i conv=notrunc 2>/dev/null; done",
	   "");
	index = open_index(&err);
	if (index)
		rb_layer_index_scan(index, &scan, NULL, NULL);
	rb_layer_index_close(index);
	rb_err_clear(&err);
	index = open_index(&err);
	CHECK(index);
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, &err), 0);
	CHECK(has(index, one, 5000));
	rb_layer_index_close(index);
}

/* One that somebody else writes to is not damaged: it stays, and answers. */
static void a_busy_one_stays(void)
{
	uint8_t one[5000], two[5000];
	struct rb_layer_scan scan = {};
	struct rb_err err = {};
	_cleanup_index_ struct rb_layer_index *index = NULL, *other = NULL;
	sqlite3 *db = NULL;
	char path[600];
	int lock;

	begin();
	one_file("c1", "f1", 1, one);
	index = open_index(NULL);
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, NULL), 0);
	one_file("c2", "f2", 2, two);
	snprintf(path, sizeof(path), "%s/layers.db", dir);
	CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
	CHECK_INT(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, &err), -EAGAIN);
	CHECK(has(index, one, 5000));
	other = open_index(&err);
	CHECK_STR(err.msg, "index of layers: add a layer: Resource temporarily unavailable");
	CHECK(other && has(other, one, 5000));
	sqlite3_close(db);
	/* and only one scans at a time */
	snprintf(path, sizeof(path), "%s/layers.db.lock", dir);
	lock = open(path, O_RDWR | O_CLOEXEC);
	CHECK_INT(flock(lock, LOCK_EX), 0);
	CHECK_INT(rb_layer_index_scan(other, &scan, NULL, &err), -EBUSY);
	close(lock);
	CHECK_INT(rb_layer_index_scan(other, &scan, NULL, &err), 0);
	CHECK(has(index, two, 5000));
}

static void one_of_another_version_is_made_anew(void)
{
	static const char *const others[] = { "PRAGMA user_version = 99",
					      "DROP TABLE chunk; CREATE TABLE chunk (other TEXT)" };
	uint8_t one[5000];
	char path[600];

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		_cleanup_index_ struct rb_layer_index *index = NULL;
		struct rb_layer_scan scan = {};
		struct rb_err err = {};
		sqlite3 *db = NULL;

		begin();
		one_file("c1", "f1", 1, one);
		rb_layer_index_close(open_index(NULL));
		snprintf(path, sizeof(path), "%s/layers.db", dir);
		CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
		CHECK_INT(sqlite3_exec(db, others[i], NULL, NULL, NULL), SQLITE_OK);
		sqlite3_close(db);
		index = open_index(&err);
		CHECK_STR(err.msg, "");
		CHECK_INT(rb_layer_index_scan(index, &scan, NULL, &err), 0);
		CHECK(has(index, one, 5000));
	}
}

/* Docker's list cannot be read: that says nothing of the layers. */
static void a_list_that_is_not_there_is_not_an_empty_one(void)
{
	uint8_t one[5000];
	struct rb_layer_scan scan = {};
	_cleanup_index_ struct rb_layer_index *index = NULL;

	begin();
	one_file("c1", "f1", 1, one);
	index = open_index(NULL);
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, NULL), 0);
	sh("mv docker/image docker/elsewhere", "");
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, NULL), 0);
	CHECK_INT(scan.gone, 0);
	sh("mv docker/elsewhere docker/image && rm "
	   "docker/image/overlay2/layerdb/sha256/c1/cache-id && "
	   "mkdir docker/image/overlay2/layerdb/sha256/c1/cache-id",
	   "");
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, NULL), 0);
	CHECK_INT(scan.gone, 0);
	CHECK(has(index, one, 5000));
}

static void no_docker_is_no_error(void)
{
	struct rb_layer_scan scan = {};
	_cleanup_index_ struct rb_layer_index *index = NULL;

	begin();
	index = open_index(NULL);
	CHECK(index);
	CHECK_INT(rb_layer_index_scan(index, &scan, NULL, NULL), 0);
	CHECK(scan.complete && !has(index, "x", 1));
}

/* --- spool --- */

/* idle work makes way for it */
static void one_that_comes_is_seen(void)
{
	struct rb_spool idle, first, second;
	struct rb_err err = {};

	begin();
	CHECK_INT(rb_spool_open(&idle, dir, NULL, &err), 0);
	CHECK(!rb_spool_is_receiving(&idle));
	CHECK_INT(rb_spool_open(&first, dir, dir, &err), 0);
	CHECK(rb_spool_is_receiving(&idle));
	/* which holds up nobody else */
	CHECK_INT(rb_spool_open(&second, dir, dir, &err), 0);
	rb_spool_close(&first);
	CHECK(rb_spool_is_receiving(&idle));
	rb_spool_close(&second);
	CHECK(!rb_spool_is_receiving(&idle));
	rb_spool_close(&idle);
}

static void the_spool_keeps_and_forgets(void)
{
	uint8_t key[RB_DIGEST_BYTES] = { 1 };
	struct rb_spool spool;
	struct rb_err err = {};
	uint64_t had = 1;
	int fd, other;
	char command[700];

	begin();
	CHECK_INT(rb_spool_open(&spool, dir, NULL, &err), 0);
	fd = rb_spool_object(&spool, key, 1000, false, &had, &err);
	CHECK(fd >= 0 && had == 0);
	CHECK_INT(rb_pwrite_all(fd, "abc", 3, 0), 0);
	/* a second transfer of the same one */
	other = rb_spool_object(&spool, key, 1000, false, &had, &err);
	CHECK(other >= 0 && had == 0);
	rb_spool_forget(&spool, key, other);
	close(other);
	rb_spool_sweep(&spool, 0);
	close(fd);
	fd = rb_spool_object(&spool, key, 2, false, &had, &err);
	CHECK(fd >= 0 && had == 2);
	close(fd);
	rb_spool_sweep(&spool, 3600);
	fd = rb_spool_object(&spool, key, 1000, false, &had, &err);
	CHECK(fd >= 0 && had == 2);
	rb_spool_forget(&spool, key, fd);
	close(fd);
	fd = rb_spool_object(&spool, key, 1000, false, &had, &err);
	CHECK(fd >= 0 && had == 0);
	close(fd);
	snprintf(command, sizeof(command), "find %s -type f -exec touch -d '2 days ago' {} +",
		 spool.path);
	CHECK_INT(system(command), 0);
	rb_spool_tidy(&spool);
	snprintf(command, sizeof(command), "test -z \"$(ls -A %s)\"", spool.path);
	CHECK_INT(system(command), 0);
	rb_spool_close(&spool);
}

static void the_disk_is_not_filled(void)
{
	uint8_t key[RB_DIGEST_BYTES] = { 2 };
	struct rb_spool spool;
	struct rb_err err = {};
	uint64_t had;

	begin();
	CHECK_INT(rb_spool_open(&spool, dir, NULL, &err), 0);
	CHECK_INT(rb_spool_object(&spool, key, (uint64_t)1 << 41, false, &had, &err), -ENOSPC);
	CHECK_INT(err.code, RB_E_NO_SPACE);
	CHECK(strstr(err.msg, "make room"));
	CHECK_INT(rb_spool_has_room(&spool, &err), 0);
	rb_spool_close(&spool);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	snprintf(root, sizeof(root), "%s/docker", dir);
	TAP_RUN(layers_come_and_go);
	TAP_RUN(files_that_changed_are_not_taken);
	TAP_RUN(links_are_not_followed);
	TAP_RUN(what_was_cut_short_goes_on);
	TAP_RUN(cancelling_ends_it);
	TAP_RUN(a_damaged_one_is_made_anew);
	TAP_RUN(a_busy_one_stays);
	TAP_RUN(one_of_another_version_is_made_anew);
	TAP_RUN(a_list_that_is_not_there_is_not_an_empty_one);
	TAP_RUN(no_docker_is_no_error);
	TAP_RUN(one_that_comes_is_seen);
	TAP_RUN(the_spool_keeps_and_forgets);
	TAP_RUN(the_disk_is_not_filled);
	begin();
	rmdir(dir);
	return tap_done();
}
