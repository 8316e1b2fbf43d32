/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tasks.h - what /proc tells of the processes of a container
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_err;

/** rb_task_levels - in how many pid namespaces is it? Return: 0 when it is gone */
int rb_task_levels(pid_t pid);

/** rb_task_number - its pid in the @level-th of its namespaces (1: ours). Return: 0 when it is in
 * fewer, or gone */
int rb_task_number(pid_t pid, int level);

/** rb_task_shares_memory - has it the memory of its parent, as after vfork(2)? */
bool rb_task_shares_memory(pid_t pid);

/** rb_task_reads_directly - has it a file open with O_DIRECT? What a device writes into its memory
 * then no page table tells of */
bool rb_task_reads_directly(pid_t pid);

/** rb_task_is_special - are there mappings that only smaps tells from others? Locked ones and
 * shadow stacks, by /proc/PID/status
 * @ret_shadow: the latter; may be NULL */
bool rb_task_is_special(pid_t pid, bool *ret_shadow);

/** rb_task_stacks - addresses of the pages that its threads' stack pointers are in, in order. The
 * process stands still. Return: their number, allocated in @ret; negative errno */
int rb_task_stacks(pid_t pid, uint64_t **ret, struct rb_err *err);
