/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

enum { SMAPS_OF_THE_KERNEL = -2 };

/**
 * smaps_open - CRIU opens "smaps" in a folder of a process
 *
 * Return: a descriptor, -1 with errno when the dump must not go on, SMAPS_OF_THE_KERNEL when that
 * file is the one to read.
 */
int smaps_open(int dir);

/** smaps_await_lists - until the worker's lists are complete. Return: 0, or a negative errno when
 * the dump must not go on */
int smaps_await_lists(void);
