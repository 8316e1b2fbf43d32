// SPDX-License-Identifier: Apache-2.0
/*
 * sock.c - TCP sockets between nodes
 *
 * Dead links. TCP_USER_TIMEOUT ends a connection whose data nobody acknowledged for 6 s; keepalive
 * does so while there is no data to acknowledge.
 *
 * Stalls. With TCP_USER_TIMEOUT the kernel also ends a connection whose peer is alive but has kept
 * its window shut for that long (net/ipv4/tcp_timer.c, tcp_probe_timer()). A peer that loads an
 * image or waits for its disk does just that, and has every right to. So while data waits for a
 * window and the peer's kernel still answers the probes, each second spent here moves the timeout a
 * second further off; it goes back to 6 s as soon as data flows. That needs somebody who waits in
 * here, or comes by each second (rb_sock_mind()): a process that leaves a full socket alone for
 * more than 6 s while its peer does not read can still lose the connection.
 */
#include "sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "err.h"
#include "wait.h"

#define STALL_CHECK_MS	   1000
#define STALL_SLACK_MS	   100	/* a check comes later than asked for, never earlier */
#define STALL_LAST_ACK_MS  7000 /* probes are at most 6 s apart */
#define LINGER_MS	   300
#define LINGER_BYTES	   ((size_t)1 << 20)
#define ADDRESS_TEXT_BYTES 128

static int set_option(int fd, int level, int option, int value, struct rb_err *err)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		return rb_err_set(err, -errno, "set option %d/%d of a socket", level, option);
	return 0;
}

int rb_sock_prepare(int fd, struct rb_err *err)
{
	static const struct {
		int level, option, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 2 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 1 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 4 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, RB_SOCK_USER_TIMEOUT_MS },
	};
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return rb_err_set(err, -errno, "set the flags of a socket");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		int r = set_option(fd, options[i].level, options[i].option, options[i].value, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int bad_address(const char *address, struct rb_err *err)
{
	return rb_err_code(err, RB_E_USAGE, -EINVAL,
			   "'%s' is not a numeric address with a port, such as 10.0.0.2:7480 or "
			   "[fd00::2]:7480",
			   address);
}

/* getaddrinfo() takes any number, and connects to what is left of it */
static bool valid_port(const char *text)
{
	size_t len = strlen(text);
	long port = len > 0 && len <= 5 ? strtol(text, NULL, 10) : 0;

	return strspn(text, "0123456789") == len && port > 0 && port <= 65535;
}

static int resolve(const char *address, struct addrinfo **ret, struct rb_err *err)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
					.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	char copy[ADDRESS_TEXT_BYTES], *host = copy, *port;

	if (strlen(address) >= sizeof(copy))
		return bad_address(address, err);
	strcpy(copy, address);
	port = strrchr(copy, ':');
	if (!port || !valid_port(port + 1))
		return bad_address(address, err);
	*port++ = '\0';
	if (host[0] == '[') {
		size_t len = strlen(++host);

		if (len == 0 || host[len - 1] != ']')
			return bad_address(address, err);
		host[len - 1] = '\0';
	} else if (strchr(host, ':')) {
		return bad_address(address, err); /* v6 without brackets: which colon? */
	}
	/* an empty host would stand for the loopback address */
	if (!*host || getaddrinfo(host, port, &hints, ret) != 0)
		return bad_address(address, err);
	return 0;
}

static int unreachable(const char *label, int errnum, struct rb_err *err)
{
	const char *hint = errnum == ECONNREFUSED ? "; is reberthd running there?"
			   : errnum == EHOSTUNREACH || errnum == ENETUNREACH || errnum == ETIMEDOUT
				   ? "; is the address right, and the host up?"
				   : "";

	/* -ETIMEDOUT would say that the caller's own deadline is over */
	return rb_err_code(err, RB_E_PEER, errnum == ETIMEDOUT ? -EHOSTUNREACH : -errnum,
			   "%s cannot be reached: %s%s", label, strerror(errnum), hint);
}

static int finish_connect(int fd, const char *label, const struct rb_wait *wait, struct rb_err *err)
{
	int failed = 0;
	socklen_t len = sizeof(failed);
	int r = rb_wait_fd(fd, POLLOUT, wait, err);

	if (r < 0)
		return rb_err_wrap(err, r, "%s cannot be reached", label);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) < 0)
		failed = errno;
	return failed ? unreachable(label, failed, err) : 0;
}

int rb_sock_connect(const char *address, const char *label, const struct rb_wait *wait,
		    struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	struct addrinfo *info;
	int r;

	r = resolve(address, &info, err);
	if (r < 0)
		return r;
	fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		r = rb_err_set(err, -errno, "make a socket");
	if (r == 0)
		r = rb_sock_prepare(fd, err);
	if (r == 0 && connect(fd, info->ai_addr, info->ai_addrlen) < 0)
		r = errno == EINPROGRESS ? finish_connect(fd, label, wait, err)
					 : unreachable(label, errno, err);
	freeaddrinfo(info);
	return r < 0 ? r : TAKE_FD(fd);
}

void rb_sock_peer_text(int fd, char *ret, size_t size)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	char host[ADDRESS_TEXT_BYTES], port[16];

	if (getpeername(fd, (struct sockaddr *)&addr, &len) < 0 ||
	    getnameinfo((struct sockaddr *)&addr, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(ret, size, "an unknown peer");
	else
		snprintf(ret, size, addr.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* See the head of this file. Data waits for a window when none of it is on its way. */
static void mind_stall(int fd, int *user_timeout_ms, bool may_extend)
{
	struct tcp_info info = {};
	socklen_t len = sizeof(info);
	int want = *user_timeout_ms;

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return;
	if (info.tcpi_unacked > 0 || info.tcpi_notsent_bytes == 0)
		want = RB_SOCK_USER_TIMEOUT_MS;
	else if (may_extend && info.tcpi_last_ack_recv <= STALL_LAST_ACK_MS)
		want += STALL_CHECK_MS + STALL_SLACK_MS;
	if (want != *user_timeout_ms &&
	    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &want, sizeof(want)) == 0)
		*user_timeout_ms = want;
}

void rb_sock_mind(int fd, int *user_timeout_ms)
{
	mind_stall(fd, user_timeout_ms, true);
}

int rb_sock_wait(int fd, short events, int *user_timeout_ms, const struct rb_wait *wait,
		 struct rb_err *err)
{
	for (;;) {
		struct rb_wait slice = rb_wait_within(wait, STALL_CHECK_MS);
		int r = rb_wait_fd(fd, events, &slice, NULL);

		if (r == -ETIMEDOUT && rb_wait_left_ms(wait) != 0) {
			mind_stall(fd, user_timeout_ms, true);
			continue;
		}
		if (*user_timeout_ms != RB_SOCK_USER_TIMEOUT_MS)
			mind_stall(fd, user_timeout_ms, false);
		/* once more for its words */
		return r < 0 ? rb_wait_fd(fd, events, wait, err) : 0;
	}
}

int rb_sock_check(const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_wait now = { .cancel_fd = wait ? wait->cancel_fd : -EBADF, .deadline_ms = 1 };
	int r;

	if (!wait)
		return 0;
	r = rb_wait_fd(-EBADF, 0, &now, err);
	if (r == -ETIMEDOUT && rb_wait_left_ms(wait) != 0)
		return 0;
	return r;
}

void rb_sock_linger(int fd, const struct rb_wait *wait)
{
	struct rb_wait moment = rb_wait_within(wait, LINGER_MS);
	size_t total = 0;
	char waste[4096];

	if (shutdown(fd, SHUT_WR) < 0)
		return;
	while (total < LINGER_BYTES && rb_wait_fd(fd, POLLIN, &moment, NULL) == 0) {
		ssize_t n = recv(fd, waste, sizeof(waste), MSG_DONTWAIT);

		if (n <= 0)
			return;
		total += (size_t)n;
	}
}
