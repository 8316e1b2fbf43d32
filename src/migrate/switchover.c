// SPDX-License-Identifier: Apache-2.0
/*
 * switchover.c - a container that moves misses nothing of what its network hears
 */
#include "switchover.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "frames.h"
#include "log.h"
#include "migration.h"
#include "net.h"

#define STRAGGLERS_MS 5
#define HEAR_MS	      3000
#define CATCH_UP_MAX  100

void rb_switchover_capture(struct rb_migration *m, int netns_fd)
{
	struct rb_err why = {};

	if (!m->capture && rb_capture_open(netns_fd, &m->capture, &why) < 0)
		rb_warn("what arrives during the switch-over will be lost: %s", why.msg);
}

void rb_switchover_prepare(struct rb_migration *m, int netns_fd)
{
	struct rb_err why = {};

	if (!m->injector && rb_injector_open(netns_fd, &m->injector, &why) < 0)
		rb_warn("what arrives during the switch-over will be lost: %s", why.msg);
}

void rb_switchover_close(struct rb_migration *m)
{
	unsigned int lost = m->capture ? rb_capture_lost(m->capture) : 0;

	if (lost)
		rb_warn("%u frames for '%s' were lost: more came than there was room for", lost,
			m->entry.container);
	rb_capture_close(TAKE_PTR(m->capture));
	rb_injector_close(TAKE_PTR(m->injector));
	rb_buf_free(&m->carried);
}

/* @count: frames in @records */
static void hear(struct rb_migration *m, const char *records, size_t len, int count)
{
	struct rb_err why = {};
	int r;

	if (!m->injector || !len)
		return;
	r = rb_inject(m->injector, records, len, &why);
	if (r < 0)
		rb_warn("what arrived during the switch-over is lost: %s", why.msg);
	else if (r == 0 && count > 0)
		rb_warn("%d frames could not be heard: no cable of '%s' ends on this host", count,
			m->entry.container);
}

/* What was caught here since, without what was carried over: that was said before, so it is among
 * what is drained first, and each of it takes one away. */
static int hear_caught(struct rb_migration *m)
{
	_cleanup_buf_ struct rb_buf caught = {};
	int n = m->capture ? rb_capture_drain(m->capture, false, &caught) : 0;

	if (n > 0)
		n -= rb_frames_subtract(&caught, &m->carried);
	rb_buf_free(&m->carried);
	hear(m, caught.data, caught.len, n);
	return n;
}

int rb_switchover_open(struct rb_migration *m, int netns_fd, struct rb_err *err)
{
	int r;

	/* what comes while others are heard waits its turn: when the gate opens as few as can be
	 * are left, which something may overtake */
	for (int i = 0; i < CATCH_UP_MAX && hear_caught(m) > 0; i++)
		;
	r = rb_silence_lift(netns_fd, err);
	hear_caught(m);
	return r;
}

static int send_caught(struct rb_migration *m, bool unicast, const struct rb_wait *wait,
		       struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf caught = {};

	if (m->capture)
		m->frames += rb_capture_drain(m->capture, unicast, &caught);
	return caught.len ? rb_stream_write(m->conn, caught.data, caught.len, wait, err) : 0;
}

int rb_switchover_send(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	return send_caught(m, false, wait, err);
}

/* What is for many is caught at the target, too, by now. */
int rb_switchover_send_stragglers(struct rb_migration *m, const struct rb_wait *wait,
				  struct rb_err *err)
{
	int64_t end = rb_now_ms() + STRAGGLERS_MS;
	int r = send_caught(m, true, wait, err);

	while (r >= 0 && m->capture && rb_now_ms() < end) {
		struct rb_wait moment = rb_wait_within(NULL, end - rb_now_ms());

		if (rb_wait_fd(rb_capture_fd(m->capture), POLLIN, &moment, NULL) >= 0)
			r = send_caught(m, true, wait, err);
	}
	return r;
}

/* Has the whole records of m->carried heard that begin at @from. Return: where they end, negative
 * when what follows cannot be a record. */
static ssize_t hear_carried(struct rb_migration *m, size_t from)
{
	struct rb_frame_view view;
	size_t at = from;
	int count = 0, r;

	while ((r = rb_frames_next(m->carried.data, m->carried.len, &at, &view)) == 1)
		count++;
	if (count)
		hear(m, m->carried.data + from, at - from, count);
	m->frames += count;
	return r == -EPROTO ? r : (ssize_t)at;
}

void rb_switchover_receive(struct rb_migration *m)
{
	struct rb_wait wait = rb_wait_within(NULL, HEAR_MS);
	struct rb_err why = {};
	ssize_t at = (ssize_t)m->carried.len, n;
	const void *block;

	/* to the end of the stream in any case: a call follows it */
	while ((n = rb_stream_read(m->conn, &block, &wait, &why)) > 0) {
		if (at >= 0 && (m->carried.len + (size_t)n > 2 * RB_FRAMES_MAX ||
				rb_buf_add(&m->carried, block, (size_t)n) < 0))
			at = -ENOSPC;
		if (at >= 0)
			at = hear_carried(m, (size_t)at);
	}
	if (at < 0 || n < 0)
		rb_warn("some of what arrived during the switch-over is lost: %s",
			n < 0 ? why.msg : strerror((int)-at));
	/* what is not whole is not heard, and nothing may come behind it */
	m->carried.len = at >= 0 ? (size_t)at : 0;
}
