/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h - what server and client of the benchmarks say to each other
 *
 * One message has one size and one layout in both directions, in the byte order of the machine:
 * both programs run on one.
 *
 *   TCP   the client sends a message with number N, the server answers it with the same number
 *         and how many messages of this connection it has answered, which must be N as well
 *   UDP   the client sends BENCH_LISTEN; from then on the server sends it a numbered message every
 *         BENCH_BEAT_MS, until BENCH_LEAVE. Nothing is sent again, so a gap is a silence of the
 *         server
 *   UDP, BENCH_ECHO_PORT   as over TCP, but the server counts what came from all clients: the
 * counts tell in which order it heard them
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { BENCH_PORT = 7000, BENCH_ECHO_PORT = 7001, BENCH_BEAT_MS = 1 };

/* what the client's numbers mean over UDP */
enum { BENCH_LISTEN = 1, BENCH_LEAVE = 2 };

struct bench_message {
	uint64_t number;
	uint64_t count;
};

_Noreturn static inline void bench_die(const char *what)
{
	perror(what);
	exit(1);
}

#endif
