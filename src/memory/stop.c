// SPDX-License-Identifier: Apache-2.0
/*
 * stop.c - have all threads of a process stand still by ptrace
 *
 * Threads are listed and stopped until a list has no new one: only a thread that runs makes others.
 */
#include "stop.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "tracee.h"
#include "tracee_call.h"
#include "wait.h"

enum {
	FIRST_SIZE = 16,
	STRAGGLER_MS = 20, /* a thread that is not stopped by then is inside of the kernel */
};

static bool knows(const struct rb_stop *stop, pid_t tid)
{
	for (size_t i = 0; i < stop->n; i++)
		if (stop->threads[i].tid == tid)
			return true;
	return false;
}

static bool is_traced(pid_t tid)
{
	char path[64], line[256];
	_cleanup_fclose_ FILE *file = NULL;
	int tracer = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "TracerPid: %d", &tracer) == 1)
			break;
	return tracer != 0;
}

static int seize(struct rb_stop *stop, pid_t tid, struct rb_err *err)
{
	struct rb_thread thread = { .tid = tid };
	int r;

	if (stop->n == stop->size) {
		size_t size = stop->size ? stop->size * 2 : FIRST_SIZE;
		struct rb_thread *threads = reallocarray(stop->threads, size, sizeof(*threads));

		if (!threads)
			return rb_err_set(err, -ENOMEM, "stop thread %d", (int)tid);
		stop->threads = threads;
		stop->size = size;
	}
	r = rb_tracee_seize(&thread, err);
	if (r == -ESRCH)
		return 0;
	if (r == -EPERM && is_traced(tid))
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
				   "process %d is being traced: end its debugger", (int)tid);
	if (r < 0)
		return r;
	stop->threads[stop->n++] = thread;
	return 1;
}

/* Return: number of threads that were not known yet. */
static int seize_new(struct rb_stop *stop, pid_t pid, struct rb_err *err)
{
	char path[64];
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	int r = 0, count = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? -ESRCH : rb_err_set(err, -errno, "open '%s'", path);
	while (r >= 0 && (entry = readdir(dir))) {
		pid_t tid = atoi(entry->d_name);

		if (tid <= 0 || knows(stop, tid))
			continue;
		r = seize(stop, tid, err);
		count += r > 0;
	}
	return r < 0 ? r : count;
}

/* Threads that die drop out. */
static int await_all(struct rb_stop *stop, const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_wait within = rb_wait_within(wait, STRAGGLER_MS);
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; i < stop->n; i++) {
		int done = 0;

		if (r == 0 && !stop->threads[i].stopped)
			done = rb_tracee_await(&stop->threads[i], &within, NULL);
		if (done != -ESRCH)
			stop->threads[kept++] = stop->threads[i];
		if (r == 0)
			r = rb_wait_ms(0, wait, err);
	}
	stop->n = kept;
	return r;
}

int rb_stop_process(pid_t pid, const char *thaw, struct rb_stop *ret, const struct rb_wait *wait,
		    struct rb_err *err)
{
	struct rb_stop stop = {};
	int r, new_threads;

	do {
		r = new_threads = seize_new(&stop, pid, err);
		/* thawed whatever happened: those that were had stop before they run */
		if (thaw && rb_freezer_thaw(thaw, r < 0 ? NULL : err) < 0 && r >= 0)
			r = -EIO;
		thaw = NULL;
		if (r > 0)
			r = await_all(&stop, wait, err);
	} while (r >= 0 && new_threads > 0);
	while (r >= 0 && stop.n > 0 && !rb_stop_find(&stop, 0))
		r = await_all(&stop, wait, err);
	if (r >= 0 && stop.n == 0)
		r = -ESRCH;
	*ret = stop;
	if (r >= 0)
		return 0;
	rb_stop_release(ret);
	return r;
}

bool rb_stop_is_complete(const struct rb_stop *stop)
{
	for (size_t i = 0; i < stop->n; i++)
		if (!stop->threads[i].stopped)
			return false;
	return true;
}

struct rb_thread *rb_stop_find(const struct rb_stop *stop, pid_t tid)
{
	for (size_t i = 0; i < stop->n; i++)
		if (tid ? stop->threads[i].tid == tid : stop->threads[i].stopped)
			return &stop->threads[i];
	return NULL;
}

void rb_stop_release(struct rb_stop *stop)
{
	for (size_t i = 0; i < stop->n; i++)
		if (stop->threads[i].stopped)
			rb_tracee_detach(&stop->threads[i]);
	free(stop->threads);
	*stop = (struct rb_stop){};
}
