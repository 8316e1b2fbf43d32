// SPDX-License-Identifier: Apache-2.0
/*
 * test_level.c - how tightly blocks are packed, on links and processors made of numbers
 */
#include "level.h"

#include "cleanup.h"
#include "tap.h"

#define BLOCKS 3000
#define LAST   200
#define RAW    250000.0

/* ns per byte */
struct world {
	double feed, link;
	double slow;	/* packing, against a middling processor */
	double ratio;	/* of what can be packed */
	double crowded; /* packing takes so many times what it takes of a processor; 0: 1 */
};

static const double ns[RB_LEVELS] = { 0, 2.5, 3, 10, 18 };

static double ratio_of(const struct world *world, int choice)
{
	return choice ? world->ratio * (1 - 0.03 * choice) : 1;
}

/* one block through the pipeline. Return: what it took */
static double step(struct rb_level *level, const struct world *world, unsigned int counts[])
{
	int choice = rb_level_choose(level);
	double crowded = world->crowded ? world->crowded : 1;
	double pack = RAW * ns[choice] * world->slow * crowded, feed = RAW * world->feed;
	double packed = RAW * ratio_of(world, choice), link = packed * world->link;
	double all = pack > feed ? pack : feed;
	struct rb_level_block block = { .raw = (size_t)RAW,
					.packed = (size_t)packed,
					.pack_ns = pack,
					.processor_ns = pack / crowded };

	all = all > link ? all : link;
	if (link == all)
		block.full_ns = all - pack;
	else
		block.empty_ns = all - pack;
	rb_level_packed(level, choice, &block);
	/* what the link has no time for waits in writing */
	rb_level_sent(level, (size_t)packed, all, link == all ? all * 0.9 : packed * 0.2);
	if (counts)
		counts[choice]++;
	return all;
}

/* Return: how often each level was chosen, of the last blocks, and what those took per byte */
static double simulate(struct rb_level *level, const struct world *world, unsigned int counts[])
{
	double all = 0;

	memset(counts, 0, RB_LEVELS * sizeof(counts[0]));
	for (int i = 0; i < BLOCKS; i++) {
		double took = step(level, world, i >= BLOCKS - LAST ? counts : NULL);

		all += i >= BLOCKS - LAST ? took : 0;
	}
	return all / LAST / RAW;
}

/* @from, @to: the levels that may be in use; it takes not more than @most ns per byte */
static void check_world(const struct world *world, int from, int to, double most)
{
	unsigned int counts[RB_LEVELS], right = 0;
	struct rb_level level;
	double took;

	rb_level_init(&level);
	took = simulate(&level, world, counts);
	for (int i = from; i <= to; i++)
		right += counts[i];
	if (right < LAST * 9 / 10 || took > most)
		printf("# feed %g, link %g, slow %g, ratio %g: levels %u %u %u %u %u, %g ns\n",
		       world->feed, world->link, world->slow, world->ratio, counts[0], counts[1],
		       counts[2], counts[3], counts[4], took);
	CHECK(right >= LAST * 9 / 10);
	CHECK(took <= most);
}

static void nothing_is_packed_where_it_would_be_waited_for(void)
{
	const struct world fast = { .feed = 0.5, .link = 1, .slow = 1, .ratio = 0.5 };
	const struct world slow = { .feed = 1, .link = 5, .slow = 10, .ratio = 0.5 };

	check_world(&fast, 0, 0, 1.2);
	check_world(&slow, 0, 0, 6.5);
}

static void what_does_not_pack_is_let_be(void)
{
	const struct world noise = { .feed = 3, .link = 100, .slow = 1, .ratio = 1.2 };

	check_world(&noise, 0, 0, 101);
}

/* the link is never full then, so nothing is known of it but that it is fast enough */
static void in_the_shadow_of_reading_it_is_free(void)
{
	const struct world docker = { .feed = 5, .link = 8, .slow = 1, .ratio = 0.45 };
	const struct world fast_link = { .feed = 5, .link = 0.8, .slow = 1, .ratio = 0.45 };
	const struct world slow_docker = { .feed = 15, .link = 8, .slow = 1, .ratio = 0.2 };
	const struct world snail = { .feed = 40, .link = 0.8, .slow = 1, .ratio = 0.45 };

	check_world(&docker, 2, 2, 5.01);
	check_world(&fast_link, 2, 2, 5.01);
	check_world(&slow_docker, 3, 3, 15.01);
	check_world(&snail, 4, 4, 40.01);
}

static void slow_links_get_it_tight(void)
{
	const struct world gigabit = { .feed = 1, .link = 8, .slow = 1, .ratio = 0.5 };
	const struct world tenth = { .feed = 1, .link = 80, .slow = 1, .ratio = 0.5 };

	check_world(&gigabit, 1, 2, 4);
	check_world(&tenth, 4, 4, 40);
}

/* others want the processors: not more than what costs next to nothing */
static void a_crowd_is_not_made_to_wait(void)
{
	const struct world snail = {
		.feed = 40, .link = 0.8, .slow = 1, .ratio = 0.45, .crowded = 1.5
	};
	/* all have to wait for processors, packing most of all: that is no reason to send more */
	const struct world overloaded = {
		.feed = 4, .link = 2, .slow = 1, .ratio = 0.3, .crowded = 6
	};
	const struct world slow_link = {
		.feed = 1, .link = 80, .slow = 1, .ratio = 0.5, .crowded = 1.5
	};

	check_world(&snail, 1, 2, 40.01);
	check_world(&overloaded, 1, 2, 18.01);
	check_world(&slow_link, 2, 2, 40);
}

/* the world changes in the middle of an image */
static void it_follows(void)
{
	const struct world docker = { .feed = 30, .link = 8, .slow = 1, .ratio = 0.45 };
	const struct world cached = { .feed = 0.5, .link = 1, .slow = 1, .ratio = 0.5 };
	unsigned int counts[RB_LEVELS];
	struct rb_level level;
	double took;

	rb_level_init(&level);
	simulate(&level, &docker, counts);
	CHECK(counts[4] > LAST * 9 / 10);
	took = simulate(&level, &cached, counts);
	CHECK(counts[0] > LAST * 8 / 10 && took < 1.3);
	simulate(&level, &docker, counts);
	CHECK(counts[4] > LAST * 9 / 10);
}

/* each change costs what could be looked back to */
static void it_does_not_swing(void)
{
	static const double feeds[] = { 1, 2.6, 3, 3.3, 9, 10, 10.6, 12, 13, 18, 23, 24 };

	for (size_t i = 0; i < ARRAY_SIZE(feeds); i++) {
		struct world world = { .feed = feeds[i], .link = 1, .slow = 1, .ratio = 0.45 };
		unsigned int changes = 0;
		struct rb_level level;
		int before = -1;

		rb_level_init(&level);
		for (int j = 0; j < BLOCKS; j++) {
			step(&level, &world, NULL);
			changes += level.now != before;
			before = level.now;
		}
		if (changes > BLOCKS / 40)
			printf("# feed %g: %u changes\n", feeds[i], changes);
		CHECK(changes <= BLOCKS / 40);
	}
}

int main(void)
{
	TAP_RUN(nothing_is_packed_where_it_would_be_waited_for);
	TAP_RUN(what_does_not_pack_is_let_be);
	TAP_RUN(in_the_shadow_of_reading_it_is_free);
	TAP_RUN(slow_links_get_it_tight);
	TAP_RUN(a_crowd_is_not_made_to_wait);
	TAP_RUN(it_follows);
	TAP_RUN(it_does_not_swing);
	return tap_done();
}
