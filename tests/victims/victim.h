/* SPDX-License-Identifier: Apache-2.0 */
/*
 * victim.h - what the test victims share: a byte stream that is known in advance, time, stopping
 *
 * Victims are linked statically and use nothing of reberth: they run in empty containers.
 */
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t victim_stop;

static inline void victim_on_stop(int sig)
{
	(void)sig;
	victim_stop = 1;
}

/* end in order at SIGTERM and SIGINT (as PID 1, too, where there is no default action) */
static inline void victim_catch_stop(void)
{
	struct sigaction action = { .sa_handler = victim_on_stop };

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
}

static inline int64_t victim_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline int64_t victim_now_ms(void)
{
	return victim_now_us() / 1000;
}

static inline void victim_sleep_us(int64_t us)
{
	struct timespec left = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

	while (us > 0 && nanosleep(&left, &left) < 0 && errno == EINTR && !victim_stop)
		;
}

/* Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014: splitmix64 */
static inline uint64_t victim_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* bytes [offset, offset + len) of the endless stream that @key names */
static inline void victim_fill(uint8_t *to, size_t len, uint64_t key, uint64_t offset)
{
	for (size_t i = 0; i < len;) {
		uint64_t word = victim_mix(key ^ victim_mix((offset + i) / 8));
		size_t skip = (offset + i) % 8;
		size_t n = len - i < 8 - skip ? len - i : 8 - skip;

		memcpy(to + i, (uint8_t *)&word + skip, n);
		i += n;
	}
}

/* Return: position of the first byte that is not of the stream, or -1 */
static inline int64_t victim_check(const uint8_t *data, size_t len, uint64_t key, uint64_t offset)
{
	uint8_t want[4096];

	for (size_t i = 0; i < len;) {
		size_t n = len - i < sizeof(want) ? len - i : sizeof(want);

		victim_fill(want, n, key, offset + i);
		if (memcmp(data + i, want, n) != 0)
			for (size_t k = 0; k < n; k++)
				if (data[i + k] != want[k])
					return (int64_t)(i + k);
		i += n;
	}
	return -1;
}

/* a whole number between @min and @max, or the program ends with status 2 */
static inline long victim_number(const char *text, const char *what, long min, long max)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 0);
	if (errno || *end || end == text || value < min || value > max) {
		fprintf(stderr, "%s: '%s' is not a number from %ld to %ld\n", what, text, min, max);
		exit(2);
	}
	return value;
}
