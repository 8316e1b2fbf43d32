/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject_internal.h - between the process that guards (inject.c) and the one that works inside of
 * another (inject_work.c)
 */
#pragma once

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "tracee.h"
#include "wait.h"

enum { RB_INJECT_OWN_MAX = 64 };

/** In memory that both share. */
struct rb_inject {
	pid_t pid;
	char freezer[PATH_MAX];
	uint64_t insn;		    /* a system call instruction of the process */
	int own[RB_INJECT_OWN_MAX]; /* userfaultfds that the process had before */
	int own_count;
	struct rb_wait wait;

	/* The thread whose registers are not its own, or 0. Set when `saved` is complete, and
	 * before anything in it is changed; cleared when all is put back, or the thread is dead. */
	_Atomic pid_t foreign;
	struct rb_thread saved; /* without what is allocated */
	_Atomic bool frozen;	/* the guard froze the cgroup, and nobody thawed it yet */
	bool was_frozen;	/* somebody else had before */

	int result; /* of the last child, when it came to an end */
	struct rb_err err;
};

/** rb_inject_own_fds - fill `own`. Return: 0, -ESRCH, -ENOTSUP when there are too many. */
int rb_inject_own_fds(struct rb_inject *in);

/** rb_inject_work - do it, in the child; the descriptor is sent over @sock */
int rb_inject_work(struct rb_inject *in, int sock);

/** rb_inject_repair - put `foreign` back to `saved` and close what the process has too many; the
 * cgroup is frozen, and thawed by this. In a child, too. */
int rb_inject_repair(struct rb_inject *in);
