/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sock.h - TCP sockets between nodes; internal to the layer
 */
#pragma once

#include <stddef.h>

struct rb_err;
struct rb_wait;

/* A link is dead when this long nothing was acknowledged (TCP_USER_TIMEOUT), or when nobody had
 * anything to send and keepalive got no answer: 2 s idle, then 4 probes 1 s apart. */
#define RB_SOCK_USER_TIMEOUT_MS 6000

/**
 * rb_sock_connect - connect to a numeric address, "10.0.0.2:7480" or "[fd00::2]:7480"
 * @label: the peer in messages
 *
 * Return: a prepared socket (see rb_sock_prepare()), or negative errno: -EINVAL for a bad address,
 * -ECANCELED, -ETIMEDOUT, else one with RB_E_PEER.
 */
int rb_sock_connect(const char *address, const char *label, const struct rb_wait *wait,
		    struct rb_err *err);

/** rb_sock_prepare - non-blocking, close-on-exec, no delay, dead links noticed */
int rb_sock_prepare(int fd, struct rb_err *err);

/** rb_sock_peer_text - "10.0.0.2:41234", or "an unknown peer" */
void rb_sock_peer_text(int fd, char *ret, size_t size);

/**
 * rb_sock_wait - as rb_wait_fd(), and keep the link alive while the peer lives but does not read
 * @user_timeout_ms: the connection's TCP_USER_TIMEOUT, kept by the caller between calls
 */
int rb_sock_wait(int fd, short events, int *user_timeout_ms, const struct rb_wait *wait,
		 struct rb_err *err);

/** rb_sock_mind - the same for who waits elsewhere; each second */
void rb_sock_mind(int fd, int *user_timeout_ms);

/** rb_sock_check - is it cancelled, or too late? Never blocks. Return: 0, -ECANCELED, -ETIMEDOUT */
int rb_sock_check(const struct rb_wait *wait, struct rb_err *err);

/** rb_sock_linger - let the peer read our last words before its socket is reset: end our side, and
 * throw away what it sends for a moment */
void rb_sock_linger(int fd, const struct rb_wait *wait);
