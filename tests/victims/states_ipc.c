// SPDX-License-Identifier: Apache-2.0
/*
 * states_ipc.c - descriptors of one process: pipes, sockets and event descriptors, with data in
 * flight
 */
#include "states.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#define UDP_TIMEOUT_MS 1000
#define UDP_TRIES      30
#define PARKED	       7 /* the eventfd's value */
#define TIMER_MS       100

void states_queue_put(struct states_queue *queue)
{
	uint8_t message[STATES_MESSAGE];

	victim_fill(message, sizeof(message), queue->key, queue->out);
	if (write(queue->wfd, message, sizeof(message)) != (ssize_t)sizeof(message))
		states_bad("%s: write: %s", queue->name, strerror(errno));
	queue->out += sizeof(message);
}

bool states_queue_take(struct states_queue *queue)
{
	uint8_t message[STATES_MESSAGE];
	size_t len = 0;

	while (len < sizeof(message)) {
		ssize_t n = read(queue->rfd, message + len, sizeof(message) - len);

		if (n < 0 && (errno == EINTR || (errno == EAGAIN && len)))
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n <= 0)
			states_bad("%s: read: %s", queue->name,
				   n ? strerror(errno) : "end of file");
		len += (size_t)n;
	}
	if (victim_check(message, sizeof(message), queue->key, queue->in) >= 0)
		states_bad("%s: message at %llu differs", queue->name,
			   (unsigned long long)queue->in);
	queue->in += sizeof(message);
	return true;
}

void states_queue_turn(struct states_queue *queue)
{
	states_queue_take(queue);
	states_queue_put(queue);
}

void states_queue_start(struct states_queue *queue, const char *name, int wfd, int rfd)
{
	*queue = (struct states_queue){
		.name = name, .wfd = wfd, .rfd = rfd, .key = states_key(name)
	};
	for (int i = 0; i < STATES_QUEUE_DEPTH; i++)
		states_queue_put(queue);
}

static struct states_queue pipe_queue, pair_stream, pair_dgram, unix_stream, unix_dgram, tcp_queue;

static void setup_pipe(void)
{
	int fds[2];

	states_need(pipe2(fds, O_NONBLOCK), "pipe");
	states_queue_start(&pipe_queue, "pipe", fds[1], fds[0]);
}

static void check_pipe(uint64_t round)
{
	(void)round;
	states_queue_turn(&pipe_queue);
	if (!(fcntl(pipe_queue.rfd, F_GETFL) & O_NONBLOCK) ||
	    fcntl(pipe_queue.rfd, F_GETFD) & FD_CLOEXEC)
		states_bad("pipe: flags differ");
}

static void setup_socketpair(void)
{
	int fds[2];

	states_need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), "socketpair");
	states_queue_start(&pair_stream, "socketpair stream", fds[0], fds[1]);
	states_need(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), "socketpair");
	states_queue_start(&pair_dgram, "socketpair dgram", fds[0], fds[1]);
}

static void check_socketpair(uint64_t round)
{
	(void)round;
	states_queue_turn(&pair_stream);
	states_queue_turn(&pair_dgram);
}

/* bound to a file name in the current folder; "X" for the process's number */
static struct sockaddr_un unix_address(const char *kind)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "states-%s-%d.sock", kind, states_self);
	unlink(addr.sun_path);
	return addr;
}

/* Return: the listener, which stays open */
static int unix_pair(const char *kind, int ret[2])
{
	struct sockaddr_un addr = unix_address(kind);
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);

	ret[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	states_need(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), "unix: bind");
	states_need(listen(listener, 4), "unix: listen");
	states_need(connect(ret[0], (struct sockaddr *)&addr, sizeof(addr)), "unix: connect");
	ret[1] = (int)states_need(accept(listener, NULL, NULL), "unix: accept");
	return listener;
}

static int unix_listener, unix_named[2];

static void setup_unix_stream(void)
{
	int fds[2];

	unix_listener = unix_pair("stream", fds);
	states_queue_start(&unix_stream, "unix stream", fds[0], fds[1]);
}

static void setup_unix_name(void)
{
	unix_pair("name", unix_named);
}

/* the old connection, and every few seconds a new one by the listener's name */
static void check_unix_stream(uint64_t round)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int client, server;

	states_queue_turn(&unix_stream);
	if (round % 64)
		return;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "states-stream-%d.sock", states_self);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	states_need(connect(client, (struct sockaddr *)&addr, sizeof(addr)), "unix: connect again");
	server = (int)states_need(accept(unix_listener, NULL, NULL), "unix: accept again");
	close(client);
	close(server);
}

/* the listener's name, which an accepted socket has, too, and its peer sees; CRIU 4.1.1 connects
 * the two by socketpair(2) */
static void check_unix_name(uint64_t round)
{
	struct sockaddr_un addr = {};
	socklen_t len = sizeof(addr);
	char want[64];

	(void)round;
	snprintf(want, sizeof(want), "states-name-%d.sock", states_self);
	states_need(getpeername(unix_named[0], (struct sockaddr *)&addr, &len),
		    "unix: getpeername");
	if (strcmp(addr.sun_path, want) != 0)
		states_bad("unix-name: it is '%s'", addr.sun_path);
}

static void setup_unix_dgram(void)
{
	struct sockaddr_un addr = unix_address("dgram");
	int receiver = socket(AF_UNIX, SOCK_DGRAM, 0), sender = socket(AF_UNIX, SOCK_DGRAM, 0);

	states_need(bind(receiver, (struct sockaddr *)&addr, sizeof(addr)), "unix: bind");
	states_need(connect(sender, (struct sockaddr *)&addr, sizeof(addr)), "unix: connect");
	states_queue_start(&unix_dgram, "unix dgram", sender, receiver);
}

static void check_unix_dgram(uint64_t round)
{
	(void)round;
	states_queue_turn(&unix_dgram);
}

static int udp_fd;

static void setup_udp(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	udp_fd = socket(AF_INET, SOCK_DGRAM, 0);
	states_need(bind(udp_fd, (struct sockaddr *)&addr, sizeof(addr)), "udp: bind");
	states_need(getsockname(udp_fd, (struct sockaddr *)&addr, &len), "udp: getsockname");
	states_need(connect(udp_fd, (struct sockaddr *)&addr, sizeof(addr)), "udp: connect");
}

/* a datagram to itself; one that was in flight when we were frozen may be lost */
static void check_udp(uint64_t round)
{
	for (int i = 0; i < UDP_TRIES; i++) {
		struct pollfd pfd = { .fd = udp_fd, .events = POLLIN };
		uint64_t got = 0;

		if (send(udp_fd, &round, sizeof(round), 0) != (ssize_t)sizeof(round))
			states_bad("udp: send: %s", strerror(errno));
		while (poll(&pfd, 1, UDP_TIMEOUT_MS) > 0) {
			states_need(recv(udp_fd, &got, sizeof(got), 0), "udp: recv");
			if (got == round)
				return;
			if (got > round)
				states_bad("udp: a datagram from the future");
		}
	}
	states_bad("udp: no datagram arrives any more");
}

void states_tcp_pair(int ret[2], int *ret_listener)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	states_need(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), "tcp: bind");
	states_need(listen(listener, 4), "tcp: listen");
	states_need(getsockname(listener, (struct sockaddr *)&addr, &len), "tcp: getsockname");
	ret[0] = socket(AF_INET, SOCK_STREAM, 0);
	states_need(connect(ret[0], (struct sockaddr *)&addr, sizeof(addr)), "tcp: connect");
	ret[1] = (int)states_need(accept(listener, NULL, NULL), "tcp: accept");
	if (ret_listener)
		*ret_listener = listener;
	else
		close(listener);
}

static int tcp_listener;

static void setup_tcp(void)
{
	int fds[2];

	states_tcp_pair(fds, &tcp_listener);
	states_queue_start(&tcp_queue, "tcp", fds[0], fds[1]);
}

/* the old connection, and every few seconds a new one at the old listener */
static void check_tcp(uint64_t round)
{
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);
	int client, server;

	states_queue_turn(&tcp_queue);
	if (round % 64)
		return;
	states_need(getsockname(tcp_listener, (struct sockaddr *)&addr, &len), "tcp: getsockname");
	client = socket(AF_INET, SOCK_STREAM, 0);
	states_need(connect(client, (struct sockaddr *)&addr, sizeof(addr)), "tcp: connect again");
	server = (int)states_need(accept(tcp_listener, NULL, NULL), "tcp: accept again");
	close(client);
	close(server);
}

static int event_fd;

static void setup_eventfd(void)
{
	event_fd = (int)states_need(eventfd(PARKED, EFD_NONBLOCK), "eventfd");
}

static void check_eventfd(uint64_t round)
{
	uint64_t value = 0;

	(void)round;
	if (read(event_fd, &value, sizeof(value)) < 0 || value != PARKED)
		states_bad("eventfd holds %llu", (unsigned long long)value);
	states_need(write(event_fd, &value, sizeof(value)), "eventfd: write");
}

static int epoll_fd, epoll_ready, epoll_pipe[2];

static void setup_epoll(void)
{
	struct epoll_event ready = { .events = EPOLLIN, .data.u64 = 0x1122334455667788 };
	struct epoll_event quiet = { .events = EPOLLIN | EPOLLET, .data.u64 = 2 };

	epoll_fd = (int)states_need(epoll_create1(0), "epoll_create");
	epoll_ready = (int)states_need(eventfd(1, 0), "eventfd");
	states_need(pipe(epoll_pipe), "pipe");
	states_need(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, epoll_ready, &ready), "epoll_ctl");
	states_need(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, epoll_pipe[0], &quiet), "epoll_ctl");
}

static void check_epoll(uint64_t round)
{
	struct epoll_event events[4] = {};
	int n = epoll_wait(epoll_fd, events, 4, 0);

	(void)round;
	if (n != 1 || events[0].data.u64 != 0x1122334455667788 || events[0].events != EPOLLIN)
		states_bad("epoll: %d events, the first is %llx", n,
			   (unsigned long long)events[0].data.u64);
}

static int timer_fd, timer_missed;

static void setup_timerfd(void)
{
	struct itimerspec every = { .it_interval.tv_nsec = TIMER_MS * 1000000,
				    .it_value.tv_nsec = TIMER_MS * 1000000 };

	timer_fd = (int)states_need(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd");
	states_need(timerfd_settime(timer_fd, 0, &every, NULL), "timerfd_settime");
}

static void check_timerfd(uint64_t round)
{
	struct itimerspec now;
	uint64_t expirations;

	(void)round;
	timer_missed = read(timer_fd, &expirations, sizeof(expirations)) < 0 ? timer_missed + 1 : 0;
	states_need(timerfd_gettime(timer_fd, &now), "timerfd_gettime");
	if (timer_missed > STATES_STUCK)
		states_bad("timerfd: does not expire any more");
	if (now.it_interval.tv_sec || now.it_interval.tv_nsec != TIMER_MS * 1000000 ||
	    now.it_value.tv_sec || now.it_value.tv_nsec > TIMER_MS * 1000000)
		states_bad("timerfd: interval or time left differ");
}

static int signal_fd;
static int signal_value;

/* one real-time signal waits at any time, with a value that is new each round */
static void queue_signal(void)
{
	union sigval value = { .sival_int = ++signal_value };

	states_need(sigqueue(getpid(), SIGRTMIN + 1, value), "sigqueue");
}

static void setup_signalfd(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	signal_fd = (int)states_need(signalfd(-1, &set, SFD_NONBLOCK), "signalfd");
	queue_signal();
}

static void check_signalfd(uint64_t round)
{
	struct signalfd_siginfo info = {};

	(void)round;
	if (read(signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		states_bad("signalfd: the pending signal is gone");
	if (info.ssi_int != signal_value || (int)info.ssi_signo != SIGRTMIN + 1)
		states_bad("signalfd: signal %u value %d", info.ssi_signo, info.ssi_int);
	queue_signal();
}

const struct feature states_ipc[] = {
	{ "pipe", NULL, setup_pipe, check_pipe },
	{ "socketpair", NULL, setup_socketpair, check_socketpair },
	{ "unix-stream", NULL, setup_unix_stream, check_unix_stream },
	{ "unix-name", NULL, setup_unix_name, check_unix_name, true },
	{ "unix-dgram", NULL, setup_unix_dgram, check_unix_dgram },
	{ "udp", NULL, setup_udp, check_udp },
	{ "tcp", NULL, setup_tcp, check_tcp },
	{ "eventfd", NULL, setup_eventfd, check_eventfd },
	{ "epoll", NULL, setup_epoll, check_epoll },
	{ "timerfd", NULL, setup_timerfd, check_timerfd },
	{ "signalfd", NULL, setup_signalfd, check_signalfd },
	{ NULL, NULL, NULL, NULL },
};
