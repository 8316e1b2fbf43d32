// SPDX-License-Identifier: Apache-2.0
/*
 * wait.c - deadlines and cancellation for blocking calls
 */
#include "wait.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <time.h>

#include "err.h"

int64_t rb_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t rb_realtime_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t rb_now_ms(void)
{
	return rb_now_us() / 1000;
}

int rb_wait_left_ms(const struct rb_wait *wait)
{
	int64_t left;

	if (!wait || wait->deadline_ms == 0)
		return -1;
	left = wait->deadline_ms - rb_now_ms();
	if (left < 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}

struct rb_wait rb_wait_within(const struct rb_wait *wait, int64_t ms)
{
	struct rb_wait out = { .cancel_fd = wait ? wait->cancel_fd : -EBADF,
			       .deadline_ms = rb_now_ms() + ms };

	if (wait && wait->deadline_ms && wait->deadline_ms < out.deadline_ms)
		out.deadline_ms = wait->deadline_ms;
	return out;
}

static int timed_out(struct rb_err *err)
{
	return rb_err_code(err, RB_E_TIMEOUT, -ETIMEDOUT, "it took longer than allowed");
}

static int canceled(struct rb_err *err)
{
	return rb_err_code(err, RB_E_CANCELED, -ECANCELED, "cancelled");
}

/* fd may be negative: then only time and the cancel descriptor count */
static int wait_one(int fd, short events, const struct rb_wait *wait, struct rb_err *err)
{
	struct pollfd fds[2] = { { .fd = fd, .events = events },
				 { .fd = wait ? wait->cancel_fd : -1, .events = POLLIN } };

	for (;;) {
		int n = poll(fds, 2, rb_wait_left_ms(wait));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return rb_err_set(err, -errno, "poll");
		if (fds[1].revents)
			return canceled(err);
		if (n == 0)
			return timed_out(err);
		return 0;
	}
}

int rb_wait_fd(int fd, short events, const struct rb_wait *wait, struct rb_err *err)
{
	return wait_one(fd, events, wait, err);
}

int rb_wait_ms(int64_t ms, const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_wait inner = rb_wait_within(wait, ms);
	int r = wait_one(-1, 0, &inner, NULL);

	if (r == -ECANCELED)
		return canceled(err);
	if (r == -ETIMEDOUT)
		return wait && wait->deadline_ms && rb_now_ms() >= wait->deadline_ms
			       ? timed_out(err)
			       : 0;
	return r;
}
