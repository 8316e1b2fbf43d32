/* SPDX-License-Identifier: Apache-2.0 */
/*
 * received.h - which files here came whole from the peer, in this migration
 *
 * Only those may be written in place, and only while they are as they came: a patch that was torn
 * in the middle takes the file out, until it comes whole again. It lives in the memory of the
 * worker: a migration does not outlive its connection, and neither does this.
 */
#pragma once

#include <stdbool.h>

struct rb_err;
struct rb_received;

/** rb_received_new - for all trees and rounds of one migration. Return: 0 or negative errno */
int rb_received_new(struct rb_received **ret, struct rb_err *err);

/** rb_received_free - NULL is allowed */
void rb_received_free(struct rb_received *received);

/**
 * rb_received_note_names - from now on write down what comes to be at the top of a tree, before it
 * does: each name with a NUL, some of them more than once
 * @fd: open for appending, borrowed; -EBADF: no more
 *
 * So that after the worker was killed, too, it is known what came, and what is somebody else's.
 */
void rb_received_note_names(struct rb_received *received, int fd);

/* --- inside of fs/ only; @fd is the file, O_PATH will do --- */

/** received_names - the descriptor of rb_received_note_names(), or negative; NULL is allowed */
int received_names(const struct rb_received *received);

#define RECEIVED_MAX 65536 /* files; more are refused */

/** received_begin - a stream begins: files that an earlier one left half patched stay unusable */
void received_begin(struct rb_received *received);

/** received_add - the file came whole. Return: 0, -E2BIG, or negative errno */
int received_add(struct rb_received *received, int fd);

/** received_take - may the file be patched now? It is unusable from then on, until
 * received_patched() and received_finish(). Return: 1, 0 if not, negative errno */
int received_take(struct rb_received *received, int fd);

/** received_patched - its content is complete. Return: 0 or negative errno */
int received_patched(struct rb_received *received, int fd);

/** received_finish - it was patched by this stream, and has its owner, times and so on now. Return:
 * 1, 0 if it was not patched, negative errno */
int received_finish(struct rb_received *received, int fd);
