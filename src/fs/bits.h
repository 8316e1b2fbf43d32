/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bits.h - a set of blocks of a file, by their numbers (inside of fs/ only)
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct bits {
	uint64_t *words;
	size_t n; /* blocks; numbers from there on are ignored when they are added */
};

static inline size_t bits_words(size_t n)
{
	return (n + 63) / 64;
}

static inline void bits_free(struct bits *bits)
{
	free(bits->words);
	*bits = (struct bits){};
}

/** bits_resize - new blocks are not in the set. Return: 0 or -ENOMEM */
static inline int bits_resize(struct bits *bits, size_t n)
{
	uint64_t *words = reallocarray(bits->words, bits_words(n) + 1, sizeof(*words));

	if (!words)
		return -ENOMEM;
	bits->words = words;
	for (size_t i = bits_words(bits->n); i < bits_words(n) + 1; i++)
		words[i] = 0;
	bits->n = n;
	if (n % 64) /* it may have become smaller */
		words[n / 64] &= (UINT64_C(1) << n % 64) - 1;
	else
		words[n / 64] = 0;
	return 0;
}

static inline void bits_clear(struct bits *bits)
{
	if (bits->words)
		memset(bits->words, 0, bits_words(bits->n) * sizeof(*bits->words));
}

static inline bool bits_has(const struct bits *bits, size_t i)
{
	return i < bits->n && bits->words[i / 64] >> i % 64 & 1;
}

/** bits_add - blocks @first to @end, without @end */
static inline void bits_add(struct bits *bits, uint64_t first, uint64_t end)
{
	if (end > bits->n)
		end = bits->n;
	for (; first < end && first % 64; first++)
		bits->words[first / 64] |= UINT64_C(1) << first % 64;
	for (; first + 64 <= end; first += 64)
		bits->words[first / 64] = ~UINT64_C(0);
	for (; first < end; first++)
		bits->words[first / 64] |= UINT64_C(1) << first % 64;
}

/** bits_or - both have the same number of blocks */
static inline void bits_or(struct bits *bits, const struct bits *more)
{
	for (size_t i = 0; i < bits_words(bits->n); i++)
		bits->words[i] |= more->words[i];
}

static inline size_t bits_count(const struct bits *bits)
{
	size_t n = 0;

	for (size_t i = 0; i < bits_words(bits->n); i++)
		n += (size_t)__builtin_popcountll(bits->words[i]);
	return n;
}

/** bits_next - the first run of blocks from *@at on, which is moved behind it. Return: is there one
 */
static inline bool bits_next(const struct bits *bits, size_t *at, size_t *ret_first)
{
	size_t i = *at;

	while (i < bits->n && !bits_has(bits, i))
		i = i % 64 == 0 && bits->words[i / 64] == 0 ? i + 64 : i + 1;
	if (i >= bits->n)
		return false;
	*ret_first = i;
	while (bits_has(bits, i))
		i++;
	*at = i;
	return true;
}
