// SPDX-License-Identifier: Apache-2.0
/*
 * echod.c - the server that the benchmarks move: resident memory that does not compress, a TCP
 *           service, some dirty pages per request
 *
 *   echod MIB PAGES [6]  MIB of random data; each request writes to PAGES pages of it; 6: by IPv6
 *
 * One thread. With nothing to answer and nobody who listens to its heartbeat it sleeps.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

enum { MAX_CONNECTIONS = 2048, PAGE_BYTES = 4096 };

struct connection {
	int fd; /* -1: free */
	size_t have_bytes;
	struct bench_message message;
	uint64_t answered;
};

static struct connection connections[MAX_CONNECTIONS];

/* who gets a heartbeat; the last who asked for one */
static struct sockaddr_storage listener;
static bool has_listener;
static uint64_t beats;

static unsigned char *memory;
static size_t memory_pages, dirty_pages;

static void fill_memory(size_t len_bytes)
{
	size_t done = 0;

	memory = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		bench_die("echod: mmap");
	while (done < len_bytes) {
		ssize_t got = getrandom(memory + done, len_bytes - done, 0);

		if (got < 0 && errno != EINTR)
			bench_die("echod: getrandom");
		if (got > 0)
			done += (size_t)got;
	}
	memory_pages = len_bytes / PAGE_BYTES;
}

/* write to some pages, chosen anew each time (xorshift, Marsaglia 2003) */
static void dirty_memory(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15;

	for (size_t i = 0; i < dirty_pages; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		memcpy(memory + state % memory_pages * PAGE_BYTES, &state, sizeof(state));
	}
}

static int open_socket(int family, int type, int port)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} addr = { .v6 = { .sin6_family = (sa_family_t)family,
			   .sin6_port = htons((uint16_t)port) } };
	int fd = socket(family, type | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, &addr.any, family == AF_INET ? sizeof(addr.v4) : sizeof(addr.v6)) < 0)
		bench_die("echod: socket");
	if (type == SOCK_STREAM && listen(fd, MAX_CONNECTIONS) < 0)
		bench_die("echod: listen");
	return fd;
}

static void watch(int epoll, int fd, void *who)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = who };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		bench_die("echod: epoll_ctl");
}

static void take_connection(int epoll, int tcp)
{
	int fd = accept4(tcp, NULL, NULL, SOCK_CLOEXEC);
	int one = 1;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
		if (connections[i].fd >= 0)
			continue;
		connections[i] = (struct connection){ .fd = fd };
		watch(epoll, fd, &connections[i]);
		return;
	}
	close(fd);
}

static void answer(struct connection *connection)
{
	struct bench_message *message = &connection->message;
	ssize_t got = read(connection->fd, (char *)message + connection->have_bytes,
			   sizeof(*message) - connection->have_bytes);

	if (got > 0) {
		connection->have_bytes += (size_t)got;
		if (connection->have_bytes < sizeof(*message))
			return;
		connection->have_bytes = 0;
		message->count = ++connection->answered;
		dirty_memory();
		if (write(connection->fd, message, sizeof(*message)) == sizeof(*message))
			return;
	} else if (got < 0 && errno == EINTR) {
		return;
	}
	close(connection->fd);
	connection->fd = -1;
}

/* datagrams are numbered in the order in which they come; the whole program is what counts */
static void echo(int udp)
{
	static uint64_t echoed;
	struct bench_message message;
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);

	if (recvfrom(udp, &message, sizeof(message), 0, (struct sockaddr *)&from, &len) !=
	    sizeof(message))
		return;
	message.count = ++echoed;
	(void)sendto(udp, &message, sizeof(message), MSG_DONTWAIT, (struct sockaddr *)&from, len);
}

static void take_listener(int udp)
{
	struct bench_message message;
	socklen_t len = sizeof(listener);

	if (recvfrom(udp, &message, sizeof(message), 0, (struct sockaddr *)&listener, &len) ==
	    sizeof(message))
		has_listener = message.number == BENCH_LISTEN;
}

/* Whether it arrives is the listener's to see: where there is no route for a moment, it is lost. */
static void beat(int udp)
{
	struct bench_message message = { .number = ++beats };

	dirty_memory();
	(void)sendto(udp, &message, sizeof(message), MSG_DONTWAIT, (struct sockaddr *)&listener,
		     sizeof(listener));
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	size_t mib = argc == 3 || argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
	int family = argc == 4 ? AF_INET6 : AF_INET;
	int tcp, udp, echo_udp, epoll;
	int64_t last_ms = 0;

	if (mib == 0 || mib > 65536) {
		fprintf(stderr, "usage: echod MIB PAGES [6]\n");
		return 2;
	}
	dirty_pages = strtoul(argv[2], NULL, 10);
	fill_memory(mib << 20);
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		connections[i].fd = -1;
	tcp = open_socket(family, SOCK_STREAM, BENCH_PORT);
	udp = open_socket(family, SOCK_DGRAM, BENCH_PORT);
	echo_udp = open_socket(family, SOCK_DGRAM, BENCH_ECHO_PORT);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		bench_die("echod: epoll_create1");
	watch(epoll, tcp, &tcp);
	watch(epoll, udp, &udp);
	watch(epoll, echo_udp, &echo_udp);
	puts("up");
	fflush(stdout);
	for (;;) {
		struct epoll_event events[16];
		int n = epoll_wait(epoll, events, 16, has_listener ? BENCH_BEAT_MS : -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &tcp)
				take_connection(epoll, tcp);
			else if (events[i].data.ptr == &udp)
				take_listener(udp);
			else if (events[i].data.ptr == &echo_udp)
				echo(echo_udp);
			else
				answer(events[i].data.ptr);
		}
		if (has_listener && now_ms() - last_ms >= BENCH_BEAT_MS) {
			last_ms = now_ms();
			beat(udp);
		}
	}
}
