// SPDX-License-Identifier: Apache-2.0
/*
 * pause.c - the thread that owns a connection has nothing to do
 */
#include "pause.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "wait.h"

#define MIND_MS 1000

int rb_pause(struct rb_pause *pause, bool deaf, const struct rb_wait *wait, struct rb_err *err)
{
	struct pollfd fds[] = { { .fd = deaf ? -1 : rb_conn_fd(pause->conn), .events = POLLIN },
				{ .fd = pause->event_fd, .events = POLLIN },
				{ .fd = wait ? wait->cancel_fd : -1, .events = POLLIN } };
	int left = rb_wait_left_ms(wait), nap = pause->nap_ms;
	int64_t now = rb_now_ms();
	eventfd_t ignored;

	if (now >= pause->minded_ms + MIND_MS) {
		rb_conn_mind(pause->conn);
		pause->minded_ms = now;
	}
	if (left == 0)
		return rb_err_code(err, RB_E_TIMEOUT, -ETIMEDOUT, "out of time");
	if (left > 0 && left < nap)
		nap = left;
	if (poll(fds, ARRAY_SIZE(fds), nap) < 0 && errno != EINTR)
		return rb_err_set(err, -errno, "wait for node '%s'", rb_conn_peer(pause->conn));
	if (fds[2].revents)
		return rb_err_code(err, RB_E_CANCELED, -ECANCELED, "cancelled");
	if (fds[1].revents)
		eventfd_read(pause->event_fd, &ignored);
	return 0;
}
