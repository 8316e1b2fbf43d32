// SPDX-License-Identifier: Apache-2.0
/*
 * streamd.c - server of the stream test: takes part in as many checked byte streams as ask for it
 *
 * usage: streamd PORT
 *
 * Ends with status 1 and "BAD ..." at the first byte that is wrong, so that the client sees a reset
 * as well. Prints "ok <connections> <bytes in> <bytes out>" every second.
 */
#include <sys/epoll.h>

#include "stream.h"

#define CONNECTIONS_MAX 4096
#define REPORT_MS	1000

struct server {
	int epoll;
	int listener;
	int open;
	struct stream streams[CONNECTIONS_MAX];
	struct stream_hello hellos[CONNECTIONS_MAX];
	size_t hello_len[CONNECTIONS_MAX];
	uint64_t bytes_in, bytes_out; /* of connections that ended */
};

static struct server server;

static void bad(const char *what, int index)
{
	printf("BAD %s on connection %u\n", what, server.hellos[index].connection);
	exit(1);
}

static void stream_close(int index)
{
	struct stream *s = &server.streams[index];

	server.bytes_in += s->bytes_in;
	server.bytes_out += s->bytes_out;
	close(s->fd);
	memset(s, 0, sizeof(*s));
	s->fd = -1;
	server.open--;
}

static void accept_one(void)
{
	int index, fd = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };

	if (fd < 0)
		return;
	for (index = 0; index < CONNECTIONS_MAX && server.streams[index].fd >= 0; index++)
		;
	if (index == CONNECTIONS_MAX) {
		close(fd);
		return;
	}
	server.streams[index] = (struct stream){ .fd = fd, .out_ended = true };
	server.hello_len[index] = 0;
	event.data.u32 = (uint32_t)index;
	epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &event);
	server.open++;
}

/* Return: bytes of @data that belong to the hello */
static size_t take_hello(int index, const uint8_t *data, size_t len)
{
	struct stream_hello *hello = &server.hellos[index];
	size_t n = sizeof(*hello) - server.hello_len[index];
	struct stream *s = &server.streams[index];

	n = len < n ? len : n;
	memcpy((uint8_t *)hello + server.hello_len[index], data, n);
	server.hello_len[index] += n;
	if (!n || server.hello_len[index] < sizeof(*hello))
		return n;
	if (hello->magic != STREAM_HELLO)
		bad("hello", index);
	s->key_in = stream_key(hello->seed, hello->connection, true);
	s->key_out = stream_key(hello->seed, hello->connection, false);
	s->rate_kib = hello->rate_kib;
	s->paid_us = victim_now_us();
	s->out_ended = false;
	return n;
}

/* The client has said all: tell it what arrived. The socket is empty enough for 32 bytes sooner or
 * later; the client reads until the end. */
static void finish(int index)
{
	struct stream *s = &server.streams[index];
	struct stream_trailer trailer = { STREAM_TRAILER, s->bytes_in, s->mismatches,
					  s->bytes_out };

	if (!s->out_ended &&
	    send(s->fd, &trailer, sizeof(trailer), MSG_NOSIGNAL) != (ssize_t)sizeof(trailer))
		bad("trailer", index);
	stream_close(index);
}

static void receive(int index)
{
	static uint8_t data[65536];
	struct stream *s = &server.streams[index];
	ssize_t n = recv(s->fd, data, sizeof(data), MSG_DONTWAIT);
	size_t hello;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		fprintf(stderr, "connection %u: %s\n", server.hellos[index].connection,
			strerror(errno));
		stream_close(index);
		return;
	}
	if (n == 0) {
		finish(index);
		return;
	}
	hello = take_hello(index, data, (size_t)n);
	stream_verify(s, data + hello, (size_t)n - hello);
	if (s->mismatches)
		bad("mismatch", index);
}

static void send_all(void)
{
	for (int i = 0; i < CONNECTIONS_MAX; i++) {
		struct stream *s = &server.streams[i];

		if (s->fd >= 0 && !s->out_ended && stream_send(s) < 0)
			stream_close(i);
	}
}

static void report(void)
{
	uint64_t in = server.bytes_in, out = server.bytes_out;

	for (int i = 0; i < CONNECTIONS_MAX; i++) {
		in += server.streams[i].fd >= 0 ? server.streams[i].bytes_in : 0;
		out += server.streams[i].fd >= 0 ? server.streams[i].bytes_out : 0;
	}
	printf("ok %d %llu %llu\n", server.open, (unsigned long long)in, (unsigned long long)out);
	fflush(stdout);
}

static void listen_on(uint16_t port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = UINT32_MAX };
	int on = 1;

	server.epoll = epoll_create1(EPOLL_CLOEXEC);
	server.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(server.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(server.listener, (struct sockaddr *)&any, sizeof(any)) < 0 ||
	    listen(server.listener, 1024) < 0) {
		perror("listen");
		exit(1);
	}
	epoll_ctl(server.epoll, EPOLL_CTL_ADD, server.listener, &event);
	for (int i = 0; i < CONNECTIONS_MAX; i++)
		server.streams[i].fd = -1;
}

int main(int argc, char **argv)
{
	int64_t report_ms = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	victim_catch_stop();
	listen_on((uint16_t)victim_number(argv[1], "port", 1, 65535));
	while (!victim_stop) {
		struct epoll_event events[256];
		int n = epoll_wait(server.epoll, events, 256, server.open ? STREAM_TICK_MS : -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.u32 == UINT32_MAX)
				accept_one();
			else
				receive((int)events[i].data.u32);
		}
		send_all();
		if (victim_now_ms() >= report_ms) {
			report();
			report_ms = victim_now_ms() + REPORT_MS;
		}
	}
	return 0;
}
