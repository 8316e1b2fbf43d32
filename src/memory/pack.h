/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.h - how the pages of a DATA record travel: as they are or compressed, whichever is faster
 *
 * A packer lives as long as a container's memory is followed, so that what one round has learned
 * of link and content is known in the next.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rb_err;
struct rb_packer;
struct rb_record;

int rb_packer_new(struct rb_packer **ret, struct rb_err *err);
void rb_packer_free(struct rb_packer *packer); /* NULL is allowed */

/** rb_packer_begin - a round begins: nothing was written just before */
void rb_packer_begin(struct rb_packer *packer);

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
