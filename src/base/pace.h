/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace.h - a limit for how fast something is sent
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rb_err;
struct rb_wait;

struct rb_pace {
	int64_t limit; /* bytes per second; 0: none */
	int64_t began_us;
	uint64_t bytes;
};

/** rb_pace_begin - from now on at most @limit bytes per second, 0: no limit */
void rb_pace_begin(struct rb_pace *pace, int64_t limit);

/** rb_pace_wait - @len bytes were sent: wait until as much was allowed to. Return: ms that it has
 * waited, -ECANCELED, -ETIMEDOUT */
int rb_pace_wait(struct rb_pace *pace, size_t len, const struct rb_wait *wait, struct rb_err *err);
