// SPDX-License-Identifier: Apache-2.0
/*
 * stall.c - a client of echod that measures how long it has to wait
 *
 *   stall ADDRESS [--pause-us N]    over one TCP connection: a request, its answer, a pause
 *   stall ADDRESS --beat            over UDP: listens to the server's heartbeat
 *
 * Never connects again and never repeats a request: the first error ends it. A line on standard
 * input that begins with
 *
 *   r   begins to measure anew, also after a rest
 *   p   rests: no requests, no heartbeat
 *   ?   prints what was seen since then, as one line of JSON
 *
 * and the end of standard input ends it. `longest_ms` is the longest wait, also one that has not
 * ended; `waiting_ms` is the one that is going on. After an error the line has `error`, and the
 * exit status is 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

struct stall {
	int fd;
	bool beat, rests;
	uint64_t number; /* of the last request, or of the last heartbeat */
	struct bench_message reply;
	size_t have_bytes;
	double began_ms, since_ms; /* measuring since, waiting since (0: not) */
	double longest_ms, longest_at_ms;
	uint64_t answers;
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void note_wait(struct stall *stall, double now)
{
	/* A wait that began before the measurement counts from its beginning. */
	if (stall->since_ms > 0 && now - stall->since_ms > stall->longest_ms) {
		stall->longest_ms = now - stall->since_ms;
		stall->longest_at_ms = stall->since_ms - stall->began_ms;
	}
}

static void print_seen(struct stall *stall, const char *error)
{
	double now = now_ms();

	note_wait(stall, now);
	printf("{\"answers\":%llu,\"longest_ms\":%.1f,\"longest_at_ms\":%.0f,\"waiting_ms\":%.1f,"
	       "\"seconds\":%.1f",
	       (unsigned long long)stall->answers, stall->longest_ms, stall->longest_at_ms,
	       stall->since_ms > 0 ? now - stall->since_ms : 0, (now - stall->began_ms) / 1e3);
	if (error)
		printf(",\"error\":\"%s\"", error);
	puts("}");
	fflush(stdout);
}

_Noreturn static void give_up(struct stall *stall, const char *error)
{
	fprintf(stderr, "stall: %s\n", error);
	print_seen(stall, error);
	exit(1);
}

static void request(struct stall *stall)
{
	struct bench_message message = { .number = ++stall->number };

	stall->since_ms = now_ms();
	if (send(stall->fd, &message, sizeof(message), MSG_NOSIGNAL) != sizeof(message))
		give_up(stall, strerror(errno));
}

static void order_beat(struct stall *stall, uint64_t order)
{
	struct bench_message message = { .number = order };

	if (send(stall->fd, &message, sizeof(message), 0) < 0)
		give_up(stall, strerror(errno));
	stall->since_ms = order == BENCH_LISTEN ? now_ms() : 0;
}

static void begin(struct stall *stall)
{
	stall->began_ms = now_ms();
	stall->longest_ms = stall->longest_at_ms = 0;
	stall->answers = 0;
	if (!stall->rests)
		return;
	stall->rests = false;
	if (stall->beat)
		order_beat(stall, BENCH_LISTEN);
	else if (stall->since_ms == 0)
		request(stall);
}

static void rest(struct stall *stall)
{
	stall->rests = true;
	if (stall->beat)
		order_beat(stall, BENCH_LEAVE);
}

/* Return: is the answer complete? */
static bool take_answer(struct stall *stall)
{
	ssize_t got = recv(stall->fd, (char *)&stall->reply + stall->have_bytes,
			   sizeof(stall->reply) - stall->have_bytes, 0);

	if (got <= 0)
		give_up(stall, got < 0 ? strerror(errno) : "the server closed the connection");
	stall->have_bytes += (size_t)got;
	if (stall->have_bytes < sizeof(stall->reply))
		return false;
	stall->have_bytes = 0;
	if (stall->reply.number != stall->number || stall->reply.count != stall->number)
		give_up(stall, "the server's answer is to another request, or its memory is not "
			       "what it was");
	note_wait(stall, now_ms());
	stall->since_ms = 0;
	stall->answers++;
	return true;
}

static void take_beat(struct stall *stall)
{
	struct bench_message message;

	/* An ICMP error of a host that has no such container for now is not the end. */
	if (recv(stall->fd, &message, sizeof(message), 0) != sizeof(message))
		return;
	if (message.number <= stall->number)
		give_up(stall,
			"the heartbeat does not count on: the server began anew, or there are two");
	stall->number = message.number;
	note_wait(stall, now_ms());
	stall->since_ms = stall->rests ? 0 : now_ms();
	stall->answers++;
}

static void take_order(struct stall *stall)
{
	char line[64];
	ssize_t len = read(STDIN_FILENO, line, sizeof(line));

	if (len <= 0)
		exit(0);
	for (ssize_t i = 0; i < len; i++) {
		if (line[i] == 'r')
			begin(stall);
		else if (line[i] == 'p')
			rest(stall);
		else if (line[i] == '?')
			print_seen(stall, NULL);
	}
}

static void connect_server(struct stall *stall, const char *address)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(BENCH_PORT) };
	int one = 1;

	if (inet_pton(AF_INET, address, &addr.sin_addr) != 1) {
		fprintf(stderr, "stall: '%s' is not an address\n", address);
		exit(2);
	}
	stall->fd = socket(AF_INET, (stall->beat ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	if (stall->fd < 0 || connect(stall->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		bench_die("stall: connect");
	if (!stall->beat)
		setsockopt(stall->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "beat", no_argument, NULL, 'b' },
						 { "pause-us", required_argument, NULL, 'p' },
						 { 0 } };
	struct stall stall = { .rests = true };
	long pause_ns = 1000000;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (opt == 'b')
			stall.beat = true;
		else if (opt == 'p')
			pause_ns = strtol(optarg, NULL, 10) * 1000;
		else
			return 2;
	}
	if (argc - optind != 1 || pause_ns < 0 || pause_ns >= 1000000000) {
		fprintf(stderr, "usage: stall ADDRESS [--pause-us N | --beat]\n");
		return 2;
	}
	connect_server(&stall, argv[optind]);
	begin(&stall);
	for (;;) {
		struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN },
					{ .fd = stall.fd, .events = POLLIN } };

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			bench_die("stall: poll");
		if (fds[1].revents && stall.beat) {
			take_beat(&stall);
		} else if (fds[1].revents && take_answer(&stall)) {
			nanosleep(&(struct timespec){ .tv_nsec = pause_ns }, NULL);
			if (!stall.rests)
				request(&stall);
		}
		if (fds[0].revents)
			take_order(&stall);
	}
}
