/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack.h - the pages of a DATA record as they are, however they travelled
 */
#pragma once

#include <stdint.h>

#include "codec.h"

struct rb_err;
struct rb_record;
struct rb_store;

/** Begins as {}. */
struct rb_unpacker {
	struct rb_codec codec;
	uint8_t *pages; /* of a block, made when it is needed first */
};

/**
 * rb_unpack - of a record that rb_record_decode() has found right; hostile input
 * @store: has what a difference is to; NULL: there may be none
 * @ret_pages: its pages, until the next call or the end of the block
 *
 * Return: 0; -EBADMSG when it does not become as many pages as it says; -EPROTO for a difference to
 * a page that is not there; -ENOMEM.
 */
int rb_unpack(struct rb_unpacker *unpacker, const struct rb_store *store,
	      const struct rb_record *record, const uint8_t **ret_pages, struct rb_err *err);

/** rb_unpacker_clear - gives back what it needs */
void rb_unpacker_clear(struct rb_unpacker *unpacker);
