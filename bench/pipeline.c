// SPDX-License-Identifier: Apache-2.0
/*
 * pipeline.c - what an image's layers cost on their way, without Docker: processor time and memory
 *
 * usage: pipeline [MIB [RATE_MB_S]]
 *
 * An archive with layers of MIB (default 1024) of data that compresses 2:1 goes from this process
 * to a second one: cut, hashed, packed, sent over TLS on the loopback; checked, written to disk and
 * hashed again there. The target has nothing of it. With RATE_MB_S the connection takes no more
 * than that, so that it is worth while to pack. Prints JSON: MB/s for each second of processor time
 * of either side ("per core"), and the most memory that each had.
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

#define LAYER_MIB 256
#define FILE_MAX  ((size_t)4 << 20)
#define BLOCK	  ((size_t)256 << 10)

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

static int take(struct rb_conn *conn)
{
	struct rb_gather_options options = { .layers = layers };
	struct rb_incoming incoming = { .options = &options, .last = true };
	struct rb_wait wait = { .cancel_fd = -EBADF };
	struct rb_gather *gather = NULL;
	struct rb_spool spool;
	int r;

	alarm(0); /* of peer.h */
	PEER_NEED(rb_spool_open(&spool, dir, &peer_err) == 0);
	options.spool = &spool;
	r = rb_incoming_run(&incoming, conn, &gather, &wait, &peer_err);
	PEER_NEED(r == 0);
	rb_gather_free(gather);
	rb_spool_close(&spool);
	return 0;
}

/* Return: 0, or negative errno */
static int run(int archive_fd, long rate_mb_s, struct rb_image_stats *stats, struct rb_err *err)
{
	struct rb_image_send_options options = { .stats = stats };
	struct rb_outgoing outgoing = {
		.layers = layers, .read = read_archive, .arg = &archive_fd, .options = &options
	};
	struct rb_wait wait = { .cancel_fd = -EBADF };
	uint64_t rate = (uint64_t)rate_mb_s * 1000000;
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

static json_t *side(double mb, const struct rusage *use)
{
	double cpu_s = (double)(use->ru_utime.tv_sec + use->ru_stime.tv_sec) +
		       (double)(use->ru_utime.tv_usec + use->ru_stime.tv_usec) / 1e6;

	return json_pack("{s:f, s:f, s:f}", "cpu_s", round(cpu_s * 1000) / 1000, "mb_s_per_core",
			 round(mb / cpu_s), "peak_mib", round((double)use->ru_maxrss / 1024));
}

/* in a process of its own: what making the archive took is not counted */
static int measure(int archive_fd, long mib, long rate_mb_s)
{
	_cleanup_json_ json_t *out = NULL;
	struct rb_image_stats stats = {};
	struct rusage source, target;
	struct rb_err err = {};
	int64_t began_us = rb_now_us();
	double mb;
	int r = run(archive_fd, rate_mb_s, &stats, &err);

	if (r < 0) {
		fprintf(stderr, "pipeline: %s\n", err.msg[0] ? err.msg : strerror(-r));
		return 1;
	}
	getrusage(RUSAGE_SELF, &source);
	getrusage(RUSAGE_CHILDREN, &target);
	mb = (double)stats.bytes_done / 1e6;
	out = json_pack("{s:I, s:I, s:f, s:f, s:f, s:o, s:o}", "mib", (json_int_t)mib, "rate_mb_s",
			(json_int_t)rate_mb_s, "wall_s", (double)(rb_now_us() - began_us) / 1e6,
			"bytes", (double)stats.bytes_done, "packed_to",
			(double)stats.bytes_packed / (double)stats.bytes_done, "source",
			side(mb, &source), "target", side(mb, &target));
	rb_image_stats_clear(&stats);
	json_dumpf(out, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
	printf("\n");
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	long mib = argc > 1 ? atol(argv[1]) : 1024, rate = argc > 2 ? atol(argv[2]) : 0;
	int fd, status = 1;
	pid_t pid;

	if (mib < 1 || rate < 0 || argc > 3) {
		fprintf(stderr, "usage: pipeline [MIB [RATE_MB_S]]\n");
		return 2;
	}
	if (!certs_make() || !mkdtemp(dir))
		return 1;
	fd = make_archive((size_t)mib);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(measure(fd, mib, rate));
	if (pid > 0)
		waitpid(pid, &status, 0);
	certs_remove();
	rb_rm_rf(dir, NULL);
	return status ? 1 : 0;
}
