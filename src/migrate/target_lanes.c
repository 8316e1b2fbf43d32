// SPDX-License-Identifier: Apache-2.0
/*
 * target_lanes.c - connections beside the conversation, over which memory comes in rounds: the
 * target
 *
 *	source's lane ==TLS==> process of the daemon's ("lane") --unix socket--> worker
 *
 * The worker makes the socket when the source asks how many lanes it takes ("lanes"). A lane's
 * process connects to it when its connection is there, and says first which node that is, which
 * has to be the migration's source. Then the source knows that it is there, so that with the first
 * round that goes over lanes all are accepted, and the socket goes.
 *
 * A lane that ends before its round has ended has lost some of it. That is the end of the
 * migration; which of both sides notices it first does not matter.
 */
#include "target_lanes.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "conn.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "journal.h"
#include "lane_io.h"
#include "log.h"
#include "message.h"
#include "migration.h"
#include "wait.h"

#define ANSWER_MS 10000
#define ACCEPT_MS 10000

struct rb_inlets {
	int listen_fd;
	int offered, n;
	bool ended[RB_LANES_MAX]; /* in this round */
	struct rb_lane_in in[RB_LANES_MAX];
};

static int socket_path(const struct rb_node *node, const char *id, char ret[PATH_MAX])
{
	return rb_path(ret, PATH_MAX, "%s/migrations/%s.lanes", node->run_dir, id);
}

/* --- the worker --- */

int rb_target_lanes(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	int64_t count = rb_json_int(args, "count", 0);
	char path[PATH_MAX];
	int r;

	if (m->inlets || count < 1 || count > RB_LANES_MAX)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "so many connections for memory make no sense");
	if (!rb_json_bool(args, "fixed", false) && count > rb_lanes_by_default())
		count = rb_lanes_by_default();
	*ret = json_pack("{s:I}", "count", (json_int_t)count);
	if (count < 2)
		return 0;
	m->inlets = calloc(1, sizeof(*m->inlets));
	if (!m->inlets)
		return rb_err_set(err, -ENOMEM, "take memory over several connections");
	m->inlets->offered = (int)count;
	m->inlets->listen_fd = -EBADF;
	r = socket_path(m->node, m->entry.id, path);
	if (r < 0)
		return rb_err_set(err, r, "take memory over several connections");
	m->inlets->listen_fd = rb_unix_listen(path, 0600, err);
	return m->inlets->listen_fd < 0 ? m->inlets->listen_fd : 0;
}

/* Whoever is not from the source is none: it goes, and the next one comes. */
static int accept_one(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_inlets *inlets = m->inlets;
	_cleanup_close_ int fd = -EBADF;
	char node[RB_NODE_MAX + 2];
	int r = rb_wait_fd(inlets->listen_fd, POLLIN, wait, err);

	if (r < 0)
		return r;
	fd = accept4(inlets->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return rb_err_set(err, -errno, "take a connection for memory");
	if (rb_read_line(fd, node, sizeof(node), wait, NULL) <= 0 ||
	    strcmp(node, m->entry.peer) != 0) {
		rb_warn("memory: a connection that is not from node '%s' is refused",
			m->entry.peer);
		return 0;
	}
	r = rb_lane_prepare(fd, err);
	if (r >= 0)
		inlets->in[inlets->n++].fd = TAKE_FD(fd);
	return r;
}

static int accept_all(struct rb_migration *m, int count, struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(&m->wait, ACCEPT_MS);
	struct rb_inlets *inlets = m->inlets;
	int r = 0;

	if (!inlets || count != inlets->offered)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "there are not so many connections for memory");
	if (inlets->n)
		return 0;
	while (r >= 0 && inlets->n < count)
		r = accept_one(m, &wait, err);
	/* those that wait there stay until the source was told why */
	if (r < 0)
		return r;
	rb_close_fd(&inlets->listen_fd);
	rb_target_lanes_remove(m->node, m->entry.id);
	return r;
}

/* What has come over one lane. Return: 1 when that has ended the round, 0, negative errno */
static int take_one(struct rb_migration *m, int i,
		    int (*take)(void *arg, const void *block, size_t len, struct rb_err *err),
		    void *arg, struct rb_err *err)
{
	const void *block;
	size_t len = 0;
	int r = rb_lane_take(&m->inlets->in[i], &block, &len);

	if (r == -EAGAIN)
		return 0;
	if (r < 0)
		return rb_err_code(err, RB_E_PEER, -ECONNRESET,
				   "a connection for memory from node '%s' was lost",
				   m->entry.peer);
	/* but for what TLS adds to it */
	m->bytes_received += len;
	if (len)
		return take(arg, block, len, err);
	m->inlets->ended[i] = true;
	return 1;
}

static int wait_for_some(struct rb_migration *m, struct pollfd *fds, struct rb_err *err)
{
	int n = m->inlets->n;

	for (int i = 0; i < n; i++)
		fds[i] = (struct pollfd){ .fd = m->inlets->ended[i] ? -1 : m->inlets->in[i].fd,
					  .events = POLLIN };
	fds[n] = (struct pollfd){ .fd = m->wait.cancel_fd, .events = POLLIN };
	while (poll(fds, (nfds_t)n + 1, rb_wait_left_ms(&m->wait)) < 0)
		if (errno != EINTR)
			return rb_err_set(err, -errno, "poll");
	return rb_wait_ms(0, &m->wait, err);
}

int rb_target_lanes_take(struct rb_migration *m, int count,
			 int (*take)(void *arg, const void *block, size_t len, struct rb_err *err),
			 void *arg, struct rb_err *err)
{
	struct pollfd fds[RB_LANES_MAX + 1];
	int r = accept_all(m, count, err), left = count;

	if (r >= 0)
		memset(m->inlets->ended, 0, sizeof(m->inlets->ended));
	while (r >= 0 && left) {
		r = wait_for_some(m, fds, err);
		for (int i = 0; r >= 0 && i < count; i++) {
			if (!fds[i].revents)
				continue;
			r = take_one(m, i, take, arg, err);
			left -= r > 0;
		}
	}
	return r < 0 ? r : 0;
}

void rb_target_lanes_close(struct rb_migration *m)
{
	if (m->inlets && m->inlets->listen_fd >= 0)
		rb_target_lanes_remove(m->node, m->entry.id);
	rb_target_lanes_abandon(m);
}

void rb_target_lanes_abandon(struct rb_migration *m)
{
	struct rb_inlets *inlets = TAKE_PTR(m->inlets);

	if (!inlets)
		return;
	rb_close_fd(&inlets->listen_fd);
	for (int i = 0; i < inlets->n; i++)
		rb_close_fd(&inlets->in[i].fd);
	free(inlets);
}

void rb_target_lanes_nice(const struct rb_migration *m, int nice)
{
	for (int i = 0; m->inlets && i < m->inlets->n; i++) {
		struct pollfd fd = { .fd = m->inlets->in[i].fd };
		struct ucred who;
		socklen_t len = sizeof(who);

		/* when one has ended its number may be another's */
		if (poll(&fd, 1, 0) == 0 &&
		    getsockopt(fd.fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0)
			setpriority(PRIO_PROCESS, (id_t)who.pid, nice);
	}
}

void rb_target_lanes_remove(const struct rb_node *node, const char *id)
{
	char path[PATH_MAX];

	if (socket_path(node, id, path) >= 0)
		unlink(path);
}

/* --- the process of a lane --- */

/* Readable with either: who stops us, and the worker, which says nothing but that it has ended. */
static int end_descriptor(int cancel_fd, int worker_fd, struct rb_err *err)
{
	_cleanup_close_ int fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };

	if (fd < 0 || epoll_ctl(fd, EPOLL_CTL_ADD, worker_fd, &event) < 0 ||
	    (cancel_fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, cancel_fd, &event) < 0))
		return rb_err_set(err, -errno, "watch a migration's worker");
	return TAKE_FD(fd);
}

/* Return: 0 when it is not needed any more, negative errno when it broke in a round */
static int pass_on(struct rb_conn *conn, int fd, const struct rb_wait *wait, struct rb_err *err)
{
	bool in_round = false;

	for (;;) {
		const void *block = NULL;
		ssize_t n = rb_stream_read(conn, &block, wait, err);
		int r = n < 0 ? (int)n : rb_lane_put(fd, block, (size_t)n, wait, err);

		if (n < 0 && in_round && r != -ECANCELED)
			return r;
		if (r < 0) {
			rb_err_clear(err);
			return 0;
		}
		in_round = n > 0;
	}
}

/* Is that a migration in which this peer's memory comes here? Another node learns nothing. */
static bool is_awaited(const struct rb_node *node, const char *id, const char *peer)
{
	_cleanup_entry_ struct rb_entry entry = {};

	/* it becomes part of a path, too */
	return strlen(id) == RB_ID_LEN && strspn(id, "0123456789abcdef") == RB_ID_LEN &&
	       rb_journal_get(node->journal, id, &entry, NULL) >= 0 && entry.role == RB_TARGET &&
	       entry.state == RB_PREPARING && strcmp(entry.peer, peer) == 0;
}

static int connect_to_worker(const struct rb_node *node, const char *id, const char *peer,
			     struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char path[PATH_MAX], line[RB_NODE_MAX + 2];
	int r;

	if (is_awaited(node, id, peer) && socket_path(node, id, path) >= 0)
		fd = rb_unix_connect(path, NULL);
	if (fd < 0)
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
				   "no migration '%.40s' takes memory from node '%s' here", id,
				   peer);
	snprintf(line, sizeof(line), "%s\n", peer);
	r = rb_write_all(fd, line, strlen(line));
	if (r < 0)
		return rb_err_set(err, r, "hand over a connection for memory");
	r = rb_lane_prepare(fd, err);
	return r < 0 ? r : TAKE_FD(fd);
}

int rb_target_serve_lane(const struct rb_node *node, struct rb_conn *conn, const json_t *args,
			 int cancel_fd, struct rb_err *err)
{
	_cleanup_close_ int fd =
		connect_to_worker(node, rb_json_str(args, "id", ""), rb_conn_peer(conn), err);
	struct rb_wait wait = rb_wait_within(NULL, ANSWER_MS);
	_cleanup_close_ int end_fd = fd < 0 ? fd : end_descriptor(cancel_fd, fd, err);
	int r = end_fd < 0 ? end_fd : rb_conn_answer(conn, NULL, &wait, err);

	if (r < 0)
		return r;
	prctl(PR_SET_NAME, "reberthd-lane");
	wait = (struct rb_wait){ .cancel_fd = end_fd };
	return pass_on(conn, fd, &wait, err);
}
