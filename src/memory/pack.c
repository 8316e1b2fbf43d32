// SPDX-License-Identifier: Apache-2.0
/*
 * pack.c - how the pages of a DATA record travel: as they are or compressed, whichever is faster
 */
#include "pack.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "codec.h"
#include "err.h"
#include "gauge.h"
#include "record.h"

enum {
	TRIAL_PAGES = 16, /* enough to tell a ratio, few enough to cost nothing */
};

struct rb_packer {
	struct rb_codec codec;
	struct rb_gauge gauge;
	int64_t written_us; /* when the last write of this round ended, 0: none yet */
	uint8_t out[RB_PAGES_PER_BLOCK * RB_PAGE_SIZE];
};

int rb_packer_new(struct rb_packer **ret, struct rb_err *err)
{
	struct rb_packer *packer = calloc(1, sizeof(*packer));

	if (!packer)
		return rb_err_set(err, -ENOMEM, "send memory");
	rb_gauge_init(&packer->gauge);
	*ret = packer;
	return 0;
}

void rb_packer_free(struct rb_packer *packer)
{
	if (!packer)
		return;
	rb_codec_clear(&packer->codec);
	free(packer);
}

void rb_packer_begin(struct rb_packer *packer)
{
	packer->written_us = 0;
}

size_t rb_packer_most(const struct rb_packer *packer)
{
	return rb_gauge_trial(&packer->gauge) == RB_ENCODING_NONE ? RB_PAGES_PER_BLOCK
								  : TRIAL_PAGES;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void rb_pack(struct rb_packer *packer, struct rb_record *record)
{
	struct rb_gauge *gauge = &packer->gauge;
	enum rb_encoding encoding = rb_gauge_trial(gauge);
	int64_t began_ns;
	size_t len;

	if (encoding == RB_ENCODING_NONE)
		encoding = rb_gauge_choice(gauge);
	if (encoding == RB_ENCODING_NONE) {
		rb_gauge_packed(gauge, encoding, record->len, record->len, 0);
		return;
	}
	began_ns = now_ns();
	len = rb_codec_pack(&packer->codec, encoding, record->payload, record->len, packer->out,
			    record->len - 1);
	rb_gauge_packed(gauge, encoding, record->len, len ? len : record->len,
			(double)(now_ns() - began_ns));
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
