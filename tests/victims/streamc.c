// SPDX-License-Identifier: Apache-2.0
/*
 * streamc.c - client of the stream test: every byte of every connection, both ways, without a reset
 *
 * usage: streamc [-n connections] [-r KiB/s per connection and direction] [-s seconds] [-x seed]
 *                ADDRESS PORT
 *
 * Runs for so many seconds (0, the default: until SIGTERM), then ends all connections in order,
 * compares what both sides counted, prints a summary as JSON and exits with 1 if anything was
 * wrong. A stall is the time between two arrivals on one connection.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include "stream.h"

#define CONNECTIONS_MAX 4096
#define END_TIMEOUT_MS	30000
#define TAIL		sizeof(struct stream_trailer)

struct connection {
	struct stream stream;
	uint16_t local_port;
	int64_t heard_ms;
	uint8_t tail[TAIL]; /* the latest bytes: the trailer, if the end follows */
	size_t tail_len;
};

static struct {
	struct connection *list;
	long count;
	long rate_kib;
	uint64_t seed;
	int epoll;
	int open;
	int resets;
	int bad_ends;
	bool ports_same;
	int64_t longest_stall_ms;
} client = { .count = 100, .rate_kib = 64, .seed = 1, .ports_same = true };

static uint16_t local_port(int fd)
{
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);

	return getsockname(fd, (struct sockaddr *)&addr, &len) < 0 ? 0 : ntohs(addr.sin_port);
}

static void connect_one(uint32_t index, const struct sockaddr_in *to)
{
	struct stream_hello hello = { .magic = STREAM_HELLO,
				      .seed = client.seed,
				      .connection = index,
				      .rate_kib = (uint32_t)client.rate_kib };
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = index };
	struct connection *c = &client.list[index];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0 ||
	    send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) != (ssize_t)sizeof(hello)) {
		perror("connect");
		exit(1);
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->stream = (struct stream){ .fd = fd,
				     .key_in = stream_key(client.seed, index, false),
				     .key_out = stream_key(client.seed, index, true),
				     .rate_kib = (uint32_t)client.rate_kib,
				     .paid_us = victim_now_us() };
	c->local_port = local_port(fd);
	c->heard_ms = victim_now_ms();
	epoll_ctl(client.epoll, EPOLL_CTL_ADD, fd, &event);
	client.open++;
}

static void note_arrival(struct connection *c)
{
	int64_t now_ms = victim_now_ms();

	if (now_ms - c->heard_ms > client.longest_stall_ms)
		client.longest_stall_ms = now_ms - c->heard_ms;
	c->heard_ms = now_ms;
}

static void connection_close(struct connection *c)
{
	client.ports_same &= c->local_port && local_port(c->stream.fd) == c->local_port;
	close(c->stream.fd);
	c->stream.fd = -1;
	client.open--;
}

static void connection_lost(struct connection *c, int errnum)
{
	fprintf(stderr, "connection from port %u: %s\n", c->local_port, strerror(errnum));
	client.resets++;
	connection_close(c);
}

/* the server has ended its side: do its figures match ours? */
static void connection_end(struct connection *c)
{
	struct stream_trailer trailer;

	memcpy(&trailer, c->tail, sizeof(trailer));
	if (c->tail_len != TAIL || !c->stream.out_ended || trailer.magic != STREAM_TRAILER ||
	    trailer.bytes_in != c->stream.bytes_out || trailer.bytes_out != c->stream.bytes_in) {
		fprintf(stderr, "connection from port %u ended too early or with wrong figures\n",
			c->local_port);
		client.bad_ends++;
	} else {
		c->stream.mismatches += trailer.mismatches;
	}
	connection_close(c);
}

/* all but the last TAIL bytes so far are surely of the stream */
static void receive(struct connection *c)
{
	static uint8_t data[TAIL + 65536];
	ssize_t n = recv(c->stream.fd, data + c->tail_len, sizeof(data) - TAIL, MSG_DONTWAIT);
	size_t len, sure;

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			connection_lost(c, errno);
		return;
	}
	note_arrival(c);
	if (n == 0) {
		connection_end(c);
		return;
	}
	memcpy(data, c->tail, c->tail_len);
	len = c->tail_len + (size_t)n;
	sure = len > TAIL ? len - TAIL : 0;
	stream_verify(&c->stream, data, sure);
	c->tail_len = len - sure;
	memcpy(c->tail, data + sure, c->tail_len);
}

static void turn(void)
{
	struct epoll_event events[256];
	int n = epoll_wait(client.epoll, events, 256, STREAM_TICK_MS);

	for (int i = 0; i < n; i++)
		receive(&client.list[events[i].data.u32]);
	for (long i = 0; i < client.count; i++) {
		struct connection *c = &client.list[i];
		int r = c->stream.fd >= 0 ? stream_send(&c->stream) : 0;

		if (r < 0)
			connection_lost(c, -r);
	}
}

static void end_all(void)
{
	int64_t deadline_ms = victim_now_ms() + END_TIMEOUT_MS;

	for (long i = 0; i < client.count; i++) {
		struct stream *s = &client.list[i].stream;

		s->out_ended = true;
		if (s->fd >= 0)
			shutdown(s->fd, SHUT_WR);
	}
	while (client.open && victim_now_ms() < deadline_ms)
		turn();
	client.bad_ends += client.open;
	for (long i = 0; i < client.count; i++)
		if (client.list[i].stream.fd >= 0)
			connection_close(&client.list[i]);
}

static int summary(void)
{
	uint64_t in = 0, out = 0, mismatches = 0;

	for (long i = 0; i < client.count; i++) {
		in += client.list[i].stream.bytes_in;
		out += client.list[i].stream.bytes_out;
		mismatches += client.list[i].stream.mismatches;
	}
	printf("{\"connections\": %ld, \"bytes_in\": %llu, \"bytes_out\": %llu, "
	       "\"mismatches\": %llu, \"resets\": %d, \"bad_ends\": %d, "
	       "\"longest_stall_ms\": %lld, \"reconnects\": 0, \"local_ports_same\": %s}\n",
	       client.count, (unsigned long long)in, (unsigned long long)out,
	       (unsigned long long)mismatches, client.resets, client.bad_ends,
	       (long long)client.longest_stall_ms, client.ports_same ? "true" : "false");
	return mismatches || client.resets || client.bad_ends || !client.ports_same || !in;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	long seconds = 0;
	int64_t end_ms;
	int option;

	while ((option = getopt(argc, argv, "n:r:s:x:")) > 0) {
		if (option == 'n')
			client.count = victim_number(optarg, "connections", 1, CONNECTIONS_MAX);
		else if (option == 'r')
			client.rate_kib = victim_number(optarg, "rate", 0, 1 << 22);
		else if (option == 's')
			seconds = victim_number(optarg, "seconds", 0, 86400);
		else if (option == 'x')
			client.seed = (uint64_t)victim_number(optarg, "seed", 0, INT64_MAX);
		else
			return 2;
	}
	if (argc - optind != 2 || inet_pton(AF_INET, argv[optind], &to.sin_addr) != 1) {
		fprintf(stderr,
			"usage: %s [-n connections] [-r KiB/s] [-s seconds] [-x seed] "
			"ADDRESS PORT\n",
			argv[0]);
		return 2;
	}
	to.sin_port = htons((uint16_t)victim_number(argv[optind + 1], "port", 1, 65535));
	victim_catch_stop();
	client.epoll = epoll_create1(EPOLL_CLOEXEC);
	client.list = calloc((size_t)client.count, sizeof(*client.list));
	if (!client.list)
		return 1;
	for (long i = 0; i < client.count; i++)
		connect_one((uint32_t)i, &to);
	end_ms = victim_now_ms() + seconds * 1000;
	while (!victim_stop && client.open && (!seconds || victim_now_ms() < end_ms))
		turn();
	end_all();
	return summary();
}
