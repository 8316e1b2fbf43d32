/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_internal.h - what the files of the wire layer share about a connection
 *
 * conn.c, call.c, stream.c  frames and what is said with them
 * tls_io.c                  bytes through TLS: the only place that calls SSL_read() and SSL_write()
 * tls_error.c               why that failed, in people's words
 * tls.c                     certificates
 * sock.c                    TCP
 */
#pragma once

#include <limits.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"
#include "message.h"

struct rb_err;
struct rb_wait;

#define RB_TLS_RECORD ((size_t)16 << 10)  /* largest payload of a TLS record */
#define RB_READ_AHEAD ((size_t)256 << 10) /* taken from the socket at once */

struct rb_tls {
	SSL_CTX *ctx;
	char node[RB_NODE_MAX + 1];
	char ca_path[PATH_MAX];
};

struct rb_conn {
	struct rb_tls *tls; /* borrowed */
	SSL *ssl;
	BIO_METHOD *method;
	int fd;
	int user_timeout_ms; /* TCP_USER_TIMEOUT in force, see sock.c */

	void (*on_stream)(void *arg); /* or NULL */
	void *on_stream_arg;
	int64_t on_stream_ms; /* rb_now_ms() of its last call */

	int unanswered; /* calls of ours whose reply has not been read */

	bool ready;  /* the TLS handshake is done */
	bool broken; /* nothing more can be sent or received */

	/* what the socket said last, noted by the BIO for tls_error.c */
	int sock_errno;
	bool sock_eof;

	/* records sent under the current key, and how many are allowed */
	uint64_t key_records, key_records_max;

	char label[128]; /* the peer in messages: "h2 (10.77.0.2:7480)", later "h2" */
	char peer[RB_NODE_MAX + 1];
	struct rb_hello hello; /* the peer's */

	/* the frame being received, header first; room for the largest, of which untouched pages
	 * cost nothing. What a cancelled receive has got so far stays for the next one. */
	uint8_t *rx;
	size_t rx_have;

	/* what the socket gave beyond the record that OpenSSL wanted: one recv(2) for many records
	 */
	uint8_t *ahead;
	size_t ahead_at, ahead_have;

	/* header and start of the frame being sent, so that both travel in one record */
	uint8_t stage[RB_TLS_RECORD];
};

/* --- conn.c --- */

/** rb_conn_recv_or_eof - as rb_conn_recv(). Return: 1, 0 when the peer closed in good order between
 * two frames, or negative errno. */
int rb_conn_recv_or_eof(struct rb_conn *conn, struct rb_frame *ret, const struct rb_wait *wait,
			struct rb_err *err);

/** rb_conn_unexpected - fill @err about a frame that must not come now. Return: -EPROTO. */
int rb_conn_unexpected(struct rb_conn *conn, const struct rb_frame *frame, const char *wanted,
		       struct rb_err *err);

/* --- tls_io.c --- */

/** rb_tls_io_open - put TLS on conn->fd; no byte travels yet */
int rb_tls_io_open(struct rb_conn *conn, bool server, struct rb_err *err);

/** rb_tls_io_handshake - both sides' certificates are checked when this succeeds, save that a
 * client learns only with its first read whether the server took its own */
int rb_tls_io_handshake(struct rb_conn *conn, const struct rb_wait *wait, struct rb_err *err);

/** rb_tls_io_read - read up to @len bytes. Return: their number, 0 after close_notify, or negative
 * errno; -ECANCELED and -ETIMEDOUT leave the connection as it was. */
ssize_t rb_tls_io_read(struct rb_conn *conn, void *data, size_t len, const struct rb_wait *wait,
		       struct rb_err *err);

/** rb_tls_io_write - write all of @len bytes. Return: 0, or negative errno, and then the connection
 * is broken. */
int rb_tls_io_write(struct rb_conn *conn, const void *data, size_t len, const struct rb_wait *wait,
		    struct rb_err *err);

/* --- tls.c --- */

/** rb_tls_certificate_name - subject CN of a certificate. Return: 0, or -EINVAL when there is not
 * exactly one that can be a node's name. */
int rb_tls_certificate_name(const X509 *cert, char ret[RB_NODE_MAX + 1], struct rb_err *err);

/* --- tls_error.c --- */

/** rb_tls_failure - fill @err about the call on conn->ssl that just failed with @ssl_error, which
 * SSL_get_error() told. Return: negative errno, never -ECANCELED or -ETIMEDOUT. */
int rb_tls_failure(struct rb_conn *conn, int ssl_error, struct rb_err *err);

/** rb_tls_setup_failure - the same for everything but a connection: "<what>: <OpenSSL's reason>" */
int rb_tls_setup_failure(struct rb_err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
