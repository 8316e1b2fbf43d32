// SPDX-License-Identifier: Apache-2.0
/*
 * test_link.c - a dead link is noticed within some 6 s, a peer that only stands still is not taken
 * for one
 *
 * Slow by nature: what it looks at are the kernel's timers. The cases run side by side.
 */
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "cleanup.h"
#include "peer.h"
#include "sock.h"
#include "tap.h"

/* longer than the kernel would let it, see sock.c */
#define STALL_MS (RB_SOCK_USER_TIMEOUT_MS + 3000)

/* keepalive and user timeout both come to 6 s; timers of the kernel run late rather than early */
#define DEAD_MIN_MS 4000
#define DEAD_MAX_MS 15000

/* here the probes come up to 6 s apart, and the first without answer starts the clock */
#define DEAD_STALLED_MAX_MS 20000

/* more than a socket takes up: the sender waits in its write */
#define FULL_BYTES ((size_t)32 << 20)

/* less than that: it waits for the answer, with the data in its socket */
#define HELD_BYTES ((size_t)2 << 20)

static int stand_still(struct rb_conn *conn)
{
	struct rb_wait wait = within(50000);

	rb_wait_ms(STALL_MS, NULL, NULL);
	PEER_NEED(rb_stream_drain(conn, &wait, &peer_err) == 0);
	PEER_NEED(rb_conn_answer(conn, NULL, &wait, &peer_err) == 0);
	return 0;
}

static void stall(size_t bytes)
{
	_cleanup_free_ uint8_t *data = calloc(1, bytes);
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;

	CHECK(peer_start(&peer, stand_still));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_ERR(rb_stream_write(conn, data, bytes, &wait, &err), 0, err);
	CHECK_ERR(rb_stream_end(conn, &wait, &err), 0, err);
	CHECK_ERR(rb_conn_reply(conn, NULL, &wait, &err), 0, err);
	/* and the link is watched as closely as before */
	CHECK_INT(conn->user_timeout_ms, RB_SOCK_USER_TIMEOUT_MS);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

static void test_stalled_peer_while_we_write(void)
{
	stall(FULL_BYTES);
}

static void test_stalled_peer_while_we_wait_for_its_answer(void)
{
	stall(HELD_BYTES);
}

static int set_loopback(bool up)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "lo" };

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		return -errno;
	if (up)
		request.ifr_flags |= IFF_UP;
	else
		request.ifr_flags &= (short)~IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

/* does nothing until the test is over */
static int keep_quiet(struct rb_conn *conn)
{
	(void)conn;
	pause();
	return 0;
}

/* cut the link to the peer, in a network namespace of our own */
static void cut(bool sending)
{
	struct rb_wait wait = within(30000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	int64_t begin, took;
	int r;

	CHECK_INT(set_loopback(true), 0);
	CHECK(peer_start(&peer, keep_quiet));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_INT(set_loopback(false), 0);
	begin = rb_now_ms();
	r = sending ? rb_conn_call(conn, "ping", NULL, &wait, &err) : 0;
	CHECK_ERR(r, 0, err);
	r = rb_conn_reply(conn, NULL, &wait, &err);
	took = rb_now_ms() - begin;
	printf("# after %lld ms: %s\n", (long long)took, err.msg);
	kill(peer.pid, SIGKILL);
	CHECK_ERR(r, -ECONNRESET, err);
	CHECK_INT(err.code, RB_E_PEER);
	CHECK_HAS(err.msg, "the connection to h2 was lost: ");
	CHECK(took >= DEAD_MIN_MS);
	CHECK(took <= DEAD_MAX_MS);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 1000 + SIGKILL);
}

static void test_dead_link_while_nobody_sends(void)
{
	cut(false);
}

static void test_dead_link_while_we_send(void)
{
	cut(true);
}

/* the link dies while its peer stands still, and we have data for it */
static void test_dead_link_to_a_stalled_peer(void)
{
	_cleanup_free_ uint8_t *data = calloc(1, FULL_BYTES);
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	int64_t begin, took;
	pid_t cutter;
	int r;

	CHECK_INT(set_loopback(true), 0);
	CHECK(peer_start(&peer, keep_quiet));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	begin = rb_now_ms();
	cutter = fork();
	if (cutter == 0) {
		rb_wait_ms(STALL_MS, NULL, NULL);
		_exit(set_loopback(false) < 0);
	}
	r = rb_stream_write(conn, data, FULL_BYTES, &wait, &err);
	took = rb_now_ms() - begin;
	printf("# %lld ms after the cut: %s\n", (long long)took - STALL_MS, err.msg);
	kill(peer.pid, SIGKILL);
	waitpid(cutter, NULL, 0);
	CHECK_ERR(r, -ECONNRESET, err);
	CHECK_INT(err.code, RB_E_PEER);
	CHECK(took >= STALL_MS);
	CHECK(took <= STALL_MS + DEAD_STALLED_MAX_MS);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 1000 + SIGKILL);
}

static const struct {
	const char *name;
	void (*fn)(void);
	bool own_network;
} cases[] = {
	{ "test_stalled_peer_while_we_write", test_stalled_peer_while_we_write, false },
	{ "test_stalled_peer_while_we_wait_for_its_answer",
	  test_stalled_peer_while_we_wait_for_its_answer, false },
	{ "test_dead_link_while_nobody_sends", test_dead_link_while_nobody_sends, true },
	{ "test_dead_link_while_we_send", test_dead_link_while_we_send, true },
	{ "test_dead_link_to_a_stalled_peer", test_dead_link_to_a_stalled_peer, true },
};

#define EXIT_SKIP 77

static pid_t start_case(size_t i)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid != 0)
		return pid;
	alarm(60);
	/* a user namespace gives the right to what root has anyway */
	if (cases[i].own_network && unshare(CLONE_NEWNET) < 0 &&
	    unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		_exit(EXIT_SKIP);
	tap_ok = true;
	cases[i].fn();
	fflush(NULL);
	_exit(tap_ok ? 0 : 1);
}

int main(void)
{
	pid_t pids[ARRAY_SIZE(cases)];

	if (!certs_make()) {
		printf("Bail out! cannot make certificates\n");
		return 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		pids[i] = start_case(i);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int status = -1;

		waitpid(pids[i], &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP) {
			printf("ok %d - %s # SKIP a network namespace is not allowed here\n",
			       ++tap_number, cases[i].name);
			continue;
		}
		printf("%sok %d - %s\n", status ? "not " : "", ++tap_number, cases[i].name);
		tap_failures += status != 0;
	}
	certs_remove();
	return tap_done();
}
