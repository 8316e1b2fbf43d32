/* SPDX-License-Identifier: Apache-2.0 */
/*
 * level.h - how tightly an image's blocks are packed (internal to image/)
 *
 * It is told what packing, waiting and sending took and has no clock, so that a test is one of
 * numbers. As memory/gauge.h, but packing has a thread of its own, beside the one that sends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define RB_LEVELS 5

/* a block that was packed, and since the one before */
struct rb_level_block {
	size_t raw, packed;  /* bytes */
	double pack_ns;	     /* packing took */
	double processor_ns; /* of that, on a processor */
	double empty_ns;     /* it was waited for something to pack */
	double full_ns;	     /* it was waited until there was room for what is packed */
};

struct rb_level {
	double ns[RB_LEVELS]; /* that packing takes, per byte before it */
	double gain;	      /* what packing saves of these data, against what it does as a rule */
	double link;	      /* ns per byte that is sent */
	double feed;	      /* ns per byte until there is one to be packed */
	bool crowded;	      /* others want the processors, too */
	int now;	      /* what was chosen last */
	unsigned int blocks;  /* since that was changed, or tried */
	struct {
		double bytes, ns, write_ns;
	} sent;			      /* since the link was measured last */
	struct rb_level_block taken;  /* the sum since the feed was measured last */
	struct rb_level_block packed; /* the same, of @packed_by, since that was */
	int packed_by;
	int fixed; /* 0; or 1 + the choice that is to be made always */
};

void rb_level_init(struct rb_level *level);

/** rb_level_choose - for the next block. Return: 0 to RB_LEVELS - 1, for rb_level_zstd(). */
int rb_level_choose(struct rb_level *level);

/** rb_level_zstd - Zstandard's level; 0: as it is */
int rb_level_zstd(int choice);

/** rb_level_packed - a block was packed by @choice */
void rb_level_packed(struct rb_level *level, int choice, const struct rb_level_block *block);

/**
 * rb_level_sent - a block left
 * @ns: since the one before had left
 * @write_ns: of that, what writing took
 */
void rb_level_sent(struct rb_level *level, size_t bytes, double ns, double write_ns);
