/* SPDX-License-Identifier: Apache-2.0 */
/*
 * others.h - processes that do not move, and may write unseen to trees that do
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct rb_err;
struct rb_tree_source;
struct rb_wait;

/** Zero-initialised there are none. */
struct rb_others {
	pid_t *pids;
	size_t n, size;
};

/**
 * rb_others_find - ask all processes of this host, but for this one
 * @sources: all trees; what is found counts as by rb_tree_sources_look()
 *
 * Takes some tens of microseconds a process: not for a freeze, in which only those are asked again
 * that were found. Needs CAP_SYS_PTRACE or root.
 *
 * Return: 0 or negative errno.
 */
int rb_others_find(struct rb_others *others, struct rb_tree_source *const *sources,
		   size_t n_sources, const struct rb_wait *wait, struct rb_err *err);

void rb_others_free(struct rb_others *others);
