// SPDX-License-Identifier: Apache-2.0
/*
 * level.c - how tightly an image's blocks are packed
 *
 * Reading, packing and sending go on at once, so a byte takes what the slowest of them takes:
 *
 *	max(feed, pack, link * ratio)		ns per byte before packing
 *
 * The least wins; of those that are about equal the tightest. So where Docker's reading is what all
 * wait for, as a rule, packing is done in its shadow and costs nothing. It is not free where there
 * are fewer processors than work: packing that has to wait for one is tightened no further than
 * CROWDED, which takes less of a processor than all that Docker and we do with a byte besides.
 *
 * Each is measured while it is what others wait for: the link while writing takes much of the time,
 * the feed while the packer has nothing to do. Otherwise only the most that it can be is known, and
 * what is believed gets better by itself below that, until it is measured again. What packing takes
 * is known of the level in use; what is believed of the others follows slowly, so that one that was
 * too slow is tried again later. How well the data pack is one number for all levels, and while
 * they are sent as they are one block in TRY_BLOCKS tells it.
 *
 * A change costs what the stream could look back to (zstream.h), so there is none without reason: a
 * tighter level needs room to spare.
 */
#include "level.h"

#define WEIGHT	      0.3
#define FOLLOWS	      0.03
#define MEASURE_BYTES (512 << 10)
#define WAITS_NS      1.5 /* of time, at most, for each on a processor */
#define WINDOW_BYTES \
	(8 << 20)	  /* so many, or for so long, until link or feed are judged: socket's */
#define WINDOW_NS  0.25e9 /* buffer takes what it has room for at once, then nothing for long */
#define LINK_BUSY  0.3	  /* the writer waits for the link, if it does for that part */
#define FEED_BUSY  0.1	  /* the packer waits for something to pack, likewise */
#define FASTER	   0.8
#define CROWDED_NS 1.3 /* of time, for each on a processor */
#define CROWDED	   2   /* the tightest choice then */
#define WORTH_IT   0.97
#define ROOM	   1.3 /* packing may take so much longer than it did, when it begins */
#define ROOM_LEFT  1.05
#define SETTLE	   8 /* blocks */
#define TRY_BLOCKS 24

/* as on a middling processor, of a system's files */
static const struct {
	int zstd;
	double ns, ratio;
} table[RB_LEVELS] = {
	{ 0, 0, 1 }, { 2, 2.5, 0.44 }, { 3, 3, 0.41 }, { 6, 10, 0.385 }, { 9, 18, 0.37 }
};

/* what is believed at first: an archive that Docker reads, a link of 1 Gbit/s */
#define FEED_FIRST 4.0
#define LINK_FIRST 8.0

void rb_level_init(struct rb_level *level)
{
	*level = (struct rb_level){
		.link = LINK_FIRST, .feed = FEED_FIRST, .gain = 1, .blocks = SETTLE
	};
	for (int i = 0; i < RB_LEVELS; i++)
		level->ns[i] = table[i].ns;
}

int rb_level_zstd(int choice)
{
	return table[choice].zstd;
}

static double max(double a, double b)
{
	return a > b ? a : b;
}

static double min(double a, double b)
{
	return a < b ? a : b;
}

static double ratio(const struct rb_level *level, int i)
{
	return 1 - level->gain * (1 - table[i].ratio);
}

static double cost(const struct rb_level *level, int i)
{
	double pack = level->ns[i] * (i <= level->now ? ROOM_LEFT : ROOM);

	return max(max(pack, level->feed), level->link * ratio(level, i));
}

static int best(const struct rb_level *level)
{
	int last = level->crowded ? CROWDED : RB_LEVELS - 1, fastest = 0, found;

	for (int i = 1; i <= last; i++)
		if (cost(level, i) < cost(level, fastest) * WORTH_IT)
			fastest = i;
	found = fastest;
	for (int i = fastest + 1; i <= last; i++)
		if (cost(level, i) * WORTH_IT <= cost(level, fastest) &&
		    ratio(level, i) < ratio(level, found) * 0.99)
			found = i;
	return found;
}

int rb_level_choose(struct rb_level *level)
{
	int found;

	if (level->fixed)
		return level->fixed - 1;
	if (level->now == 0 && level->blocks >= TRY_BLOCKS) {
		level->blocks = 0;
		return 1;
	}
	found = level->blocks >= SETTLE ? best(level) : level->now;
	if (found != level->now)
		level->blocks = 0;
	level->now = found;
	return found;
}

static void add(struct rb_level_block *sum, const struct rb_level_block *block)
{
	sum->raw += block->raw;
	sum->packed += block->packed;
	sum->pack_ns += block->pack_ns;
	sum->processor_ns += block->processor_ns;
	sum->empty_ns += block->empty_ns;
	sum->full_ns += block->full_ns;
}

/* What packing took. How long a thread has to wait for a processor depends on what else there is to
 * do, not on how tightly it packs, and all others have to wait likewise. So that counts up to a
 * limit only; beyond that it is as if there was nothing to pack. */
static double packing_ns(const struct rb_level_block *sum)
{
	return min(sum->pack_ns, sum->processor_ns * WAITS_NS);
}

/* A block alone says little: it may be small, and such a wait is longer than packing it. */
static void note_packing(struct rb_level *level, int choice, const struct rb_level_block *block)
{
	struct rb_level_block *sum = &level->packed;
	double ns, gain;

	if (choice != level->packed_by)
		*sum = (struct rb_level_block){};
	level->packed_by = choice;
	add(sum, block);
	if (sum->raw < MEASURE_BYTES)
		return;
	ns = packing_ns(sum) / (double)sum->raw;
	gain = (1 - (double)sum->packed / (double)sum->raw) / (1 - table[choice].ratio);
	*sum = (struct rb_level_block){};
	level->gain += (max(gain, 0) - level->gain) * WEIGHT;
	level->ns[choice] += (ns - level->ns[choice]) * WEIGHT;
	for (int i = 1; i < RB_LEVELS; i++)
		level->ns[i] +=
			(level->ns[choice] * table[i].ns / table[choice].ns - level->ns[i]) *
			(i == choice ? 0 : FOLLOWS);
}

void rb_level_packed(struct rb_level *level, int choice, const struct rb_level_block *block)
{
	struct rb_level_block *sum = &level->taken;
	double ns, idle_ns;

	level->blocks++;
	if (choice)
		note_packing(level, choice, block);
	add(sum, block);
	ns = sum->pack_ns + sum->empty_ns + sum->full_ns;
	if (sum->raw < WINDOW_BYTES && ns < WINDOW_NS)
		return;
	idle_ns = sum->empty_ns + sum->pack_ns - packing_ns(sum);
	if (idle_ns > ns * FEED_BUSY)
		level->feed += (ns / (double)sum->raw - level->feed) / 2;
	else
		level->feed = min(level->feed * FASTER, ns / (double)sum->raw);
	level->crowded = sum->pack_ns > sum->processor_ns * CROWDED_NS;
	*sum = (struct rb_level_block){};
}

void rb_level_sent(struct rb_level *level, size_t bytes, double ns, double write_ns)
{
	double each;

	level->sent.bytes += (double)bytes;
	level->sent.ns += ns;
	level->sent.write_ns += write_ns;
	if (level->sent.bytes < WINDOW_BYTES && level->sent.ns < WINDOW_NS)
		return;
	each = level->sent.ns / level->sent.bytes;
	if (level->sent.write_ns > level->sent.ns * LINK_BUSY)
		level->link += (each - level->link) / 2;
	else
		level->link = min(level->link * FASTER, each);
	level->sent.bytes = level->sent.ns = level->sent.write_ns = 0;
}
