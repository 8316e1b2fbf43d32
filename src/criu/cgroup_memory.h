/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup_memory.h - what the memory limits of a cgroup leave
 */
#pragma once

#include <stdint.h>

/**
 * rb_cgroup_memory_left - bytes of memory that process @pid (0: this one) can still get before the
 * kernel ends somebody for it, without swap
 *
 * Return: UINT64_MAX when no cgroup that it is in has a limit, or none can be read.
 */
uint64_t rb_cgroup_memory_left(int pid);

/** rb_cgroup_memory_left_in - the same of a cgroup's folder and those that it is in */
uint64_t rb_cgroup_memory_left_in(const char *folder);

/** rb_cgroup_memory_stat - number of a line of the folder's memory.stat, 0 when there is none */
uint64_t rb_cgroup_memory_stat(const char *folder, const char *key);
