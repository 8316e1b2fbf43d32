/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - the other side of a test: a forked process behind a TCP connection on the loopback
 *
 * The test is h1 and connects; the peer is h2 and accepts. A peer's function returns 0, or the line
 * where it found something wrong, which peer_end() hands to the test.
 */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "certs.h"
#include "conn.h"
#include "conn_internal.h"
#include "wait.h"

/* one side's certificate and authority, as files in certs.h */
struct identity {
	const char *cert, *ca;
};

struct peer {
	pid_t pid;
	int listen_fd;
	char address[32];
};

/* In a peer's function: says what is wrong, and ends it */
#define PEER_NEED(cond)                                                                         \
	do {                                                                                    \
		if (!(cond)) {                                                                  \
			fprintf(stderr, "# peer, line %d: not true: %s; error: %s\n", __LINE__, \
				#cond, peer_err.msg);                                           \
			return __LINE__;                                                        \
		}                                                                               \
	} while (0)

static struct rb_err peer_err; /* of the forked side */

static inline struct rb_wait within(int64_t ms)
{
	return rb_wait_within(NULL, ms);
}

static inline int load(const char *cert, const char *ca, struct rb_tls **ret, struct rb_err *err)
{
	return rb_tls_new(certs_path(ca, "pem"), certs_path(cert, "pem"), certs_path(cert, "key"),
			  ret, err);
}

static inline bool peer_listen(struct peer *peer)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);

	peer->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (peer->listen_fd < 0 || bind(peer->listen_fd, (struct sockaddr *)&addr, len) < 0 ||
	    listen(peer->listen_fd, 8) < 0 ||
	    getsockname(peer->listen_fd, (struct sockaddr *)&addr, &len) < 0)
		return false;
	snprintf(peer->address, sizeof(peer->address), "127.0.0.1:%d", ntohs(addr.sin_port));
	return true;
}

/* a peer that gets the bare accepted socket */
static inline bool peer_start_raw(struct peer *peer, int (*fn)(int fd))
{
	if (!peer_listen(peer))
		return false;
	fflush(NULL);
	peer->pid = fork();
	if (peer->pid == 0) {
		int fd;

		alarm(60);
		fd = accept4(peer->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		close(peer->listen_fd);
		_exit(fd < 0 ? 255 : fn(fd) & 0xff);
	}
	close(peer->listen_fd);
	return peer->pid > 0;
}

static int (*peer_conn_fn)(struct rb_conn *conn);

static inline int peer_with_conn(int fd)
{
	struct rb_wait wait = within(50000);
	struct rb_tls *tls = NULL;
	struct rb_conn *conn = NULL;
	int r;

	PEER_NEED(load("h2", "ca", &tls, &peer_err) == 0);
	PEER_NEED(rb_conn_accept(tls, fd, &wait, &conn, &peer_err) == 0);
	r = peer_conn_fn(conn);
	rb_conn_free(conn);
	rb_tls_free(tls);
	return r;
}

/* a peer that is h2 and has its connection */
static inline bool peer_start(struct peer *peer, int (*fn)(struct rb_conn *conn))
{
	peer_conn_fn = fn;
	return peer_start_raw(peer, peer_with_conn);
}

/* Return: 0, the line where the peer found fault (modulo 256), or 1000 + signal */
static inline int peer_end(struct peer *peer)
{
	int status = 0;

	while (waitpid(peer->pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* what most tests start with: h1 connected to the peer */
static inline int join(struct peer *peer, struct rb_tls **ret_tls, struct rb_conn **ret,
		       struct rb_err *err)
{
	struct rb_wait wait = within(50000);
	int r = load("h1", "ca", ret_tls, err);

	return r < 0 ? r : rb_conn_connect(*ret_tls, peer->address, "h2", &wait, ret, err);
}

static inline void leave(struct rb_tls *tls, struct rb_conn *conn)
{
	rb_conn_free(conn);
	rb_tls_free(tls);
}

/* CHECK_INT for a call that fills an error: its message helps */
#define CHECK_ERR(got, want, err)                                                               \
	do {                                                                                    \
		long long _r = (long long)(got);                                                \
		if (_r != (long long)(want)) {                                                  \
			printf("# %s:%d: %s is %lld, not %lld; error: %s: %s\n", __FILE__,      \
			       __LINE__, #got, _r, (long long)(want), rb_code_name((err).code), \
			       (err).msg);                                                      \
			tap_ok = false;                                                         \
			return;                                                                 \
		}                                                                               \
	} while (0)

/* does the text hold @part? */
#define CHECK_HAS(text, part)                                                                \
	do {                                                                                 \
		if (!strstr((text), (part))) {                                               \
			printf("# %s:%d: \"%s\" does not hold \"%s\"\n", __FILE__, __LINE__, \
			       (text), (part));                                              \
			tap_ok = false;                                                      \
			return;                                                              \
		}                                                                            \
	} while (0)
