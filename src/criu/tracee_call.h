/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracee_call.h - system calls in another process that write nothing into its memory
 *
 * In the order of use: rb_tracee_seize(), rb_tracee_await(), rb_tracee_note(), then any number of
 * rb_tracee_call(), rb_tracee_put_back(), and rb_tracee_detach().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_err;
struct rb_thread;
struct rb_wait;

/**
 * rb_tracee_await - until a thread that was seized stands in a stop that has nothing to do with a
 * signal; signals that come first are delivered to it
 *
 * Return: 0, -ESRCH when it died meanwhile, -ETIMEDOUT, -ECANCELED.
 */
int rb_tracee_await(struct rb_thread *thread, const struct rb_wait *wait, struct rb_err *err);

/** rb_tracee_find_syscall - address of a system call instruction in the process: in the vdso, or
 * else in any code that it has. Return: 0, -ENOENT. */
int rb_tracee_find_syscall(pid_t pid, uint64_t *ret, struct rb_err *err);

/** rb_tracee_is_syscall - is it still there? */
bool rb_tracee_is_syscall(pid_t pid, uint64_t insn);

/**
 * rb_tracee_call - have a stopped thread make a system call
 * @insn: from rb_tracee_find_syscall(); nothing is written there
 * @name: of the fault points "NAME.ready", "NAME.entry", "NAME.armed", "NAME.exit"
 *
 * Its signals are blocked, and none is used to stop it: handlers and pending signals stay as they
 * are. No filter of seccomp sees the call as long as the tracer lives; see tracee_call.c for when
 * it dies. Registers and mask are foreign afterwards, also on failure: rb_tracee_put_back(). A
 * thread that is frozen in the middle is waited for.
 *
 * Return: 0, and what the call returned in @ret; -ESRCH when the thread died; -ENOTSUP.
 */
int rb_tracee_call(struct rb_thread *thread, uint64_t insn, const char *name, long nr,
		   const uint64_t args[3], long *ret, struct rb_err *err);

/** rb_tracee_put_back - registers, mask and rseq as rb_tracee_note() saved them. What the thread
 * was doing, a system call included, goes on when it is let go. At any stop but the one before a
 * system call. Return: 0, -ESRCH. */
int rb_tracee_put_back(struct rb_thread *thread, const struct rb_thread *saved, struct rb_err *err);
