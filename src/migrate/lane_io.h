/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane_io.h - blocks of memory between a worker and the process of a lane, on one host
 *
 * Over a unix socket; a message is its length (4 bytes, of this host) and a block. One without a
 * block is the end of a round. A stream and not a socket of messages: for a message of that size
 * the kernel would need as much memory in one piece.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "record.h"

struct rb_err;
struct rb_wait;

#define RB_LANES_MAX 8

/** What comes out of such a socket. */
struct rb_lane_in {
	int fd; /* not blocking */
	size_t have;
	uint8_t data[sizeof(uint32_t) + RB_BLOCK_SIZE];
};

/** rb_lane_prepare - no call blocks any more; room for some blocks on the way */
int rb_lane_prepare(int fd, struct rb_err *err);

/** rb_lane_put - one message
 * @len: 0: the end of a round; at most RB_BLOCK_SIZE
 *
 * Return: 0; -EPIPE and the like when nobody is there any more, without a word in @err.
 */
int rb_lane_put(int fd, const void *block, size_t len, const struct rb_wait *wait,
		struct rb_err *err);

/** rb_lane_take - what has come, without waiting
 * @ret_block: valid until the next call
 *
 * Return: 1 for a message, with its length; -EAGAIN: there is not a whole one yet; -EPIPE at the
 * end; other negative errno.
 */
int rb_lane_take(struct rb_lane_in *in, const void **ret_block, size_t *ret_len);

/** rb_lane_next - the same, after waiting for it */
int rb_lane_next(struct rb_lane_in *in, const void **ret_block, size_t *ret_len,
		 const struct rb_wait *wait, struct rb_err *err);

/** rb_lanes_by_default - how many this host's processors are good for; 1: none beside the
 * conversation */
int rb_lanes_by_default(void);
