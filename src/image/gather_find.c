// SPDX-License-Identifier: Apache-2.0
/*
 * gather_find.c - where a chunk is to be had here
 *
 *   1  where it belongs: an earlier transfer of this layer was cut
 *   2  in this transfer: chunks that came lately are remembered, a fixed number
 *   3  in this host's layers
 *
 * Wherever it is, it is read and its digest compared.
 */
#include <string.h>
#include <unistd.h>

#include "gather_internal.h"
#include "layer_index.h"

static struct rb_recent *recent_of(struct rb_gather *gather, const uint8_t *id)
{
	uint32_t number;

	memcpy(&number, id, sizeof(number));
	return &gather->recent[number % RB_GATHER_RECENT];
}

static bool read_chunk(struct rb_gather *gather, int fd, uint64_t offset, const uint8_t *id,
		       uint32_t len)
{
	uint8_t found[RB_CHUNK_ID_BYTES];

	return pread(fd, gather->chunk, len, (off_t)offset) == (ssize_t)len &&
	       rb_chunk_id(gather->digest, gather->chunk, len, found) &&
	       memcmp(found, id, RB_CHUNK_ID_BYTES) == 0;
}

static bool is_in_place(struct rb_gather *gather, const uint8_t *id, uint32_t len)
{
	const struct rb_gather_object *object = &gather->objects[gather->objects_count - 1];

	return gather->offset + len <= object->had &&
	       read_chunk(gather, object->fd, gather->offset, id, len);
}

static bool is_recent(struct rb_gather *gather, const uint8_t *id, uint32_t len)
{
	const struct rb_recent *recent = recent_of(gather, id);

	if (recent->len != len || memcmp(recent->id, id, RB_CHUNK_ID_BYTES) != 0)
		return false;
	/* in a dry run it would have been sent before this one */
	return !gather->options.spool ||
	       read_chunk(gather, gather->objects[recent->object].fd, recent->offset, id, len);
}

int rb_gather_find(struct rb_gather *gather, const uint8_t *id, uint32_t len)
{
	if (is_in_place(gather, id, len))
		return 2;
	if (is_recent(gather, id, len))
		return 1;
	return gather->options.index &&
	       rb_layer_index_fetch(gather->options.index, id, len, gather->chunk);
}

void rb_gather_remember(struct rb_gather *gather, const uint8_t *id, uint32_t len, uint32_t object,
			uint64_t offset)
{
	struct rb_recent *recent = recent_of(gather, id);

	memcpy(recent->id, id, RB_CHUNK_ID_BYTES);
	recent->len = len;
	recent->object = object;
	recent->offset = offset;
}
