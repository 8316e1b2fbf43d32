/* SPDX-License-Identifier: Apache-2.0 */
/*
 * states.h - the features of the victim `states`
 *
 * A feature is a kind of kernel state that is set up once and then checked in every round. Each of
 * the processes has its own, unless noted. Setup and checks of a feature run in the same thread.
 */
#pragma once

#include <stdatomic.h>

#include "victim.h"

#define STATES_PROCESSES 4 /* the main one, 0, and its children */
#define STATES_THREADS	 4
#define STATES_ROUND_MS	 50
/* so many rounds without progress are a failure; rounds do not pass while we are frozen */
#define STATES_STUCK 600

struct feature {
	const char *name;
	void (*before_fork)(void);     /* in the main process, for what is shared; or NULL */
	void (*setup)(void);	       /* or NULL */
	void (*check)(uint64_t round); /* calls states_bad() when something is not as it was */
	bool only_if_named;	       /* CRIU is known to lose it: checked with -o alone */
};

/* tables that end with a NULL name */
extern const struct feature states_files[];
extern const struct feature states_ipc[];
extern const struct feature states_memory[];
extern const struct feature states_proc[];
extern const struct feature states_relay[];
extern const struct feature states_sysv[];

/* which process this is */
extern int states_self;

/* the main process has begun to end the others: its threads may see that */
extern atomic_bool states_ending;

/* print "BAD <what> (process N)" and end the process, which ends all of them */
_Noreturn void states_bad(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* a result that must not be negative, or we end with what and errno */
long states_need(long result, const char *what);

/* the key of a stream that belongs to this process alone */
uint64_t states_key(const char *name);

/*
 * Messages that wait in a queue of the kernel: all the time `depth` of them, so that there is data
 * in flight whenever we are frozen.
 */
struct states_queue {
	const char *name;
	int wfd;
	int rfd;
	uint64_t key;
	uint64_t in;
	uint64_t out;
};

#define STATES_MESSAGE	   512
#define STATES_QUEUE_DEPTH 8

void states_queue_start(struct states_queue *queue, const char *name, int wfd, int rfd);
/* take the oldest one out, compare it, put a new one in */
void states_queue_turn(struct states_queue *queue);
void states_queue_put(struct states_queue *queue);
/* Return: false when there was none (non-blocking descriptors only) */
bool states_queue_take(struct states_queue *queue);

/* connected pair of TCP sockets over loopback; ret_listener may be NULL */
void states_tcp_pair(int ret[2], int *ret_listener);
