/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.h - how long a blocking call may take, and what may cut it short
 *
 * Every call that can block takes a `const struct rb_wait *`; NULL means "as long as it takes".
 * The cancel descriptor becomes readable (and stays so) once the work is cancelled.
 */
#pragma once

#include <stdint.h>

struct rb_err;

struct rb_wait {
	int cancel_fd;	     /* -EBADF: cannot be cancelled */
	int64_t deadline_ms; /* on CLOCK_MONOTONIC, see rb_now_ms(); 0: none */
};

/** rb_now_ms - CLOCK_MONOTONIC in ms */
int64_t rb_now_ms(void);

/** rb_now_us - CLOCK_MONOTONIC in microseconds */
int64_t rb_now_us(void);

/** rb_realtime_ms - CLOCK_REALTIME in ms: what other hosts and people understand, and may jump */
int64_t rb_realtime_ms(void);

/** rb_wait_left_ms - time left, as poll(2) takes it: -1 for ever, 0 when it is over */
int rb_wait_left_ms(const struct rb_wait *wait);

/** rb_wait_within - the same wait, but at most @ms from now */
struct rb_wait rb_wait_within(const struct rb_wait *wait, int64_t ms);

/**
 * rb_wait_fd - wait until @fd has one of @events (POLLIN, POLLOUT)
 *
 * POLLHUP and POLLERR count as ready: the read or write that follows tells what is wrong.
 *
 * Return: 0, -ECANCELED, -ETIMEDOUT, or another negative errno of poll(2).
 */
int rb_wait_fd(int fd, short events, const struct rb_wait *wait, struct rb_err *err);

/** rb_wait_ms - let @ms pass unless cancelled before. Return: 0, -ECANCELED, -ETIMEDOUT. */
int rb_wait_ms(int64_t ms, const struct rb_wait *wait, struct rb_err *err);
