// SPDX-License-Identifier: Apache-2.0
/*
 * test_gauge.c - which encoding is chosen on which link
 *
 * The link is one of numbers: it takes bytes at a rate from a buffer, and writing waits while that
 * is full. What is packed costs what lz4 and zstd were found to cost.
 */
#include <stdint.h>
#include <stdio.h>

#include "gauge.h"
#include "record.h"
#include "tap.h"

enum { BATCH = RB_PAGES_PER_BLOCK * RB_PAGE_SIZE, TRIAL = 16 * RB_PAGE_SIZE };

/* ns per raw byte, and what becomes of it */
struct content {
	double ns[RB_ENCODING_MAX], ratio[RB_ENCODING_MAX];
};

static const struct content heap = { { 0, 0.8, 1.1 }, { 1, 0.22, 0.08 } };
static const struct content code = { { 0, 1.9, 4.5 }, { 1, 0.53, 0.38 } };
static const struct content noise = { { 0, 0.2, 0.33 }, { 1, 1, 1 } };

#define READ_NS 0.3  /* per raw byte: reading, checksums */
#define COPY_NS 0.35 /* per byte written */

struct world {
	double now, queued, buffer; /* ns, bytes */
	double link;		    /* ns per byte */
	double written_at;
	double used; /* of the block */
	double raw;
	int stall_every, blocks; /* somebody else takes the processor for 4 ms */
};

static struct rb_gauge gauge;

static void pass(struct world *world, double ns)
{
	world->now += ns;
	world->queued -= ns / world->link;
	if (world->queued < 0)
		world->queued = 0;
}

static void write_block(struct world *world)
{
	double busy = world->written_at > 0 ? world->now - world->written_at : -1;
	double began = world->now;

	pass(world, world->used * COPY_NS);
	if (world->stall_every && ++world->blocks % world->stall_every == 0)
		pass(world, 4e6);
	world->queued += world->used;
	if (world->queued > world->buffer)
		pass(world, (world->queued - world->buffer) * world->link);
	rb_gauge_written(&gauge, (size_t)world->used, world->now - began, busy);
	world->written_at = world->now;
	world->used = 0;
}

static void pack(struct world *world, const struct content *content, enum rb_encoding encoding,
		 double raw, bool tell)
{
	double packed = raw * content->ratio[encoding];

	pass(world, raw * (READ_NS + content->ns[encoding]));
	if (tell)
		rb_gauge_packed(&gauge, encoding, (size_t)raw, (size_t)packed,
				raw * content->ns[encoding]);
	if (world->used + packed > RB_BLOCK_SIZE)
		write_block(world);
	world->used += packed;
	world->raw += raw;
}

/* Return: bytes per ns; @ret_used: how much of it was packed how */
static double run(struct world *world, const struct content *content, double bytes,
		  double ret_used[RB_ENCODING_MAX])
{
	double began = world->now, raw = world->raw;

	for (int i = 0; i < RB_ENCODING_MAX; i++)
		ret_used[i] = 0;
	while (world->raw - raw < bytes) {
		enum rb_encoding encoding = rb_gauge_trial(&gauge);
		double size = TRIAL;

		if (encoding == RB_ENCODING_NONE) {
			encoding = rb_gauge_choice(&gauge);
			size = BATCH;
		}
		pack(world, content, encoding, size, true);
		ret_used[encoding] += size / bytes;
	}
	return (world->raw - raw) / (world->now - began);
}

/* the same with one and the same encoding */
static double run_fixed(struct world world, const struct content *content, double bytes,
			enum rb_encoding encoding)
{
	double began = world.now;
	struct rb_gauge kept = gauge;

	world.raw = 0;
	while (world.raw < bytes)
		pack(&world, content, encoding, BATCH, false);
	gauge = kept;
	return world.raw / (world.now - began);
}

static double best_fixed(struct world world, const struct content *content, double bytes)
{
	double best = 0;

	for (int i = 0; i < RB_ENCODING_MAX; i++) {
		double rate = run_fixed(world, content, bytes, (enum rb_encoding)i);

		best = rate > best ? rate : best;
	}
	return best;
}

static struct world link_of(double mbit, double buffer)
{
	return (struct world){ .now = 1, .link = 8000 / mbit, .buffer = buffer };
}

#define SMALL (256 << 10)
#define LARGE (4 << 20)
#define GB    1e9

/* @share: of @encoding at least; @rate: of the best there is at least */
static void expect(const char *name, struct world *world, const struct content *content,
		   enum rb_encoding encoding, double share, double rate)
{
	double used[RB_ENCODING_MAX], best = best_fixed(*world, content, GB);
	double got = run(world, content, GB, used);

	printf("# %s: as it is %.3f, lz4 %.3f, zstd %.3f; %.0f MB/s, %.4f of the best\n", name,
	       used[0], used[1], used[2], got * 1000, got / best);
	CHECK(used[encoding] >= share);
	CHECK(got >= best * rate);
}

static const double buffers[] = { 0, SMALL, LARGE };

static void test_fast(void)
{
	for (int i = 0; i < 3; i++) {
		struct world world = link_of(10000, buffers[i]);

		rb_gauge_init(&gauge);
		expect("10 Gbit/s, code", &world, &code, RB_ENCODING_NONE, 0.95, 0.98);
		expect("later on", &world, &code, RB_ENCODING_NONE, 0.99, 0.98);
	}
}

static void test_slow(void)
{
	for (int i = 0; i < 3; i++) {
		struct world world = link_of(100, buffers[i]);

		rb_gauge_init(&gauge);
		expect("100 Mbit/s, code", &world, &code, RB_ENCODING_ZSTD, 0.95, 0.98);
		rb_gauge_init(&gauge);
		world = link_of(100, buffers[i]);
		expect("100 Mbit/s, heap", &world, &heap, RB_ENCODING_ZSTD, 0.95, 0.93);
	}
}

static void test_medium(void)
{
	for (int i = 0; i < 3; i++) {
		struct world world = link_of(1000, buffers[i]);

		rb_gauge_init(&gauge);
		expect("1 Gbit/s, code", &world, &code, RB_ENCODING_LZ4, 0.75, 0.93);
		rb_gauge_init(&gauge);
		world = link_of(2500, buffers[i]);
		expect("2.5 Gbit/s, heap", &world, &heap, RB_ENCODING_LZ4, 0, 0.95);
	}
}

static void test_noise(void)
{
	static const double mbits[] = { 10, 100, 1000, 10000, 40000 };

	for (int i = 0; i < 3; i++)
		for (int k = 0; k < 5; k++) {
			struct world world = link_of(mbits[k], buffers[i]);

			rb_gauge_init(&gauge);
			expect("noise", &world, &noise, RB_ENCODING_NONE, 0.96, 0.99);
		}
}

/* one write in some takes long, which says nothing of the link */
static void test_stalls(void)
{
	for (int i = 0; i < 3; i++) {
		struct world world = link_of(10000, buffers[i]);

		world.stall_every = 12;
		rb_gauge_init(&gauge);
		expect("10 Gbit/s with stalls, code", &world, &code, RB_ENCODING_NONE, 0.98, 0.95);
	}
}

/* what was right once need not stay so */
static void test_changes(void)
{
	struct world world = link_of(100, LARGE);

	rb_gauge_init(&gauge);
	expect("slow", &world, &code, RB_ENCODING_ZSTD, 0.95, 0.95);
	/* it becomes faster, and nobody says so */
	world.link = 0.8;
	expect("then fast", &world, &code, RB_ENCODING_NONE, 0.9, 0.85);
	expect("still fast", &world, &code, RB_ENCODING_NONE, 0.95, 0.97);
	expect("noise", &world, &noise, RB_ENCODING_NONE, 0.98, 0.98);
	world.link = 80;
	expect("slow again", &world, &noise, RB_ENCODING_NONE, 0.95, 0.97);
	expect("then code", &world, &code, RB_ENCODING_ZSTD, 0.8, 0.8);
	/* a limit is lifted, as in the last round */
	world.link = 0.8;
	world.queued = 0;
	rb_gauge_other_link(&gauge);
	expect("without a limit", &world, &code, RB_ENCODING_NONE, 0.99, 0.98);
}

int main(void)
{
	TAP_RUN(test_fast);
	TAP_RUN(test_slow);
	TAP_RUN(test_medium);
	TAP_RUN(test_noise);
	TAP_RUN(test_stalls);
	TAP_RUN(test_changes);
	return tap_done();
}
