// SPDX-License-Identifier: Apache-2.0
/*
 * take.c - so many bytes of a stream, however it is cut into frames
 */
#include "take.h"

#include <errno.h>
#include <string.h>

#include "conn.h"
#include "err.h"

ssize_t take_some(struct taking *t, const void **ret, size_t max)
{
	size_t n;

	if (!t->left && !t->ended) {
		const void *block;
		ssize_t size = rb_stream_read(t->conn, &block, t->wait, t->err);

		t->broken = size < 0;
		if (size < 0)
			return size;
		t->ended = size == 0;
		t->block = block;
		t->left = (size_t)size;
	}
	n = max < t->left ? max : t->left;
	*ret = t->block;
	t->block += n;
	t->left -= n;
	return (ssize_t)n;
}

int take_all(struct taking *t, void *ret, size_t len)
{
	size_t got = 0;

	while (got < len) {
		const void *some;
		ssize_t n = take_some(t, &some, len - got);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return got == 0 ? 0
					: rb_err_code(t->err, RB_E_PROTOCOL, -EPROTO,
						      "the stream ends within a record");
		memcpy((char *)ret + got, some, (size_t)n);
		got += (size_t)n;
	}
	return 1;
}

void take_drain(struct taking *t)
{
	if (!t->ended && !t->broken)
		rb_stream_drain(t->conn, t->wait, NULL);
}
