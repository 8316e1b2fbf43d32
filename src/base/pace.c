// SPDX-License-Identifier: Apache-2.0
/* pace.c - a limit for how fast something is sent */
#include "pace.h"

#include "wait.h"

void rb_pace_begin(struct rb_pace *pace, int64_t limit)
{
	*pace = (struct rb_pace){ .limit = limit, .began_us = rb_now_us() };
}

int rb_pace_wait(struct rb_pace *pace, size_t len, const struct rb_wait *wait, struct rb_err *err)
{
	int64_t passed_us = rb_now_us() - pace->began_us, ahead_ms;
	int r;

	pace->bytes += len;
	if (pace->limit <= 0)
		return 0;
	ahead_ms = (int64_t)((double)pace->bytes * 1000.0 / (double)pace->limit) - passed_us / 1000;
	if (ahead_ms < 1)
		return 0;
	r = rb_wait_ms(ahead_ms, wait, err);
	return r < 0 ? r : (int)ahead_ms;
}
