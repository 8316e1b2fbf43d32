// SPDX-License-Identifier: Apache-2.0
/*
 * tls_io.c - bytes through TLS over a non-blocking socket
 *
 * OpenSSL reaches the socket through a BIO of our own, for four reasons: send() gets MSG_NOSIGNAL
 * (OpenSSL's would raise SIGPIPE, and a library has no business with its program's signals), errno
 * is noted where nothing has overwritten it yet, the bytes are counted, and many records are read
 * with one recv().
 *
 * OpenSSL takes no more than the record it wants, and a frame starts with a record. So between two
 * frames nothing waits inside OpenSSL: only here (rb_conn_readable()) or in the socket.
 *
 * When a call wants to wait, it is repeated with the same arguments, as OpenSSL demands. A write
 * that is cancelled in between cannot be taken up again by another one: the connection is broken. A
 * read can, and also after a write that failed: OpenSSL from 3.2 on would refuse it, so it is told
 * that the socket is full, and what is wrong is in sock_errno.
 */
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "conn_internal.h"
#include "err.h"
#include "sock.h"
#include "wait.h"

/* RFC 8446, 5.5: AES-GCM stays safe for 2^24.5 full records under one key. That is 380 GB, which a
 * migration can reach; OpenSSL counts, but does not act. */
#define KEY_RECORDS_MAX ((uint64_t)1 << 24)

static int socket_write(BIO *bio, const char *data, size_t len, size_t *ret_written)
{
	struct rb_conn *conn = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	do
		n = send(conn->fd, data, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0) {
		*ret_written = (size_t)n;
		return 1;
	}
	if (errno != EAGAIN)
		conn->sock_errno = errno;
	BIO_set_retry_write(bio);
	return 0;
}

/* OpenSSL wants five bytes, then the rest of a record: both come from what was read ahead. */
static size_t take_ahead(struct rb_conn *conn, char *data, size_t len)
{
	size_t have = conn->ahead_have - conn->ahead_at;

	if (len > have)
		len = have;
	memcpy(data, conn->ahead + conn->ahead_at, len);
	conn->ahead_at += len;
	return len;
}

static int socket_read(BIO *bio, char *data, size_t len, size_t *ret_read)
{
	struct rb_conn *conn = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	if (conn->ahead_at == conn->ahead_have) {
		do
			n = recv(conn->fd, conn->ahead, RB_READ_AHEAD, 0);
		while (n < 0 && errno == EINTR);
		conn->ahead_at = 0;
		conn->ahead_have = n > 0 ? (size_t)n : 0;
		if (n == 0)
			conn->sock_eof = true;
		else if (n < 0 && errno == EAGAIN)
			BIO_set_retry_read(bio);
		else if (n < 0)
			conn->sock_errno = errno;
	}
	*ret_read = take_ahead(conn, data, len);
	return *ret_read > 0;
}

static long socket_control(BIO *bio, int command, long number, void *pointer)
{
	const struct rb_conn *conn = BIO_get_data(bio);

	(void)number;
	(void)pointer;
	if (command == BIO_CTRL_FLUSH)
		return 1;
	return command == BIO_CTRL_EOF ? conn->sock_eof : 0;
}

int rb_tls_io_open(struct rb_conn *conn, bool server, struct rb_err *err)
{
	BIO *bio;

	ERR_clear_error();
	conn->key_records_max = KEY_RECORDS_MAX;
	conn->ahead = malloc(RB_READ_AHEAD);
	if (!conn->ahead)
		return rb_err_set(err, -ENOMEM, "set up TLS");
	conn->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "socket without signals");
	conn->ssl = SSL_new(conn->tls->ctx);
	if (!conn->method || !conn->ssl || BIO_meth_set_write_ex(conn->method, socket_write) != 1 ||
	    BIO_meth_set_read_ex(conn->method, socket_read) != 1 ||
	    BIO_meth_set_ctrl(conn->method, socket_control) != 1)
		return rb_tls_setup_failure(err, "set up TLS");
	bio = BIO_new(conn->method);
	if (!bio)
		return rb_tls_setup_failure(err, "set up TLS");
	BIO_set_data(bio, conn);
	BIO_set_init(bio, 1);
	SSL_set_bio(conn->ssl, bio, bio);
	if (server)
		SSL_set_accept_state(conn->ssl);
	else
		SSL_set_connect_state(conn->ssl);
	return 0;
}

/* Return: 1 to repeat the call on conn->ssl that returned @ssl_ret, 0 after close_notify, or a
 * negative errno */
static int after_failure(struct rb_conn *conn, int ssl_ret, const struct rb_wait *wait,
			 struct rb_err *err)
{
	int e = SSL_get_error(conn->ssl, ssl_ret), r;

	switch (conn->sock_errno ? SSL_ERROR_SYSCALL : e) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		r = rb_sock_wait(conn->fd, e == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT,
				 &conn->user_timeout_ms, wait, err);
		return r < 0 ? rb_err_wrap(err, r, "%s", conn->label) : 1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		conn->broken = true;
		return rb_tls_failure(conn, e, err);
	}
}

static void before_call(struct rb_conn *conn)
{
	/* what somebody else left in the queue would be taken for our failure */
	ERR_clear_error();
	conn->sock_errno = 0;
}

int rb_tls_io_handshake(struct rb_conn *conn, const struct rb_wait *wait, struct rb_err *err)
{
	for (;;) {
		int n, r;

		before_call(conn);
		n = SSL_do_handshake(conn->ssl);
		if (n == 1)
			break;
		r = after_failure(conn, n, wait, err);
		if (r == 0)
			r = rb_err_code(err, RB_E_PEER, -ECONNRESET,
					"%s closed the connection during the handshake",
					conn->label);
		if (r < 0) {
			conn->broken = true;
			return r;
		}
	}
	conn->ready = true;
	return 0;
}

ssize_t rb_tls_io_read(struct rb_conn *conn, void *data, size_t len, const struct rb_wait *wait,
		       struct rb_err *err)
{
	for (;;) {
		size_t got;
		int n, r;

		before_call(conn);
		n = SSL_read_ex(conn->ssl, data, len, &got);
		if (n == 1)
			return (ssize_t)got;
		r = after_failure(conn, n, wait, err);
		if (r <= 0)
			return r;
	}
}

/* From here on our records bear a new key; the peer learns of it in the order of the records. */
static int change_key(struct rb_conn *conn, struct rb_err *err)
{
	if (SSL_key_update(conn->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1)
		return rb_tls_setup_failure(err, "%s: change the key", conn->label);
	conn->key_records = 0;
	return 0;
}

int rb_tls_io_write(struct rb_conn *conn, const void *data, size_t len, const struct rb_wait *wait,
		    struct rb_err *err)
{
	uint64_t records = (len + RB_TLS_RECORD - 1) / RB_TLS_RECORD;
	int r = 0;

	before_call(conn);
	if (conn->key_records + records > conn->key_records_max)
		r = change_key(conn, err);
	conn->key_records += records;
	while (r >= 0) {
		size_t written;
		int n;

		before_call(conn);
		/* partial writes are off: success means all of it */
		n = SSL_write_ex(conn->ssl, data, len, &written);
		if (n == 1)
			return 0;
		r = after_failure(conn, n, wait, err);
		if (r == 0)
			r = rb_err_code(err, RB_E_PEER, -ECONNRESET, "%s closed the connection",
					conn->label);
	}
	conn->broken = true;
	return r;
}
