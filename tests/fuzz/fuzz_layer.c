// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_layer.c - a layer's tar stream, as an image's author has made it
 *
 * Whatever it is, all of its bytes come out again in their order, in pieces that do not depend on
 * how it comes, and content is cut into chunks within their limits.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cdc.h"
#include "fuzz.h"
#include "tarsplit.h"

struct out {
	const uint8_t *data;
	size_t len, at;
	size_t content, ends;
	struct rb_cdc cdc;
};

static int on_part(void *arg, enum rb_tar_part part, const void *data, size_t len, bool end)
{
	struct out *out = arg;
	const uint8_t *at = data;

	FUZZ_NEED(len > 0 && len <= out->len - out->at);
	FUZZ_NEED(memcmp(out->data + out->at, data, len) == 0);
	out->at += len;
	if (part != RB_TAR_CONTENT) {
		FUZZ_NEED(!end);
		return 0;
	}
	out->content += len;
	out->ends += end;
	while (len) {
		size_t before = out->cdc.len;
		bool cut;
		size_t n = rb_cdc_feed(&out->cdc, at, len, &cut);

		FUZZ_NEED(n > 0 && n <= len && before + n <= RB_CHUNK_MAX);
		FUZZ_NEED(!cut || before + n >= RB_CHUNK_MIN);
		FUZZ_NEED(cut || n == len);
		at += n;
		len -= n;
	}
	if (end)
		out->cdc = (struct rb_cdc){};
	return 0;
}

static void split(const uint8_t *data, size_t len, size_t step, struct out *out)
{
	struct rb_tarsplit *s = malloc(sizeof(*s));

	FUZZ_NEED(s);
	*out = (struct out){ .data = data, .len = len };
	rb_tarsplit_init(s);
	for (size_t at = 0; at < len; at += step)
		FUZZ_NEED(rb_tarsplit_feed(s, data + at, len - at < step ? len - at : step, on_part,
					   out) == 0);
	FUZZ_NEED(rb_tarsplit_end(s, on_part, out) == 0);
	FUZZ_NEED(out->at == len);
	free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct out whole, pieces;

	split(data, len, len ? len : 1, &whole);
	split(data, len, 37, &pieces);
	FUZZ_NEED(whole.content == pieces.content && whole.ends == pieces.ends);
	return 0;
}
