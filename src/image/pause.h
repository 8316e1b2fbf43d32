/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pause.h - the thread that owns a connection has nothing to do (internal to image/)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rb_conn;
struct rb_err;
struct rb_wait;

struct rb_pause {
	struct rb_conn *conn;
	int event_fd;	   /* an eventfd: other threads have done something */
	int nap_ms;	   /* at most so long, at most a second */
	int64_t minded_ms; /* when rb_conn_mind() was called last; zero-initialise */
};

/**
 * rb_pause - wait for the peer, the other threads, a cancel, or @pause->nap_ms
 * @deaf: not for the peer: what it says is not for us
 *
 * Minds the connection each second: a peer whose disk is slow is not a peer that is gone.
 *
 * Return: 0, -ECANCELED, -ETIMEDOUT, or another negative errno.
 */
int rb_pause(struct rb_pause *pause, bool deaf, const struct rb_wait *wait, struct rb_err *err);
