/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - one TLS 1.3 connection between two nodes, carrying frames
 *
 * Both sides show a certificate signed by the common CA; a node's name is its certificate's
 * subject CN. The socket is non-blocking inside; every call here blocks within its rb_wait.
 * A dead link is noticed within about 6 s also when nobody sends (TCP keepalive, user timeout); a
 * peer that is alive but does not read may stand still for as long as the rb_wait allows.
 *
 * Failures: RB_E_PEER and -ECONNRESET when the link or the peer is gone, RB_E_DENIED and -EACCES
 * for certificates and names, RB_E_PROTOCOL for nonsense; -ETIMEDOUT and -ECANCELED always are the
 * caller's own. Messages name the peer, so callers need not add it.
 *
 * A connection belongs to one thread at a time. SIGPIPE is never raised.
 *
 * A connection is a conversation of calls: the side that connected sends CALL frames (a verb and
 * JSON arguments), the other answers each with REPLY or ERROR. Some calls are followed by streams
 * (DATA frames, then END) in either direction.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

struct rb_conn;
struct rb_err;
struct rb_tls;
struct rb_wait;

/**
 * rb_tls_new - load CA, certificate and key from PEM files (TLS 1.3 only, peer verified)
 *
 * It must outlive the connections made with it.
 *
 * Return: 0 or negative errno.
 */
int rb_tls_new(const char *ca_path, const char *cert_path, const char *key_path,
	       struct rb_tls **ret, struct rb_err *err);
void rb_tls_free(struct rb_tls *tls);

/** rb_tls_node - our own node name, from our certificate */
const char *rb_tls_node(const struct rb_tls *tls);

/**
 * rb_conn_connect - connect, do the handshakes (TLS, then HELLO both ways)
 * @address: "host:port" or "[v6]:port", numeric
 * @node: name that the peer's certificate must bear, -EACCES/RB_E_DENIED otherwise
 *
 * HELLO carries {"protocol":1,"version":"0.1.0","node":...,"boot_id":...}; another protocol number
 * is refused with both numbers in the message.
 */
int rb_conn_connect(struct rb_tls *tls, const char *address, const char *node,
		    const struct rb_wait *wait, struct rb_conn **ret, struct rb_err *err);

/** rb_conn_accept - the same from the other side, over an accepted socket, which it takes over,
 * also when it fails. Blocks as long as a slow or hostile client likes, so give it a deadline, and
 * a process or thread that nobody else waits for. */
int rb_conn_accept(struct rb_tls *tls, int fd, const struct rb_wait *wait, struct rb_conn **ret,
		   struct rb_err *err);

/** rb_conn_free - close (with TLS close_notify when that does not block); NULL is allowed */
void rb_conn_free(struct rb_conn *conn);

/** rb_conn_abandon - release this process's copy without a word to the peer: for the one of two
 * processes that does not go on with the connection after a fork(); NULL is allowed */
void rb_conn_abandon(struct rb_conn *conn);

/** rb_conn_peer - the peer's node name */
const char *rb_conn_peer(const struct rb_conn *conn);

/** rb_conn_peer_boot - the boot id of the peer's host, from its HELLO */
const char *rb_conn_peer_boot(const struct rb_conn *conn);

/** rb_conn_fd - to close in a child that has no use for it; whether something came is asked of
 * rb_conn_readable(), as part of it may have been read from the socket already */
int rb_conn_fd(const struct rb_conn *conn);

/** rb_conn_readable - has the peer said something, or hung up? Never waits. */
bool rb_conn_readable(const struct rb_conn *conn);

/** rb_conn_mind - for who waits for something else while bytes may wait here that the peer does not
 * read yet: each second, or the kernel may take the peer for dead */
void rb_conn_mind(struct rb_conn *conn);

/** rb_conn_bytes_sent - on the TCP socket, that is what TLS adds included */
uint64_t rb_conn_bytes_sent(const struct rb_conn *conn);
uint64_t rb_conn_bytes_received(const struct rb_conn *conn);

/** rb_conn_send - one frame. Return: 0 or negative errno; after a failure only rb_conn_free(). When
 * the peer has said why it hung up (an ERROR frame, an alert), that is the error. */
int rb_conn_send(struct rb_conn *conn, enum rb_frame_type type, const void *payload, size_t len,
		 const struct rb_wait *wait, struct rb_err *err);

/** rb_conn_recv - one frame; the payload stays valid until the next receive. After -ECANCELED and
 * -ETIMEDOUT one may receive again, nothing is lost. */
int rb_conn_recv(struct rb_conn *conn, struct rb_frame *ret, const struct rb_wait *wait,
		 struct rb_err *err);

/* --- calls --- */

/** rb_conn_call - send CALL {"do": verb, ...args}; args may be NULL (borrowed) */
int rb_conn_call(struct rb_conn *conn, const char *verb, const json_t *args,
		 const struct rb_wait *wait, struct rb_err *err);

/** rb_conn_reply - wait for the REPLY; an ERROR from the peer becomes @err with the peer's code and
 * "<node>: <message>". @ret may be NULL. */
int rb_conn_reply(struct rb_conn *conn, json_t **ret, const struct rb_wait *wait,
		  struct rb_err *err);

/** rb_conn_unanswered - how many calls were made whose reply has not been read: with a cancel in
 * between, the next reply is not that to the next call */
int rb_conn_unanswered(const struct rb_conn *conn);

/** rb_conn_next_call - the serving side: wait for a CALL. @ret_verb points into *@ret_args.
 * Return: 1, 0 when the peer closed in good order, or negative errno. */
int rb_conn_next_call(struct rb_conn *conn, const char **ret_verb, json_t **ret_args,
		      const struct rb_wait *wait, struct rb_err *err);

/** rb_conn_answer - send a REPLY; @body may be NULL for {} (borrowed) */
int rb_conn_answer(struct rb_conn *conn, const json_t *body, const struct rb_wait *wait,
		   struct rb_err *err);

/** rb_conn_see_off - say good-bye to a peer that may still be sending, so that it finds our last
 * words and not a reset: waits a moment for its end. Nothing can be said any more; rb_conn_free()
 * is next */
void rb_conn_see_off(struct rb_conn *conn, const struct rb_wait *wait);

/** rb_conn_answer_error - send an ERROR {"code":..., "errno":..., "stage":..., "message":...} */
int rb_conn_answer_error(struct rb_conn *conn, const struct rb_err *what,
			 const struct rb_wait *wait, struct rb_err *err);

/* --- streams --- */

/** rb_stream_write - bytes of the stream; any length, cut into DATA frames */
int rb_stream_write(struct rb_conn *conn, const void *data, size_t len, const struct rb_wait *wait,
		    struct rb_err *err);

/** rb_stream_end - end of the stream */
int rb_stream_end(struct rb_conn *conn, const struct rb_wait *wait, struct rb_err *err);

/** rb_stream_read - next block of the stream, valid until the next receive. An ERROR from the
 * sender in place of more becomes @err as in rb_conn_reply(), and ends the stream. Return: its
 * length, 0 at the end, negative errno. */
ssize_t rb_stream_read(struct rb_conn *conn, const void **ret_block, const struct rb_wait *wait,
		       struct rb_err *err);

/** rb_conn_on_stream - have @fn called now and then, at most once a second, while a stream is read:
 * that can take hours */
void rb_conn_on_stream(struct rb_conn *conn, void (*fn)(void *arg), void *arg);

/** rb_stream_drain - throw away what is left of the stream, so that an error can be answered. Not
 * after rb_stream_read() has returned 0: it would wait for another stream. */
int rb_stream_drain(struct rb_conn *conn, const struct rb_wait *wait, struct rb_err *err);
