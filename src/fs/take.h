/* SPDX-License-Identifier: Apache-2.0 */
/*
 * take.h - so many bytes of a stream, however it is cut into frames (inside of fs/ only)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_conn;
struct rb_err;
struct rb_wait;

struct taking {
	struct rb_conn *conn;
	const struct rb_wait *wait;
	struct rb_err *err;
	const uint8_t *block; /* what is left of the current frame */
	size_t left;
	bool ended;  /* END has come */
	bool broken; /* the connection failed, or the sender did: there is nothing to drain */
};

/**
 * take_some - what is there, at most @max bytes; waits for the next frame if nothing is
 * @ret: valid until the next call
 *
 * Return: bytes, 0 at the end, negative errno.
 */
ssize_t take_some(struct taking *t, const void **ret, size_t max);

/** take_all - exactly @len bytes. Return: 1; 0 at the end, before the first of them; negative
 * errno, -EPROTO when the stream ends in between. */
int take_all(struct taking *t, void *ret, size_t len);

/** take_drain - read to the end what is left, so that an error can be answered */
void take_drain(struct taking *t);
