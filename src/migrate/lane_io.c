// SPDX-License-Identifier: Apache-2.0
/* lane_io.c - blocks of memory between a worker and the process of a lane, on one host */
#include "lane_io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "err.h"
#include "wait.h"

enum {
	BLOCKS_ON_THE_WAY = 2, /* the kernel doubles it */
	PROCESSORS_MIN = 4,    /* with fewer of them one connection keeps them busy */
	DEFAULT_MAX = 4,
};

int rb_lane_prepare(int fd, struct rb_err *err)
{
	int flags = fcntl(fd, F_GETFL), bytes = BLOCKS_ON_THE_WAY * (int)RB_BLOCK_SIZE;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return rb_err_set(err, -errno, "prepare a socket");
	/* with less room it works, too */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return 0;
}

static int send_all(int fd, const void *data, size_t len, bool more, const struct rb_wait *wait,
		    struct rb_err *err)
{
	const uint8_t *at = data;

	while (len) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
		int r;

		if (n >= 0) {
			at += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = rb_wait_fd(fd, POLLOUT, wait, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int rb_lane_put(int fd, const void *block, size_t len, const struct rb_wait *wait,
		struct rb_err *err)
{
	uint32_t size = (uint32_t)len;
	int r = send_all(fd, &size, sizeof(size), len > 0, wait, err);

	return r < 0 ? r : send_all(fd, block, len, false, wait, err);
}

/* Return: bytes that the message takes with its length, as far as that is known; -EPROTO */
static ssize_t wanted(const struct rb_lane_in *in)
{
	uint32_t len;

	if (in->have < sizeof(len))
		return sizeof(len);
	memcpy(&len, in->data, sizeof(len));
	return len > RB_BLOCK_SIZE ? -EPROTO : (ssize_t)(sizeof(len) + len);
}

int rb_lane_take(struct rb_lane_in *in, const void **ret_block, size_t *ret_len)
{
	for (;;) {
		ssize_t want = wanted(in), n;

		if (want < 0)
			return (int)want;
		if (in->have >= sizeof(uint32_t) && in->have == (size_t)want) {
			*ret_block = in->data + sizeof(uint32_t);
			*ret_len = in->have - sizeof(uint32_t);
			in->have = 0;
			return 1;
		}
		n = recv(in->fd, in->data + in->have, (size_t)want - in->have, 0);
		if (n == 0)
			return -EPIPE;
		if (n < 0 && errno != EINTR)
			return -errno;
		in->have += n > 0 ? (size_t)n : 0;
	}
}

int rb_lane_next(struct rb_lane_in *in, const void **ret_block, size_t *ret_len,
		 const struct rb_wait *wait, struct rb_err *err)
{
	int r;

	while ((r = rb_lane_take(in, ret_block, ret_len)) == -EAGAIN) {
		r = rb_wait_fd(in->fd, POLLIN, wait, err);
		if (r < 0)
			return r;
	}
	return r;
}

int rb_lanes_by_default(void)
{
	cpu_set_t set;
	/* of those that the daemon may use */
	int processors = sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : CPU_COUNT(&set);

	if (processors < PROCESSORS_MIN)
		return 1;
	return processors / 2 < DEFAULT_MAX ? processors / 2 : DEFAULT_MAX;
}
