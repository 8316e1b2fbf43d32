/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gauge.h - which encoding of pages gets most of them across
 *
 * It is told what packing and writing took and has no clock, so that a test is one of numbers.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "record.h"

/** What one encoding costs and gives: sums, of which the older part counts less and less. */
struct rb_gauge_pack {
	double raw_bytes, packed_bytes, ns;
	uint64_t unused_bytes; /* packed otherwise since it was tried last */
	uint64_t try_bytes;    /* after so many it is tried again */
};

struct rb_gauge {
	struct rb_gauge_pack packs[RB_ENCODING_MAX];
	double link;			   /* ns per byte, at most */
	double copy;			   /* of that, what our own processor has to do */
	double other;			   /* ns per raw byte: reading pages, checksums */
	double raw_bytes, pack_ns;	   /* since the last write */
	double last_write[2], last_all[2]; /* of the writes before, ns per byte */
	int writes;			   /* up to a few */
};

void rb_gauge_init(struct rb_gauge *gauge);

/** rb_gauge_other_link - nothing is known of the link any more */
void rb_gauge_other_link(struct rb_gauge *gauge);

/** rb_gauge_choice - what gets most pages across, as far as it is known */
enum rb_encoding rb_gauge_choice(const struct rb_gauge *gauge);

/** rb_gauge_trial - is it time to try another one? Return: which, on some pages only;
 * RB_ENCODING_NONE: none */
enum rb_encoding rb_gauge_trial(const struct rb_gauge *gauge);

/** rb_gauge_packed - some pages, and what they became
 * @ns: what it took */
void rb_gauge_packed(struct rb_gauge *gauge, enum rb_encoding encoding, size_t raw_bytes,
		     size_t packed_bytes, double ns);

/**
 * rb_gauge_written - a block left
 * @write_ns: until it was taken
 * @busy_ns: from the end of the write before to the begin of this one; negative: not known
 */
void rb_gauge_written(struct rb_gauge *gauge, size_t bytes, double write_ns, double busy_ns);
