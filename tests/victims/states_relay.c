// SPDX-License-Identifier: Apache-2.0
/*
 * states_relay.c - messages from process to process: the main one sends, a child compares and sends
 * on, the main one compares again; several are on their way at any time
 */
#include "states.h"

#include <fcntl.h>
#include <sys/socket.h>

enum { DOWN, UP };

struct relay {
	const char *name;
	int child;
	void (*connect)(int ret[2]); /* [0] is for writing, [1] for reading */
	int fds[2][2];		     /* DOWN and UP, made before the fork */
	/* of this process alone: */
	struct states_queue send, receive;
	int quiet; /* rounds without a message */
};

static void connect_pipe(int ret[2])
{
	int fds[2];

	states_need(pipe(fds), "pipe");
	ret[0] = fds[1];
	ret[1] = fds[0];
}

static void connect_unix(int ret[2])
{
	states_need(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ret), "socketpair");
}

static void connect_tcp(int ret[2])
{
	states_tcp_pair(ret, NULL);
}

static struct relay relays[] = {
	{ .name = "relay-pipe", .child = 1, .connect = connect_pipe },
	{ .name = "relay-unix", .child = 2, .connect = connect_unix },
	{ .name = "relay-tcp", .child = 3, .connect = connect_tcp },
};

static void before_fork(struct relay *relay)
{
	for (int way = DOWN; way <= UP; way++) {
		relay->connect(relay->fds[way]);
		states_need(fcntl(relay->fds[way][1], F_SETFL, O_NONBLOCK), relay->name);
	}
}

/* both directions carry the same stream, that of the relay's name in the main process */
static void setup(struct relay *relay)
{
	int self = states_self;
	bool main_process = self == 0;
	uint64_t key;

	if (!main_process && self != relay->child)
		return;
	states_self = 0;
	key = states_key(relay->name);
	states_self = self;
	relay->send = (struct states_queue){ .name = relay->name,
					     .wfd = relay->fds[main_process ? DOWN : UP][0],
					     .key = key };
	relay->receive = (struct states_queue){ .name = relay->name,
						.rfd = relay->fds[main_process ? UP : DOWN][1],
						.key = key };
	for (int i = 0; main_process && i < STATES_QUEUE_DEPTH; i++)
		states_queue_put(&relay->send);
}

static void check(struct relay *relay)
{
	if (states_self != 0 && states_self != relay->child)
		return;
	relay->quiet++;
	/* half of them at most, so that the others are in flight */
	for (int i = 0; i < STATES_QUEUE_DEPTH / 2 && states_queue_take(&relay->receive); i++) {
		states_queue_put(&relay->send);
		relay->quiet = 0;
	}
	if (relay->quiet > STATES_STUCK)
		states_bad("%s: no message arrives any more", relay->name);
}

#define RELAY(number, word)                      \
	static void before_fork_##word(void)     \
	{                                        \
		before_fork(&relays[number]);    \
	}                                        \
	static void setup_##word(void)           \
	{                                        \
		setup(&relays[number]);          \
	}                                        \
	static void check_##word(uint64_t round) \
	{                                        \
		(void)round;                     \
		check(&relays[number]);          \
	}

RELAY(0, pipe)
RELAY(1, unix)
RELAY(2, tcp)

const struct feature states_relay[] = {
	{ "relay-pipe", before_fork_pipe, setup_pipe, check_pipe },
	{ "relay-unix", before_fork_unix, setup_unix, check_unix },
	{ "relay-tcp", before_fork_tcp, setup_tcp, check_tcp },
	{ NULL, NULL, NULL, NULL },
};
