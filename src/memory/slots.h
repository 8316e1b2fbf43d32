/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slots.h - the memory of a store: page-sized slots in a memfd, with reference counts
 *
 * Internal to the store; its index (store.c) says which page of which task lies in which slot.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "expected.h"

struct rb_err;

struct rb_extent {
	uint32_t start, pages;
};

struct rb_extents {
	struct rb_extent *list;
	size_t n, size;
};

struct rb_slots {
	int fd;
	uint8_t *map; /* read only: written through fd, which reports a lack of memory */
	uint32_t limit;
	uint32_t top;	/* slots from here on were never used */
	uint32_t *refs; /* of slots below top */
	size_t refs_size;
	struct rb_extents held;	 /* free, but neither given back nor used again */
	struct rb_extents dirty; /* free, their memory not yet given back */
	struct rb_extents clean; /* free, holes in the memfd */
	uint32_t dirty_pages;
	bool hold;
	struct rb_expected expected; /* once there are any, no slot is used a second time */
};

/** rb_slots_open - make the memfd. It has places for twice the machine's memory and swap. */
int rb_slots_open(struct rb_slots *slots, struct rb_err *err);

/** rb_slots_close - let go of it; who else has it keeps the pages */
void rb_slots_close(struct rb_slots *slots);

/**
 * rb_slots_write - put pages into new slots that follow each other
 * @data: @pages pages
 * @ret_slot: the first one; all have one reference
 *
 * Return: how many could be placed in one piece (at least one), -ENOMEM, -ENOSPC.
 */
int rb_slots_write(struct rb_slots *slots, const void *data, uint32_t pages, uint32_t *ret_slot);

/**
 * rb_slots_expect - new slots that follow each other, whose content is still at the source
 * @addr: where the first of @pages pages of @task is there
 *
 * Return: as rb_slots_write().
 */
int rb_slots_expect(struct rb_slots *slots, int task, uint64_t addr, uint32_t pages,
		    uint32_t *ret_slot);

/** rb_slots_come - expected pages were written by somebody else */
void rb_slots_come(struct rb_slots *slots, uint32_t slot, uint32_t pages);

/** rb_slots_overwrite - @pages slots that nobody else has a reference to */
int rb_slots_overwrite(struct rb_slots *slots, uint32_t slot, const void *data, uint32_t pages);

void rb_slots_get(struct rb_slots *slots, uint32_t slot);

/** rb_slots_put - drop one reference of each of @pages slots in a row */
void rb_slots_put(struct rb_slots *slots, uint32_t slot, uint32_t pages);

/** rb_slots_hold - see rb_store_hold() */
void rb_slots_hold(struct rb_slots *slots, bool hold);

static inline bool rb_slots_shared(const struct rb_slots *slots, uint32_t slot)
{
	return slots->refs[slot] > 1;
}
