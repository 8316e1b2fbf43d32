/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frozen.h - pages of a container that stands frozen, for the target that asks for them
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "expected.h"
#include "send.h"

struct rb_err;
struct rb_frozen;
struct rb_wait;

/** rb_frozen_open - @freezer_path: rb_freezer_find() of its @init, which is alive. Return: 0, or
 * negative errno: that proves nothing */
int rb_frozen_open(const char *freezer_path, pid_t init, struct rb_frozen **ret,
		   struct rb_err *err);
void rb_frozen_free(struct rb_frozen *frozen); /* NULL is allowed */

/**
 * rb_frozen_send - write pages to the sink, as records, in the order of @wants
 *
 * Needs CAP_SYS_PTRACE. Return: 0; -ESRCH when what was asked for is not there, or the container
 * does not stand still: then it never will be there again; another negative errno.
 */
int rb_frozen_send(struct rb_frozen *frozen, const struct rb_want *wants, size_t n,
		   const struct rb_memory_sink *sink, const struct rb_wait *wait,
		   struct rb_err *err);
