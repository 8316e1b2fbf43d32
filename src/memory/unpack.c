// SPDX-License-Identifier: Apache-2.0
/* unpack.c - the pages of a DATA record as they are, however they travelled */
#include "unpack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "record.h"
#include "store.h"

static int decode(struct rb_unpacker *unpacker, const struct rb_record *record)
{
	size_t len = (size_t)record->count * RB_PAGE_SIZE;

	if (record->encoding != RB_ENCODING_NONE)
		return rb_codec_unpack(&unpacker->codec, record->encoding, record->payload,
				       record->len, unpacker->pages, len);
	memcpy(unpacker->pages, record->payload, len);
	return 0;
}

static void apply(uint8_t *pages, const uint8_t *former, size_t len)
{
	for (size_t i = 0; i < len; i++)
		pages[i] ^= former[i];
}

/* From the difference to what the store has to the pages. */
static int apply_all(uint8_t *pages, const struct rb_store *store, const struct rb_record *record,
		     struct rb_err *err)
{
	for (size_t i = 0, run; i < record->count; i += run) {
		const uint8_t *former = rb_store_find(store, record->task,
						      record->addr + i * RB_PAGE_SIZE,
						      record->count - i, &run);

		if (!former)
			return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
					   "what changed of a page came before the page");
		apply(pages + i * RB_PAGE_SIZE, former, run * RB_PAGE_SIZE);
	}
	return 0;
}

int rb_unpack(struct rb_unpacker *unpacker, const struct rb_store *store,
	      const struct rb_record *record, const uint8_t **ret_pages, struct rb_err *err)
{
	int r;

	if (record->delta && !store)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "what changed of a page came where nothing is known of it");
	if (record->encoding == RB_ENCODING_NONE && !record->delta) {
		*ret_pages = record->payload;
		return 0;
	}
	if (!unpacker->pages)
		unpacker->pages = malloc(RB_PAGES_PER_BLOCK * RB_PAGE_SIZE);
	if (!unpacker->pages)
		return rb_err_set(err, -ENOMEM, "receive memory");
	r = decode(unpacker, record);
	if (r == -ENOMEM)
		return rb_err_set(err, r, "receive memory");
	if (r < 0)
		return rb_err_code(err, RB_E_PROTOCOL, r,
				   "compressed pages of memory make no sense");
	*ret_pages = unpacker->pages;
	return record->delta ? apply_all(unpacker->pages, store, record, err) : 0;
}

void rb_unpacker_clear(struct rb_unpacker *unpacker)
{
	rb_codec_clear(&unpacker->codec);
	free(TAKE_PTR(unpacker->pages));
}
