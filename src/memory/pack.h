/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.h - how the pages of a DATA record travel: as they are or compressed, whichever is faster
 *
 * A packer lives as long as a container's memory is followed, so that what one round has learned
 * of link and content is known in the next.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ranges.h"

struct rb_err;
struct rb_packer;
struct rb_record;

int rb_packer_new(struct rb_packer **ret, struct rb_err *err);
void rb_packer_free(struct rb_packer *packer); /* NULL is allowed */

/** rb_packer_fix - always this encoding, without measuring
 * @encoding: enum rb_encoding; negative: by what is measured, as in the beginning */
void rb_packer_fix(struct rb_packer *packer, int encoding);

/** rb_packer_begin - a round begins: nothing was written just before
 * @road: whatever number; another one than in the last round is another link */
void rb_packer_begin(struct rb_packer *packer, int road);

/** rb_packer_forget - what the peer has is not known any more, or no longer matters: after a round
 * that failed, and after the last one */
void rb_packer_forget(struct rb_packer *packer);

/** rb_packer_once - the peer does not keep what it gets: never send a difference to that */
void rb_packer_once(struct rb_packer *packer);

enum rb_page_kind {
	RB_PAGE_ZERO,
	RB_PAGE_WHOLE,
	RB_PAGE_DELTA, /* what is there now is the difference to what the peer has */
	RB_PAGE_SAME,  /* the peer has it just so */
};

/**
 * rb_packer_prepare - turn pages that were written again into what changed of them, where that is
 * little. All of them have to be sent then, in this order.
 * @kinds: in: ZERO or WHOLE; out: how it is to be sent
 */
void rb_packer_prepare(struct rb_packer *packer, int task, const uint64_t *addrs,
		       uint8_t (*pages)[RB_PAGE_SIZE], enum rb_page_kind *kinds, size_t n);

/** rb_packer_most - how many pages the next record may have at most */
size_t rb_packer_most(const struct rb_packer *packer);

/**
 * rb_pack - choose an encoding and apply it
 * @record: DATA, as it is; afterwards encoding, payload (until the next call) and length may be
 *	others
 */
void rb_pack(struct rb_packer *packer, struct rb_record *record);

/** rb_packer_written - a block left, between these two times (rb_now_us()) */
void rb_packer_written(struct rb_packer *packer, size_t bytes, int64_t began_us, int64_t ended_us);
