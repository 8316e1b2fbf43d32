// SPDX-License-Identifier: Apache-2.0
/* frames.c - take frames that were caught apart (frames.h has their format) */
#include "frames.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "io.h"

int rb_frames_next(const void *data, size_t len, size_t *at, struct rb_frame_view *ret)
{
	const uint8_t *record;
	uint32_t n;

	if (*at == len)
		return 0;
	record = (const uint8_t *)data + *at;
	if (len - *at < sizeof(n))
		return -EAGAIN;
	memcpy(&n, record, sizeof(n));
	n = be32toh(n);
	if (n < RB_FRAME_MIN_LEN || n > RB_FRAME_MAX_LEN)
		return -EPROTO;
	if (len - *at < RB_FRAME_RECORD + (size_t)n)
		return -EAGAIN;
	*ret = (struct rb_frame_view){ record + 4, record + 14, record + RB_FRAME_RECORD, n };
	*at += RB_FRAME_RECORD + n;
	return 1;
}

struct seen {
	struct rb_frame_view view;
	bool used;
};

/* by length first: few frames have to be compared byte by byte */
static int compare(const void *a, const void *b)
{
	const struct rb_frame_view *x = &((const struct seen *)a)->view;
	const struct rb_frame_view *y = &((const struct seen *)b)->view;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	/* the device's address, and then the frame */
	return memcmp(x->device, y->device, (size_t)(x->frame - x->device) + x->len);
}

/* Return: was it there, once more than it was taken already? */
static bool take(struct seen *list, size_t n, const struct rb_frame_view *view)
{
	const struct seen key = { .view = *view };
	struct seen *found = bsearch(&key, list, n, sizeof(*list), compare);

	if (!found)
		return false;
	while (found > list && compare(found - 1, &key) == 0)
		found--;
	for (; found < list + n && compare(found, &key) == 0; found++)
		if (!found->used)
			return found->used = true;
	return false;
}

int rb_frames_subtract(struct rb_buf *frames, const struct rb_buf *others)
{
	_cleanup_free_ struct seen *list = NULL;
	size_t n = 0, at = 0, from = 0, kept = 0;
	struct rb_frame_view view;
	int removed = 0;

	while (rb_frames_next(others->data, others->len, &at, &view) == 1)
		n++;
	if (n == 0)
		return 0;
	list = calloc(n, sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (n = at = 0; rb_frames_next(others->data, others->len, &at, &view) == 1; n++)
		list[n].view = view;
	qsort(list, n, sizeof(*list), compare);
	for (at = 0; rb_frames_next(frames->data, frames->len, &at, &view) == 1; from = at) {
		if (take(list, n, &view)) {
			removed++;
			continue;
		}
		memmove(frames->data + kept, frames->data + from, at - from);
		kept += at - from;
	}
	frames->len = kept;
	return removed;
}
