// SPDX-License-Identifier: Apache-2.0
/*
 * crowd.c - many clients of echod at once, and one that sends datagrams at a steady pace
 *
 *   crowd ADDRESS [--connections N] [--busy N] [--pause-ms N] [--pace-ms N]
 *
 * Of its TCP connections (default 300) some are busy (150): a request, its answer, a pause (200 ms;
 * the first at a moment of its own). The others are silent until the end, and must work then.
 * Beside them a datagram leaves every 16 ms (0: none), whatever came back. Nobody connects again or
 * repeats anything. Orders on standard input are those of `stall`: r measures anew, ? prints what
 * was seen since as one line of JSON, e or the end of input ends it: the silent ones ask once, the
 * last line is printed, the exit status is 1 if anything was wrong.
 *
 *   errors      connections that were reset or closed, or had a wrong answer
 *   longest_ms  longest wait of a busy one for an answer, also one that has not ended
 *   lost, twice, overtaken   datagrams; a datagram is lost when no answer came within 2 s
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

enum { CONNECTIONS_MAX = 2000, PACED_MAX = 65536, LOST_MS = 2000, END_MS = 3000 };

struct connection {
	int fd; /* -1: broken */
	bool busy;
	uint64_t number;
	double asked_ms, next_ms; /* asked: waiting since, 0: not */
	struct bench_message reply;
	size_t have_bytes;
};

/* a datagram; by its number */
struct paced {
	double sent_ms;
	uint64_t count; /* in which the server heard it, 0: no answer */
	unsigned answers;
};

static struct {
	struct connection connections[CONNECTIONS_MAX];
	size_t n;
	struct paced paced[PACED_MAX];
	uint64_t paced_sent, paced_from; /* from: first number of this measurement */
	int udp, epoll;
	double pause_ms, pace_ms, next_paced_ms;
	double longest_ms;
	uint64_t answers, errors;
} crowd = { .n = 300, .pause_ms = 200, .pace_ms = 16, .udp = -1 };

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void note_wait(double since_ms, double now)
{
	if (since_ms > 0 && now - since_ms > crowd.longest_ms)
		crowd.longest_ms = now - since_ms;
}

static void lose(struct connection *c, const char *why)
{
	fprintf(stderr, "crowd: connection %zu: %s\n", (size_t)(c - crowd.connections), why);
	close(c->fd);
	c->fd = -1;
	c->asked_ms = 0;
	crowd.errors++;
}

static void ask(struct connection *c, double now)
{
	struct bench_message message = { .number = ++c->number };

	c->asked_ms = now;
	if (send(c->fd, &message, sizeof(message), MSG_NOSIGNAL) != sizeof(message))
		lose(c, strerror(errno));
}

static void hear(struct connection *c)
{
	ssize_t got =
		recv(c->fd, (char *)&c->reply + c->have_bytes, sizeof(c->reply) - c->have_bytes, 0);
	double now = now_ms();

	if (got <= 0) {
		lose(c, got < 0 ? strerror(errno) : "closed by the server");
		return;
	}
	c->have_bytes += (size_t)got;
	if (c->have_bytes < sizeof(c->reply))
		return;
	c->have_bytes = 0;
	if (c->asked_ms == 0 || c->reply.number != c->number || c->reply.count != c->number) {
		lose(c, "a wrong answer");
		return;
	}
	note_wait(c->asked_ms, now);
	c->asked_ms = 0;
	c->next_ms = now + crowd.pause_ms;
	crowd.answers++;
}

static void send_paced(double now)
{
	struct bench_message message = { .number = ++crowd.paced_sent };

	crowd.paced[crowd.paced_sent % PACED_MAX] = (struct paced){ .sent_ms = now };
	if (send(crowd.udp, &message, sizeof(message), 0) < 0 && errno != ECONNREFUSED)
		bench_die("crowd: send");
}

static void hear_paced(void)
{
	struct bench_message message;
	struct paced *paced;

	while (recv(crowd.udp, &message, sizeof(message), MSG_DONTWAIT) == sizeof(message)) {
		if (message.number == 0 || message.number > crowd.paced_sent ||
		    message.number + PACED_MAX <= crowd.paced_sent)
			continue;
		paced = &crowd.paced[message.number % PACED_MAX];
		paced->answers++;
		paced->count = message.count;
	}
}

static void print_seen(void)
{
	uint64_t lost = 0, twice = 0, overtaken = 0, sent = 0, latest = 0;
	double now = now_ms();

	for (size_t i = 0; i < crowd.n; i++)
		note_wait(crowd.connections[i].asked_ms, now);
	for (uint64_t number = crowd.paced_from; number <= crowd.paced_sent; number++) {
		const struct paced *paced = &crowd.paced[number % PACED_MAX];

		sent++;
		lost += paced->answers == 0 && now - paced->sent_ms > LOST_MS;
		twice += paced->answers > 1;
		overtaken += paced->answers && paced->count < latest;
		latest = paced->answers ? paced->count : latest;
	}
	printf("{\"connections\":%zu,\"answers\":%llu,\"errors\":%llu,\"longest_ms\":%.1f,"
	       "\"paced\":%llu,\"lost\":%llu,\"twice\":%llu,\"overtaken\":%llu}\n",
	       crowd.n, (unsigned long long)crowd.answers, (unsigned long long)crowd.errors,
	       crowd.longest_ms, (unsigned long long)sent, (unsigned long long)lost,
	       (unsigned long long)twice, (unsigned long long)overtaken);
	fflush(stdout);
	if (lost || twice || overtaken)
		crowd.errors += lost + twice + overtaken;
}

static void begin(void)
{
	crowd.longest_ms = 0;
	crowd.answers = 0;
	crowd.paced_from = crowd.paced_sent + 1;
}

static void watch(int fd, void *who)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = who };

	if (epoll_ctl(crowd.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		bench_die("crowd: epoll_ctl");
}

static int connect_to(const char *address, int type, int port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	bool is_v6 = strchr(address, ':') != NULL;
	int fd = socket(is_v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0), one = 1;

	if (inet_pton(is_v6 ? AF_INET6 : AF_INET, address,
		      is_v6 ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr) != 1) {
		fprintf(stderr, "crowd: '%s' is not an address\n", address);
		exit(2);
	}
	if (fd < 0 || connect(fd, is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
			      is_v6 ? sizeof(v6) : sizeof(v4)) < 0)
		bench_die("crowd: connect");
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* Return: false at the end of the orders */
static bool take_order(void)
{
	char line[64];
	ssize_t len = read(STDIN_FILENO, line, sizeof(line));

	for (ssize_t i = 0; i < len; i++) {
		if (line[i] == 'r')
			begin();
		else if (line[i] == '?')
			print_seen();
		else if (line[i] == 'e')
			return false;
	}
	return len > 0;
}

static void send_due(double now)
{
	for (size_t i = 0; i < crowd.n; i++) {
		struct connection *c = &crowd.connections[i];

		if (c->busy && c->fd >= 0 && c->asked_ms == 0 && now >= c->next_ms)
			ask(c, now);
	}
	if (crowd.pace_ms > 0 && now >= crowd.next_paced_ms) {
		crowd.next_paced_ms += crowd.pace_ms;
		send_paced(now);
	}
}

/* Return: false at the end of the orders */
static bool step(void)
{
	struct epoll_event events[64];
	int n = epoll_wait(crowd.epoll, events, 64, 2);

	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr == NULL) {
			if (!take_order())
				return false;
		} else if (events[i].data.ptr == &crowd.udp) {
			hear_paced();
		} else if (((struct connection *)events[i].data.ptr)->fd >= 0) {
			hear(events[i].data.ptr);
		}
	}
	return true;
}

/* Those that were silent ask once; all have some time to be answered. */
static void end(void)
{
	double end_ms = now_ms() + END_MS;

	epoll_ctl(crowd.epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
	for (size_t i = 0; i < crowd.n; i++)
		if (!crowd.connections[i].busy && crowd.connections[i].fd >= 0)
			ask(&crowd.connections[i], now_ms());
	while (now_ms() < end_ms)
		step();
	for (size_t i = 0; i < crowd.n; i++)
		if (crowd.connections[i].asked_ms > 0)
			lose(&crowd.connections[i], "no answer in the end");
	print_seen();
}

static void connect_all(const char *address, size_t busy)
{
	double now;

	crowd.epoll = epoll_create1(EPOLL_CLOEXEC);
	crowd.udp = connect_to(address, SOCK_DGRAM, BENCH_ECHO_PORT);
	for (size_t i = 0; i < crowd.n; i++)
		crowd.connections[i] =
			(struct connection){ .fd = connect_to(address, SOCK_STREAM, BENCH_PORT),
					     .busy = i < busy };
	now = now_ms();
	for (size_t i = 0; i < crowd.n; i++) {
		crowd.connections[i].next_ms =
			now + crowd.pause_ms * (double)i / (double)(busy ? busy : 1);
		watch(crowd.connections[i].fd, &crowd.connections[i]);
	}
	crowd.next_paced_ms = now;
	watch(crowd.udp, &crowd.udp);
	watch(STDIN_FILENO, NULL);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "connections", required_argument, NULL, 'n' },
						 { "busy", required_argument, NULL, 'b' },
						 { "pause-ms", required_argument, NULL, 'p' },
						 { "pace-ms", required_argument, NULL, 'u' },
						 { 0 } };
	size_t busy = 150;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (opt == 'n')
			crowd.n = strtoul(optarg, NULL, 10);
		else if (opt == 'b')
			busy = strtoul(optarg, NULL, 10);
		else if (opt == 'p')
			crowd.pause_ms = strtod(optarg, NULL);
		else if (opt == 'u')
			crowd.pace_ms = strtod(optarg, NULL);
		else
			return 2;
	}
	if (argc - optind != 1 || crowd.n > CONNECTIONS_MAX || busy > crowd.n) {
		fprintf(stderr, "usage: crowd ADDRESS [--connections N] [--busy N] [--pause-ms N] "
				"[--pace-ms N]\n");
		return 2;
	}
	connect_all(argv[optind], busy);
	begin();
	while (step())
		send_due(now_ms());
	end();
	return crowd.errors > 0;
}
