// SPDX-License-Identifier: Apache-2.0
/*
 * cutter.c - the archive of an image, read and cut into batches
 *
 * What is around the layers is literal. A layer's headers are, too, and compress well; the content
 * of each file in it is cut into chunks from the file's first byte on, so that the target finds
 * them in the files of its own layers, wherever these are in a stream. A chunk lies as a whole in
 * one batch.
 */
#include "cutter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "cdc.h"
#include "cleanup.h"
#include "filter.h"
#include "zstream.h"
#include "tarsplit.h"

#define LITERAL_PART ((size_t)32 << 10)
#define ITEMS_LEVEL  3 /* headers are mostly zeros: this is faster than sending them */

struct state {
	struct rb_cutter *cutter;
	struct rb_out *out;
	struct rb_batch *batch;
	struct rb_digest *digest;
	struct rb_zstream packer;
	struct rb_tarsplit split;
	struct rb_cdc cdc;
	size_t chunk_at;  /* in the batch's data, of the chunk under way */
	uint8_t *literal; /* the last item, if it is a literal that can grow */
	uint32_t literal_len;
	uint32_t next_number;
	bool in_object;
	struct rb_err *err;
};

/* --- batches --- */

/* hand on what is there */
static int finish_batch(struct state *s)
{
	struct rb_recipe_record record = { .kind = RB_RECIPE_ITEMS };
	struct rb_batch *batch = s->batch;
	int len;

	s->literal = NULL;
	if (!batch)
		return 0;
	record.count = batch->count;
	record.batch = batch->number;
	record.raw_len = (uint32_t)batch->items_len;
	len = rb_zstream_pack(&s->packer, ITEMS_LEVEL, &record, batch->items, batch->frame);
	if (len < 0)
		return rb_err_set(s->err, len, "pack a part of the image");
	batch->frame_len = (size_t)len;
	s->batch = NULL;
	rb_out_put(s->out, &s->out->cut, batch);
	return 0;
}

/* see to it that a batch is there with room for so many bytes of items and data */
static int need_room(struct state *s, size_t items, size_t data)
{
	struct rb_batch *batch = s->batch;
	int r = 0;

	if (batch &&
	    (batch->items_len + items > RB_RECIPE_ITEMS_MAX ||
	     batch->data_len + data > RB_RECIPE_DATA_MAX || batch->count == RB_RECIPE_CHUNKS_MAX))
		r = finish_batch(s);
	if (r < 0 || s->batch)
		return r;
	s->batch = batch = rb_out_take(s->out, &s->out->free, true);
	if (!batch)
		return rb_err_code(s->err, RB_E_CANCELED, -ECANCELED, "cancelled");
	batch->number = s->next_number++;
	batch->items_len = batch->data_len = batch->literal_len = 0;
	batch->count = 0;
	return 0;
}

/* there is room for it */
static void put_item(struct state *s, const struct rb_item *item)
{
	uint8_t *at = s->batch->items + s->batch->items_len;

	s->batch->items_len += rb_item_encode(at, item);
	s->literal = item->kind == RB_ITEM_LITERAL ? at : NULL;
	s->literal_len = item->len;
	if (item->kind == RB_ITEM_LITERAL && s->in_object)
		s->batch->literal_len += item->len;
}

static int put_literal(struct state *s, const uint8_t *data, size_t len)
{
	while (len) {
		struct rb_item item = { .kind = RB_ITEM_LITERAL, .bytes = data };
		size_t part = len < LITERAL_PART ? len : LITERAL_PART;
		int r = need_room(s, RB_ITEM_LITERAL_HEAD + part, 0);

		if (r < 0)
			return r;
		item.len = (uint32_t)part;
		if (s->literal) {
			s->literal_len += item.len;
			s->batch->items_len += rb_item_grow(s->literal, &item, s->literal_len);
			s->batch->literal_len += s->in_object ? part : 0;
		} else {
			put_item(s, &item);
		}
		data += part;
		len -= part;
	}
	return 0;
}

/* --- content --- */

/* The chunk under way ends: there is room for it, as it was seen to when it began. */
static int finish_chunk(struct state *s)
{
	struct rb_batch *batch = s->batch;
	uint8_t id[RB_CHUNK_ID_BYTES];
	struct rb_item item = { .kind = RB_ITEM_CHUNK, .bytes = id };
	const uint8_t *data;

	s->cdc = (struct rb_cdc){};
	if (!batch || batch->data_len == s->chunk_at)
		return 0;
	data = batch->data + s->chunk_at;
	item.len = (uint32_t)(batch->data_len - s->chunk_at);
	if (item.len < RB_CHUNK_WORTH) {
		batch->data_len = s->chunk_at;
		return put_literal(s, data, item.len);
	}
	if (!rb_chunk_id(s->digest, data, item.len, id))
		return rb_err_code(s->err, RB_E_INTERNAL, -EIO, "OpenSSL refuses SHA-256");
	batch->chunks[batch->count].at = (uint32_t)s->chunk_at;
	batch->chunks[batch->count].len = item.len;
	batch->chunks[batch->count].object = (uint16_t)(s->out->objects_count - 1);
	batch->count++;
	put_item(s, &item);
	s->chunk_at = batch->data_len;
	return 0;
}

static int take_content(struct state *s, const uint8_t *data, size_t len, bool end)
{
	while (len) {
		bool cut;
		size_t n;
		int r;

		if (s->cdc.len == 0) {
			r = need_room(s, RB_ITEM_LITERAL_HEAD + RB_CHUNK_WORTH, RB_CHUNK_MAX);
			if (r < 0)
				return r;
			s->chunk_at = s->batch->data_len;
		}
		n = rb_cdc_feed(&s->cdc, data, len, &cut);
		memcpy(s->batch->data + s->batch->data_len, data, n);
		s->batch->data_len += n;
		data += n;
		len -= n;
		r = cut ? finish_chunk(s) : 0;
		if (r < 0)
			return r;
	}
	return end && s->cdc.len ? finish_chunk(s) : 0;
}

static int on_part(void *arg, enum rb_tar_part part, const void *data, size_t len, bool end)
{
	struct state *s = arg;
	int r = 0;

	if (part == RB_TAR_CONTENT)
		return take_content(s, data, len, end);
	if (s->cdc.len)
		r = finish_chunk(s);
	return r < 0 ? r : put_literal(s, data, len);
}

/* --- the filter's callbacks --- */

static ssize_t on_read(void *arg, const void **ret_block, struct rb_err *err)
{
	struct state *s = arg;

	return s->cutter->read(s->cutter->arg, ret_block, s->cutter->wait, err);
}

static int on_write(void *arg, const void *data, size_t len, struct rb_err *err)
{
	(void)err;
	return put_literal(arg, data, len);
}

static int on_object(void *arg, enum rb_object_form form, const uint8_t *key, uint64_t size,
		     struct rb_err *err)
{
	struct state *s = arg;
	struct rb_item item = { .kind = RB_ITEM_OBJECT, .form = form, .bytes = key, .size = size };
	int r = need_room(s, RB_ITEM_OBJECT_BYTES, 0);

	if (r < 0)
		return r;
	if (s->out->objects_count == RB_OUT_OBJECTS)
		return rb_err_code(err, RB_E_REFUSED, -E2BIG,
				   "the image's archive has more than %d files", RB_OUT_OBJECTS);
	pthread_mutex_lock(&s->out->lock);
	memcpy(s->out->objects[s->out->objects_count].key, key, RB_DIGEST_BYTES);
	s->out->objects[s->out->objects_count++].size = size;
	pthread_mutex_unlock(&s->out->lock);
	put_item(s, &item);
	s->in_object = true;
	rb_tarsplit_init(&s->split);
	return 0;
}

static int on_object_data(void *arg, const void *data, size_t len, struct rb_err *err)
{
	struct state *s = arg;

	(void)err;
	return rb_tarsplit_feed(&s->split, data, len, on_part, s);
}

static int on_object_end(void *arg, struct rb_err *err)
{
	struct state *s = arg;
	struct rb_item item = { .kind = RB_ITEM_END };
	int r = s->cdc.len ? finish_chunk(s) : 0;

	(void)err;
	if (r == 0)
		r = rb_tarsplit_end(&s->split, on_part, s);
	if (r == 0)
		r = need_room(s, 1, 0);
	if (r < 0)
		return r;
	put_item(s, &item);
	s->in_object = false;
	return 0;
}

static int cut(struct state *s)
{
	struct rb_image_filter filter = { .layers = s->cutter->layers,
					  .skip_layers = s->cutter->skip_layers,
					  .read = on_read,
					  .write = on_write,
					  .object = on_object,
					  .object_data = on_object_data,
					  .object_end = on_object_end,
					  .arg = s };
	int r;

	s->digest = rb_digest_new();
	if (rb_zstream_init(&s->packer, RB_ZSTREAM_ITEMS_WINDOW_LOG) < 0 || !s->digest)
		return rb_err_set(s->err, -ENOMEM, "read the image");
	r = rb_image_filter_run(&filter, s->err);
	pthread_mutex_lock(&s->out->lock);
	s->out->manifest = filter.manifest;
	pthread_mutex_unlock(&s->out->lock);
	return r;
}

void *rb_cutter_run(void *arg)
{
	struct rb_cutter *cutter = arg;
	struct rb_out *out = cutter->out;
	struct rb_err err = {};
	struct state *s = calloc(1, sizeof(*s));
	int r = s ? 0 : rb_err_set(&err, -ENOMEM, "read the image");

	if (s) {
		s->cutter = cutter;
		s->out = out;
		s->err = &err;
		r = cut(s);
		if (r == 0)
			r = finish_batch(s);
		rb_digest_free(s->digest);
		rb_zstream_free(&s->packer);
		free(s);
	}
	pthread_mutex_lock(&out->lock);
	out->cut_all = true;
	out->cut_error = r;
	out->cut_err = err;
	pthread_mutex_unlock(&out->lock);
	rb_out_wake(out);
	return NULL;
}
