/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smaps.h - what CRIU reads in /proc/PID/smaps, without the counting of pages
 *
 * CRIU wants a mapping's first line and its flags, nothing else (its criu/proc_parse.c).
 */
#pragma once

#include <sys/types.h>

struct rb_err;
struct rb_smaps;

/** rb_smaps_new - learn how this kernel prints flags. Takes some 20 ms; makes and removes mappings
 * in this process, which must not have other threads. Fails where rb_vmflags_open() does. */
int rb_smaps_new(struct rb_smaps **ret, struct rb_err *err);

/**
 * rb_smaps_write - the smaps of a process that stands still, into a new file, in one step
 *
 * Return: 0; -ENOTSUP when it has a mapping with a flag that was not learned; -EAGAIN when its
 * mappings changed meanwhile; -ESRCH. Then there is no file.
 */
int rb_smaps_write(const struct rb_smaps *smaps, pid_t pid, const char *path, struct rb_err *err);

void rb_smaps_free(struct rb_smaps *smaps);
