// SPDX-License-Identifier: Apache-2.0
/*
 * lanes.c - connections beside the conversation, over which memory travels in rounds: the source
 *
 * A lane is a child of the worker with a connection of its own (verb "lane"). It gets blocks over
 * a socketpair (lane_io.h) and passes them on; an end of a round it passes on, too, and then says
 * how much it has sent. Its first message says that the connection is there, any other that it has
 * failed. It ends with the socketpair, and with the worker.
 *
 * A lane that ends in a round is the end of the round: what it had is lost. A target that fails
 * says so in the conversation, where nothing else can come during a round.
 */
#include "lanes.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "lane_io.h"
#include "log.h"
#include "migration.h"
#include "proc.h"

#define CONNECT_MS 10000
#define END_MS	   300
#define MIND_MS	   1000

/* less than that is there sooner than connections are */
#define MEMORY_MIN ((int64_t)16 << 20)

/* From a lane to the worker. */
struct report {
	int result; /* negative errno: it has failed, and ends */
	uint64_t bytes_sent;
	struct rb_err err;
};

struct lane {
	struct rb_child child;
	int fd;
	uint64_t bytes;	  /* that it has reported */
	uint64_t written; /* blocks since then */
};

struct rb_lanes {
	int n, next;
	struct lane list[RB_LANES_MAX];
};

/* --- the process of a lane --- */

static int report(int fd, int result, const struct rb_conn *conn, const struct rb_err *why)
{
	struct report report = { .result = result };

	report.bytes_sent = conn ? rb_conn_bytes_sent(conn) : 0;
	if (why)
		report.err = *why;
	return send(fd, &report, sizeof(report), MSG_NOSIGNAL) == sizeof(report) ? 0 : -EPIPE;
}

/* The next block of the worker's, which may have none for long, while the target may not have read
 * the last one yet. */
static int next_block(struct rb_lane_in *in, struct rb_conn *conn, const void **ret_block,
		      size_t *ret_len)
{
	int r;

	do {
		struct rb_wait moment = rb_wait_within(NULL, MIND_MS);

		r = rb_lane_next(in, ret_block, ret_len, &moment, NULL);
		if (r == -ETIMEDOUT)
			rb_conn_mind(conn);
	} while (r == -ETIMEDOUT);
	return r;
}

static int pass_on(struct rb_lane_in *in, struct rb_conn *conn, struct rb_err *err)
{
	int r = 0;

	while (r >= 0) {
		const void *block;
		size_t len = 0;

		r = next_block(in, conn, &block, &len);
		if (r >= 0 && len)
			r = rb_stream_write(conn, block, len, NULL, err);
		else if (r >= 0)
			r = rb_stream_end(conn, NULL, err);
		if (r >= 0 && !len)
			r = report(in->fd, 0, conn, NULL);
	}
	return r;
}

static int work(struct rb_migration *m, const char *address, struct rb_lane_in *in,
		struct rb_conn **conn, struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, CONNECT_MS);
	_cleanup_json_ json_t *args = json_pack("{s:s}", "id", m->entry.id);
	int r = rb_conn_connect(m->node->tls, address, m->entry.peer, &wait, conn, err);

	if (r >= 0)
		r = rb_conn_call(*conn, "lane", args, &wait, err);
	if (r >= 0)
		r = rb_conn_reply(*conn, NULL, &wait, err);
	if (r >= 0)
		r = report(in->fd, 0, *conn, NULL);
	return r < 0 ? r : pass_on(in, *conn, err);
}

__attribute__((noreturn)) static void be_lane(struct rb_migration *m, const char *address, int fd,
					      pid_t parent)
{
	struct rb_lane_in *in = malloc(sizeof(*in));
	struct rb_conn *conn = NULL;
	struct rb_err why = {};
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || !in)
		_exit(1);
	prctl(PR_SET_NAME, "reberthd-lane");
	rb_conn_abandon(TAKE_PTR(m->conn));
	r = rb_close_others(&fd, 1);
	in->fd = fd;
	in->have = 0;
	if (r >= 0)
		r = work(m, address, in, &conn, &why);
	/* -EPIPE: the worker needs it no more */
	if (r != -EPIPE)
		report(fd, r, conn, &why);
	rb_conn_free(conn);
	_exit(r == -EPIPE ? 0 : 1);
}

/* --- the worker --- */

static int start(struct rb_migration *m, const char *address, struct lane *lane, struct rb_err *err)
{
	pid_t parent = getpid();
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return rb_err_set(err, -errno, "make a socket");
	r = rb_lane_prepare(fds[0], err);
	if (r >= 0)
		r = rb_lane_prepare(fds[1], err);
	lane->child.pid = r < 0 ? -1 : fork();
	if (lane->child.pid == 0)
		be_lane(m, address, fds[1], parent);
	if (r >= 0 && lane->child.pid < 0)
		r = rb_err_set(err, -errno, "start a process");
	close(fds[1]);
	lane->fd = fds[0];
	if (r >= 0)
		lane->child.pidfd = (int)syscall(SYS_pidfd_open, lane->child.pid, 0);
	return r;
}

static int lost(const struct rb_migration *m, struct rb_err *err)
{
	return rb_err_code(err, RB_E_PEER, -ECONNRESET,
			   "a connection for memory to node '%s' was lost", m->entry.peer);
}

/* What a lane says. Return: 0, or why it has failed */
static int hear(struct rb_migration *m, struct lane *lane, struct rb_err *err)
{
	struct report report;

	/* it is written in one piece */
	if (recv(lane->fd, &report, sizeof(report), 0) != sizeof(report))
		return lost(m, err);
	if (report.result < 0 && err)
		*err = report.err;
	if (report.result < 0)
		return report.err.code
			       ? rb_err_wrap(err, report.result,
					     "a connection for memory to node '%s'", m->entry.peer)
			       : lost(m, err);
	m->bytes_sent += report.bytes_sent - lane->bytes - lane->written;
	lane->bytes = report.bytes_sent;
	lane->written = 0;
	return 0;
}

static int hear_all(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	int r = 0;

	for (int i = 0; r >= 0 && i < m->lanes->n; i++) {
		r = rb_wait_fd(m->lanes->list[i].fd, POLLIN, wait, err);
		if (r >= 0)
			r = hear(m, &m->lanes->list[i], err);
	}
	return r;
}

static int start_all(struct rb_migration *m, int count, struct rb_err *err)
{
	const char *address = rb_json_str(m->node->peers, m->entry.peer, NULL);
	struct rb_wait wait = rb_wait_within(&m->wait, CONNECT_MS);
	int r = 0;

	if (!address)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "node '%s' is not known here",
				   m->entry.peer);
	m->lanes = calloc(1, sizeof(*m->lanes));
	if (!m->lanes)
		return rb_err_set(err, -ENOMEM, "open connections for memory");
	while (r >= 0 && m->lanes->n < count) {
		struct lane *lane = &m->lanes->list[m->lanes->n++];

		*lane = (struct lane){ .fd = -EBADF, .child.pidfd = -EBADF };
		r = start(m, address, lane, err);
	}
	return r < 0 ? r : hear_all(m, &wait, err);
}

/* "lanes" {"count", "fixed"}: the target says how many it takes */
static int ask(struct rb_migration *m, int count, bool fixed, int *ret, struct rb_err *err)
{
	_cleanup_json_ json_t *args = json_pack("{s:i, s:b}", "count", count, "fixed", fixed),
			      *answer = NULL;
	int r = rb_conn_call(m->conn, "lanes", args, &m->wait, err);

	if (r >= 0)
		r = rb_conn_reply(m->conn, &answer, &m->wait, err);
	if (r < 0)
		return r;
	*ret = (int)rb_json_int(answer, "count", 0);
	return *ret > count ? rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
					  "the answer has more connections than were asked for")
			    : 0;
}

int rb_lanes_open(struct rb_migration *m, struct rb_err *err)
{
	int asked = (int)rb_json_int(m->entry.facts, "connections", 0);
	int count = asked ? asked : rb_lanes_by_default(), r;
	const json_t *facts = m->entry.facts;
	struct rb_err why = {};

	if (count < 2 ||
	    rb_json_int(facts, "pages_bytes", 0) + rb_json_int(facts, "shared_bytes", 0) <
		    MEMORY_MIN)
		return 0;
	r = ask(m, count, asked > 0, &count, err);
	if (r < 0 || count < 2)
		return r;
	r = start_all(m, count, &why);
	if (r == -ECANCELED) {
		*err = why;
		return r;
	}
	if (r < 0) {
		rb_warn("memory: it travels over one connection: %s", why.msg);
		rb_lanes_close(m);
		return 0;
	}
	rb_debug("memory: it travels over %d connections", count);
	rb_migration_fact(m, "lanes", json_integer(count));
	return 0;
}

void rb_lanes_close(struct rb_migration *m)
{
	struct rb_lanes *lanes = TAKE_PTR(m->lanes);
	struct rb_wait wait = rb_wait_within(NULL, END_MS);

	for (int i = 0; lanes && i < lanes->n; i++)
		rb_close_fd(&lanes->list[i].fd);
	for (int i = 0; lanes && i < lanes->n; i++) {
		struct rb_child *child = &lanes->list[i].child;

		/* one that writes to a link that stands still does not hear of it */
		if (child->pid > 0)
			rb_child_wait(child, &wait, NULL);
	}
	free(lanes);
}

void rb_lanes_nice(const struct rb_migration *m, int nice)
{
	for (int i = 0; m->lanes && i < m->lanes->n; i++)
		setpriority(PRIO_PROCESS, (id_t)m->lanes->list[i].child.pid, nice);
}

int rb_lanes_count(const struct rb_migration *m)
{
	return m->lanes ? m->lanes->n : 0;
}

/* The target has said something: that can only be why it goes no further. */
static int hear_target(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	int r = rb_conn_reply(m->conn, NULL, wait, err);

	return r < 0 ? r
		     : rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "node '%s' answered before it had all memory", m->entry.peer);
}

/* A lane has failed. The target, if it was its doing, has said why before it hung up. */
static int lane_failed(struct rb_migration *m, struct lane *lane, const struct rb_wait *wait,
		       struct rb_err *err)
{
	int r;

	if (rb_conn_readable(m->conn))
		return hear_target(m, wait, err);
	r = hear(m, lane, err);
	return r < 0 ? r : lost(m, err);
}

/* Return: a lane that has room, negative errno */
static int choose(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_lanes *lanes = m->lanes;
	struct pollfd fds[RB_LANES_MAX + 2];
	int n = lanes->n, r = rb_wait_ms(0, wait, err);

	/* where there is always room nobody ever waits */
	if (r < 0)
		return r;
	for (int i = 0; i < n; i++)
		fds[i] = (struct pollfd){ .fd = lanes->list[i].fd, .events = POLLIN | POLLOUT };
	fds[n] = (struct pollfd){ .fd = rb_conn_fd(m->conn), .events = POLLIN };
	fds[n + 1] = (struct pollfd){ .fd = wait ? wait->cancel_fd : -1, .events = POLLIN };
	while (poll(fds, (nfds_t)n + 2, rb_wait_left_ms(wait)) < 0)
		if (errno != EINTR)
			return rb_err_set(err, -errno, "poll");
	if (fds[n + 1].revents)
		return rb_wait_ms(0, wait, err);
	if (fds[n].revents || rb_conn_readable(m->conn))
		return hear_target(m, wait, err);
	for (int i = 0; i < n; i++)
		if (fds[i].revents & ~POLLOUT)
			return lane_failed(m, &lanes->list[i], wait, err);
	for (int i = 0; i < n; i++) {
		int chosen = (lanes->next + i) % n;

		if (!fds[chosen].revents)
			continue;
		lanes->next = (chosen + 1) % n;
		return chosen;
	}
	return rb_err_code(err, RB_E_TIMEOUT, -ETIMEDOUT, "it took longer than allowed");
}

static int put(struct rb_migration *m, int i, const void *block, size_t len,
	       const struct rb_wait *wait, struct rb_err *err)
{
	struct lane *lane = &m->lanes->list[i];
	int r = rb_lane_put(lane->fd, block, len, wait, err);

	if (r >= 0) {
		lane->written += len;
		m->bytes_sent += len;
	}
	if (r >= 0 || r == -ECANCELED || r == -ETIMEDOUT)
		return r;
	return lane_failed(m, lane, wait, err);
}

int rb_lanes_write(struct rb_migration *m, const void *block, size_t len,
		   const struct rb_wait *wait, struct rb_err *err)
{
	int i = choose(m, wait, err);

	return i < 0 ? i : put(m, i, block, len, wait, err);
}

int rb_lanes_write_each(struct rb_migration *m, const void *block, size_t len,
			const struct rb_wait *wait, struct rb_err *err)
{
	int r = 0;

	for (int i = 0; r >= 0 && i < m->lanes->n; i++)
		r = put(m, i, block, len, wait, err);
	return r;
}

int rb_lanes_end(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	int r = 0;

	for (int i = 0; r >= 0 && i < m->lanes->n; i++)
		r = put(m, i, NULL, 0, wait, err);
	return r;
}

int rb_lanes_settle(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	return hear_all(m, wait, err);
}
