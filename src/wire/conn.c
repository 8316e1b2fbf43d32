// SPDX-License-Identifier: Apache-2.0
/*
 * conn.c - connections between nodes: opening, greeting, frames
 *
 * A connection passes through these states, and never back:
 *
 *   TCP      somebody connected; nothing is known of them
 *   ready    TLS handshake done: the peer's certificate is signed by our authority, and its CN is
 *            conn->peer. The server knows that of the client for certain, the client of the server
 *            too, but not yet whether the server took the client's own certificate.
 *   greeted  both HELLOs are exchanged and checked; only now does the caller get the connection
 *   broken   a write failed or stopped half-way, or what came made no sense
 *
 * Both sides send their HELLO before they look at the other's, so that both can say what they do
 * not like about it.
 */
#include "conn.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "conn_internal.h"
#include "err.h"
#include "proc.h"
#include "sock.h"
#include "wait.h"

static void release(struct rb_conn *conn)
{
	SSL_free(conn->ssl);
	BIO_meth_free(conn->method);
	rb_close_fd(&conn->fd);
	free(conn->ahead);
	free(conn->rx);
	free(conn);
}

void rb_conn_free(struct rb_conn *conn)
{
	if (!conn)
		return;
	/* one attempt; a full socket means that the peer does not listen anyway */
	if (conn->ready && !conn->broken)
		SSL_shutdown(conn->ssl);
	release(conn);
}

void rb_conn_abandon(struct rb_conn *conn)
{
	if (conn)
		release(conn);
}

static void free_conn_ptr(struct rb_conn **conn)
{
	rb_conn_free(*conn);
}

/* takes over *fd when it succeeds */
static int new_conn(struct rb_tls *tls, int *fd, const char *label, bool server,
		    struct rb_conn **ret, struct rb_err *err)
{
	struct rb_conn *conn = calloc(1, sizeof(*conn));
	int r;

	if (!conn)
		return rb_err_set(err, -ENOMEM, "open a connection");
	conn->tls = tls;
	conn->fd = -EBADF;
	conn->user_timeout_ms = RB_SOCK_USER_TIMEOUT_MS;
	snprintf(conn->label, sizeof(conn->label), "%s", label);
	conn->rx = malloc(RB_FRAME_HEADER + RB_FRAME_MAX);
	r = conn->rx ? rb_tls_io_open(conn, server, err)
		     : rb_err_set(err, -ENOMEM, "open a connection");
	if (r < 0) {
		release(conn);
		return r;
	}
	conn->fd = TAKE_FD(*fd);
	*ret = conn;
	return 0;
}

/* who is it? @node: who it has to be, or NULL */
static int check_certificate(struct rb_conn *conn, const char *node, struct rb_err *err)
{
	int r = rb_tls_certificate_name(SSL_get0_peer_certificate(conn->ssl), conn->peer, err);

	if (r < 0)
		return rb_err_wrap(err, r, "%s shows a certificate that is not a node's",
				   conn->label);
	if (node && strcmp(conn->peer, node) != 0)
		return rb_err_code(err, RB_E_DENIED, -EACCES,
				   "%s is not '%s': its certificate says '%s'; is the address in "
				   "the configuration right?",
				   conn->label, node, conn->peer);
	return 0;
}

static int read_hello(struct rb_conn *conn, const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_frame frame;
	int r = rb_conn_recv_or_eof(conn, &frame, wait, err);

	if (r == 0)
		return rb_err_code(err, RB_E_PEER, -ECONNRESET,
				   "%s closed the connection instead of greeting; its log may tell "
				   "why",
				   conn->label);
	if (r < 0)
		return r;
	if (frame.type != RB_FRAME_HELLO)
		return rb_conn_unexpected(conn, &frame, "HELLO", err);
	r = rb_hello_decode(frame.payload, frame.len, &conn->hello, err);
	if (r < 0)
		return rb_err_wrap(err, r, "%s", conn->label);
	if (strcmp(conn->hello.node, conn->peer) != 0)
		return rb_err_code(err, RB_E_DENIED, -EACCES,
				   "%s calls itself '%s', but its certificate says '%s'",
				   conn->label, conn->hello.node, conn->peer);
	return 0;
}

static int greet(struct rb_conn *conn, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_free_ char *text = NULL;
	char boot_id[37];
	int r;

	r = rb_boot_id(boot_id, err);
	if (r == 0)
		r = rb_hello_encode(conn->tls->node, boot_id, &text, err);
	if (r == 0)
		r = rb_conn_send(conn, RB_FRAME_HELLO, text, strlen(text), wait, err);
	if (r == 0)
		r = read_hello(conn, wait, err);
	if (r == 0)
		snprintf(conn->label, sizeof(conn->label), "%s", conn->peer);
	return r;
}

int rb_conn_connect(struct rb_tls *tls, const char *address, const char *node,
		    const struct rb_wait *wait, struct rb_conn **ret, struct rb_err *err)
{
	_cleanup_(free_conn_ptr) struct rb_conn *conn = NULL;
	_cleanup_close_ int fd = -EBADF;
	char label[sizeof(conn->label)];
	int r;

	snprintf(label, sizeof(label), "%s (%s)", node, address);
	fd = rb_sock_connect(address, label, wait, err);
	if (fd < 0)
		return fd;
	r = new_conn(tls, &fd, label, false, &conn, err);
	if (r == 0)
		r = rb_tls_io_handshake(conn, wait, err);
	if (r == 0)
		r = check_certificate(conn, node, err);
	if (r == 0)
		r = greet(conn, wait, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(conn);
	return 0;
}

void rb_conn_see_off(struct rb_conn *conn, const struct rb_wait *wait)
{
	if (conn->ready && !conn->broken)
		SSL_shutdown(conn->ssl);
	conn->broken = true;
	rb_sock_linger(conn->fd, wait);
}

int rb_conn_accept(struct rb_tls *tls, int fd_in, const struct rb_wait *wait, struct rb_conn **ret,
		   struct rb_err *err)
{
	_cleanup_(free_conn_ptr) struct rb_conn *conn = NULL;
	_cleanup_close_ int fd = fd_in;
	char label[sizeof(conn->label)];
	int r;

	rb_sock_peer_text(fd, label, sizeof(label));
	r = rb_sock_prepare(fd, err);
	if (r == 0)
		r = new_conn(tls, &fd, label, true, &conn, err);
	if (r == 0)
		r = rb_tls_io_handshake(conn, wait, err);
	if (r == 0)
		r = check_certificate(conn, NULL, err);
	if (r == 0)
		r = greet(conn, wait, err);
	if (r == 0) {
		*ret = TAKE_PTR(conn);
		return 0;
	}
	if (conn && r != -ECANCELED && r != -ETIMEDOUT)
		rb_conn_see_off(conn, wait);
	return r;
}

const char *rb_conn_peer(const struct rb_conn *conn)
{
	return conn->peer;
}

const char *rb_conn_peer_boot(const struct rb_conn *conn)
{
	return conn->hello.boot_id;
}

int rb_conn_fd(const struct rb_conn *conn)
{
	return conn->fd;
}

bool rb_conn_readable(const struct rb_conn *conn)
{
	struct pollfd fd = { .fd = conn->fd, .events = POLLIN };

	return conn->ahead_at < conn->ahead_have || poll(&fd, 1, 0) > 0;
}

void rb_conn_mind(struct rb_conn *conn)
{
	rb_sock_mind(conn->fd, &conn->user_timeout_ms);
}

uint64_t rb_conn_bytes_sent(const struct rb_conn *conn)
{
	return BIO_number_written(SSL_get_wbio(conn->ssl));
}

uint64_t rb_conn_bytes_received(const struct rb_conn *conn)
{
	return BIO_number_read(SSL_get_rbio(conn->ssl));
}

static int already_broken(struct rb_conn *conn, struct rb_err *err)
{
	return rb_err_code(err, RB_E_PEER, -ECONNRESET,
			   "the connection to %s is not usable any more after an earlier failure",
			   conn->label);
}

static int recv_frame(struct rb_conn *conn, struct rb_frame *ret, const struct rb_wait *wait,
		      struct rb_err *err)
{
	struct rb_frame frame = {};
	size_t want = RB_FRAME_HEADER;

	for (;;) {
		ssize_t n;
		int r;

		if (conn->rx_have >= RB_FRAME_HEADER) {
			r = rb_frame_decode_header(conn->rx, &frame.type, &frame.len, err);
			if (r < 0) {
				conn->broken = true;
				return rb_err_wrap(err, r, "%s sent", conn->label);
			}
			want = RB_FRAME_HEADER + frame.len;
		}
		if (conn->rx_have == want)
			break;
		n = rb_tls_io_read(conn, conn->rx + conn->rx_have, want - conn->rx_have, wait, err);
		if (n < 0)
			return (int)n;
		if (n == 0 && conn->rx_have == 0)
			return 0;
		if (n == 0)
			return rb_err_code(err, RB_E_PEER, -ECONNRESET,
					   "%s closed the connection in the middle of a frame",
					   conn->label);
		conn->rx_have += (size_t)n;
	}
	conn->rx_have = 0;
	frame.payload = conn->rx + RB_FRAME_HEADER;
	*ret = frame;
	return 1;
}

int rb_conn_recv_or_eof(struct rb_conn *conn, struct rb_frame *ret, const struct rb_wait *wait,
			struct rb_err *err)
{
	int r;

	if (conn->broken)
		return already_broken(conn, err);
	/* a peer that is fast enough never lets us wait, and so never lets us look */
	r = rb_sock_check(wait, err);
	if (r < 0)
		return rb_err_wrap(err, r, "%s", conn->label);
	return recv_frame(conn, ret, wait, err);
}

int rb_conn_recv(struct rb_conn *conn, struct rb_frame *ret, const struct rb_wait *wait,
		 struct rb_err *err)
{
	int r = rb_conn_recv_or_eof(conn, ret, wait, err);

	if (r == 0)
		return rb_err_code(err, RB_E_PEER, -ECONNRESET, "%s closed the connection",
				   conn->label);
	return r < 0 ? r : 0;
}

int rb_conn_unexpected(struct rb_conn *conn, const struct rb_frame *frame, const char *wanted,
		       struct rb_err *err)
{
	conn->broken = true;
	return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "%s sent %s where %s was expected",
			   conn->label, rb_frame_name(frame->type), wanted);
}

/*
 * A write failed because the peer is gone. What it said before may still wait for us: an ERROR
 * frame, or the alert with which it refused our certificate. That says more than "Broken pipe".
 */
static int last_words(struct rb_conn *conn, int failed, struct rb_err *err)
{
	const struct rb_wait now = { .cancel_fd = -EBADF, .deadline_ms = 1 };
	struct rb_frame frame;
	struct rb_err heard = {};
	int r;

	do
		r = recv_frame(conn, &frame, &now, &heard);
	while (r == 1 && frame.type != RB_FRAME_ERROR);
	if (r == 1)
		return rb_error_decode(frame.payload, frame.len, conn->label, err);
	if (r == 0 || heard.code != RB_E_DENIED)
		return failed;
	if (err)
		*err = heard;
	return r;
}

int rb_conn_send(struct rb_conn *conn, enum rb_frame_type type, const void *payload, size_t len,
		 const struct rb_wait *wait, struct rb_err *err)
{
	size_t first = RB_TLS_RECORD - RB_FRAME_HEADER;
	int r;

	if (conn->broken)
		return already_broken(conn, err);
	r = rb_frame_check_length(type, len, err);
	if (r < 0)
		return r;
	r = rb_sock_check(wait, err);
	if (r < 0)
		return rb_err_wrap(err, r, "%s", conn->label);
	if (first > len)
		first = len;
	rb_frame_encode_header(conn->stage, type, len);
	if (first)
		memcpy(conn->stage + RB_FRAME_HEADER, payload, first);
	r = rb_tls_io_write(conn, conn->stage, RB_FRAME_HEADER + first, wait, err);
	/* the rest is encrypted from where it lies */
	if (r == 0 && len > first)
		r = rb_tls_io_write(conn, (const uint8_t *)payload + first, len - first, wait, err);
	return r == -ECONNRESET ? last_words(conn, r, err) : r;
}
