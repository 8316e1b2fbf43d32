// SPDX-License-Identifier: Apache-2.0
/* path_set.c - sets of paths and of numbers */
#include "path_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define FIRST_SIZE 64

static size_t bucket_of(const struct path_set *set, const char *path)
{
	return (size_t)XXH3_64bits(path, strlen(path)) & (set->n_buckets - 1);
}

static int grow(struct path_set *set)
{
	size_t size = set->size ? set->size * 2 : FIRST_SIZE;
	struct path_item *items;
	uint32_t *buckets;

	if (size >= UINT32_MAX)
		return -ENOMEM;
	items = reallocarray(set->items, size, sizeof(*items));
	if (!items)
		return -ENOMEM;
	set->items = items;
	buckets = calloc(size, sizeof(*buckets));
	if (!buckets)
		return -ENOMEM;
	free(set->buckets);
	set->buckets = buckets;
	set->size = set->n_buckets = size;
	for (size_t i = 0; i < set->n; i++) {
		uint32_t *first = &set->buckets[bucket_of(set, path_set_at(set, i))];

		set->items[i].next = *first;
		*first = (uint32_t)i + 1;
	}
	return 0;
}

struct path_item *path_set_find(const struct path_set *set, const char *path)
{
	if (set->n == 0)
		return NULL;
	for (uint32_t i = set->buckets[bucket_of(set, path)]; i; i = set->items[i - 1].next)
		if (strcmp(path_set_at(set, i - 1), path) == 0)
			return &set->items[i - 1];
	return NULL;
}

int path_set_add(struct path_set *set, const char *path, uint32_t flags)
{
	struct path_item *item = path_set_find(set, path);
	size_t at = set->paths.len;
	uint32_t *first;
	int r;

	if (item) {
		item->flags |= flags;
		return 0;
	}
	r = set->n == set->size ? grow(set) : 0;
	if (r == 0)
		r = rb_buf_add(&set->paths, path, strlen(path) + 1);
	if (r < 0)
		return -ENOMEM;
	first = &set->buckets[bucket_of(set, path)];
	set->items[set->n] = (struct path_item){ .path = at, .flags = flags, .next = *first };
	*first = (uint32_t)++set->n;
	return 1;
}

size_t path_set_bytes(const struct path_set *set)
{
	return set->paths.size + set->size * (sizeof(*set->items) + sizeof(*set->buckets));
}

void path_set_free(struct path_set *set)
{
	rb_buf_free(&set->paths);
	free(set->items);
	free(set->buckets);
	*set = (struct path_set){};
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void number_set_sort(struct number_set *set)
{
	size_t n = 0;

	if (set->n)
		qsort(set->numbers, set->n, sizeof(*set->numbers), compare);
	for (size_t i = 0; i < set->n; i++)
		if (n == 0 || set->numbers[n - 1] != set->numbers[i])
			set->numbers[n++] = set->numbers[i];
	set->n = n;
}

int number_set_add(struct number_set *set, uint64_t number)
{
	/* mostly one file is written again and again */
	if (set->n && set->numbers[set->n - 1] == number)
		return 0;
	if (set->n == set->size) {
		number_set_sort(set);
		/* or it would have to be sorted again soon */
		if (set->n >= set->size / 2) {
			size_t size = set->size ? set->size * 2 : FIRST_SIZE;
			uint64_t *numbers = reallocarray(set->numbers, size, sizeof(*numbers));

			if (!numbers)
				return -ENOMEM;
			set->numbers = numbers;
			set->size = size;
		}
	}
	set->numbers[set->n++] = number;
	return 0;
}

void number_set_free(struct number_set *set)
{
	free(set->numbers);
	*set = (struct number_set){};
}
