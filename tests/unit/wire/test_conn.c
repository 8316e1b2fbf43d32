// SPDX-License-Identifier: Apache-2.0
/*
 * test_conn.c - greeting, calls and answers, and all the ways in which a connection ends
 */
#include <poll.h>
#include <stdint.h>

#include "cleanup.h"
#include "json.h"
#include "peer.h"
#include "proc.h"
#include "tap.h"

/* --- greeting and calls --- */

/* answers "add" with the sum, "fail" with an error, and ends well when the test hangs up */
static int serve_calls(struct rb_conn *conn)
{
	struct rb_wait wait = within(50000);
	const struct rb_err what = { .code = RB_E_NO_SPACE,
				     .errnum = ENOSPC,
				     .stage = "images",
				     .msg = "the disk is full" };

	PEER_NEED(strcmp(rb_conn_peer(conn), "h1") == 0);
	for (;;) {
		_cleanup_json_ json_t *args = NULL, *body = NULL;
		const char *verb;
		int r = rb_conn_next_call(conn, &verb, &args, &wait, &peer_err);

		PEER_NEED(r >= 0);
		if (r == 0)
			return 0;
		if (strcmp(verb, "add") == 0) {
			body = json_pack("{s:I}", "sum",
					 rb_json_int(args, "a", 0) + rb_json_int(args, "b", 0));
			PEER_NEED(rb_conn_answer(conn, body, &wait, &peer_err) == 0);
		} else if (strcmp(verb, "nothing") == 0) {
			PEER_NEED(rb_conn_answer(conn, NULL, &wait, &peer_err) == 0);
		} else if (strcmp(verb, "echo") == 0) {
			PEER_NEED(rb_conn_answer(conn, args, &wait, &peer_err) == 0);
		} else {
			PEER_NEED(rb_conn_answer_error(conn, &what, &wait, &peer_err) == 0);
		}
	}
}

static void test_greeting(void)
{
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	char boot_id[37];

	CHECK(peer_start(&peer, serve_calls));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_STR(rb_conn_peer(conn), "h2");
	CHECK_INT(rb_boot_id(boot_id, NULL), 0);
	CHECK_STR(rb_conn_peer_boot(conn), boot_id);
	CHECK(rb_conn_fd(conn) >= 0);
	leave(tls, conn);
	/* 0 only if next_call took our leave for an orderly one */
	CHECK_INT(peer_end(&peer), 0);
}

static void test_calls(void)
{
	struct rb_wait wait = within(50000);
	_cleanup_json_ json_t *args = json_pack("{s:i, s:i}", "a", 40, "b", 2), *body = NULL;
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;

	CHECK(peer_start(&peer, serve_calls));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_ERR(rb_conn_call(conn, "add", args, &wait, &err), 0, err);
	CHECK_ERR(rb_conn_reply(conn, &body, &wait, &err), 0, err);
	CHECK_INT(rb_json_int(body, "sum", -1), 42);
	/* an error is an answer too, and the next call works */
	CHECK_ERR(rb_conn_call(conn, "fail", NULL, &wait, &err), 0, err);
	CHECK_INT(rb_conn_reply(conn, NULL, &wait, &err), -ENOSPC);
	CHECK_INT(err.code, RB_E_NO_SPACE);
	CHECK_INT(err.errnum, ENOSPC);
	CHECK_STR(err.stage, "images");
	CHECK_STR(err.msg, "h2: the disk is full");
	/* calls may be sent ahead; answers come in their order */
	CHECK_ERR(rb_conn_call(conn, "nothing", NULL, &wait, &err), 0, err);
	CHECK_ERR(rb_conn_call(conn, "fail", NULL, &wait, &err), 0, err);
	CHECK_ERR(rb_conn_reply(conn, NULL, &wait, &err), 0, err);
	CHECK_INT(rb_conn_reply(conn, NULL, &wait, &err), -ENOSPC);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

static void test_large_call(void)
{
	struct rb_wait wait = within(50000);
	_cleanup_json_ json_t *args = NULL, *body = NULL, *longer = NULL;
	_cleanup_free_ char *text = malloc(RB_FRAME_MAX + 1);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;

	memset(text, 'x', RB_FRAME_MAX);
	text[RB_FRAME_MAX] = '\0';
	longer = json_pack("{s:s}", "t", text);
	/* {"do":"echo","t":"..."} takes 20 bytes besides */
	text[RB_FRAME_MAX - 20] = '\0';
	args = json_pack("{s:s}", "t", text);
	CHECK(peer_start(&peer, serve_calls));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_ERR(rb_conn_call(conn, "echo", args, &wait, &err), 0, err);
	CHECK_ERR(rb_conn_reply(conn, &body, &wait, &err), 0, err);
	CHECK(strcmp(rb_json_str(body, "t", ""), text) == 0);
	CHECK_INT(rb_conn_call(conn, "echo", longer, &wait, &err), -EMSGSIZE);
	CHECK_HAS(err.msg, "; 4194304 are allowed");
	/* which has not harmed the connection */
	CHECK_ERR(rb_conn_call(conn, "nothing", NULL, &wait, &err), 0, err);
	CHECK_ERR(rb_conn_reply(conn, NULL, &wait, &err), 0, err);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

static void test_bytes_are_counted(void)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	uint64_t sent, received;

	CHECK(peer_start(&peer, serve_calls));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	sent = rb_conn_bytes_sent(conn);
	received = rb_conn_bytes_received(conn);
	CHECK(sent > 1000 && received > 1000); /* certificates went both ways */
	CHECK_ERR(rb_conn_call(conn, "nothing", NULL, &wait, &err), 0, err);
	CHECK_ERR(rb_conn_reply(conn, NULL, &wait, &err), 0, err);
	/* {"do":"nothing"} and {}, each with a header, and what TLS adds to a record: its header
	 * (5), the true type (1), the tag (16) */
	CHECK_INT(rb_conn_bytes_sent(conn) - sent, 16 + 16 + 22);
	CHECK_INT(rb_conn_bytes_received(conn) - received, 2 + 16 + 22);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

/* --- cancel and deadline --- */

static void test_cancel_during_receive(void)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	int cancel[2];
	pid_t canceller;

	CHECK(peer_start(&peer, serve_calls));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_INT(pipe(cancel), 0);
	canceller = fork();
	if (canceller == 0) {
		rb_wait_ms(200, NULL, NULL);
		_exit(write(cancel[1], "", 1) != 1);
	}
	wait.cancel_fd = cancel[0];
	CHECK_INT(rb_conn_reply(conn, NULL, &wait, &err), -ECANCELED);
	CHECK_INT(err.code, RB_E_CANCELED);
	CHECK_STR(err.msg, "h2: cancelled");
	/* stays so, for sending as well */
	CHECK_INT(rb_conn_call(conn, "nothing", NULL, &wait, &err), -ECANCELED);
	waitpid(canceller, NULL, 0);
	close(cancel[0]);
	close(cancel[1]);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

static void test_receive_goes_on_after_its_deadline(void)
{
	struct rb_wait wait = within(50000), soon = within(200);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;

	CHECK(peer_start(&peer, serve_calls));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_INT(rb_conn_reply(conn, NULL, &soon, &err), -ETIMEDOUT);
	CHECK_INT(err.code, RB_E_TIMEOUT);
	CHECK_STR(err.msg, "h2: it took longer than allowed");
	CHECK_ERR(rb_conn_call(conn, "nothing", NULL, &wait, &err), 0, err);
	CHECK_ERR(rb_conn_reply(conn, NULL, &wait, &err), 0, err);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

static int go_fd = -1; /* the test lets its peer go on */

/* half a frame, and the other half once the test says so */
static int send_in_halves(struct rb_conn *conn)
{
	struct rb_wait wait = within(50000);
	uint8_t frame[RB_FRAME_HEADER + 4];
	char byte;

	rb_frame_encode_header(frame, RB_FRAME_REPLY, 4);
	memcpy(frame + RB_FRAME_HEADER, "{ } ", 4);
	PEER_NEED(rb_tls_io_write(conn, frame, 9, &wait, &peer_err) == 0);
	PEER_NEED(read(go_fd, &byte, 1) == 1);
	PEER_NEED(rb_tls_io_write(conn, frame + 9, 9, &wait, &peer_err) == 0);
	PEER_NEED(read(go_fd, &byte, 1) == 1);
	PEER_NEED(rb_tls_io_write(conn, frame + 18, 2, &wait, &peer_err) == 0);
	return 0;
}

static void test_receive_goes_on_inside_a_frame(void)
{
	struct rb_wait wait = within(50000), soon;
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	int go[2];

	CHECK_INT(pipe(go), 0);
	go_fd = go[0];
	CHECK(peer_start(&peer, send_in_halves));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	soon = within(200);
	CHECK_INT(rb_conn_reply(conn, NULL, &soon, &err), -ETIMEDOUT);
	CHECK_INT(write(go[1], "", 1), 1);
	soon = within(200);
	CHECK_INT(rb_conn_reply(conn, NULL, &soon, &err), -ETIMEDOUT);
	CHECK_INT(write(go[1], "", 1), 1);
	CHECK_ERR(rb_conn_reply(conn, NULL, &wait, &err), 0, err);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
	close(go[0]);
	close(go[1]);
}

/* waits for the test's word without reading */
static int read_nothing(struct rb_conn *conn)
{
	char byte;

	(void)conn;
	PEER_NEED(read(go_fd, &byte, 1) == 1);
	return 0;
}

static void test_deadline_while_sending(void)
{
	static uint8_t block[RB_FRAME_DATA_MAX];
	struct rb_wait soon;
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	int go[2], r = 0;

	CHECK_INT(pipe(go), 0);
	go_fd = go[0];
	CHECK(peer_start(&peer, read_nothing));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	while (r == 0) {
		/* anew each time: it is to end inside a frame, not between two */
		soon = within(1000);
		r = rb_conn_send(conn, RB_FRAME_DATA, block, sizeof(block), &soon, &err);
	}
	CHECK_ERR(r, -ETIMEDOUT, err);
	/* a frame is cut in two: nothing can follow */
	soon = within(500);
	CHECK_INT(rb_conn_call(conn, "nothing", NULL, &soon, &err), -ECONNRESET);
	CHECK_STR(err.msg, "the connection to h2 is not usable any more after an earlier failure");
	CHECK_INT(rb_conn_reply(conn, NULL, &soon, &err), -ECONNRESET);
	leave(tls, conn);
	CHECK_INT(write(go[1], "", 1), 1);
	CHECK_INT(peer_end(&peer), 0);
	close(go[0]);
	close(go[1]);
}

/* --- the peer ends --- */

static int die(struct rb_conn *conn)
{
	(void)conn;
	return raise(SIGKILL);
}

static void test_peer_killed_while_we_receive(void)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;

	CHECK(peer_start(&peer, die));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_INT(rb_conn_reply(conn, NULL, &wait, &err), -ECONNRESET);
	CHECK_INT(err.code, RB_E_PEER);
	CHECK_STR(err.msg, "h2 went away: it closed the connection without a word");
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 1000 + SIGKILL);
}

/* with SIGPIPE as a program finds it: it would end this test */
static void test_peer_killed_while_we_send(void)
{
	static uint8_t block[RB_FRAME_DATA_MAX];
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	int r = 0;

	signal(SIGPIPE, SIG_DFL);
	CHECK(peer_start(&peer, die));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_INT(peer_end(&peer), 1000 + SIGKILL);
	for (int i = 0; i < 1000 && r == 0; i++)
		r = rb_conn_send(conn, RB_FRAME_DATA, block, sizeof(block), &wait, &err);
	CHECK_ERR(r, -ECONNRESET, err);
	CHECK_INT(err.code, RB_E_PEER);
	CHECK_HAS(err.msg, "the connection to h2 was lost: ");
	leave(tls, conn);
}

static int answer_error_and_leave(struct rb_conn *conn)
{
	const struct rb_err what = { .code = RB_E_NO_SPACE, .errnum = ENOSPC, .msg = "full" };
	struct rb_wait wait = within(50000);

	PEER_NEED(rb_conn_answer_error(conn, &what, &wait, &peer_err) == 0);
	return 0;
}

static void test_last_words_of_the_peer(void)
{
	static uint8_t block[RB_FRAME_DATA_MAX];
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;
	int r = 0;

	CHECK(peer_start(&peer, answer_error_and_leave));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_INT(peer_end(&peer), 0);
	for (int i = 0; i < 1000 && r == 0; i++)
		r = rb_stream_write(conn, block, sizeof(block), &wait, &err);
	CHECK_ERR(r, -ENOSPC, err);
	CHECK_INT(err.code, RB_E_NO_SPACE);
	CHECK_STR(err.msg, "h2: full");
	leave(tls, conn);
}

static int leave_at_once(struct rb_conn *conn)
{
	(void)conn;
	return 0;
}

static void test_peer_leaves_in_good_order(void)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	json_t *args = NULL;
	const char *verb;
	struct peer peer;

	CHECK(peer_start(&peer, leave_at_once));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	CHECK_ERR(rb_conn_next_call(conn, &verb, &args, &wait, &err), 0, err);
	/* but who waits for an answer gets none */
	CHECK_INT(rb_conn_reply(conn, NULL, &wait, &err), -ECONNRESET);
	CHECK_INT(err.code, RB_E_PEER);
	CHECK_STR(err.msg, "h2 closed the connection");
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

/* the parent's copy of a connection goes away, its child's goes on */
static int hand_to_child(struct rb_conn *conn)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0)
		_exit(serve_calls(conn) & 0xff);
	rb_conn_abandon(conn);
	PEER_NEED(waitpid(child, &status, 0) == child);
	_exit(status == 0 ? 0 : __LINE__);
}

static void test_abandon_leaves_the_other_copy_alone(void)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	struct rb_err err = {};
	struct peer peer;

	CHECK(peer_start(&peer, hand_to_child));
	CHECK_ERR(join(&peer, &tls, &conn, &err), 0, err);
	rb_wait_ms(100, NULL, NULL); /* for the parent to be first */
	CHECK_ERR(rb_conn_call(conn, "nothing", NULL, &wait, &err), 0, err);
	CHECK_ERR(rb_conn_reply(conn, NULL, &wait, &err), 0, err);
	leave(tls, conn);
	CHECK_INT(peer_end(&peer), 0);
}

int main(void)
{
	if (!certs_make()) {
		printf("Bail out! cannot make certificates\n");
		return 1;
	}
	TAP_RUN(test_greeting);
	TAP_RUN(test_calls);
	TAP_RUN(test_large_call);
	TAP_RUN(test_bytes_are_counted);
	TAP_RUN(test_cancel_during_receive);
	TAP_RUN(test_receive_goes_on_after_its_deadline);
	TAP_RUN(test_receive_goes_on_inside_a_frame);
	TAP_RUN(test_deadline_while_sending);
	TAP_RUN(test_peer_killed_while_we_receive);
	TAP_RUN(test_peer_killed_while_we_send);
	TAP_RUN(test_last_words_of_the_peer);
	TAP_RUN(test_peer_leaves_in_good_order);
	TAP_RUN(test_abandon_leaves_the_other_copy_alone);
	certs_remove();
	return tap_done();
}
