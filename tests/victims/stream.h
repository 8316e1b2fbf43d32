/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - one connection of streamd and streamc
 *
 * The client starts with a hello of 32 bytes; behind it, each direction is the byte stream named by
 * (seed, connection, direction), sent at a set rate and compared byte by byte by the receiver. The
 * client ends its direction by shutdown(2); the server then ends its own with a trailer of 32 bytes
 * that says what it received. Numbers are in the machine's own byte order.
 */
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "victim.h"

#define STREAM_HELLO   0x72656265727468ull
#define STREAM_TRAILER 0x6c6174736f6c61ull
#define STREAM_TICK_MS 10
#define STREAM_CHUNK   16384
/* an unpaced connection sends no more at a time, so that all get their turn */
#define STREAM_BURST (256 * 1024)

struct stream_hello {
	uint64_t magic;
	uint64_t seed;
	uint32_t connection;
	uint32_t rate_kib; /* per second, each direction; 0: as fast as it goes */
	uint64_t zero;
};

struct stream_trailer {
	uint64_t magic;
	uint64_t bytes_in;
	uint64_t mismatches;
	uint64_t bytes_out; /* without this trailer */
};

struct stream {
	int fd; /* -1: closed */
	uint64_t key_in;
	uint64_t key_out;
	uint32_t rate_kib;
	bool out_ended;
	uint64_t bytes_in;
	uint64_t bytes_out;
	uint64_t mismatches;
	uint64_t budget; /* bytes that may be sent now */
	int64_t paid_us; /* when the budget was filled last */
};

static inline uint64_t stream_key(uint64_t seed, uint32_t connection, bool from_client)
{
	return victim_mix(seed ^ victim_mix((uint64_t)connection * 2 + from_client));
}

static inline void stream_budget(struct stream *s, int64_t now_us)
{
	uint64_t cap = s->rate_kib ? s->rate_kib * 1024ull / 10 + 1 : STREAM_BURST;
	uint64_t more = (uint64_t)(now_us - s->paid_us) * s->rate_kib * 1024 / 1000000;

	if (!s->rate_kib)
		more = cap;
	else if (!more)
		return;
	s->paid_us = now_us;
	s->budget = s->budget + more < cap ? s->budget + more : cap;
}

/* Send what the budget and the socket allow. Return: 0 or negative errno. */
static inline int stream_send(struct stream *s)
{
	uint8_t chunk[STREAM_CHUNK];

	stream_budget(s, victim_now_us());
	while (s->budget && !s->out_ended) {
		size_t want = s->budget < sizeof(chunk) ? s->budget : sizeof(chunk);
		ssize_t n;

		victim_fill(chunk, want, s->key_out, s->bytes_out);
		n = send(s->fd, chunk, want, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		s->bytes_out += (uint64_t)n;
		s->budget -= (uint64_t)n;
	}
	return 0;
}

/* compare the next @len bytes of the stream */
static inline void stream_verify(struct stream *s, const uint8_t *data, size_t len)
{
	int64_t at = victim_check(data, len, s->key_in, s->bytes_in);

	if (at >= 0) {
		fprintf(stderr, "mismatch at byte %llu of connection on descriptor %d\n",
			(unsigned long long)s->bytes_in + (unsigned long long)at, s->fd);
		s->mismatches++;
	}
	s->bytes_in += len;
}
