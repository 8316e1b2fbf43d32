// SPDX-License-Identifier: Apache-2.0
/*
 * pack.c - how the pages of a DATA record travel: as they are or compressed, whichever is faster
 *
 * While they are compressed, those that are sent again are kept (cache.h): of the next version only
 * the difference travels, which compresses to almost nothing where little was written. What is kept
 * is always what the peer has in its store after the records so far: each page passes here just
 * before its record is made, whether it is kept, changed, or dropped because it is sent otherwise.
 */
#include "pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache.h"
#include "codec.h"
#include "err.h"
#include "gauge.h"
#include "record.h"

enum {
	TRIAL_PAGES = 16, /* enough to tell a ratio, few enough to cost nothing */
	CACHE_SHARE = 8,  /* of what was sent, so much is kept at most */
	SMALL_BYTES = 8 * RB_PAGE_SIZE,
	WORDS = RB_PAGE_SIZE / sizeof(uint64_t),
};

struct rb_packer {
	struct rb_codec codec;
	struct rb_gauge gauge;
	struct rb_cache *cache;
	bool once; /* no differences */
	int fixed; /* encoding, or -1 */
	int rounds;
	uint64_t sent; /* pages with content, in all rounds */
	double prepare_ns;
	int road;
	bool warm[RB_ENCODING_MAX];
	int64_t written_us; /* when the last write of this round ended, 0: none yet */
	uint8_t out[RB_PAGES_PER_BLOCK * RB_PAGE_SIZE];
};

int rb_packer_new(struct rb_packer **ret, struct rb_err *err)
{
	struct rb_packer *packer = calloc(1, sizeof(*packer));

	if (!packer)
		return rb_err_set(err, -ENOMEM, "send memory");
	packer->cache = rb_cache_new();
	if (!packer->cache) {
		free(packer);
		return rb_err_set(err, -ENOMEM, "send memory");
	}
	packer->fixed = -1;
	rb_gauge_init(&packer->gauge);
	*ret = packer;
	return 0;
}

void rb_packer_free(struct rb_packer *packer)
{
	if (!packer)
		return;
	rb_codec_clear(&packer->codec);
	rb_cache_free(packer->cache);
	free(packer);
}

void rb_packer_fix(struct rb_packer *packer, int encoding)
{
	packer->fixed = encoding;
}

static enum rb_encoding trial(const struct rb_packer *packer)
{
	return packer->fixed < 0 ? rb_gauge_trial(&packer->gauge) : RB_ENCODING_NONE;
}

static enum rb_encoding choice(const struct rb_packer *packer)
{
	return packer->fixed < 0 ? rb_gauge_choice(&packer->gauge)
				 : (enum rb_encoding)packer->fixed;
}

void rb_packer_begin(struct rb_packer *packer, int road)
{
	if (road != packer->road)
		rb_gauge_other_link(&packer->gauge);
	packer->road = road;
	packer->written_us = 0;
	packer->rounds++;
	rb_cache_begin(packer->cache, packer->sent / CACHE_SHARE);
}

void rb_packer_once(struct rb_packer *packer)
{
	packer->once = true;
}

void rb_packer_forget(struct rb_packer *packer)
{
	rb_cache_clear(packer->cache);
}

size_t rb_packer_most(const struct rb_packer *packer)
{
	return trial(packer) == RB_ENCODING_NONE ? RB_PAGES_PER_BLOCK : TRIAL_PAGES;
}

/* What somebody else did on this processor meanwhile is no part of it. Asking the kernel for that
 * takes a while, though. */
static int64_t now_ns(size_t len)
{
	clockid_t id = len < SMALL_BYTES ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID;
	struct timespec now;

	clock_gettime(id, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Puts @page in place of @kept, and the difference between both in place of @page where that is
 * worth it: of two texts it may be as long as one, and harder to compress. */
static enum rb_page_kind differ(uint8_t *page, uint8_t *kept)
{
	uint64_t now[WORDS], difference[WORDS];
	unsigned int same = 0;

	memcpy(now, page, sizeof(now));
	memcpy(difference, kept, sizeof(difference));
	for (size_t i = 0; i < WORDS; i++) {
		difference[i] ^= now[i];
		same += difference[i] == 0;
	}
	if (same == WORDS)
		return RB_PAGE_SAME;
	memcpy(kept, now, sizeof(now));
	if (same < WORDS / 2)
		return RB_PAGE_WHOLE;
	memcpy(page, difference, sizeof(difference));
	return RB_PAGE_DELTA;
}

static enum rb_page_kind prepare(struct rb_packer *packer, int task, uint64_t addr, uint8_t *page)
{
	uint8_t *kept = rb_cache_find(packer->cache, task, addr);

	if (kept)
		return differ(page, kept);
	/* what comes for the first time commonly comes only once */
	kept = packer->rounds > 1 ? rb_cache_add(packer->cache, task, addr) : NULL;
	if (kept)
		memcpy(kept, page, RB_PAGE_SIZE);
	return RB_PAGE_WHOLE;
}

void rb_packer_prepare(struct rb_packer *packer, int task, const uint64_t *addrs,
		       uint8_t (*pages)[RB_PAGE_SIZE], enum rb_page_kind *kinds, size_t n)
{
	enum rb_encoding encoding = choice(packer);
	bool plain = encoding == RB_ENCODING_NONE;
	int64_t began_ns = plain ? 0 : now_ns(n * RB_PAGE_SIZE);
	size_t same = 0;
	double ns;

	if (packer->once)
		return;
	for (size_t i = 0; i < n; i++) {
		if (plain || kinds[i] == RB_PAGE_ZERO)
			rb_cache_drop(packer->cache, task, addrs[i]);
		else
			kinds[i] = prepare(packer, task, addrs[i], pages[i]);
		packer->sent += kinds[i] != RB_PAGE_ZERO;
		same += kinds[i] == RB_PAGE_SAME;
	}
	ns = plain ? 0 : (double)(now_ns(n * RB_PAGE_SIZE) - began_ns);
	/* of these there is no record that could bear its part */
	if (same)
		rb_gauge_packed(&packer->gauge, encoding, same * RB_PAGE_SIZE, 0,
				ns * (double)same / (double)n);
	packer->prepare_ns = plain ? 0 : packer->prepare_ns + ns * (double)(n - same) / (double)n;
}

/* The first time a compressor also gets its memory, which is not what it will take. */
static void warm_up(struct rb_packer *packer, enum rb_encoding encoding,
		    const struct rb_record *record)
{
	if (packer->warm[encoding])
		return;
	packer->warm[encoding] = true;
	rb_codec_pack(&packer->codec, encoding, record->payload, record->len, packer->out,
		      record->len);
}

void rb_pack(struct rb_packer *packer, struct rb_record *record)
{
	struct rb_gauge *gauge = &packer->gauge;
	enum rb_encoding encoding = trial(packer);
	size_t raw_bytes = record->len, len;
	int64_t began_ns;

	if (encoding == RB_ENCODING_NONE)
		encoding = choice(packer);
	if (encoding == RB_ENCODING_NONE) {
		rb_gauge_packed(gauge, encoding, record->len, record->len, 0);
		return;
	}
	warm_up(packer, encoding, record);
	began_ns = now_ns(raw_bytes);
	len = rb_codec_pack(&packer->codec, encoding, record->payload, record->len, packer->out,
			    record->len - 1);
	rb_gauge_packed(gauge, encoding, raw_bytes, len ? len : raw_bytes,
			(double)(now_ns(raw_bytes) - began_ns) + packer->prepare_ns);
	packer->prepare_ns = 0;
	/* what does not become smaller travels as it is */
	if (!len)
		return;
	record->encoding = encoding;
	record->payload = packer->out;
	record->len = (uint32_t)len;
}

void rb_packer_written(struct rb_packer *packer, size_t bytes, int64_t began_us, int64_t ended_us)
{
	int64_t busy_us = packer->written_us ? began_us - packer->written_us : -1;

	packer->written_us = ended_us;
	/* the last one of a round may be small, and then tells of latency, not of speed */
	rb_gauge_written(&packer->gauge, bytes, (double)(ended_us - began_us) * 1000,
			 bytes < RB_BLOCK_SIZE / 4 ? -1 : (double)busy_us * 1000);
}
