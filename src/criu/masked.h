/* SPDX-License-Identifier: Apache-2.0 */
/*
 * masked.h - directories that runc hides from a container
 *
 * runc mounts an empty tmpfs, read-only, on each ("maskedPaths" of the OCI runtime specification).
 * CRIU would mount every one of them elsewhere, have it archived, and unpack it again: 2 to 4 ms
 * each while the container stands still, for nothing. So they are declared to CRIU as mounts that
 * are there on the target already: one empty tmpfs that the starter of CRIU mounts in a namespace
 * of its own (cmd/reberth-runtime/criu_start.c).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct rb_buf;
struct rb_err;

/** RB_MASKED - what CRIU's images call such a mount; also the folder's name in the work folder */
#define RB_MASKED "masked"

/**
 * rb_masked_dumped - CRIU's configuration for a dump: which of the container's mounts are so
 * @state: runc's state of the container
 * @init_pid: a process in the container's mount namespace
 * @lines: they are added to it
 *
 * Those that are not what runc makes are left out, and dumped like any other mount.
 *
 * Return: 0, -ENOMEM. Needs CAP_SYS_PTRACE or root.
 */
int rb_masked_dumped(const json_t *state, int init_pid, struct rb_buf *lines, struct rb_err *err);

/** rb_masked_restored - CRIU's configuration for a restore; makes the folder. @work_dir: plain */
int rb_masked_restored(const char *work_dir, struct rb_buf *lines, struct rb_err *err);
