// SPDX-License-Identifier: Apache-2.0
/* unpack.c - the pages of a DATA record as they are, however they travelled */
#include "unpack.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "err.h"
#include "record.h"

int rb_unpack(struct rb_unpacker *unpacker, const struct rb_record *record,
	      const uint8_t **ret_pages, struct rb_err *err)
{
	int r;

	if (record->encoding == RB_ENCODING_NONE) {
		*ret_pages = record->payload;
		return 0;
	}
	if (!unpacker->pages)
		unpacker->pages = malloc(RB_PAGES_PER_BLOCK * RB_PAGE_SIZE);
	if (!unpacker->pages)
		return rb_err_set(err, -ENOMEM, "receive memory");
	r = rb_codec_unpack(&unpacker->codec, record->encoding, record->payload, record->len,
			    unpacker->pages, (size_t)record->count * RB_PAGE_SIZE);
	if (r == -ENOMEM)
		return rb_err_set(err, r, "receive memory");
	if (r < 0)
		return rb_err_code(err, RB_E_PROTOCOL, r,
				   "compressed pages of memory make no sense");
	*ret_pages = unpacker->pages;
	return 0;
}

void rb_unpacker_clear(struct rb_unpacker *unpacker)
{
	rb_codec_clear(&unpacker->codec);
	free(TAKE_PTR(unpacker->pages));
}
