/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop.h - have all threads of a process stand still by ptrace
 *
 * Done by a process that soon ends: whatever it holds then runs on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct rb_err;
struct rb_thread;
struct rb_wait;

struct rb_stop {
	struct rb_thread *threads; /* traced; those with `stopped` stand still */
	size_t n, size;
};

/**
 * rb_stop_process - stop all threads
 * @thaw: folder of a freezer that is thawed once they are traced, so that none runs; or NULL
 *
 * A thread that does not stop is left as it is when at least one other stands: it is inside of the
 * kernel (waiting for a child of vfork(2), or for a disk), and will stop on its way out.
 *
 * Return: 0; -ESRCH when there is no living thread; -EBUSY when somebody else traces it;
 * -ETIMEDOUT.
 */
int rb_stop_process(pid_t pid, const char *thaw, struct rb_stop *ret, const struct rb_wait *wait,
		    struct rb_err *err);

/** rb_stop_is_complete - does every thread stand still? */
bool rb_stop_is_complete(const struct rb_stop *stop);

/** rb_stop_find - thread @tid, or NULL; 0: one that stands still, the first one if possible */
struct rb_thread *rb_stop_find(const struct rb_stop *stop, pid_t tid);

/** rb_stop_release - let all go that stand still, and free */
void rb_stop_release(struct rb_stop *stop);
