/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmas.h - the mappings of a process
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_err;
struct rb_ranges;

struct rb_vma {
	uint64_t start, end;
	bool shared;
	/*
	 * Private anonymous memory that CRIU restores lazily (its vma_entry_can_be_lazy()): we move
	 * it. The rest (file mappings, shared memory, locked, shadow stacks, huge pages of
	 * hugetlbfs, vdso, vvar) is left to CRIU.
	 */
	bool ours;
	bool locked; /* private anonymous, and not ours for that alone: it may be once more */
};

/** rb_vmas_read - from /proc/PID/maps; smaps, which walks all pages, only where something is locked
 * or a shadow stack (/proc/PID/status). Return: their number, allocated in @ret; -ESRCH. */
int rb_vmas_read(pid_t pid, struct rb_vma **ret, struct rb_err *err);

/** rb_vmas_outline - the same, but from maps alone, which is quick: it counts as ours what is
 * locked, and a shadow stack. Return: as above. */
int rb_vmas_outline(pid_t pid, struct rb_vma **ret, struct rb_err *err);

/** rb_vmas_wiped - mappings that a child of the process finds empty (MADV_WIPEONFORK), of those
 * that a userfaultfd looks after (for missing pages). Reads smaps. Return: 0, -ESRCH */
int rb_vmas_wiped(pid_t pid, struct rb_ranges *ret, struct rb_err *err);
