// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_frames.c - what a source caught on its container's network: records, and what is in them
 *
 * Whatever the input, each record that is taken lies within it, is of a length that can be sent,
 * and is the next one; after the end and after a malformed one nothing is taken any more.
 */
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "frames.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	/* in a block of its own, so that a sanitizer sees where it ends */
	_cleanup_free_ uint8_t *input = malloc(len ? len : 1);
	struct rb_frame_view view;
	size_t at = 0, before = 0;
	unsigned int sum = 0;
	int r;

	FUZZ_NEED(input);
	if (len)
		memcpy(input, data, len);
	while ((r = rb_frames_next(input, len, &at, &view)) == 1) {
		FUZZ_NEED(view.len >= RB_FRAME_MIN_LEN && view.len <= RB_FRAME_MAX_LEN);
		FUZZ_NEED(view.offload == input + before + 4);
		FUZZ_NEED(view.device == input + before + 14);
		FUZZ_NEED(view.frame == input + before + RB_FRAME_RECORD);
		FUZZ_NEED(at == before + RB_FRAME_RECORD + view.len && at <= len);
		for (const uint8_t *byte = view.offload; byte < view.frame + view.len; byte++)
			sum += *byte;
		before = at;
	}
	FUZZ_NEED(r == 0 || r == -EAGAIN || r == -EPROTO);
	FUZZ_NEED((r == 0) == (at == len) && at == before);
	FUZZ_NEED(sum < 0xffffffff); /* read, and not optimised away */
	return 0;
}
