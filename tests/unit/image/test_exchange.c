// SPDX-License-Identifier: Apache-2.0
/*
 * test_exchange.c - an image's archive goes from one process to another over a real connection, and
 * comes out as it went in, whatever the target has of it
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "../wire/peer.h"
#include "batch.h"
#include "gather.h"
#include "image.h"
#include "image_util.h"
#include "incoming.h"
#include "layer_index.h"
#include "outgoing.h"
#include "spool.h"
#include "tap.h"

static char dir[] = "/tmp/reberth-test-image.XXXXXX"; /* the target's, and Docker's folder there */

/* what both processes know, since the second one is forked */
static struct rb_buf archive;
static json_t *layers;
static bool dry, fail_twice, damage_once, cancel_source, cancel_target, gives;
static int slow_ms;    /* the target does nothing so long */
static int stop_after; /* the source's connection breaks after so many blocks of the archive */

/* --- source --- */

static size_t read_at;
static int blocks_read, round_number;
static int cancel_fds[2];

static ssize_t read_archive(void *arg, const void **ret_block, const struct rb_wait *wait,
			    struct rb_err *err)
{
	size_t len = archive.len - read_at;

	(void)arg;
	(void)wait;
	if (stop_after && ++blocks_read > stop_after)
		return rb_err_set(err, -EXDEV, "read");
	if (len > 100000)
		len = 100000;
	if (cancel_source && read_at > archive.len / 2 && write(cancel_fds[1], "x", 1) != 1)
		return -EIO;
	/* in the first block, of which the layer's first file is a part */
	if (damage_once && read_at == 0) /* wrong, and in the second round right again */
		archive.data[5000] ^= 1;
	*ret_block = archive.data + read_at;
	read_at += len;
	return (ssize_t)len;
}

static int send_archive(struct rb_conn *conn, struct rb_image_stats *stats, struct rb_err *err)
{
	struct rb_image_send_options options = { .dry_run = dry, .stats = stats };
	struct rb_outgoing outgoing = { .layers = layers,
					.read = read_archive,
					.options = &options };
	struct rb_wait wait = within(50000);
	int r;

	round_number = 0;
	if (pipe(cancel_fds) < 0)
		return -EMFILE;
	if (cancel_source)
		wait.cancel_fd = cancel_fds[0];
	do {
		read_at = 0;
		blocks_read = 0;
		round_number++;
		r = rb_outgoing_run(&outgoing, conn, &wait, err);
	} while (r == 1);
	close(cancel_fds[0]);
	close(cancel_fds[1]);
	return r;
}

/* --- target --- */

/* in the thread that puts the archive together: the connection is another's */
static void prepare(void *arg, const struct rb_wait *wait)
{
	(void)arg;
	if (cancel_target && write(cancel_fds[1], "x", 1) == 1)
		rb_wait_ms(INT32_MAX, wait, NULL); /* until it is told to stop */
	if (slow_ms)
		rb_wait_ms(slow_ms, wait, NULL);
}

static int compare(struct rb_gather *gather)
{
	_cleanup_free_ char *buf = malloc(70000);
	size_t at = 0;
	ssize_t n;

	while ((n = rb_gather_read(gather, buf, 70000)) > 0) {
		PEER_NEED(at + (size_t)n <= archive.len);
		PEER_NEED(memcmp(buf, archive.data + at, (size_t)n) == 0);
		at += (size_t)n;
	}
	PEER_NEED(n == 0 && at == archive.len);
	return 0;
}

/* it is read once, and gone then: the disk has it back */
static int give(struct rb_gather *gather)
{
	char path[700], hex[RB_DIGEST_DIGITS + 1];
	struct rb_digest *digest = rb_digest_new();
	uint8_t key[RB_DIGEST_BYTES], sum[RB_DIGEST_BYTES], buf[1000];
	struct stat before, after;
	uint64_t size = 0;
	int object;

	PEER_NEED(digest && rb_digest_start(digest));
	PEER_NEED(rb_hex_decode(json_string_value(json_array_get(layers, 0)) + 7, key));
	rb_hex_encode(key, hex);
	snprintf(path, sizeof(path), "%s/images/spool/%s", dir, hex);
	PEER_NEED(stat(path, &before) == 0 && before.st_blocks * 512 >= before.st_size);
	object = rb_gather_object(gather, RB_OBJECT_BLOB, key, &size);
	PEER_NEED(object >= 0 && size == (uint64_t)before.st_size);
	rb_gather_give(gather);
	for (uint64_t at = 0; at < size; at += 1000) {
		ssize_t n = rb_gather_pread(gather, object, buf, sizeof(buf), at);

		PEER_NEED(n == (ssize_t)(size - at < 1000 ? size - at : 1000));
		PEER_NEED(rb_digest_add(digest, buf, (size_t)n));
	}
	PEER_NEED(rb_digest_end(digest, sum) && memcmp(sum, key, sizeof(sum)) == 0);
	rb_digest_free(digest);
	PEER_NEED(stat(path, &after) == 0 && after.st_size == before.st_size);
	PEER_NEED(after.st_blocks * 512 < before.st_size / 10);
	return 0;
}

static int take(struct rb_conn *conn)
{
	struct rb_gather_options options = { .layers = layers };
	struct rb_incoming incoming = { .options = &options };
	struct rb_spool spool;
	struct rb_gather *gather = NULL;
	struct rb_wait wait = within(50000);
	char root[600];
	int r;

	snprintf(root, sizeof(root), "%s/docker", dir);
	PEER_NEED(rb_spool_open(&spool, dir, NULL, &peer_err) == 0);
	PEER_NEED(rb_layer_index_open(dir, root, &options.index, &peer_err) == 0);
	if (!dry)
		options.spool = &spool;
	incoming.prepare = prepare;
	PEER_NEED(pipe(cancel_fds) == 0);
	if (cancel_target)
		wait.cancel_fd = cancel_fds[0];
	r = rb_incoming_run(&incoming, conn, &gather, &wait, &peer_err);
	if (r == 1) {
		options.whole = (const uint8_t(*)[RB_DIGEST_BYTES])incoming.wrong;
		options.whole_count = incoming.wrong_count;
		incoming.last = true;
		r = rb_incoming_run(&incoming, conn, &gather, &wait, &peer_err);
		free(incoming.wrong);
	}
	if (r < 0) {
		wait = within(50000);
		rb_conn_answer_error(conn, &peer_err, &wait, NULL);
		rb_conn_see_off(conn, &wait);
	}
	if (r == 0 && !dry)
		r = compare(gather);
	if (r == 0 && gives)
		r = give(gather);
	rb_gather_free(gather);
	rb_layer_index_close(options.index);
	rb_spool_close(&spool);
	if (cancel_target)
		return r == -ECANCELED ? 0 : __LINE__;
	return stop_after || fail_twice || cancel_source ? r < 0 ? 0 : __LINE__
	       : r < 0					 ? __LINE__
							 : r;
}

static int exchange(struct rb_image_stats *stats, struct rb_err *err)
{
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct peer peer;
	int r, end;

	if (!peer_start(&peer, take))
		return -1;
	r = join(&peer, &tls, &conn, err);
	if (r == 0)
		r = send_archive(conn, stats, err);
	leave(tls, conn);
	end = peer_end(&peer);
	if (end)
		printf("# the peer ended with %d\n", end);
	return end ? -1000 - end : r;
}

/* --- making images --- */

static void forget(void)
{
	char path[600];

	rb_buf_free(&archive);
	json_decref(layers);
	layers = NULL;
	dry = fail_twice = damage_once = cancel_source = cancel_target = gives = false;
	slow_ms = 0;
	stop_after = 0;
	snprintf(path, sizeof(path), "%s/docker", dir);
	rb_rm_rf(path, NULL);
	snprintf(path, sizeof(path), "%s/images", dir);
	rb_rm_rf(path, NULL);
	snprintf(path, sizeof(path), "%s/layers.db", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/layers.db-wal", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/layers.db-shm", dir);
	unlink(path);
}

static void make_image(struct rb_buf *layer, size_t count)
{
	layers = util_archive(&archive, layer, count);
}

/* the target's Docker has this layer, and the index knows */
static int target_has(const struct rb_buf *layer, struct rb_layer_scan *scan, struct rb_err *err)
{
	struct rb_layer_index *index;
	char root[600];
	int r;

	snprintf(root, sizeof(root), "%s/docker", dir);
	util_store(root, "1111", "folder1", layer);
	r = rb_layer_index_open(dir, root, &index, err);
	if (r == 0)
		r = rb_layer_index_scan(index, scan, NULL, err);
	rb_layer_index_close(index);
	return r;
}

/* --- tests --- */

static void all_travels_where_nothing_is(void)
{
	struct rb_buf layer[2] = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};

	util_layer(&layer[0], 60, 400000, 1);
	util_layer(&layer[1], 20, 3000, 100);
	make_image(layer, 2);
	CHECK_ERR(exchange(&stats, &err), 0, err);
	CHECK_INT(stats.layers_sent, 2);
	CHECK_INT(stats.bytes_total, layer[0].len + layer[1].len);
	CHECK_INT(stats.bytes_done, stats.bytes_total);
	CHECK_INT(stats.bytes_missing + stats.bytes_found, stats.bytes_total);
	CHECK_INT(json_array_size(stats.layers), 2);
	CHECK(json_equal(json_object_get(json_array_get(stats.layers, 1), "diff_id"),
			 json_array_get(layers, 1)));
	rb_image_stats_clear(&stats);
	rb_buf_free(&layer[0]);
	rb_buf_free(&layer[1]);
	forget();
}

static void nothing_travels_twice(void)
{
	/* a second layer of the same files, and once more when the first transfer is in the spool
	 */
	_cleanup_buf_ struct rb_buf one = {}, two = {}, copy = {};
	struct rb_buf layer[2];
	struct rb_image_stats stats = {};
	struct rb_err err = {};
	struct archive *a = util_tar(&two);
	uint8_t *large = malloc(300000);

	util_layer(&one, 200, 400000, 1);
	util_fill(large, 300000, 4711);
	util_tar_file(a, "again", large, 300000);
	util_tar_end(a);
	free(large);
	rb_buf_add(&copy, one.data, one.len);
	/* its end is a second one, so that it is another layer */
	rb_buf_add(&copy, "\0", 1);
	layer[0] = one;
	layer[1] = copy;
	make_image(layer, 2);
	CHECK_ERR(exchange(&stats, &err), 0, err);
	CHECK(stats.bytes_found > one.len * 8 / 10);
	rb_image_stats_clear(&stats);
	CHECK_ERR(exchange(&stats, &err), 0, err);
	CHECK(stats.bytes_missing < stats.bytes_total / 10);
	rb_image_stats_clear(&stats);
	forget();
}

/* Copies of what is under way: asked for once, as the dry run says. */
static void copies_travel_once(void)
{
	struct rb_buf layer = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};
	struct archive *a = util_tar(&layer);
	static uint8_t data[200000];

	for (int i = 0; i < 400; i++) {
		char path[32];

		snprintf(path, sizeof(path), "file-%d", i);
		util_fill(data, sizeof(data), (uint64_t)(i / 20));
		util_tar_file(a, path, data, sizeof(data));
	}
	util_tar_end(a);
	make_image(&layer, 1);
	rb_buf_free(&layer);
	dry = true;
	CHECK_ERR(exchange(&stats, &err), 0, err);
	CHECK(stats.bytes_missing < 20 * sizeof(data) + (1 << 20));
	rb_image_stats_clear(&stats);
	dry = false;
	CHECK_ERR(exchange(&stats, &err), 0, err);
	CHECK(stats.bytes_missing < 20 * sizeof(data) + (1 << 20));
	CHECK_INT(stats.bytes_missing + stats.bytes_found, stats.bytes_total);
	rb_image_stats_clear(&stats);
	forget();
}

static void layers_of_the_target_are_used(void)
{
	_cleanup_buf_ struct rb_buf base = {}, other = {};
	struct rb_layer_scan scan = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};
	uint64_t content = 0;

	/* a layer whose files are the base's, save for the first few */
	util_layer(&base, 60, 400000, 1);
	util_layer(&other, 60, 400000, 1);
	for (size_t i = 600; i < 200000; i++)
		other.data[i] ^= 0x55;
	CHECK_ERR(target_has(&base, &scan, &err), 0, err);
	CHECK(scan.complete);
	CHECK_INT(scan.layers, 1);
	make_image(&other, 1);
	dry = true;
	CHECK_ERR(exchange(&stats, &err), 0, err);
	content = stats.bytes_missing;
	rb_image_stats_clear(&stats);
	dry = false;
	CHECK_ERR(exchange(&stats, &err), 0, err);
	CHECK_INT(stats.bytes_missing, content); /* as the dry run has said */
	CHECK(stats.bytes_missing < stats.bytes_total / 4);
	CHECK(stats.bytes_missing > 200000);
	rb_image_stats_clear(&stats);
	forget();
}

static void what_the_index_says_wrongly_is_sent(void)
{
	_cleanup_buf_ struct rb_buf base = {};
	struct rb_layer_scan scan = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};
	char command[700];

	util_layer(&base, 60, 100000, 1);
	CHECK_ERR(target_has(&base, &scan, &err), 0, err);
	/* contents change, files become links and FIFOs, or are gone */
	snprintf(command, sizeof(command),
		 "cd %s/docker/overlay2/folder1/diff/usr/lib && for f in $(find . -type f | sort); "
		 "do "
		 "n=$((${n:-0}+1)); case $((n %% 4)) in 0) rm $f;; 1) mv $f $f.x; ln -s $PWD/$f.x "
		 "$f;; "
		 "2) rm $f; mkfifo $f;; 3) tr '\\000-\\017' '\\020-\\037' <$f >$f.n && mv $f.n "
		 "$f;; esac; "
		 "done",
		 dir);
	CHECK_INT(system(command), 0);
	make_image(&base, 1);
	CHECK_ERR(exchange(&stats, &err), 0, err);
	CHECK_INT(stats.bytes_done, base.len);
	CHECK(stats.bytes_missing > base.len * 9 / 10);
	rb_image_stats_clear(&stats);
	forget();
}

static void what_was_cut_goes_on(void)
{
	_cleanup_buf_ struct rb_buf layer = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};
	uint64_t first;

	util_layer(&layer, 700, 400000, 1);
	make_image(&layer, 1);
	/* the cutter is at most a window ahead of what has travelled */
	stop_after = (int)(archive.len / 100000 * 9 / 10);
	CHECK_ERR(exchange(&stats, &err), -EXDEV, err);
	first = stats.bytes_done;
	rb_image_stats_clear(&stats);
	rb_err_clear(&err);
	stop_after = 0;
	CHECK_ERR(exchange(&stats, &err), 0, err);
	CHECK(first > layer.len / 4 && stats.bytes_found > layer.len / 4);
	CHECK(stats.bytes_missing < layer.len * 3 / 4);
	rb_image_stats_clear(&stats);
	forget();
}

/* Return: a process that has all files of the spool, as the worker of a transfer that was cut, and
 * ends soon */
static pid_t occupy_spool(void)
{
	int ready[2];
	pid_t pid;
	char c;

	if (pipe(ready) < 0)
		return -1;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		char path[700];
		struct dirent *one;
		DIR *spool;

		snprintf(path, sizeof(path), "%s/images/spool", dir);
		spool = opendir(path);
		while (spool && (one = readdir(spool)))
			if (one->d_name[0] != '.')
				flock(openat(dirfd(spool), one->d_name, O_RDONLY), LOCK_EX);
		if (write(ready[1], "r", 1) == 1)
			usleep(1000000);
		_exit(0);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		pid = -1;
	close(ready[0]);
	return pid;
}

static void what_was_cut_goes_on_although_somebody_has_it(void)
{
	_cleanup_buf_ struct rb_buf layer = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};
	pid_t other;

	util_layer(&layer, 700, 400000, 1);
	make_image(&layer, 1);
	stop_after = (int)(archive.len / 100000 * 9 / 10);
	CHECK_ERR(exchange(&stats, &err), -EXDEV, err);
	rb_image_stats_clear(&stats);
	rb_err_clear(&err);
	stop_after = 0;
	other = occupy_spool();
	CHECK(other > 0);
	CHECK_ERR(exchange(&stats, &err), 0, err);
	waitpid(other, NULL, 0);
	CHECK(stats.bytes_found > layer.len / 4);
	CHECK(stats.bytes_missing < layer.len * 3 / 4);
	rb_image_stats_clear(&stats);
	forget();
}

/* Somebody has written to the spool: it mends itself. */
static void a_stale_spool_mends_itself(void)
{
	_cleanup_buf_ struct rb_buf layer = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};
	char path[700], hex[RB_DIGEST_DIGITS + 1];
	int fd;

	util_layer(&layer, 60, 400000, 1);
	make_image(&layer, 1);
	CHECK_ERR(exchange(&stats, &err), 0, err);
	rb_image_stats_clear(&stats);
	util_sha256(layer.data, layer.len, hex);
	snprintf(path, sizeof(path), "%s/images/spool/%s", dir, hex);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_INT(rb_pwrite_all(fd, "damaged", 7, 300000), 0);
	CHECK_INT(ftruncate(fd, (off_t)layer.len - 100000), 0);
	close(fd);
	CHECK_ERR(exchange(&stats, &err), 0, err);
	CHECK(stats.bytes_missing > 100000 && stats.bytes_missing < layer.len / 4);
	rb_image_stats_clear(&stats);
	forget();
}

/* The archive names digests that its files do not have: asked for again, then refused. */
static void wrong_digests_are_refused(void)
{
	_cleanup_buf_ struct rb_buf layer = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};

	util_layer(&layer, 20, 40000, 1);
	make_image(&layer, 1);
	archive.data[5000] ^= 1; /* in the layer's first file */
	fail_twice = true;
	CHECK_ERR(exchange(&stats, &err), -EBADMSG, err);
	CHECK(strstr(err.msg, "digest"));
	rb_image_stats_clear(&stats);
	forget();
}

/* One of two files came out wrong: it comes again, the other one does not. */
static void a_wrong_file_comes_again_alone(void)
{
	struct rb_buf layer[2] = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};
	size_t first;

	util_layer(&layer[0], 20, 40000, 1);
	util_layer(&layer[1], 60, 400000, 100);
	first = layer[0].len;
	make_image(layer, 2);
	rb_buf_free(&layer[0]);
	rb_buf_free(&layer[1]);
	damage_once = true;
	CHECK_ERR(exchange(&stats, &err), 0, err);
	CHECK_INT(round_number, 2);
	CHECK(stats.bytes_missing >= first && stats.bytes_missing < first * 3);
	CHECK_INT(stats.bytes_done, stats.bytes_total);
	rb_image_stats_clear(&stats);
	forget();
}

static void a_source_is_cancelled(void)
{
	_cleanup_buf_ struct rb_buf layer = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};

	util_layer(&layer, 60, 400000, 1);
	make_image(&layer, 1);
	cancel_source = true;
	CHECK_ERR(exchange(&stats, &err), -ECANCELED, err);
	rb_image_stats_clear(&stats);
	forget();
}

/* while the thread that looks for chunks does not look up: nobody else may wait for it */
static void a_target_is_cancelled(void)
{
	_cleanup_buf_ struct rb_buf layer = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};

	util_layer(&layer, 700, 400000, 1);
	make_image(&layer, 1);
	cancel_target = true;
	CHECK_ERR(exchange(&stats, &err), -ECANCELED, err);
	CHECK_HAS(err.msg, "cancelled");
	rb_image_stats_clear(&stats);
	forget();
}

/* a slow disk, for longer than a connection lives whose peer does not read */
static void a_slow_target_is_waited_for(void)
{
	_cleanup_buf_ struct rb_buf layer = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};

	util_layer(&layer, 700, 400000, 1);
	make_image(&layer, 1);
	slow_ms = 7500;
	CHECK_ERR(exchange(&stats, &err), 0, err);
	rb_image_stats_clear(&stats);
	forget();
}

/* after that nothing of it is believed, as of anything in the spool */
static void what_docker_takes_may_go(void)
{
	_cleanup_buf_ struct rb_buf layer = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};

	util_layer(&layer, 60, 400000, 1);
	make_image(&layer, 1);
	gives = true;
	CHECK_ERR(exchange(&stats, &err), 0, err);
	rb_image_stats_clear(&stats);
	gives = false;
	CHECK_ERR(exchange(&stats, &err), 0, err);
	CHECK_INT(stats.bytes_done, layer.len);
	CHECK(stats.bytes_missing > layer.len * 9 / 10);
	rb_image_stats_clear(&stats);
	forget();
}

/* --- peers that break the rules --- */

/* a target that answers what it was not asked */
static int answer_nonsense(struct rb_conn *conn)
{
	const struct rb_recipe_record record = { .kind = RB_RECIPE_WANT, .batch = 7 };
	struct rb_wait wait = within(50000);
	uint8_t bytes[RB_RECIPE_HEADER];
	const void *block;

	rb_recipe_encode_header(bytes, &record);
	PEER_NEED(rb_stream_write(conn, bytes, sizeof(bytes), &wait, &peer_err) == 0);
	while (rb_stream_read(conn, &block, &wait, &peer_err) > 0)
		;
	return 0;
}

static void a_target_that_answers_nonsense_is_left(void)
{
	_cleanup_buf_ struct rb_buf layer = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct peer peer;

	util_layer(&layer, 60, 400000, 1);
	make_image(&layer, 1);
	CHECK(peer_start(&peer, answer_nonsense));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_ERR(send_archive(conn, &stats, &err), -EPROTO, err);
	CHECK_HAS(err.msg, "was not asked");
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
	rb_image_stats_clear(&stats);
	forget();
}

/* @record: what a source says first, and what the target thinks of it */
static void check_source(const void *record, size_t len, const char *what)
{
	struct rb_wait wait = within(50000);
	struct rb_err err = {};
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct peer peer;
	const void *block;
	ssize_t n;

	fail_twice = true;
	CHECK(peer_start(&peer, take));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_ERR(rb_stream_write(conn, record, len, &wait, &err), 0, err);
	rb_stream_end(conn, &wait, NULL);
	while ((n = rb_stream_read(conn, &block, &wait, &err)) > 0)
		;
	CHECK_INT(n, -EPROTO);
	CHECK_HAS(err.msg, what);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
	forget();
}

static void sources_that_break_the_rules_are_told(void)
{
	static const uint8_t unasked[] = { 3, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 'x' };
	static const uint8_t late[] = { 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 2 };
	static const uint8_t answer[] = { 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t open[12 + 42] = { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 42, 1, [53] = 9 };

	check_source(unasked, sizeof(unasked), "not asked for");
	check_source(late, sizeof(late), "before its time");
	check_source(answer, sizeof(answer), "no question");
	check_source(open, sizeof(open), "too early");
	check_source("short", 5, "cut");
}

/* One that says fewer chunks than there are: the room for them is made by what it says. */
static void a_recipe_has_the_chunks_that_it_says(void)
{
	static const uint8_t counts[] = { 0, 1, 99, 101 };

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		uint8_t id[RB_DIGEST_BYTES] = { 7 };
		struct rb_item object = { .kind = RB_ITEM_OBJECT, .bytes = id, .size = 100000 };
		struct rb_item chunk = { .kind = RB_ITEM_CHUNK, .bytes = id, .len = 1000 };
		struct rb_recipe_record record = { .kind = RB_RECIPE_ITEMS, .count = counts[i] };
		uint8_t bytes[RB_RECIPE_HEADER + RB_ITEM_OBJECT_BYTES + 100 * RB_ITEM_CHUNK_BYTES];
		size_t len = RB_RECIPE_HEADER;

		len += rb_item_encode(bytes + len, &object);
		for (int j = 0; j < 100; j++) {
			id[0] = (uint8_t)j;
			len += rb_item_encode(bytes + len, &chunk);
		}
		record.raw_len = (uint32_t)(len - RB_RECIPE_HEADER);
		rb_recipe_encode_header(bytes, &record);
		check_source(bytes, len, counts[i] < 100 ? "more chunks than" : "fewer chunks");
	}
}

/* --- memory --- */

static void memory_does_not_grow(void)
{
	_cleanup_buf_ struct rb_buf layer = {};
	struct rb_image_stats stats = {};
	struct rb_err err = {};
	struct rusage usage;
	long before;

	util_layer(&layer, 1400, 400000, 1);
	make_image(&layer, 1);
	getrusage(RUSAGE_SELF, &usage);
	before = usage.ru_maxrss;
	CHECK_ERR(exchange(&stats, &err), 0, err);
	getrusage(RUSAGE_SELF, &usage);
	printf("# source: %ld KiB more\n", usage.ru_maxrss - before);
	CHECK(usage.ru_maxrss - before < 100 * 1024);
	rb_image_stats_clear(&stats);
	forget();
}

int main(void)
{
	char command[100];

	if (!mkdtemp(dir) || !certs_make())
		return 1;
	TAP_RUN(all_travels_where_nothing_is);
	TAP_RUN(nothing_travels_twice);
	TAP_RUN(copies_travel_once);
	TAP_RUN(layers_of_the_target_are_used);
	TAP_RUN(what_the_index_says_wrongly_is_sent);
	TAP_RUN(what_was_cut_goes_on);
	TAP_RUN(what_was_cut_goes_on_although_somebody_has_it);
	TAP_RUN(a_stale_spool_mends_itself);
	TAP_RUN(wrong_digests_are_refused);
	TAP_RUN(a_wrong_file_comes_again_alone);
	TAP_RUN(a_source_is_cancelled);
	TAP_RUN(a_target_is_cancelled);
	TAP_RUN(a_slow_target_is_waited_for);
	TAP_RUN(what_docker_takes_may_go);
	TAP_RUN(a_target_that_answers_nonsense_is_left);
	TAP_RUN(sources_that_break_the_rules_are_told);
	TAP_RUN(a_recipe_has_the_chunks_that_it_says);
	TAP_RUN(memory_does_not_grow);
	certs_remove();
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) ? 1 : tap_done();
}
