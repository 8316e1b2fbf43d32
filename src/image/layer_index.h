/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer_index.h - which chunks this host's layers hold, and where (internal to image/)
 *
 * <state_dir>/layers.db, a file of its own (SQLite): it can be made anew at any time. It is no more
 * than a hint: whoever takes a chunk by it reads the file and compares. So a layer that is gone, or
 * changed, or an index that is wrong, costs time and nothing else.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "digest.h"

struct rb_err;
struct rb_layer_index;
struct rb_wait;

/**
 * rb_layer_index_open - open it, and make it if need be
 * @docker_root: Docker's folder, whose layers it is about: those of the driver overlay2
 *
 * One that is damaged is thrown away, but only then, and only by who has its lock: one that is busy
 * is not damaged.
 *
 * Return: 0 or negative errno.
 */
int rb_layer_index_open(const char *state_dir, const char *docker_root, struct rb_layer_index **ret,
			struct rb_err *err);
void rb_layer_index_close(struct rb_layer_index *index);

/** rb_layer_index_fetch - read a chunk of @len bytes into @buf from whichever layer has it. Return:
 * is it there? Its digest has been checked. */
bool rb_layer_index_fetch(struct rb_layer_index *index, const uint8_t id[RB_CHUNK_ID_BYTES],
			  uint32_t len, uint8_t *buf);

struct rb_layer_scan {
	int64_t budget_ms;	 /* 0: as long as it takes */
	bool (*hold)(void *arg); /* called between files, may be NULL: true ends it for now */
	void *arg;
	unsigned int layers, gone; /* filled: indexed wholly by this scan; forgotten */
	uint64_t bytes;		   /* filled: read */
	bool complete;		   /* filled: all layers are in the index */
};

/**
 * rb_layer_index_scan - take in layers that are new, forget those that are gone
 *
 * When nothing is new it reads one folder. What it has done is kept when it is cut short, and the
 * next scan goes on from there. One scan at a time: -EBUSY while another process does it.
 */
int rb_layer_index_scan(struct rb_layer_index *index, struct rb_layer_scan *scan,
			const struct rb_wait *wait, struct rb_err *err);
