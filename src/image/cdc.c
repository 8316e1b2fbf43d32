// SPDX-License-Identifier: Apache-2.0
/*
 * cdc.c - content-defined chunks: FastCDC
 *
 * Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data
 * Deduplication", USENIX ATC 2016. The gear hash h = (h << 1) + gear[byte] holds the last 64 bytes;
 * a chunk ends where the bits of a mask are zero in it. No cut is looked for in the first
 * RB_CHUNK_MIN bytes, which are not even hashed. Before RB_CHUNK_AVG the mask has two bits more
 * than its logarithm, behind it two less ("normalized chunking"), so that most chunks are near it.
 *
 * Sizes: the paper's 8 KiB would make an index row and an id for each 8 KiB. With 32 KiB an id is
 * 0.06 % of its chunk, a row of the index 0.15 %, and looking one up costs less than reading what
 * it stands for. Much larger ones would find less: most files of an image are smaller anyway.
 *
 * The paper's table of random numbers is made by SplitMix64 (Steele et al., OOPSLA 2014) from a
 * fixed seed. Nobody is kept from making data that is cut badly; that costs him, and nobody else.
 */
#include "cdc.h"

#include <pthread.h>

#define AVG_BITS 15
#define WINDOW	 64 /* bytes that the hash remembers */

/* high bits: those that most bytes of the window have a part in */
#define MASK(bits)  (~0ULL << (64 - (bits)))
#define MASK_BEFORE MASK(AVG_BITS + 2)
#define MASK_BEHIND MASK(AVG_BITS - 2)

_Static_assert(RB_CHUNK_AVG == 1 << AVG_BITS, "the masks stand for the average size");

static uint64_t gear[256]; /* constant once it is made */
static pthread_once_t gear_once = PTHREAD_ONCE_INIT;

static void make_gear(void)
{
	uint64_t x = 0x7265626572746821ULL;

	for (int i = 0; i < 256; i++) {
		uint64_t z = x += 0x9e3779b97f4a7c15ULL;

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
		gear[i] = z ^ (z >> 31);
	}
}

/* hash on until @mask fits or @end: index behind the last byte taken */
static size_t roll(uint64_t *hash, const uint8_t *data, size_t at, size_t end, uint64_t mask,
		   bool *ret_cut)
{
	uint64_t h = *hash;

	while (at < end) {
		h = (h << 1) + gear[data[at++]];
		if (!(h & mask)) {
			*ret_cut = true;
			break;
		}
	}
	*hash = h;
	return at;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t rb_cdc_feed(struct rb_cdc *cdc, const void *data, size_t len, bool *ret_cut)
{
	/* before the first place where a cut can be, the window fills */
	const size_t silent = RB_CHUNK_MIN - WINDOW;
	const size_t before = cdc->len;
	size_t at = 0;

	pthread_once(&gear_once, make_gear);
	*ret_cut = false;
	if (before < silent)
		at = least(len, silent - before);
	if (before + at < RB_CHUNK_MIN && at < len) {
		bool ignored = false;
		size_t end = least(len, RB_CHUNK_MIN - before);

		while (at < end) {
			at = roll(&cdc->hash, data, at, end, MASK_BEFORE, &ignored);
			ignored = false;
		}
	}
	if (at < len && before + at < RB_CHUNK_AVG)
		at = roll(&cdc->hash, data, at, least(len, RB_CHUNK_AVG - before), MASK_BEFORE,
			  ret_cut);
	if (!*ret_cut && at < len)
		at = roll(&cdc->hash, data, at, least(len, RB_CHUNK_MAX - before), MASK_BEHIND,
			  ret_cut);
	cdc->len = before + at;
	if (cdc->len == RB_CHUNK_MAX)
		*ret_cut = true;
	if (*ret_cut)
		*cdc = (struct rb_cdc){};
	return at;
}
