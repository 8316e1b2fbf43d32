// SPDX-License-Identifier: Apache-2.0
/*
 * vfork.c - freeze a container at a moment when nobody waits for a child of vfork(2)
 *
 * Who calls vfork() or posix_spawn() sleeps in the kernel until the child has called exec. The
 * freezer counts it as frozen, but ptrace cannot stop it there, and the child, stopped itself,
 * does not get on: neither CRIU nor we would ever hold all threads. Shells do this for every
 * command, and it takes them well under a millisecond. So the tasks are let run until nobody is
 * seen to wait, and frozen again at once: who spawns one process after another is outside vfork()
 * for no more than a moment each time, and letting the tasks run for a fixed time may miss all of
 * them.
 */
#include "vfork.h"

#include <dirent.h>
#include <errno.h>
#include <linux/sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "wait.h"

#define PIDS_MAX    4096
#define PATIENCE_MS 2000
#define RUN_MS	    20
#define LOOK_US	    50
#define ASLEEP_MS   100

/* the flags are the first member of struct clone_args */
static bool clone3_waits(pid_t tid, unsigned long args)
{
	uint64_t flags = 0;
	struct iovec here = { &flags, sizeof(flags) };
	struct iovec there = { (void *)args, sizeof(flags) };

	return process_vm_readv(tid, &here, 1, &there, 1, 0) == (ssize_t)sizeof(flags) &&
	       (flags & CLONE_VFORK);
}

/*
 * A thread that sleeps in a system call shows its number and arguments. With version 2 one that is
 * about to wait counts as frozen a moment before it sleeps, and shows nothing yet: @asleep_ms.
 */
static bool read_call(const char *path, int asleep_ms, long *ret_number, unsigned long *ret_first)
{
	for (int i = 0; i <= asleep_ms; i++) {
		_cleanup_buf_ struct rb_buf text = {};

		if (i > 0)
			rb_wait_ms(1, NULL, NULL);

		if (rb_read_file(path, 0, &text, NULL) < 0)
			return false;
		if (strncmp(text.data, "running", 7) != 0)
			return sscanf(text.data, "%ld %lx", ret_number, ret_first) == 2;
	}
	return false;
}

static bool waits(pid_t pid, pid_t tid, int asleep_ms)
{
	unsigned long first;
	char path[64];
	long number;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)pid, (int)tid);
	if (!read_call(path, asleep_ms, &number, &first))
		return false;
#ifdef SYS_vfork
	if (number == SYS_vfork)
		return true;
#endif
	return (number == SYS_clone && (first & CLONE_VFORK)) ||
	       (number == SYS_clone3 && clone3_waits(tid, first));
}

static bool process_waits(pid_t pid, int asleep_ms)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (atoi(entry->d_name) > 0 && waits(pid, atoi(entry->d_name), asleep_ms))
			return true;
	return false;
}

static int count_waiters(const char *path, int asleep_ms, struct rb_err *err)
{
	_cleanup_free_ pid_t *pids = calloc(PIDS_MAX, sizeof(*pids));
	int count = pids ? rb_freezer_pids(path, pids, PIDS_MAX, err)
			 : rb_err_set(err, -ENOMEM, "list the processes of '%s'", path);
	int waiters = 0;

	for (int i = 0; i < count && i < PIDS_MAX; i++)
		waiters += process_waits(pids[i], asleep_ms);
	return count < 0 ? count : waiters;
}

int rb_vfork_waiters(const char *path, struct rb_err *err)
{
	return count_waiters(path, ASLEEP_MS, err);
}

/* Lets the thawed tasks run until nobody is seen to wait, but for a while at most. */
static int let_run(const char *path, const struct rb_wait *wait, struct rb_err *err)
{
	int64_t until = rb_now_ms() + RUN_MS, took_us = 0;
	int r;

	do {
		/* a look at many threads must not take the processor from them */
		usleep((useconds_t)(took_us > LOOK_US ? took_us : LOOK_US));
		took_us = rb_now_us();
		r = rb_wait_ms(0, wait, err);
		if (r == 0)
			r = count_waiters(path, 0, err);
		took_us = rb_now_us() - took_us;
	} while (r > 0 && rb_now_ms() < until);
	return r;
}

int rb_vfork_freeze(const char *path, const struct rb_wait *wait, struct rb_err *err)
{
	int64_t until = rb_now_ms() + PATIENCE_MS;

	for (;;) {
		int r = rb_freezer_stopped(path, err);

		if (r > 0)
			return rb_err_code(err, RB_E_REFUSED, -EBUSY,
					   "process %d of the container is stopped (SIGSTOP); have "
					   "it go on with 'kill -CONT', or end it",
					   r);
		if (r == 0)
			r = rb_freezer_freeze(path, wait, err);
		if (r >= 0)
			r = rb_vfork_waiters(path, err);
		if (r <= 0)
			return r;
		if (rb_now_ms() >= until)
			return rb_err_set(err, -EBUSY,
					  "a process of the container has called vfork, and its "
					  "child does not go on to exec");
		r = rb_freezer_thaw(path, err);
		if (r >= 0)
			r = let_run(path, wait, err);
		if (r < 0)
			return r;
	}
}
