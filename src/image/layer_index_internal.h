/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer_index_internal.h - what the files of the index of layers share
 *
 * layer_index.c   opening, mending, looking up
 * layer_upkeep.c  which layers are new, and which are gone
 * layer_scan.c    the files of one layer
 */
#pragma once

#include <limits.h>
#include <sqlite3.h>

#include "layer_index.h"

struct rb_layer_index {
	sqlite3 *db;
	sqlite3_stmt *find;
	char path[512];	     /* of the database */
	char root[PATH_MAX]; /* Docker's folder */
	int overlay_fd;	     /* <root>/overlay2, or negative: no such driver */
	struct rb_digest *digest;
	bool damaged;
	int busy; /* lookups that somebody kept from being answered */
	/* the file that was read last: its neighbours come from it, too */
	int64_t file_id;
	int file_fd;
};

/** rb_layer_index_failed - a call of SQLite did: notes whether the file is damaged. Return:
 * negative errno, -EAGAIN when it is only busy. */
int rb_layer_index_failed(struct rb_layer_index *index, struct rb_err *err, const char *what);

/** rb_layer_index_key - by which a chunk is looked up: the beginning of its id */
int64_t rb_layer_index_key(const uint8_t id[RB_CHUNK_ID_BYTES]);

/** rb_layer_index_open_file - a layer's file, nothing but a regular one, without following links.
 * Return: descriptor or negative errno. */
int rb_layer_index_open_file(struct rb_layer_index *index, const char *folder, const char *path);

/** rb_layer_index_lock - that of who scans, or throws a damaged one away. Return: descriptor that
 * holds it, -EBUSY when somebody else does, another negative errno. */
int rb_layer_index_lock(struct rb_layer_index *index, struct rb_err *err);

/* --- scans --- */

#define RB_SCAN_READ ((size_t)256 << 10)

enum rb_scan_statement {
	RB_ADD_FILE,
	RB_FIND_FILE,
	RB_NOTE_FILE,
	RB_ADD_CHUNK,
	RB_SCAN_STATEMENTS,
};

struct rb_scan {
	struct rb_layer_index *index;
	struct rb_layer_scan *scan;
	const struct rb_wait *wait;
	sqlite3_stmt *stmts[RB_SCAN_STATEMENTS];
	int64_t layer, deadline_ms, turn_ms;
	int64_t layer_until_ms; /* of a scan with a budget: no layer gets all of it */
	unsigned int turn_rows;
	bool in_turn;
	bool cut_short;		    /* the scan ends */
	bool layer_over, left_over; /* this layer does; some did before they were complete */
	uint8_t *buf;		    /* RB_SCAN_READ */
	char path[PATH_MAX];	    /* below the layer's "diff" */
	struct rb_err *err;
};

extern const char *const rb_scan_sql[RB_SCAN_STATEMENTS];

/** rb_scan_run - statements without a result. Return: 0 or negative errno. */
int rb_scan_run(struct rb_scan *s, const char *sql, const char *what);

/** rb_scan_is_over - Return: 1 when it is to end now, 0, or negative errno when cancelled */
int rb_scan_is_over(struct rb_scan *s);

/** rb_scan_layer - take a layer in, as far as one gets. Return: 0 or negative errno. */
int rb_scan_layer(struct rb_scan *s, const char *folder);
