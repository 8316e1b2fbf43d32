// SPDX-License-Identifier: Apache-2.0
/*
 * level.c - how tightly an image's blocks are packed
 *
 * Packing and sending go on at once, so a byte takes what the slower of both takes:
 *
 *	max(pack, link * ratio)		ns per byte before packing
 *
 * The least wins; of two that are about equal the one that costs less processor. The link is
 * measured while writing takes much of the time. While it waits for blocks nothing is known; what
 *is believed of it then gets better by itself, slowly, until less is packed and it either keeps up,
 *or is measured again. Levels that are not in use are tried on a block now and then. What is
 *believed at first is a middling link and processor.
 */
#include "level.h"

#define WEIGHT	    0.2
#define LINK_WEIGHT 0.5
#define LINK_BYTES  (8 << 20) /* so many, or for so long, until the link is judged: the socket's */
#define LINK_NS	    0.25e9    /* buffer takes what it has room for at once, then nothing for long */
#define LINK_BUSY   0.3	      /* the writer waits for the link, if it does for that part */
#define LINK_FASTER 0.8
#define WORTH_IT    0.97
#define TRY_BLOCKS  48

static const struct {
	int zstd;
	double ns, ratio;
} table[RB_LEVELS] = { { 0, 0, 1 }, { 1, 2.5, 0.45 }, { 3, 5, 0.42 }, { 7, 20, 0.39 } };

#define LINK_FIRST 10.0

void rb_level_init(struct rb_level *level)
{
	*level = (struct rb_level){ .link = LINK_FIRST };
	for (int i = 0; i < RB_LEVELS; i++) {
		level->levels[i].ns = table[i].ns;
		level->levels[i].ratio = table[i].ratio;
	}
}

int rb_level_zstd(int choice)
{
	return table[choice].zstd;
}

static double cost(const struct rb_level *level, int i)
{
	double link = level->link * level->levels[i].ratio;

	return level->levels[i].ns > link ? level->levels[i].ns : link;
}

static int best(const struct rb_level *level)
{
	int found = 0;

	for (int i = 1; i < RB_LEVELS; i++)
		if (cost(level, i) < cost(level, found) * WORTH_IT)
			found = i;
	return found;
}

int rb_level_choice(const struct rb_level *level)
{
	int found = best(level);

	if (level->fixed)
		return level->fixed - 1;
	/* those beside it are worth knowing; far above it none is */
	for (int i = 1; i < RB_LEVELS && i <= found + 1; i++)
		if (i != found && level->levels[i].unused >= TRY_BLOCKS * (uint64_t)i)
			return i;
	return found;
}

void rb_level_packed(struct rb_level *level, int choice, size_t raw, size_t packed, double ns)
{
	double ratio = (double)packed / (double)raw;

	for (int i = 0; i < RB_LEVELS; i++)
		level->levels[i].unused++;
	level->levels[choice].unused = 0;
	if (choice == 0)
		return;
	level->levels[choice].ns += (ns / (double)raw - level->levels[choice].ns) * WEIGHT;
	level->levels[choice].ratio += (ratio - level->levels[choice].ratio) * WEIGHT;
}

void rb_level_sent(struct rb_level *level, size_t bytes, double ns, double write_ns)
{
	level->bytes += (double)bytes;
	level->ns += ns;
	level->write_ns += write_ns;
	if (level->bytes < LINK_BYTES && level->ns < LINK_NS)
		return;
	if (level->write_ns > level->ns * LINK_BUSY)
		level->link += (level->ns / level->bytes - level->link) * LINK_WEIGHT;
	else
		level->link *= LINK_FASTER;
	level->bytes = level->ns = level->write_ns = 0;
}
