/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path_set.h - sets of paths and of numbers that know how much memory they take (inside of fs/
 * only)
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "io.h"

struct path_item {
	size_t path; /* offset in path_set.paths */
	uint32_t flags;
	uint32_t next; /* of the same bucket: index plus 1, 0 ends it */
};

/** Zero-initialised it is empty. Items stay in the order in which they came. */
struct path_set {
	struct rb_buf paths;
	struct path_item *items;
	size_t n, size;
	uint32_t *buckets; /* index plus 1 of the first item */
	size_t n_buckets;  /* a power of two */
};

/** path_set_at - path of item @i; valid until something is added */
static inline const char *path_set_at(const struct path_set *set, size_t i)
{
	return set->paths.data + set->items[i].path;
}

/** path_set_add - add a path, or flags to one that is there. Return: 1 when it is new, 0, or
 * -ENOMEM */
int path_set_add(struct path_set *set, const char *path, uint32_t flags);

/** path_set_find - the item of a path, or NULL */
struct path_item *path_set_find(const struct path_set *set, const char *path);

/** path_set_bytes - memory that it takes, more or less */
size_t path_set_bytes(const struct path_set *set);

void path_set_free(struct path_set *set);

/** Zero-initialised it is empty. */
struct number_set {
	uint64_t *numbers; /* sorted only after number_set_sort() */
	size_t n, size;
};

/** number_set_add - Return: 0 or -ENOMEM */
int number_set_add(struct number_set *set, uint64_t number);

/** number_set_sort - each number once, the smallest first */
void number_set_sort(struct number_set *set);

void number_set_free(struct number_set *set);
