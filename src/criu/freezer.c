// SPDX-License-Identifier: Apache-2.0
/*
 * freezer.c - freeze, thaw and end a container through its cgroup
 *
 * Version 1 has freezer.state in a hierarchy of its own: one writes FROZEN and reads back FREEZING
 * until all tasks stand. A ptrace-stopped task counts as frozen. Some kernels stay in FREEZING
 * unless asked again, so the word is written again every now and then. Frozen tasks do not die of
 * SIGKILL before they are thawed.
 *
 * Version 2 has cgroup.freeze, and "frozen 1" in cgroup.events when it is done. Frozen tasks die
 * of SIGKILL at once.
 */
#include "freezer.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "proc.h"
#include "wait.h"

enum {
	ASK_AGAIN_MS = 50,
	PIDS_MAX = 4096,
	SHORT_STEPS = 10,
	SHORT_STEP_US = 100,
	LONGEST_STEP_MS = 10
};

static bool is_v1(const char *path)
{
	char knob[PATH_MAX];

	return rb_path(knob, sizeof(knob), "%s/freezer.state", path) == 0 &&
	       access(knob, F_OK) == 0;
}

int rb_freezer_find(int pid, char *ret_path, size_t size, struct rb_err *err)
{
	struct rb_cgroup_place place;
	int r = rb_cgroup_place(pid, &place, err), found = -1;

	if (r < 0)
		return r;
	for (int i = 0; i < place.count; i++) {
		char knob[PATH_MAX + 16];

		snprintf(knob, sizeof(knob), "%s/%s", place.dirs[i].path,
			 place.dirs[i].freezer ? "freezer.state" : "cgroup.freeze");
		if (access(knob, F_OK) == 0 && (found < 0 || place.dirs[i].freezer))
			found = i;
	}
	if (found < 0)
		return rb_err_code(err, RB_E_REFUSED, -ENOENT,
				   "process %d is in no cgroup that can be frozen", pid);
	return rb_path(ret_path, size, "%s", place.dirs[found].path);
}

static int write_state(const char *path, bool frozen, struct rb_err *err)
{
	char knob[PATH_MAX];
	bool v1 = is_v1(path);
	int r = rb_path(knob, sizeof(knob), "%s/%s", path, v1 ? "freezer.state" : "cgroup.freeze");

	if (r < 0)
		return rb_err_set(err, r, "freeze '%s'", path);
	if (v1)
		return rb_write_knob(knob, frozen ? "FROZEN" : "THAWED", err);
	return rb_write_knob(knob, frozen ? "1" : "0", err);
}

/* Has this file of the cgroup the words in it? */
static int has_words(const char *path, const char *name, const char *words, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf text = {};
	char knob[PATH_MAX];
	int r = rb_path(knob, sizeof(knob), "%s/%s", path, name);

	if (r == 0)
		r = rb_read_file(knob, 0, &text, err);
	return r < 0 ? r : strstr(text.data, words) != NULL;
}

/* Does everybody stand still? */
static int has_settled(const char *path, struct rb_err *err)
{
	if (is_v1(path))
		return has_words(path, "freezer.state", "FROZEN", err);
	return has_words(path, "cgroup.events", "frozen 1", err);
}

int rb_freezer_is_frozen(const char *path, struct rb_err *err)
{
	int r = has_settled(path, err);

	/* a thread that its tracer lets go is on its way back for a moment, past no code of its own
	 */
	return r == 0 && !is_v1(path) ? has_words(path, "cgroup.freeze", "1", err) : r;
}

/* Most take no millisecond; what takes long need not be looked at that often. */
static int wait_a_little(int step, const struct rb_wait *wait, struct rb_err *err)
{
	int ms = step - SHORT_STEPS + 1;

	if (ms < 1) {
		usleep(SHORT_STEP_US);
		return 0;
	}
	return rb_wait_ms(ms < LONGEST_STEP_MS ? ms : LONGEST_STEP_MS, wait, err);
}

int rb_freezer_freeze(const char *path, const struct rb_wait *wait, struct rb_err *err)
{
	int64_t asked_ms = rb_now_ms();
	int r = write_state(path, true, err);

	for (int step = 0; r == 0; step++) {
		r = has_settled(path, err);
		if (r != 0)
			return r < 0 ? r : 0;
		r = wait_a_little(step, wait, err);
		if (r == 0 && rb_now_ms() - asked_ms >= ASK_AGAIN_MS) {
			asked_ms = rb_now_ms();
			r = write_state(path, true, err);
		}
	}
	return rb_err_wrap(err, r, "the container does not freeze");
}

int rb_freezer_thaw(const char *path, struct rb_err *err)
{
	return write_state(path, false, err);
}

/* Adds the processes of one folder to @ret. Return: new count, negative errno. */
static int add_pids(const char *folder, pid_t *ret, size_t max, int count, struct rb_err *err)
{
	char path[PATH_MAX];
	_cleanup_fclose_ FILE *file = NULL;
	int pid, r = rb_path(path, sizeof(path), "%s/cgroup.procs", folder);

	if (r < 0)
		return rb_err_set(err, r, "read '%s'", folder);
	file = fopen(path, "re");
	if (!file)
		return errno == ENOENT || errno == ENODEV
			       ? count
			       : rb_err_set(err, -errno, "open '%s'", path);
	while (fscanf(file, "%d", &pid) == 1) {
		if ((size_t)count < max)
			ret[count] = pid;
		count++;
	}
	return count;
}

static int walk_pids(const char *folder, pid_t *ret, size_t max, int count, struct rb_err *err)
{
	_cleanup_closedir_ DIR *dir = opendir(folder);
	struct dirent *entry;

	if (!dir)
		return errno == ENOENT ? count : rb_err_set(err, -errno, "open '%s'", folder);
	count = add_pids(folder, ret, max, count, err);
	while (count >= 0 && (entry = readdir(dir))) {
		char path[PATH_MAX];

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (rb_path(path, sizeof(path), "%s/%s", folder, entry->d_name) == 0)
			count = walk_pids(path, ret, max, count, err);
	}
	return count;
}

int rb_freezer_pids(const char *path, pid_t *ret, size_t max, struct rb_err *err)
{
	return walk_pids(path, ret, max, 0, err);
}

/*
 * Version 1 since Linux 6.1: a task that was stopped already when it is frozen is not woken for
 * ptrace, and PTRACE_SEIZE, which waits for that (kernel/ptrace.c, JOBCTL_TRAPPING), never comes
 * back. CRIU does the same.
 */
int rb_freezer_stopped(const char *path, struct rb_err *err)
{
	_cleanup_free_ pid_t *pids = calloc(PIDS_MAX, sizeof(*pids));
	int count;

	if (!is_v1(path))
		return 0;
	count = pids ? rb_freezer_pids(path, pids, PIDS_MAX, err)
		     : rb_err_set(err, -ENOMEM, "list the processes of '%s'", path);
	for (int i = 0; i < count && i < PIDS_MAX; i++)
		if (rb_pid_is_stopped(pids[i]))
			return pids[i];
	return count < 0 ? count : 0;
}

/* SIGKILL to all that are there now. Return: their number, negative errno. */
static int kill_once(const char *path, struct rb_err *err)
{
	_cleanup_free_ pid_t *pids = NULL;
	char knob[PATH_MAX];
	int count = PIDS_MAX, max = 0;

	/* not one may be left out: it would run when the others are thawed to die */
	while (count > max) {
		max = count + PIDS_MAX;
		free(pids);
		pids = calloc((size_t)max, sizeof(*pids));
		if (!pids)
			return rb_err_set(err, -ENOMEM, "list the processes of '%s'", path);
		count = rb_freezer_pids(path, pids, (size_t)max, err);
	}
	if (count <= 0)
		return count;
	if (rb_path(knob, sizeof(knob), "%s/cgroup.kill", path) < 0 ||
	    rb_write_knob(knob, "1", NULL) < 0)
		for (int i = 0; i < count; i++)
			kill(pids[i], SIGKILL);
	return count;
}

int rb_freezer_kill(const char *path, const struct rb_wait *wait, struct rb_err *err)
{
	int r;

	if (access(path, F_OK) < 0)
		return 0;
	r = kill_once(path, err);
	/* all that could run user code now has SIGKILL pending, so thawing lets nothing run */
	for (int64_t step_ms = 1; r > 0; step_ms += step_ms < 20) {
		r = rb_freezer_thaw(path, err);
		if (r == 0)
			r = rb_wait_ms(step_ms, wait, err);
		if (r == 0)
			r = kill_once(path, err);
	}
	return r < 0 ? rb_err_wrap(err, r, "the container's processes do not end") : 0;
}
