// SPDX-License-Identifier: Apache-2.0
/*
 * pipeline.c - what an image's layers cost on their way, without Docker: processor time and memory
 *
 * usage: pipeline [--check] [MIB [RATE_MB_S]]
 *
 * An archive with layers of MIB (default 1024) of data that compresses 2:1 goes from this process
 * to a second one: cut, hashed, packed, sent over TLS on the loopback; checked, written to disk and
 * hashed again there. The target has nothing of it. Three times: as it is; packed by zstd's level
 * 2; and as the transfer itself decides when its socket takes no more than RATE_MB_S (default 60).
 * Prints JSON: MB/s for each second of processor time of either side ("per core"), and the most
 * memory that each had.
 *
 * --check: exit status 3 when a side is below 300 MB/s as it is or 120 packed, or above 200 MiB; or
 *          when the transfer itself has packed less than there was time for
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "image/image_util.h"
#include "wire/peer.h"

#include "cleanup.h"
#include "gather.h"
#include "image.h"
#include "incoming.h"
#include "json.h"
#include "outgoing.h"
#include "spool.h"

#define LAYER_MIB  256
#define FILE_MAX   ((size_t)4 << 20)
#define BLOCK	   ((size_t)256 << 10)
#define MEMORY_MIB 200.0

static char dir[] = "/var/tmp/reberth-pipeline.XXXXXX";
static json_t *layers;

/* --- the archive, a file --- */

static la_ssize_t to_file(struct archive *a, void *arg, const void *data, size_t len)
{
	(void)a;
	return rb_write_all(*(int *)arg, data, len) < 0 ? -1 : (la_ssize_t)len;
}

/* sizes as in a system's folders: many small files, some that are large */
static size_t file_size(uint64_t seed)
{
	uint64_t mixed = (seed + 1) * 0x9e3779b97f4a7c15ULL;

	return (size_t)exp2(8 + (double)(mixed >> 40) / (1 << 24) * 14) + (mixed & 0xff);
}

static void add_layer(struct archive *out, size_t mib, uint64_t *seed)
{
	_cleanup_free_ uint8_t *data = malloc(FILE_MAX + 256);
	_cleanup_buf_ struct rb_buf layer = {};
	struct archive *a = util_tar(&layer);
	char hex[RB_DIGEST_DIGITS + 1], path[128];

	while (layer.len < mib << 20) {
		size_t len = file_size(*seed);

		snprintf(path, sizeof(path), "usr/lib/%d/file-%llu", (int)(*seed % 50),
			 (unsigned long long)*seed);
		util_fill(data, len, ++*seed);
		util_tar_file(a, path, data, len);
	}
	util_tar_end(a);
	util_sha256(layer.data, layer.len, hex);
	snprintf(path, sizeof(path), "blobs/sha256/%s", hex);
	util_tar_file(out, path, layer.data, layer.len);
	json_array_append_new(layers, json_sprintf("sha256:%s", hex));
}

static int make_archive(size_t mib)
{
	struct archive *a = archive_write_new();
	char path[256];
	uint64_t seed = 1;
	int fd;

	snprintf(path, sizeof(path), "%s/archive", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	layers = json_array();
	archive_write_set_format_pax_restricted(a);
	archive_write_set_bytes_per_block(a, 0);
	archive_write_open(a, &fd, NULL, to_file, NULL);
	for (size_t at = 0; at < mib; at += LAYER_MIB)
		add_layer(a, mib - at < LAYER_MIB ? mib - at : LAYER_MIB, &seed);
	util_tar_file(a, "manifest.json", "[{}]", 4);
	util_tar_end(a);
	return fd;
}

static ssize_t read_archive(void *arg, const void **ret_block, const struct rb_wait *wait,
			    struct rb_err *err)
{
	static uint8_t block[BLOCK];
	ssize_t n = read(*(int *)arg, block, sizeof(block));

	(void)wait;
	*ret_block = block;
	return n < 0 ? rb_err_set(err, -errno, "read the archive") : n;
}

/* --- the two sides --- */

struct way {
	const char *name;
	int level; /* of struct rb_outgoing */
	long rate_mb_s;
	double least_mb_s;     /* that --check wants, per core */
	double most_packed_to; /* likewise, of a byte */
};

static int take(struct rb_conn *conn)
{
	struct rb_gather_options options = { .layers = layers };
	struct rb_incoming incoming = { .options = &options, .last = true };
	struct rb_wait wait = { .cancel_fd = -EBADF };
	struct rb_gather *gather = NULL;
	struct rb_spool spool;
	int r;

	alarm(0); /* of peer.h */
	PEER_NEED(rb_spool_open(&spool, dir, NULL, &peer_err) == 0);
	options.spool = &spool;
	r = rb_incoming_run(&incoming, conn, &gather, &wait, &peer_err);
	PEER_NEED(r == 0);
	rb_gather_free(gather);
	rb_spool_close(&spool);
	return 0;
}

/* Return: 0, or negative errno */
static int run(int archive_fd, const struct way *way, struct rb_image_stats *stats,
	       struct rb_err *err)
{
	struct rb_image_send_options options = { .stats = stats };
	struct rb_outgoing outgoing = { .layers = layers,
					.read = read_archive,
					.arg = &archive_fd,
					.level = way->level,
					.options = &options };
	struct rb_wait wait = { .cancel_fd = -EBADF };
	uint64_t rate = (uint64_t)way->rate_mb_s * 1000000;
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct peer peer;
	int r, end;

	lseek(archive_fd, 0, SEEK_SET);
	if (!peer_start(&peer, take))
		return -ECHILD;
	r = join(&peer, &tls, &conn, err);
	if (r == 0 && rate)
		setsockopt(rb_conn_fd(conn), SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate));
	if (r == 0)
		r = rb_outgoing_run(&outgoing, conn, &wait, err);
	leave(tls, conn);
	end = peer_end(&peer);
	return r ? r : end ? -EIO : 0;
}

static json_t *side(double mb, const struct rusage *use, double least_mb_s, bool *held)
{
	double cpu_s = (double)(use->ru_utime.tv_sec + use->ru_stime.tv_sec) +
		       (double)(use->ru_utime.tv_usec + use->ru_stime.tv_usec) / 1e6;
	double mib = (double)use->ru_maxrss / 1024;

	*held &= mb / cpu_s >= least_mb_s && mib <= MEMORY_MIB;
	return json_pack("{s:f, s:f, s:f}", "cpu_s", cpu_s, "mb_s_per_core", round(mb / cpu_s),
			 "peak_mib", round(mib));
}

/* in a process of its own, for its time and memory. Return: exit status */
static int measure(int archive_fd, const struct way *way)
{
	_cleanup_json_ json_t *out = NULL;
	struct rb_image_stats stats = {};
	struct rusage source, target;
	struct rb_err err = {};
	int64_t began_us = rb_now_us();
	bool held = true;
	double mb;
	int r = run(archive_fd, way, &stats, &err);

	if (r < 0) {
		fprintf(stderr, "pipeline: %s\n", err.msg[0] ? err.msg : strerror(-r));
		return 1;
	}
	getrusage(RUSAGE_SELF, &source);
	getrusage(RUSAGE_CHILDREN, &target);
	mb = (double)stats.bytes_done / 1e6;
	out = json_pack("{s:s, s:I, s:f, s:f, s:f}", "way", way->name, "rate_mb_s",
			(json_int_t)way->rate_mb_s, "mb", mb, "wall_s",
			(double)(rb_now_us() - began_us) / 1e6, "packed_to",
			(double)stats.bytes_packed / (double)stats.bytes_done);
	held &= stats.bytes_packed <= (uint64_t)(way->most_packed_to * (double)stats.bytes_done);
	json_object_set_new(out, "source", side(mb, &source, way->least_mb_s, &held));
	json_object_set_new(out, "target", side(mb, &target, way->least_mb_s, &held));
	rb_image_stats_clear(&stats);
	json_dumpf(out, stdout, JSON_COMPACT | JSON_REAL_PRECISION(4));
	printf("\n");
	fflush(stdout);
	return held ? 0 : 3;
}

static int measure_all(long mib, long rate_mb_s)
{
	const struct way ways[] = {
		{ .name = "plain", .level = 1, .least_mb_s = 300, .most_packed_to = 1.01 },
		{ .name = "zstd", .level = 2, .least_mb_s = 120, .most_packed_to = 0.52 },
		/* while the link is waited for the processor is free: it may take what there is */
		{ .name = "auto", .rate_mb_s = rate_mb_s, .most_packed_to = 0.6 },
	};
	int fd = make_archive((size_t)mib), result = 0;
	char spool[256];

	for (size_t i = 0; i < ARRAY_SIZE(ways) && result != 1; i++) {
		int status = 1 << 8;
		pid_t pid;

		/* what came the last time would not be sent again */
		snprintf(spool, sizeof(spool), "%s/images", dir);
		rb_rm_rf(spool, NULL);
		fflush(NULL);
		pid = fork();
		if (pid == 0)
			_exit(measure(fd, &ways[i]));
		if (pid > 0)
			waitpid(pid, &status, 0);
		if (status)
			result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	}
	close(fd);
	return result;
}

int main(int argc, char **argv)
{
	bool check = argc > 1 && strcmp(argv[1], "--check") == 0;
	int first = check ? 2 : 1, result;
	long mib = argc > first ? atol(argv[first]) : 1024;
	long rate = argc > first + 1 ? atol(argv[first + 1]) : 60;

	if (mib < 1 || rate < 1 || argc > first + 2) {
		fprintf(stderr, "usage: pipeline [--check] [MIB [RATE_MB_S]]\n");
		return 2;
	}
	if (!certs_make() || !mkdtemp(dir))
		return 1;
	result = measure_all(mib, rate);
	certs_remove();
	rb_rm_rf(dir, NULL);
	return result == 3 && !check ? 0 : result;
}
