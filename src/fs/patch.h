/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patch.h - files that the receiver has are changed in place (inside of fs/ only; format: tree.h)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct block_file;
struct manifest_entry;
struct rb_blocks;
struct rb_conn;
struct rb_err;
struct rb_manifest;
struct rb_received;
struct rb_wait;
struct taking;
struct tree_writer;

struct patch_sender {
	struct rb_conn *conn;
	int root_fd;
	const char *root;	   /* its name, for messages */
	struct rb_manifest *now;   /* entries with `send` and `held` are candidates */
	const struct rb_buf *gone; /* paths that the receiver removes, as of manifest_diff() */
	struct rb_blocks *blocks;  /* NULL: no patches */
	uint64_t bytes;		   /* of data in pieces, counted up */
	const struct rb_wait *wait;
	struct rb_err *err;
};

/**
 * patch_send_all - the list of patches; entries whose content is in it get `patched`
 *
 * All files of @now that may be patched later, too, are made known to @blocks here.
 *
 * Return: 0 or negative errno.
 */
int patch_send_all(struct patch_sender *p);

/** patch_may_be - can this file be patched, now or later? */
bool patch_may_be(uint32_t mode, uint64_t size, uint32_t nlink);

/**
 * patch_receive_all - write the list of patches
 * @received: NULL: any patch is refused
 * @bytes: counted up
 *
 * Return: 0 or negative errno.
 */
int patch_receive_all(struct taking *t, struct tree_writer *w, struct rb_received *received,
		      uint64_t *bytes);
