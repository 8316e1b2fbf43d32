// SPDX-License-Identifier: Apache-2.0
/* expected.c - slots of a store whose pages are still at the source */
#include "expected.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ranges.h"

void rb_expected_free(struct rb_expected *expected)
{
	free(expected->origins);
	free(expected->missing);
	free(expected->asked);
	free(expected->urgent);
	*expected = (struct rb_expected){};
}

static bool bit(const uint64_t *bits, uint32_t at)
{
	return bits[at / 64] >> at % 64 & 1;
}

static void set(uint64_t *bits, uint32_t at)
{
	bits[at / 64] |= UINT64_C(1) << at % 64;
}

static int grow_bits(uint64_t **bits, size_t from, size_t to)
{
	uint64_t *more = reallocarray(*bits, to, sizeof(**bits));

	if (!more)
		return -ENOMEM;
	memset(more + from, 0, (to - from) * sizeof(*more));
	*bits = more;
	return 0;
}

static int grow(struct rb_expected *expected, size_t words)
{
	size_t size = expected->words ? expected->words * 2 : 64;
	int r;

	if (words <= expected->words)
		return 0;
	if (size < words)
		size = words;
	r = grow_bits(&expected->missing, expected->words, size);
	if (r >= 0)
		r = grow_bits(&expected->asked, expected->words, size);
	if (r >= 0)
		r = grow_bits(&expected->urgent, expected->words, size);
	if (r >= 0)
		expected->words = size;
	return r;
}

static int add_origin(struct rb_expected *expected, const struct rb_want *want)
{
	struct rb_want *last = expected->n ? &expected->origins[expected->n - 1] : NULL;

	if (last && last->task == want->task && last->slot + last->pages == want->slot &&
	    last->addr + (uint64_t)last->pages * RB_PAGE_SIZE == want->addr) {
		last->pages += want->pages;
		return 0;
	}
	if (expected->n == expected->size) {
		size_t size = expected->size ? expected->size * 2 : 64;
		struct rb_want *origins = reallocarray(expected->origins, size, sizeof(*origins));

		if (!origins)
			return -ENOMEM;
		expected->origins = origins;
		expected->size = size;
	}
	expected->origins[expected->n++] = *want;
	return 0;
}

int rb_expected_add(struct rb_expected *expected, const struct rb_want *want)
{
	int r;

	if (expected->first == expected->end)
		expected->first = expected->end = want->slot;
	r = grow(expected, ((size_t)(want->slot + want->pages - expected->first) + 63) / 64);
	if (r >= 0)
		r = add_origin(expected, want);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < want->pages; i++)
		set(expected->missing, want->slot + i - expected->first);
	expected->end = want->slot + want->pages;
	expected->left += want->pages;
	return 0;
}

void rb_expected_settle(struct rb_expected *expected, uint32_t slot, uint32_t pages)
{
	for (uint32_t i = slot; i < slot + pages; i++) {
		uint32_t at = i - expected->first;

		if (!rb_expected_missing(expected, i))
			continue;
		expected->missing[at / 64] &= ~(UINT64_C(1) << at % 64);
		expected->left--;
	}
}

bool rb_expected_origin(const struct rb_expected *expected, uint32_t slot, uint32_t pages,
			struct rb_want *ret)
{
	size_t low = 0, high = expected->n;
	const struct rb_want *origin;
	uint32_t skip;

	if (slot < expected->first || slot >= expected->end)
		return false;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (expected->origins[middle].slot <= slot)
			low = middle;
		else
			high = middle;
	}
	origin = &expected->origins[low];
	skip = slot - origin->slot;
	*ret = (struct rb_want){
		.slot = slot,
		.pages = origin->pages - skip < pages ? origin->pages - skip : pages,
		.task = origin->task,
		.addr = origin->addr + (uint64_t)skip * RB_PAGE_SIZE,
	};
	return true;
}

static bool is_open(const struct rb_expected *expected, const uint64_t *taken, uint32_t slot)
{
	uint32_t at = slot - expected->first;

	return bit(expected->missing, at) && !bit(taken, at);
}

/* The pages from *@slot on that are missing and not @taken, as one want; none when *@slot is not.
 * They are taken then. */
static void take(struct rb_expected *expected, uint64_t *taken, uint32_t slot, uint32_t max,
		 struct rb_want *ret)
{
	uint32_t pages = 0;

	rb_expected_origin(expected, slot, max, ret);
	while (pages < ret->pages && is_open(expected, taken, slot + pages)) {
		set(taken, slot + pages - expected->first);
		set(expected->asked, slot + pages - expected->first);
		pages++;
	}
	ret->pages = pages;
}

/* The next slot in [@slot, @end) that is missing and not taken, or @end. */
static uint32_t seek(const struct rb_expected *expected, const uint64_t *taken, uint32_t slot,
		     uint32_t end)
{
	while (slot < end) {
		uint32_t at = slot - expected->first;
		uint64_t open = (expected->missing[at / 64] & ~taken[at / 64]) >> at % 64;

		if (open) {
			slot += (uint32_t)__builtin_ctzll(open);
			return slot < end ? slot : end;
		}
		slot += 64 - at % 64;
	}
	return end;
}

static size_t collect(struct rb_expected *expected, uint64_t *taken, uint32_t *slot, uint32_t end,
		      uint32_t *max_pages, struct rb_want *ret, size_t max)
{
	size_t n = 0;

	while (n < max && *max_pages) {
		*slot = seek(expected, taken, *slot, end);
		if (*slot == end)
			break;
		take(expected, taken, *slot, end - *slot < *max_pages ? end - *slot : *max_pages,
		     &ret[n]);
		*slot += ret[n].pages;
		*max_pages -= ret[n].pages;
		n++;
	}
	return n;
}

size_t rb_expected_next(struct rb_expected *expected, uint32_t *cursor, uint32_t max_pages,
			struct rb_want *ret, size_t max)
{
	size_t n;

	if (!expected->left)
		return 0;
	if (*cursor < expected->first || *cursor >= expected->end)
		*cursor = expected->first;
	n = collect(expected, expected->asked, cursor, expected->end, &max_pages, ret, max);
	if (n < max && max_pages && *cursor == expected->end) {
		*cursor = expected->first;
		n += collect(expected, expected->asked, cursor, expected->end, &max_pages, ret + n,
			     max - n);
	}
	return n;
}

size_t rb_expected_urgent(struct rb_expected *expected, uint32_t slot, uint32_t pages,
			  struct rb_want *ret, size_t max)
{
	uint32_t end = slot + pages < expected->end ? slot + pages : expected->end;

	return collect(expected, expected->urgent, &slot, end, &pages, ret, max);
}

void rb_expected_give_back(struct rb_expected *expected, const struct rb_want *wants, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < wants[i].pages; k++) {
			uint32_t at = wants[i].slot + k - expected->first;

			expected->asked[at / 64] &= ~(UINT64_C(1) << at % 64);
			expected->urgent[at / 64] &= ~(UINT64_C(1) << at % 64);
		}
}

void rb_expected_forget_asked(struct rb_expected *expected)
{
	if (!expected->words)
		return;
	memset(expected->asked, 0, expected->words * sizeof(*expected->asked));
	memset(expected->urgent, 0, expected->words * sizeof(*expected->urgent));
}
