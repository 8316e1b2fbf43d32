// SPDX-License-Identifier: Apache-2.0
/*
 * gauge.c - which encoding of pages gets most of them across
 *
 * One thread reads, packs and writes; while it packs, the socket's buffer drains. So what a byte of
 * memory takes with an encoding is either the time of this thread, or that of the link, whichever
 * is longer:
 *
 *	max(pack + other + copy * ratio, link * ratio)		ns per raw byte
 *
 * pack and ratio are measured by packing. The link is measured by writing only while it is what
 * everything waits for: then the time from write to write is what its bytes take. Else that is no
 * more than a limit from above. What then is believed of the link gets better slowly by itself,
 * until an encoding is chosen that packs less, and the link either is that fast, or makes the
 * writer wait, which is a measurement again. What a write takes at least is our own work (copying,
 * encryption), and also a sink without a buffer, whose time just adds to that of packing.
 *
 * Encodings that are not in use are tried on a few pages now and then, less often while they are
 * found to be clearly worse.
 */
#include "gauge.h"

#include <stdbool.h>
#include <string.h>

enum {
	WRITES_MIN = 2, /* before anything is chosen */
};

#define MEMORY_BYTES	   (1 << 20)   /* so many count half or so: of what is in use, */
#define TRIAL_MEMORY_BYTES (128 << 10) /* and of what is tried */
#define TRY_BYTES_FIRST	   (1U << 20)  /* of memory, from trial to trial: at first, */
#define TRY_BYTES_MAX	   (4U << 20)  /* of what is about as good, */
#define TRY_BYTES_WORSE	   (64U << 20) /* and of what is not */
#define CLEARLY_WORSE	   1.25
#define WORTH_IT	   0.97 /* to take the one that costs more */
#define LINK_WEIGHT	   0.2
#define LINK_FASTER	   (1 - 1.0 / 100)
#define COPY_SLOWER	   (1 + 1.0 / 256)

void rb_gauge_init(struct rb_gauge *gauge)
{
	memset(gauge, 0, sizeof(*gauge));
	for (int i = 0; i < RB_ENCODING_MAX; i++)
		gauge->packs[i].try_bytes = TRY_BYTES_FIRST;
}

void rb_gauge_other_link(struct rb_gauge *gauge)
{
	gauge->writes = 0;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

/* ns per raw byte, as above */
static double cost(const struct rb_gauge *gauge, enum rb_encoding encoding)
{
	const struct rb_gauge_pack *pack = &gauge->packs[encoding];
	double ratio = 1, ns = 0;

	if (encoding != RB_ENCODING_NONE) {
		ratio = pack->packed_bytes / pack->raw_bytes;
		ns = pack->ns / pack->raw_bytes;
	}
	return larger(ns + gauge->other + gauge->copy * ratio, gauge->link * ratio);
}

static bool is_known(const struct rb_gauge *gauge, enum rb_encoding encoding)
{
	return encoding == RB_ENCODING_NONE || gauge->packs[encoding].raw_bytes > 0;
}

enum rb_encoding rb_gauge_choice(const struct rb_gauge *gauge)
{
	enum rb_encoding best = RB_ENCODING_NONE;

	if (gauge->writes < WRITES_MIN)
		return best;
	for (enum rb_encoding i = RB_ENCODING_NONE + 1; i < RB_ENCODING_MAX; i++)
		if (is_known(gauge, i) && cost(gauge, i) < cost(gauge, best) * WORTH_IT)
			best = i;
	return best;
}

enum rb_encoding rb_gauge_trial(const struct rb_gauge *gauge)
{
	for (enum rb_encoding i = RB_ENCODING_NONE + 1; i < RB_ENCODING_MAX; i++)
		if (!is_known(gauge, i) ||
		    gauge->packs[i].unused_bytes >= gauge->packs[i].try_bytes)
			return i;
	return RB_ENCODING_NONE;
}

/* after a trial: when is the next? */
static void plan_trial(struct rb_gauge *gauge, enum rb_encoding tried)
{
	struct rb_gauge_pack *pack = &gauge->packs[tried];
	enum rb_encoding best = rb_gauge_choice(gauge);
	bool worse = gauge->writes >= WRITES_MIN &&
		     cost(gauge, tried) > cost(gauge, best) * CLEARLY_WORSE;
	uint64_t most = worse ? TRY_BYTES_WORSE : TRY_BYTES_MAX;

	pack->try_bytes = pack->try_bytes * 2 < most ? pack->try_bytes * 2 : most;
}

void rb_gauge_packed(struct rb_gauge *gauge, enum rb_encoding encoding, size_t raw_bytes,
		     size_t packed_bytes, double ns)
{
	struct rb_gauge_pack *pack = &gauge->packs[encoding];
	bool trial = encoding != RB_ENCODING_NONE && encoding != rb_gauge_choice(gauge);
	double memory = trial ? TRIAL_MEMORY_BYTES : MEMORY_BYTES;
	double keep = memory / (memory + (double)raw_bytes);

	pack->raw_bytes = pack->raw_bytes * keep + (double)raw_bytes;
	pack->packed_bytes = pack->packed_bytes * keep + (double)packed_bytes;
	pack->ns = pack->ns * keep + ns;
	for (int i = 0; i < RB_ENCODING_MAX; i++)
		gauge->packs[i].unused_bytes += raw_bytes;
	pack->unused_bytes = 0;
	gauge->raw_bytes += (double)raw_bytes;
	gauge->pack_ns += ns;
	if (trial)
		plan_trial(gauge, encoding);
}

static double median(double a, double b, double c)
{
	double low = a < b ? a : b, high = larger(a, b);

	return c < low ? low : c > high ? high : c;
}

/* Of three: somebody else may have had the processor meanwhile, once. */
static double smooth(double last[2], bool first, double now)
{
	double a = first ? now : last[0], b = first ? now : last[1];

	last[1] = a;
	last[0] = now;
	return median(a, b, now);
}

static void note_link(struct rb_gauge *gauge, double write, double all)
{
	bool first = gauge->writes == 0;

	write = smooth(gauge->last_write, first, write);
	all = smooth(gauge->last_all, first, all);
	if (first) {
		gauge->link = all;
		gauge->copy = write;
	} else if (write > all / 2 || (write > all / 8 && write > gauge->copy * 4)) {
		gauge->link += (all - gauge->link) * LINK_WEIGHT;
	} else {
		gauge->link *= LINK_FASTER;
		if (gauge->link > all)
			gauge->link = all;
	}
	gauge->copy *= COPY_SLOWER;
	if (gauge->copy > write)
		gauge->copy = write;
	if (gauge->link < gauge->copy)
		gauge->link = gauge->copy;
}

void rb_gauge_written(struct rb_gauge *gauge, size_t bytes, double write_ns, double busy_ns)
{
	double other = busy_ns - gauge->pack_ns, raw_bytes = gauge->raw_bytes;

	gauge->raw_bytes = gauge->pack_ns = 0;
	if (busy_ns < 0 || bytes == 0 || raw_bytes <= 0)
		return;
	other = larger(other, 0) / raw_bytes;
	gauge->other += (other - gauge->other) * (gauge->writes ? LINK_WEIGHT : 1);
	note_link(gauge, write_ns / (double)bytes, (write_ns + busy_ns) / (double)bytes);
	if (gauge->writes < WRITES_MIN)
		gauge->writes++;
}
