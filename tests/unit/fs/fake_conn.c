// SPDX-License-Identifier: Apache-2.0
/*
 * fake_conn.c - streams without a wire: over a socket between two processes, or out of memory
 */
#include "fake_conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn.h"
#include "err.h"
#include "io.h"

struct rb_conn {
	int fd;
	uint8_t *block;
	const uint8_t *memory;
	size_t left, step;
};

struct rb_conn *fake_conn_new(int fd)
{
	struct rb_conn *conn = calloc(1, sizeof(*conn));

	conn->fd = fd;
	conn->block = malloc(RB_FRAME_DATA_MAX);
	return conn;
}

pid_t fake_conn_fork(struct rb_conn **ret)
{
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	fflush(NULL);
	pid = fork();
	close(fds[pid == 0 ? 0 : 1]);
	*ret = fake_conn_new(fds[pid == 0 ? 1 : 0]);
	return pid;
}

struct rb_conn *fake_conn_memory(const void *data, size_t len, size_t block)
{
	struct rb_conn *conn = calloc(1, sizeof(*conn));

	conn->fd = -1;
	conn->memory = data;
	conn->left = len;
	conn->step = block;
	return conn;
}

void fake_conn_free(struct rb_conn *conn)
{
	if (conn->fd >= 0)
		close(conn->fd);
	free(conn->block);
	free(conn);
}

static int put_block(struct rb_conn *conn, const void *data, uint32_t len, struct rb_err *err)
{
	int r = rb_write_all(conn->fd, &len, sizeof(len));

	if (r == 0)
		r = rb_write_all(conn->fd, data, len);
	return r < 0 ? rb_err_set(err, r, "write to the fake connection") : 0;
}

int rb_stream_write(struct rb_conn *conn, const void *data, size_t len, const struct rb_wait *wait,
		    struct rb_err *err)
{
	(void)wait;
	for (const char *at = data; len;) {
		size_t n = len < RB_FRAME_DATA_MAX ? len : RB_FRAME_DATA_MAX;
		int r = put_block(conn, at, (uint32_t)n, err);

		if (r < 0)
			return r;
		at += n;
		len -= n;
	}
	return 0;
}

int rb_stream_end(struct rb_conn *conn, const struct rb_wait *wait, struct rb_err *err)
{
	(void)wait;
	return put_block(conn, "", 0, err);
}

ssize_t rb_stream_read(struct rb_conn *conn, const void **ret_block, const struct rb_wait *wait,
		       struct rb_err *err)
{
	uint32_t len;
	ssize_t n;

	(void)wait;
	if (conn->fd < 0) {
		size_t step = conn->left < conn->step ? conn->left : conn->step;

		*ret_block = conn->memory;
		conn->memory += step;
		conn->left -= step;
		return (ssize_t)step;
	}
	n = rb_read_all(conn->fd, &len, sizeof(len));
	if (n != sizeof(len) || len > RB_FRAME_DATA_MAX)
		return rb_err_set(err, -ECONNRESET, "read from the fake connection");
	n = rb_read_all(conn->fd, conn->block, len);
	if (n != (ssize_t)len)
		return rb_err_set(err, -ECONNRESET, "read from the fake connection");
	*ret_block = conn->block;
	return n;
}

int rb_stream_drain(struct rb_conn *conn, const struct rb_wait *wait, struct rb_err *err)
{
	const void *block;
	ssize_t n;

	do
		n = rb_stream_read(conn, &block, wait, err);
	while (n > 0);
	return (int)n;
}
