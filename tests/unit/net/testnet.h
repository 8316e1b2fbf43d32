/* SPDX-License-Identifier: Apache-2.0 */
/*
 * testnet.h - two network namespaces and a cable, for the tests of net/
 *
 *   "inside" (the container)   c0 10.9.0.2/24 fd09::2/64 --- p0 10.9.0.1/24 fd09::1/64   "peer"
 *
 * The test program walks between the namespaces; its sockets stay in the one that they were made
 * in. Nothing has a name outside: all is gone when the program ends.
 */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "net.h"
#include "proc.h"
#include "tap.h"
#include "wait.h"

#define INSIDE	"10.9.0.2"
#define PEER	"10.9.0.1"
#define NOBODY	"10.9.0.77"
#define INSIDE6 "fd09::2"
#define PEER6	"fd09::1"

/* a call that takes the program's `err` and has to return 0 */
#define CHECK_OK(call)                             \
	do {                                       \
		int _r = (call);                   \
		if (_r < 0)                        \
			printf("# %s\n", err.msg); \
		CHECK_INT(_r, 0);                  \
	} while (0)

/* run a test; a failed one may have ended in any namespace */
#define NET_RUN(net, fn)           \
	do {                       \
		TAP_RUN(fn);       \
		go_to((net).host); \
	} while (0)

struct testnet {
	int host; /* where the program stays, and is the "host" to the code under test */
	int inside;
	int peer;
};

/* kinds of frames, as a set */
enum {
	SAW_ARP = 1,
	SAW_UDP = 2,
	SAW_TCP = 4,
	SAW_ICMP = 8,
	SAW_IPV6 = 16,
	SAW_OTHER = 32,
	SAW_ALL = 63,
};

static inline void go_to(int netns_fd)
{
	if (setns(netns_fd, CLONE_NEWNET) < 0) {
		printf("Bail out! setns: %s\n", strerror(errno));
		exit(1);
	}
}

/* run a shell command in a namespace; print and return its failure */
__attribute__((format(printf, 2, 3))) static inline int sh(int netns_fd, const char *fmt, ...)
{
	char command[1024];
	const char *argv[] = { "sh", "-c", command, NULL };
	struct rb_spawn spec = { .argv = argv, .netns_fd = netns_fd };
	struct rb_err err = {};
	va_list ap;
	int r;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	r = rb_run(&spec, NULL, NULL, &err);
	if (r < 0)
		printf("# %s: %s\n", command, err.msg);
	return r;
}

static inline int new_netns(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* a cable from @dev inside to @peer_dev at the peer, both up, without addresses */
static inline int add_cable(const struct testnet *net, const char *dev, const char *peer_dev)
{
	if (sh(net->inside, "ip link add %s type veth peer name %s netns /proc/%d/fd/%d", dev,
	       peer_dev, (int)getpid(), net->peer) < 0)
		return -EIO;
	return sh(net->inside, "ip link set %s up", dev) < 0 ||
			       sh(net->peer, "ip link set %s up", peer_dev) < 0
		       ? -EIO
		       : 0;
}

static inline int testnet_up(struct testnet *net)
{
	/* never the machine's own: a test that goes wrong must not silence it */
	net->host = new_netns();
	net->inside = new_netns();
	net->peer = new_netns();
	if (net->host < 0 || net->inside < 0 || net->peer < 0)
		return -EIO;
	go_to(net->host);
	if (sh(net->inside, "ip link set lo up") < 0 || sh(net->peer, "ip link set lo up") < 0 ||
	    add_cable(net, "c0", "p0") < 0)
		return -EIO;
	if (sh(net->inside,
	       "ip addr add " INSIDE "/24 dev c0 && ip addr add " INSIDE6 "/64 dev c0 nodad") < 0)
		return -EIO;
	return sh(net->peer,
		  "ip addr add " PEER "/24 dev p0 && ip addr add " PEER6 "/64 dev p0 nodad");
}

static inline void testnet_down(struct testnet *net)
{
	rb_close_fd(&net->inside);
	rb_close_fd(&net->peer);
	rb_close_fd(&net->host);
}

static inline struct sockaddr_in addr4(const char *ip, uint16_t port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, ip, &addr.sin_addr);
	return addr;
}

/* packet socket on a device of the namespace that we are in; sees all that arrives */
static inline int sniff(const char *dev)
{
	struct sockaddr_ll addr = { .sll_family = AF_PACKET,
				    .sll_protocol = htons(ETH_P_ALL),
				    .sll_ifindex = (int)if_nametoindex(dev) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	return fd;
}

static inline int kind_of(const uint8_t *frame, ssize_t len)
{
	uint16_t type = len > 23 ? (uint16_t)(frame[12] << 8 | frame[13]) : 0;

	if (type == ETHERTYPE_ARP)
		return SAW_ARP;
	if (type == ETHERTYPE_IPV6)
		return SAW_IPV6;
	if (type != ETHERTYPE_IP)
		return SAW_OTHER;
	switch (frame[23]) {
	case IPPROTO_UDP:
		return SAW_UDP;
	case IPPROTO_TCP:
		return SAW_TCP;
	default:
		return SAW_ICMP;
	}
}

/* Kinds of the frames that came in until @ms passed or all of @enough were seen; frames that the
 * sniffing side sends itself do not count. The latest frame that counts is left in @ret_frame. */
static inline int frames_seen(int fd, int ms, int enough, uint8_t *ret_frame, size_t size)
{
	int64_t end = rb_now_ms() + ms;
	uint8_t frame[2048];
	int seen = 0;

	while ((seen & enough) != enough || !enough) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		struct sockaddr_ll from = {};
		socklen_t from_len = sizeof(from);
		int64_t left = end - rb_now_ms();
		ssize_t len;

		if (left <= 0 || poll(&pfd, 1, (int)left) <= 0)
			break;
		len = recvfrom(fd, frame, sizeof(frame), 0, (struct sockaddr *)&from, &from_len);
		if (len < 0 || from.sll_pkttype == PACKET_OUTGOING)
			continue;
		seen |= kind_of(frame, len);
		if (ret_frame)
			memcpy(ret_frame, frame, (size_t)len < size ? (size_t)len : size);
	}
	return seen;
}

/* forget what has come in so far, and what a busy kernel still has to deliver */
static inline void drain(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint8_t frame[64];

	while (poll(&pfd, 1, 20) > 0 && recv(fd, frame, sizeof(frame), MSG_DONTWAIT) >= 0)
		;
}

/* one frame of an experimental type straight to the device: nothing but layer 2 sees it */
static inline int send_raw(const char *dev)
{
	uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5 };
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(dev) };
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	return (int)sendto(fd, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to));
}

static inline ssize_t send_udp(const char *ip, uint16_t port)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in to = addr4(ip, port);
	ssize_t sent = sendto(fd, "hello", 5, 0, (struct sockaddr *)&to, sizeof(to));

	return sent < 0 ? -errno : sent;
}

/* listening TCP socket in the namespace that we are in */
static inline int tcp_listen(uint16_t port)
{
	struct sockaddr_in addr = addr4("0.0.0.0", port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 16) < 0)
		return -errno;
	return fd;
}

static inline int tcp_connect(const char *ip, uint16_t port)
{
	struct sockaddr_in addr = addr4(ip, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : fd;
}

/* does @text arrive within @ms? */
static inline bool receives(int fd, const char *text, int ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char got[64] = "";

	return poll(&pfd, 1, ms) == 1 && recv(fd, got, sizeof(got) - 1, 0) > 0 &&
	       strcmp(got, text) == 0;
}
