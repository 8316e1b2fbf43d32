// SPDX-License-Identifier: Apache-2.0
/*
 * gather.c - the archive of an image, put together from what a peer sends and what is here
 *
 * Each recipe is answered with what is wanted of it, and what is found here is put in its place at
 * once. What was asked for comes in the order of asking, so the first chunk that is missing marks
 * up to where everything is there; the other thread checks digests up to that mark.
 *
 * Nothing that is found here is taken without looking: a chunk is read, its digest compared, and if
 * it is another one by now it is asked for like any that is not here. What the peer sends is
 * checked as a whole, by the object's digest.
 *
 * The peer's numbers are believed as far as they fit: an object has the size that it was announced
 * with, and room for it was found before; recipes and blocks come in their order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "gather_internal.h"
#include "io.h"
#include "zstream.h"
#include "spool.h"

#define ROOM_EVERY ((size_t)16 << 20)

static int nonsense(struct rb_err *err, const char *what)
{
	return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "the peer sent nonsense about an image: %s",
			   what);
}

/* --- making, and letting go --- */

int rb_gather_new(const struct rb_gather_options *options, struct rb_gather **ret,
		  struct rb_err *err)
{
	struct rb_gather *gather = calloc(1, sizeof(*gather));

	if (!gather)
		return rb_err_set(err, -ENOMEM, "receive an image");
	gather->options = *options;
	gather->around_fd = -EBADF;
	pthread_mutex_init(&gather->lock, NULL);
	pthread_cond_init(&gather->changed, NULL);
	gather->pending_last = &gather->pending;
	gather->recent = calloc(RB_GATHER_RECENT, sizeof(*gather->recent));
	gather->digest = rb_digest_new();
	gather->items_zstd = rb_zstream_new_decoder();
	gather->block_zstd = rb_zstream_new_decoder();
	gather->raw = malloc(RB_RECIPE_RAW_MAX);
	gather->chunk = malloc(RB_CHUNK_MAX);
	if (!gather->recent || !gather->digest || !gather->items_zstd || !gather->block_zstd ||
	    !gather->raw || !gather->chunk) {
		rb_gather_free(gather);
		return rb_err_set(err, -ENOMEM, "receive an image");
	}
	if (options->spool) {
		gather->around_fd = rb_spool_nameless(options->spool, err);
		if (gather->around_fd < 0) {
			int r = gather->around_fd;

			rb_gather_free(gather);
			return r;
		}
	}
	*ret = gather;
	return 0;
}

void rb_gather_free(struct rb_gather *gather)
{
	if (!gather)
		return;
	while (gather->pending) {
		struct rb_pending *next = gather->pending->next;

		free(gather->pending);
		gather->pending = next;
	}
	for (unsigned int i = 0; i < gather->objects_count; i++)
		rb_close_fd(&gather->objects[i].fd);
	rb_close_fd(&gather->around_fd);
	pthread_cond_destroy(&gather->changed);
	pthread_mutex_destroy(&gather->lock);
	rb_digest_free(gather->digest);
	ZSTD_freeDCtx(gather->items_zstd);
	ZSTD_freeDCtx(gather->block_zstd);
	free(gather->recent);
	free(gather->raw);
	free(gather->chunk);
	free(gather);
}

void rb_gather_stop(struct rb_gather *gather)
{
	pthread_mutex_lock(&gather->lock);
	gather->stopped = true;
	pthread_cond_broadcast(&gather->changed);
	pthread_mutex_unlock(&gather->lock);
}

static bool is_stopped(void *arg)
{
	struct rb_gather *gather = arg;
	bool stopped;

	pthread_mutex_lock(&gather->lock);
	stopped = gather->stopped;
	pthread_mutex_unlock(&gather->lock);
	return stopped;
}

/* tell the other thread how far everything is in place */
static void publish(struct rb_gather *gather)
{
	const struct rb_pending *pending = gather->pending;

	pthread_mutex_lock(&gather->lock);
	if (pending) {
		gather->mark_object = pending->chunks[pending->at].object;
		gather->mark_offset = pending->chunks[pending->at].offset;
	} else if (gather->is_open) {
		gather->mark_object = gather->objects_count - 1;
		gather->mark_offset = gather->offset;
	} else {
		gather->mark_object = gather->objects_count;
		gather->mark_offset = 0;
	}
	pthread_cond_broadcast(&gather->changed);
	pthread_mutex_unlock(&gather->lock);
}

/* --- items --- */

static struct rb_gather_object *open_object(struct rb_gather *gather)
{
	return &gather->objects[gather->objects_count - 1];
}

static int write_object(struct rb_gather *gather, const void *data, size_t len, uint64_t offset,
			uint32_t object, struct rb_err *err)
{
	int r;

	if (!gather->options.spool)
		return 0;
	/* there was room for it when it began, but others write to the disk, too */
	gather->unasked += len;
	if (gather->unasked >= ROOM_EVERY) {
		gather->unasked = 0;
		r = rb_spool_has_room(gather->options.spool, err);
		if (r < 0)
			return r;
	}
	r = rb_pwrite_all(gather->objects[object].fd, data, len, (off_t)offset);
	return r < 0 ? rb_err_set(err, r, "write to '%s'", gather->options.spool->path) : 0;
}

static int begin_object(struct rb_gather *gather, const struct rb_item *item, struct rb_err *err)
{
	struct rb_gather_object object = { .form = item->form, .size = item->size, .fd = -EBADF };

	for (unsigned int i = 0; i < gather->options.whole_count; i++)
		object.whole |= memcmp(gather->options.whole[i], item->bytes, RB_DIGEST_BYTES) == 0;
	if (gather->is_open)
		return nonsense(err, "a file within a file");
	if (gather->objects_count == RB_GATHER_OBJECTS)
		return nonsense(err, "too many files");
	gather->objects_len += object.size;
	if (gather->options.bytes_max && gather->objects_len > gather->options.bytes_max)
		return nonsense(err, "it is much larger than was described");
	memcpy(object.key, item->bytes, RB_DIGEST_BYTES);
	if (gather->options.spool) {
		rb_spool_await(gather->options.spool, object.key, is_stopped, gather);
		object.fd = rb_spool_object(gather->options.spool, object.key, object.size,
					    object.whole, &object.had, err);
		if (object.fd < 0)
			return object.fd;
	}
	pthread_mutex_lock(&gather->lock);
	gather->objects[gather->objects_count++] = object;
	pthread_mutex_unlock(&gather->lock);
	gather->parts[gather->parts_count].object = (int)gather->objects_count - 1;
	gather->parts[gather->parts_count++].len = object.size;
	gather->is_open = true;
	gather->offset = 0;
	return 0;
}

static int end_object(struct rb_gather *gather, struct rb_err *err)
{
	if (!gather->is_open)
		return nonsense(err, "a file ends that has not begun");
	if (gather->offset != open_object(gather)->size)
		return nonsense(err, "a file of another size than was announced");
	gather->is_open = false;
	return 0;
}

static int add_around(struct rb_gather *gather, const struct rb_item *item, struct rb_err *err)
{
	unsigned int last = gather->parts_count;
	int r = 0;

	if (item->len > RB_GATHER_AROUND - gather->around_len)
		return nonsense(err, "an archive that is too large around its files");
	if (gather->options.spool)
		r = rb_pwrite_all(gather->around_fd, item->bytes, item->len,
				  (off_t)gather->around_len);
	if (r < 0)
		return rb_err_set(err, r, "write to '%s'", gather->options.spool->path);
	gather->around_len += item->len;
	if (last && gather->parts[last - 1].object < 0) {
		gather->parts[last - 1].len += item->len;
		return 0;
	}
	gather->parts[last].object = -1;
	gather->parts[last].len = item->len;
	gather->parts_count++;
	return 0;
}

static int add_literal(struct rb_gather *gather, const struct rb_item *item, struct rb_err *err)
{
	int r;

	if (!gather->is_open)
		return add_around(gather, item, err);
	if (item->len > open_object(gather)->size - gather->offset)
		return nonsense(err, "a file that is larger than was announced");
	r = write_object(gather, item->bytes, item->len, gather->offset, gather->objects_count - 1,
			 err);
	gather->offset += item->len;
	return r;
}

/* Return: 1 when it has to be sent, or copied when the one that it is like has come */
static int add_chunk(struct rb_gather *gather, const struct rb_item *item,
		     struct rb_pending_chunk *ret, struct rb_err *err)
{
	uint32_t object = gather->objects_count - 1;
	uint64_t offset = gather->offset;
	const struct rb_recent *from = NULL;
	enum rb_found found;
	int r = 0;

	if (!gather->is_open)
		return nonsense(err, "a chunk that belongs nowhere");
	if (item->len > open_object(gather)->size - offset)
		return nonsense(err, "a file that is larger than was announced");
	*ret = (struct rb_pending_chunk){ .len = item->len, .object = object, .offset = offset };
	memcpy(ret->id, item->bytes, RB_CHUNK_ID_BYTES);
	found = rb_gather_find(gather, item->bytes, item->len, &from);
	if (found == RB_FOUND)
		r = write_object(gather, gather->chunk, item->len, offset, object, err);
	if (found == RB_FOUND_COMES) {
		ret->is_copy = true;
		ret->from_object = from->object;
		ret->from_offset = from->offset;
	}
	rb_gather_remember(gather, item->bytes, item->len, object, offset, found == RB_FOUND_NOT);
	gather->offset += item->len;
	if (r < 0)
		return r;
	return found == RB_FOUND_NOT || found == RB_FOUND_COMES;
}

/* --- records --- */

struct answer {
	uint8_t record[RB_RECIPE_WANT_MAX];
	unsigned int count, announced; /* chunks: so far, and what there is room for */
	size_t data_len;	       /* what they stand for */
	struct rb_pending *pending;
};

static int take_item(struct rb_gather *gather, const struct rb_item *item, struct answer *answer,
		     struct rb_err *err)
{
	struct rb_pending_chunk *chunk;
	int r;

	switch (item->kind) {
	case RB_ITEM_OBJECT:
		return begin_object(gather, item, err);
	case RB_ITEM_END:
		return end_object(gather, err);
	case RB_ITEM_LITERAL:
		return add_literal(gather, item, err);
	default:
		break;
	}
	if (answer->count == answer->announced)
		return nonsense(err, "a recipe of more chunks than it says");
	answer->data_len += item->len;
	if (answer->data_len > RB_RECIPE_DATA_MAX)
		return nonsense(err, "a batch that stands for too much");
	chunk = &answer->pending->chunks[answer->pending->count];
	r = add_chunk(gather, item, chunk, err);
	answer->pending->count += r > 0;
	if (r > 0 && !chunk->is_copy)
		answer->record[RB_RECIPE_HEADER + answer->count / 8] |=
			(uint8_t)(1 << answer->count % 8);
	answer->count++;
	return r < 0 ? r : 0;
}

static int take_items(struct rb_gather *gather, const struct rb_recipe_record *record,
		      struct answer *answer, struct rb_err *err)
{
	for (size_t at = 0; at < record->raw_len;) {
		struct rb_item item;
		ssize_t n = rb_item_decode(gather->raw + at, record->raw_len - at, &item, err);
		int r = n < 0 ? (int)n : take_item(gather, &item, answer, err);

		if (r < 0)
			return r;
		if (is_stopped(gather))
			return rb_err_code(err, RB_E_CANCELED, -ECANCELED, "cancelled");
		at += (size_t)n;
	}
	return answer->count == record->count ? 0 : nonsense(err, "a recipe of fewer chunks");
}

static int copy_chunk(struct rb_gather *gather, const struct rb_pending_chunk *chunk,
		      struct rb_err *err)
{
	ssize_t n = pread(gather->objects[chunk->from_object].fd, gather->chunk, chunk->len,
			  (off_t)chunk->from_offset);

	if (n != (ssize_t)chunk->len)
		return rb_err_set(err, n < 0 ? -errno : -EIO, "read '%s'",
				  gather->options.spool->path);
	return write_object(gather, gather->chunk, chunk->len, chunk->offset, chunk->object, err);
}

/* Copies that nothing is waited for any more are made, batches that are complete go. */
static int settle(struct rb_gather *gather, struct rb_err *err)
{
	struct rb_pending *pending;

	while ((pending = gather->pending) != NULL) {
		while (pending->at < pending->count && pending->chunks[pending->at].is_copy) {
			int r = copy_chunk(gather, &pending->chunks[pending->at], err);

			if (r < 0)
				return r;
			if (is_stopped(gather))
				return rb_err_code(err, RB_E_CANCELED, -ECANCELED, "cancelled");
			pending->at++;
		}
		if (pending->at < pending->count)
			return 0;
		gather->pending = pending->next;
		if (!gather->pending)
			gather->pending_last = &gather->pending;
		gather->pending_count--;
		free(pending);
	}
	return 0;
}

static int take_recipe(struct rb_gather *gather, const struct rb_recipe_record *record,
		       struct rb_err *err)
{
	struct rb_recipe_record want = { .kind = RB_RECIPE_WANT,
					 .count = record->count,
					 .batch = record->batch };
	_cleanup_free_ struct rb_pending *pending = NULL;
	struct answer answer = { .announced = record->count };
	int r;

	if (record->batch != gather->next_batch || gather->pending_count >= RB_GATHER_PENDING)
		return nonsense(err, "a batch before its time");
	gather->next_batch++;
	pending = calloc(1, sizeof(*pending) + record->count * sizeof(pending->chunks[0]));
	if (!pending)
		return rb_err_set(err, -ENOMEM, "receive an image");
	pending->batch = record->batch;
	answer.pending = pending;
	r = rb_zstream_unpack(gather->items_zstd, record, gather->raw, err);
	if (r == 0)
		r = take_items(gather, record, &answer, err);
	if (r < 0)
		return r;
	if (pending->count && gather->options.spool) {
		*gather->pending_last = pending;
		gather->pending_last = &pending->next;
		gather->pending_count++;
		pending = NULL;
		r = settle(gather, err); /* of copies only, and nothing before it */
		if (r < 0)
			return r;
	}
	rb_recipe_encode_header(answer.record, &want);
	return gather->options.want(gather->options.arg, answer.record,
				    RB_RECIPE_HEADER + ((size_t)record->count + 7) / 8, err);
}

/* the chunks that were asked for, in that order: @count of them from @at on, copies not counted */
static int place_chunks(struct rb_gather *gather, struct rb_pending *pending, unsigned int count,
			struct rb_err *err)
{
	size_t at = 0;
	int r = 0;

	while (count && r == 0) {
		const struct rb_pending_chunk *chunk = &pending->chunks[pending->at++];

		if (chunk->is_copy) {
			r = copy_chunk(gather, chunk, err);
			continue;
		}
		r = write_object(gather, gather->raw + at, chunk->len, chunk->offset, chunk->object,
				 err);
		rb_gather_has_come(gather, chunk);
		at += chunk->len;
		count--;
	}
	return r;
}

static int take_block(struct rb_gather *gather, const struct rb_recipe_record *record,
		      struct rb_err *err)
{
	struct rb_pending *pending = gather->pending;
	unsigned int count = 0;
	size_t len = 0;
	int r;

	if (!pending || record->batch != pending->batch)
		return nonsense(err, "chunks that were not asked for");
	for (uint32_t i = pending->at; i < pending->count && count < record->count; i++) {
		if (pending->chunks[i].is_copy)
			continue;
		len += pending->chunks[i].len;
		count++;
	}
	if (count < record->count)
		return nonsense(err, "chunks that were not asked for");
	if (len != record->raw_len)
		return nonsense(err, "chunks of another size than was asked for");
	r = rb_zstream_unpack(gather->block_zstd, record, gather->raw, err);
	if (r == 0)
		r = place_chunks(gather, pending, count, err);
	return r < 0 ? r : settle(gather, err);
}

int rb_gather_record(struct rb_gather *gather, const uint8_t *data, size_t len, struct rb_err *err)
{
	struct rb_recipe_record record;
	int r = rb_recipe_decode(data, len, &record, err);

	if (r < 0)
		return r;
	if (record.kind == RB_RECIPE_ITEMS)
		r = take_recipe(gather, &record, err);
	else if (record.kind == RB_RECIPE_BLOCK)
		r = take_block(gather, &record, err);
	else
		r = nonsense(err, "an answer where there was no question");
	if (r == 0)
		publish(gather);
	return r;
}

int rb_gather_end(struct rb_gather *gather, struct rb_err *err)
{
	if (gather->is_open || gather->pending)
		return nonsense(err, "it ends too early");
	pthread_mutex_lock(&gather->lock);
	gather->ended = true;
	pthread_cond_broadcast(&gather->changed);
	pthread_mutex_unlock(&gather->lock);
	return 0;
}
