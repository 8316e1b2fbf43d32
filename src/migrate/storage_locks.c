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
#define MAX_MOUNTS 16

struct mounts {
	int ids[MAX_MOUNTS];
	int n;
};

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

bool rb_storage_task_locks(pid_t pid, const struct rb_place *place)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct mounts mounts;
	struct dirent *entry;
	char path[64 + NAME_MAX];

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	mounts.n = rb_place_mount_ids(path, place, mounts.ids, MAX_MOUNTS);
	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
	dir = mounts.n > 0 ? opendir(path) : NULL;
	while (dir && (entry = readdir(dir))) {
		_cleanup_buf_ struct rb_buf text = {};

		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)pid, entry->d_name);
		if (entry->d_name[0] != '.' && rb_read_file(path, 0, &text, NULL) >= 0 &&
		    text.data && has_lock(text.data, &mounts))
			return true;
	}
	return false;
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

		for (int i = 0; i < n; i++)
			if (rb_storage_task_locks(pids[i], &place))
				return rb_err_code(
					err, RB_E_REFUSED, -ENOTSUP,
					"process %d of '%s' holds a file lock on '%s', which both "
					"hosts share: it cannot be handed over; have it let go of "
					"it first",
					(int)pids[i], c->name, rb_json_str(entry, "source", "?"));
	}
	return 0;
}

int rb_storage_locked(struct rb_migration *m, struct rb_err *err)
{
	return rb_storage_each_shared(m, check_entry, err);
}
