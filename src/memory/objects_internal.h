/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects_internal.h - between what takes shared memory on the target (objects.c), and what hands
 * it to a restore (objects_restore.c)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"

struct rb_segments;
struct rb_tmpfs;

enum { RB_OBJECTS_TMPFS_MAX = 64 };

struct rb_objects_entry {
	int number, fd;
	void *held; /* rb_segments_make() */
	struct rb_object is;
	bool named;	/* in this round */
	uint64_t *sums; /* of each page; 0: it reads as zero */
	size_t pages;	/* of @sums */
	uint8_t *noted; /* of each page of @sums: is there anything in it? */
	size_t n_noted;
	uint64_t used; /* pages that take memory */
};

/* file systems that some of them are files of */
struct rb_objects_place {
	int number;
	bool named;
	struct rb_tmpfs *tmpfs;
};

struct rb_objects {
	struct rb_objects_entry *list;
	size_t n;
	struct rb_segments *segments; /* where those of System V are, or NULL */
	bool handed_over;	      /* they are CRIU's, too */
	struct rb_objects_place places[RB_OBJECTS_TMPFS_MAX];
	size_t n_places;
};
