// SPDX-License-Identifier: Apache-2.0
/*
 * test_stream.c - streams arrive whole, in order, and fast
 */
#include <poll.h>
#include <stdint.h>

#include "cleanup.h"
#include "peer.h"
#include "tap.h"

#define STREAM_BYTES ((size_t)96 << 20)
#define SPEED_BYTES  ((size_t)2 << 30)
#define MIX_BYTES    ((size_t)1 << 20)

/* What byte number @at of a test's stream is: blocks that are swapped, lost or doubled show. */
static uint64_t word_at(size_t index)
{
	uint64_t x = index * 0x9e3779b97f4a7c15u + 1;

	x ^= x >> 31;
	return x * 0xbf58476d1ce4e5b9u;
}

static void fill(uint8_t *out, size_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(word_at((at + i) / 8) >> (at + i) % 8 * 8);
}

/* Return: index of the first byte that is not what it should be, or @len */
static size_t first_wrong(const uint8_t *data, size_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] != (uint8_t)(word_at((at + i) / 8) >> (at + i) % 8 * 8))
			return i;
	return len;
}

/* odd sizes, small and large, around all the limits */
static const size_t sizes[] = { 1,
				15,
				4096,
				RB_TLS_RECORD - RB_FRAME_HEADER - 1,
				RB_TLS_RECORD - RB_FRAME_HEADER,
				RB_TLS_RECORD - RB_FRAME_HEADER + 1,
				RB_TLS_RECORD,
				3 * RB_TLS_RECORD - RB_FRAME_HEADER,
				RB_FRAME_DATA_MAX - 1,
				RB_FRAME_DATA_MAX,
				RB_FRAME_DATA_MAX + 1,
				MIX_BYTES };

static int send_mixed(struct rb_conn *conn, size_t total, struct rb_err *err)
{
	static uint8_t block[MIX_BYTES];
	struct rb_wait wait = within(60000);
	size_t at = 0;

	for (size_t turn = 0; at < total; turn++) {
		size_t len = sizes[turn % ARRAY_SIZE(sizes)];
		int r;

		if (len > total - at)
			len = total - at;
		fill(block, at, len);
		r = rb_stream_write(conn, block, len, &wait, err);
		if (r < 0)
			return r;
		at += len;
	}
	return rb_stream_end(conn, &wait, err);
}

/* Return: length of the stream, or negative errno; -EBADMSG when a byte is wrong */
static ssize_t receive_mixed(struct rb_conn *conn, struct rb_err *err)
{
	struct rb_wait wait = within(60000);
	size_t at = 0;

	for (;;) {
		const void *block;
		ssize_t n = rb_stream_read(conn, &block, &wait, err);

		if (n <= 0)
			return n < 0 ? n : (ssize_t)at;
		if (first_wrong(block, at, (size_t)n) != (size_t)n) {
			fprintf(stderr, "# wrong byte at %zu\n",
				at + first_wrong(block, at, (size_t)n));
			return -EBADMSG;
		}
		at += (size_t)n;
	}
}

/* takes a stream, says so, and sends it back */
static int serve_both_ways(struct rb_conn *conn)
{
	struct rb_wait wait = within(60000);

	PEER_NEED(receive_mixed(conn, &peer_err) == (ssize_t)STREAM_BYTES);
	PEER_NEED(rb_conn_answer(conn, NULL, &wait, &peer_err) == 0);
	PEER_NEED(send_mixed(conn, STREAM_BYTES, &peer_err) == 0);
	return 0;
}

static void test_large_streams_both_ways(void)
{
	struct rb_wait wait = within(60000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;

	CHECK(peer_start(&peer, serve_both_ways));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_ERR(send_mixed(conn, STREAM_BYTES, &err), 0, err);
	CHECK_ERR(rb_conn_reply(conn, NULL, &wait, &err), 0, err);
	CHECK_ERR(receive_mixed(conn, &err), STREAM_BYTES, err);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

/* a key for every few records instead of every 2^24 */
static void test_stream_under_many_keys(void)
{
	struct rb_wait wait = within(60000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;

	CHECK(peer_start(&peer, serve_both_ways));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	conn->key_records_max = 20;
	CHECK_ERR(send_mixed(conn, STREAM_BYTES, &err), 0, err);
	CHECK(conn->key_records <= 20);
	CHECK_ERR(rb_conn_reply(conn, NULL, &wait, &err), 0, err);
	CHECK_ERR(receive_mixed(conn, &err), STREAM_BYTES, err);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

static int end_at_once(struct rb_conn *conn)
{
	struct rb_wait wait = within(50000);

	/* writing nothing sends nothing */
	PEER_NEED(rb_stream_write(conn, NULL, 0, &wait, &peer_err) == 0);
	PEER_NEED(rb_stream_end(conn, &wait, &peer_err) == 0);
	return 0;
}

static void test_empty_stream(void)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	const void *block;

	CHECK(peer_start(&peer, end_at_once));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_ERR(rb_stream_read(conn, &block, &wait, &err), 0, err);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

static int send_three(struct rb_conn *conn)
{
	struct rb_wait wait = within(50000);

	for (int i = 0; i < 3; i++)
		PEER_NEED(rb_stream_write(conn, "x", 1, &wait, &peer_err) == 0);
	PEER_NEED(rb_stream_end(conn, &wait, &peer_err) == 0);
	return 0;
}

static void count(void *arg)
{
	(*(int *)arg)++;
}

static void test_who_waits_for_a_long_stream_hears_of_it(void)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	const void *block;
	int calls = 0;

	CHECK(peer_start(&peer, send_three));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	rb_conn_on_stream(conn, count, &calls);
	CHECK_ERR(rb_stream_read(conn, &block, &wait, &err), 1, err);
	/* however slow this machine is */
	calls = 0;
	conn->on_stream_ms -= 60000;
	CHECK_ERR(rb_stream_read(conn, &block, &wait, &err), 1, err);
	CHECK_INT(calls, 1);
	conn->on_stream_ms += 60000;
	CHECK_ERR(rb_stream_read(conn, &block, &wait, &err), 1, err);
	CHECK_INT(calls, 1);
	CHECK_ERR(rb_stream_read(conn, &block, &wait, &err), 0, err);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

/* fails in the middle, throws the rest away, answers, and goes on */
static int fail_then_drain(struct rb_conn *conn)
{
	const struct rb_err what = { .code = RB_E_NO_SPACE, .errnum = ENOSPC, .msg = "full" };
	struct rb_wait wait = within(60000);
	const void *block;

	PEER_NEED(rb_stream_read(conn, &block, &wait, &peer_err) > 0);
	PEER_NEED(rb_stream_drain(conn, &wait, &peer_err) == 0);
	PEER_NEED(rb_conn_answer_error(conn, &what, &wait, &peer_err) == 0);
	PEER_NEED(receive_mixed(conn, &peer_err) == 100000);
	PEER_NEED(rb_conn_answer(conn, NULL, &wait, &peer_err) == 0);
	return 0;
}

static void test_drain(void)
{
	struct rb_wait wait = within(60000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;

	CHECK(peer_start(&peer, fail_then_drain));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_ERR(send_mixed(conn, (size_t)16 << 20, &err), 0, err);
	CHECK_INT(rb_conn_reply(conn, NULL, &wait, &err), -ENOSPC);
	CHECK_STR(err.msg, "h2: full");
	CHECK_ERR(send_mixed(conn, 100000, &err), 0, err);
	CHECK_ERR(rb_conn_reply(conn, NULL, &wait, &err), 0, err);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

/* answers before it drains; the sender looks for that between its writes */
static int fail_early(struct rb_conn *conn)
{
	const struct rb_err what = { .code = RB_E_NO_SPACE, .errnum = ENOSPC, .msg = "full" };
	struct rb_wait wait = within(60000);
	const void *block;

	PEER_NEED(rb_stream_read(conn, &block, &wait, &peer_err) > 0);
	PEER_NEED(rb_conn_answer_error(conn, &what, &wait, &peer_err) == 0);
	PEER_NEED(rb_stream_drain(conn, &wait, &peer_err) == 0);
	return 0;
}

static void test_sender_can_see_an_early_answer(void)
{
	static uint8_t block[RB_FRAME_DATA_MAX];
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;

	CHECK(peer_start(&peer, fail_early));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	do
		CHECK_ERR(rb_stream_write(conn, block, sizeof(block), &wait, &err), 0, err);
	while (!rb_conn_readable(conn));
	CHECK_ERR(rb_stream_end(conn, &wait, &err), 0, err);
	CHECK_INT(rb_conn_reply(conn, NULL, &wait, &err), -ENOSPC);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

/* a sender that fails in the middle says so in the stream */
static int fail_sending(struct rb_conn *conn)
{
	const struct rb_err what = { .code = RB_E_CRIU, .errnum = EIO, .msg = "dump broke" };
	struct rb_wait wait = within(50000);

	PEER_NEED(rb_stream_write(conn, "abc", 3, &wait, &peer_err) == 0);
	PEER_NEED(rb_conn_answer_error(conn, &what, &wait, &peer_err) == 0);
	PEER_NEED(rb_conn_answer(conn, NULL, &wait, &peer_err) == 0);
	return 0;
}

static void test_error_inside_a_stream(void)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	const void *block;

	CHECK(peer_start(&peer, fail_sending));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_ERR(rb_stream_read(conn, &block, &wait, &err), 3, err);
	CHECK(memcmp(block, "abc", 3) == 0);
	CHECK_INT(rb_stream_read(conn, &block, &wait, &err), -EIO);
	CHECK_INT(err.code, RB_E_CRIU);
	CHECK_STR(err.msg, "h2: dump broke");
	/* a REPLY belongs into no stream */
	CHECK_INT(rb_stream_read(conn, &block, &wait, &err), -EPROTO);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

static int stop_short(struct rb_conn *conn)
{
	struct rb_wait wait = within(50000);

	PEER_NEED(rb_stream_write(conn, "abc", 3, &wait, &peer_err) == 0);
	return 0;
}

/* the end of the connection is not the end of the stream */
static void test_stream_without_end(void)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	const void *block;

	CHECK(peer_start(&peer, stop_short));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_ERR(rb_stream_read(conn, &block, &wait, &err), 3, err);
	CHECK_INT(rb_stream_read(conn, &block, &wait, &err), -ECONNRESET);
	CHECK_INT(err.code, RB_E_PEER);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

/* a stream that never lets the receiver wait is cancelled all the same */
static int serve_for_ever(struct rb_conn *conn)
{
	static uint8_t block[RB_FRAME_DATA_MAX];
	struct rb_wait wait = within(60000);
	int r = 0;

	while (r == 0)
		r = rb_stream_write(conn, block, sizeof(block), &wait, &peer_err);
	PEER_NEED(r == -ECONNRESET);
	return 0;
}

static void test_cancel_of_a_busy_stream(void)
{
	struct rb_wait wait;
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	const void *block;
	int cancel[2];
	ssize_t n = 1;

	CHECK(peer_start(&peer, serve_for_ever));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_INT(pipe(cancel), 0);
	wait = within(500);
	while (n > 0)
		n = rb_stream_read(conn, &block, &wait, &err);
	CHECK_ERR(n, -ETIMEDOUT, err);
	wait = (struct rb_wait){ .cancel_fd = cancel[0] };
	for (int i = 0; i < 10; i++)
		CHECK(rb_stream_read(conn, &block, &wait, &err) > 0);
	CHECK_INT(write(cancel[1], "", 1), 1);
	CHECK_INT(rb_stream_read(conn, &block, &wait, &err), -ECANCELED);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
	close(cancel[0]);
	close(cancel[1]);
}

static int swallow(struct rb_conn *conn)
{
	struct rb_wait wait = within(60000);

	PEER_NEED(rb_stream_drain(conn, &wait, &peer_err) == 0);
	PEER_NEED(rb_conn_answer(conn, NULL, &wait, &peer_err) == 0);
	return 0;
}

/* Prints the speed; how fast is fast depends on the machine and the build, so it only has to be
 * more than a slow disk. */
static void test_speed(void)
{
	static uint8_t block[MIX_BYTES];
	size_t total = getenv("REBERTH_TEST_SPEED") ? SPEED_BYTES : STREAM_BYTES;
	struct rb_wait wait = within(60000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	int64_t begin_us, took_us;

	CHECK(peer_start(&peer, swallow));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	begin_us = rb_now_us();
	for (size_t at = 0; at < total; at += sizeof(block))
		CHECK_ERR(rb_stream_write(conn, block, sizeof(block), &wait, &err), 0, err);
	CHECK_ERR(rb_stream_end(conn, &wait, &err), 0, err);
	CHECK_ERR(rb_conn_reply(conn, NULL, &wait, &err), 0, err);
	took_us = rb_now_us() - begin_us;
	printf("# %zu MiB over the loopback: %.0f MB/s, %s\n", total >> 20,
	       (double)total / (double)took_us, SSL_get_cipher_name(conn->ssl));
	CHECK((double)total / (double)took_us > 20);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

int main(void)
{
	if (!certs_make()) {
		printf("Bail out! cannot make certificates\n");
		return 1;
	}
	TAP_RUN(test_large_streams_both_ways);
	TAP_RUN(test_stream_under_many_keys);
	TAP_RUN(test_empty_stream);
	TAP_RUN(test_who_waits_for_a_long_stream_hears_of_it);
	TAP_RUN(test_drain);
	TAP_RUN(test_sender_can_see_an_early_answer);
	TAP_RUN(test_error_inside_a_stream);
	TAP_RUN(test_stream_without_end);
	TAP_RUN(test_cancel_of_a_busy_stream);
	TAP_RUN(test_speed);
	certs_remove();
	return tap_done();
}
