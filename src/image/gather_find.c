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

static enum rb_found find_recent(struct rb_gather *gather, const uint8_t *id, uint32_t len,
				 const struct rb_recent **ret_from)
{
	struct rb_recent *recent = recent_of(gather, id);

	if (recent->len != len || memcmp(recent->id, id, RB_CHUNK_ID_BYTES) != 0)
		return RB_FOUND_NOT;
	/* in a dry run it would have been sent before this one */
	if (!gather->options.spool)
		return RB_FOUND;
	*ret_from = recent;
	if (recent->is_pending)
		return RB_FOUND_COMES;
	if (read_chunk(gather, gather->objects[recent->object].fd, recent->offset, id, len))
		return RB_FOUND;
	recent->len = 0; /* it is not what it was said to be */
	return RB_FOUND_NOT;
}

enum rb_found rb_gather_find(struct rb_gather *gather, const uint8_t *id, uint32_t len,
			     const struct rb_recent **ret_from)
{
	enum rb_found found;

	if (gather->objects[gather->objects_count - 1].whole)
		return RB_FOUND_NOT;
	if (is_in_place(gather, id, len))
		return RB_FOUND_THERE;
	found = find_recent(gather, id, len, ret_from);
	if (found != RB_FOUND_NOT)
		return found;
	return gather->options.index &&
			       rb_layer_index_fetch(gather->options.index, id, len, gather->chunk)
		       ? RB_FOUND
		       : RB_FOUND_NOT;
}

void rb_gather_remember(struct rb_gather *gather, const uint8_t *id, uint32_t len, uint32_t object,
			uint64_t offset, bool is_pending)
{
	struct rb_recent *recent = recent_of(gather, id);

	if (recent->len == len && memcmp(recent->id, id, RB_CHUNK_ID_BYTES) == 0)
		return;
	*recent = (struct rb_recent){
		.len = len, .object = object, .offset = offset, .is_pending = is_pending
	};
	memcpy(recent->id, id, RB_CHUNK_ID_BYTES);
}

void rb_gather_has_come(struct rb_gather *gather, const struct rb_pending_chunk *chunk)
{
	struct rb_recent *recent = recent_of(gather, chunk->id);

	if (recent->object == chunk->object && recent->offset == chunk->offset)
		recent->is_pending = false;
}
