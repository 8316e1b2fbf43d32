/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmflags.h - the flags of the mappings of a process, without a walk through its memory
 *
 * /proc/PID/smaps has them, too, but there the kernel counts all pages first: 23 ms for each GiB.
 * So they are asked for by a BPF iterator over mappings ("iter/task_vma", Linux 5.12 and later, of
 * a single process since 6.1), which reads three numbers of each.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_err;

/** As the kernel has it (struct vm_area_struct); what the bits mean depends on its version. */
struct rb_vmflags {
	uint64_t start, end, flags;
};

/** rb_vmflags_open - load the program. Return: its descriptor; negative errno where the kernel
 * cannot do that or does not let us */
int rb_vmflags_open(struct rb_err *err);

/**
 * rb_vmflags_read - all mappings of a process, by address
 * @ret: to be freed
 *
 * Return: 0; -ESRCH when there are none, -EIO when what came makes no sense.
 */
int rb_vmflags_read(int program, pid_t pid, struct rb_vmflags **ret, size_t *ret_n,
		    struct rb_err *err);
