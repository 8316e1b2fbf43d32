// SPDX-License-Identifier: Apache-2.0
/*
 * storage_locks.c - file locks on storage that both sides share (storage.c says why they matter)
 *
 * /proc/PID/fdinfo/FD says of a descriptor by which mount its file was opened, and has a line for
 * each lock that was taken by way of it:
 *
 *   mnt_id:	812
 *   lock:	1: POSIX  ADVISORY  WRITE 4711 00:2d:262148 0 EOF
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "json.h"
#include "migration.h"
#include "place.h"
#include "storage.h"

#define MAX_TASKS  4096
#define MAX_MOUNTS 1024

struct mounts {
	int ids[MAX_MOUNTS];
	int n;
};

static bool is_gone(int error)
{
	return error == ENOENT || error == ESRCH;
}

/* Does this text of fdinfo tell of a lock on one of the mounts? */
static bool has_lock(const char *text, const struct mounts *mounts)
{
	const char *at = strstr(text, "mnt_id:");
	int id;

	if (!at || sscanf(at, "mnt_id: %d", &id) != 1 || !strstr(at, "\nlock:"))
		return false;
	for (int i = 0; i < mounts->n; i++)
		if (mounts->ids[i] == id)
			return true;
	return false;
}

static int look_at_descriptors(pid_t pid, const struct mounts *mounts, struct rb_err *err)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[64 + NAME_MAX];
	struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
	dir = opendir(path);
	if (!dir)
		return is_gone(errno) ? 0 : rb_err_set(err, -errno, "open '%s'", path);
	while ((errno = 0, entry = readdir(dir))) {
		_cleanup_buf_ struct rb_buf text = {};
		int r;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)pid, entry->d_name);
		r = rb_read_file(path, 0, &text, NULL);
		/* it was closed, or all have gone; what else cannot be read may be a lock */
		if (r < 0 && !is_gone(-r))
			return rb_err_set(err, r, "read '%s'", path);
		if (r >= 0 && text.data && has_lock(text.data, mounts))
			return 1;
	}
	return errno && !is_gone(errno) ? rb_err_set(err, -errno, "read '%s'", path) : 0;
}

int rb_storage_task_locks(pid_t pid, const struct rb_place *place, struct rb_err *err)
{
	struct mounts mounts;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	mounts.n = rb_place_mount_ids(path, place, mounts.ids, MAX_MOUNTS);
	if (mounts.n < 0)
		return is_gone(-mounts.n) ? 0 : rb_err_set(err, mounts.n, "read '%s'", path);
	if (mounts.n > MAX_MOUNTS)
		return rb_err_code(err, RB_E_REFUSED, -E2BIG,
				   "process %d has storage that both hosts share mounted more than "
				   "%d times, too often to look for file locks",
				   (int)pid, MAX_MOUNTS);
	return mounts.n ? look_at_descriptors(pid, &mounts, err) : 0;
}

static int check_entry(struct rb_migration *m, const json_t *entry, struct rb_err *err)
{
	struct rb_place place;
	pid_t pids[MAX_TASKS];

	rb_place_from_json(json_object_get(entry, "place"), &place);
	rb_each_member (c, m) {
		int n = rb_freezer_pids(rb_json_str(c->facts, "freezer", ""), pids, MAX_TASKS, err);

		/* what cannot be looked at may hold one */
		if (n < 0)
			return n;
		if (n > MAX_TASKS)
			return rb_err_code(err, RB_E_REFUSED, -E2BIG,
					   "'%s' has more than %d processes, too many to look for "
					   "file locks",
					   c->name, MAX_TASKS);

		for (int i = 0; i < n; i++) {
			int r = rb_storage_task_locks(pids[i], &place, err);

			if (r < 0)
				return r;
			if (r > 0)
				return rb_err_code(
					err, RB_E_REFUSED, -ENOTSUP,
					"process %d of '%s' holds a file lock on '%s', which both "
					"hosts share: it cannot be handed over; have it let go of "
					"it first",
					(int)pids[i], c->name, rb_json_str(entry, "source", "?"));
		}
	}
	return 0;
}

int rb_storage_locked(struct rb_migration *m, struct rb_err *err)
{
	return rb_storage_each_shared(m, check_entry, err);
}
