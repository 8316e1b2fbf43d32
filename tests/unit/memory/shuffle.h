/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shuffle.h - a sink whose blocks arrive in any order that several connections could bring them in
 *
 * What comes by write() is held, each record by itself, and delivered in random order, some of it
 * at once. shuffle_end() delivers the rest. What comes by write_first() is delivered at once, and a
 * second time in that way.
 */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"
#include "send.h"

enum { SHUFFLE_HELD = 64 };

static struct {
	int (*take)(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		    struct rb_err *why);
	unsigned int seed;
	size_t n;
	size_t len[SHUFFLE_HELD];
	uint8_t *data[SHUFFLE_HELD];
	int overtaken, first, last;
} shuffle;

static inline int shuffle_deliver(size_t i, struct rb_err *why)
{
	int r = shuffle.take(NULL, shuffle.data[i], shuffle.len[i], NULL, why);

	free(shuffle.data[i]);
	shuffle.overtaken += i > 0;
	shuffle.n--;
	memmove(&shuffle.data[i], &shuffle.data[i + 1], (shuffle.n - i) * sizeof(shuffle.data[0]));
	memmove(&shuffle.len[i], &shuffle.len[i + 1], (shuffle.n - i) * sizeof(shuffle.len[0]));
	return r;
}

static inline int shuffle_hold(const void *data, size_t len, struct rb_err *why)
{
	int r = 0;

	if (shuffle.n == SHUFFLE_HELD)
		r = shuffle_deliver((size_t)rand_r(&shuffle.seed) % shuffle.n, why);
	shuffle.data[shuffle.n] = malloc(len);
	if (!shuffle.data[shuffle.n])
		return -ENOMEM;
	memcpy(shuffle.data[shuffle.n], data, len);
	shuffle.len[shuffle.n++] = len;
	if (r >= 0 && rand_r(&shuffle.seed) % 4 == 0)
		r = shuffle_deliver((size_t)rand_r(&shuffle.seed) % shuffle.n, why);
	return r;
}

static inline int shuffle_write(void *arg, const void *block, size_t len,
				const struct rb_wait *wait, struct rb_err *why)
{
	int r = 0;

	(void)arg;
	(void)wait;
	for (size_t at = 0; r >= 0 && at < len;) {
		struct rb_record record;
		ssize_t n = rb_record_decode((const uint8_t *)block + at, len - at, &record, why);

		r = n < 0 ? (int)n : shuffle_hold((const uint8_t *)block + at, (size_t)n, why);
		at += n < 0 ? 0 : (size_t)n;
	}
	return r;
}

static inline int shuffle_write_first(void *arg, const void *block, size_t len,
				      const struct rb_wait *wait, struct rb_err *why)
{
	int r = shuffle.take(arg, block, len, wait, why);

	/* it comes over each connection: once more when some of the others is there already */
	shuffle.first++;
	return r < 0 ? r : shuffle_hold(block, len, why);
}

static inline int shuffle_end(struct rb_err *why)
{
	int r = 0;

	while (shuffle.n) {
		int r2 = shuffle_deliver((size_t)rand_r(&shuffle.seed) % shuffle.n, why);

		r = r < 0 ? r : r2;
	}
	return r;
}

static inline int shuffle_write_last(void *arg, const void *block, size_t len,
				     const struct rb_wait *wait, struct rb_err *why)
{
	int r = shuffle_end(why);

	shuffle.last++;
	return r < 0 ? r : shuffle.take(arg, block, len, wait, why);
}

static const struct rb_memory_sink shuffle_sink = { .write = shuffle_write,
						    .write_first = shuffle_write_first,
						    .write_last = shuffle_write_last };
