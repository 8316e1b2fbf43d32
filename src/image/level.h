/* SPDX-License-Identifier: Apache-2.0 */
/*
 * level.h - how tightly an image's blocks are packed (internal to image/)
 *
 * It is told what packing and sending took and has no clock, so that a test is one of numbers. As
 * memory/gauge.h, but packing has a thread of its own, beside the one that sends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RB_LEVELS 4

struct rb_level {
	struct {
		double ns, ratio; /* per byte before packing; of what is left of it */
		uint64_t unused;  /* blocks since it was tried */
	} levels[RB_LEVELS];
	double link;		    /* ns per byte that is sent */
	double bytes, ns, write_ns; /* since it was measured last */
	int fixed;		    /* 0; or 1 + the choice that is to be made always */
};

void rb_level_init(struct rb_level *level);

/** rb_level_choice - for the next block. Return: 0 to RB_LEVELS - 1, for rb_level_zstd(). */
int rb_level_choice(const struct rb_level *level);

/** rb_level_zstd - Zstandard's level; 0: as it is */
int rb_level_zstd(int choice);

/** rb_level_packed - a block of @raw bytes became @packed in @ns */
void rb_level_packed(struct rb_level *level, int choice, size_t raw, size_t packed, double ns);

/**
 * rb_level_sent - a block left
 * @ns: since the one before had left
 * @write_ns: of that, what writing took
 */
void rb_level_sent(struct rb_level *level, size_t bytes, double ns, double write_ns);
