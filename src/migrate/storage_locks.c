// SPDX-License-Identifier: Apache-2.0
/*
 * storage_locks.c - file locks on storage that both sides share (storage.c says why they matter)
 *
 * /proc/PID/fdinfo/FD has a line for each lock that was taken by way of the descriptor:
 *   lock:	1: POSIX  ADVISORY  WRITE 4711 00:2d:262148 0 EOF
 * with major:minor (hexadecimal) of the file's device, which mountinfo has, too (decimal).
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "json.h"
#include "migration.h"
#include "storage.h"

#define MAX_TASKS 4096

/* Is there a lock of a file on that device in this text of fdinfo? */
static bool has_lock(const char *text, unsigned int major, unsigned int minor)
{
	for (const char *at = text; (at = strstr(at, "lock:\t")); at++) {
		unsigned int on_major, on_minor;

		if (sscanf(at, "lock: %*d: %*s %*s %*s %*d %x:%x:", &on_major, &on_minor) == 2 &&
		    on_major == major && on_minor == minor)
			return true;
	}
	return false;
}

static bool task_has_lock(pid_t pid, unsigned int major, unsigned int minor)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	char path[64 + NAME_MAX];

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		_cleanup_buf_ struct rb_buf text = {};

		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)pid, entry->d_name);
		if (entry->d_name[0] != '.' && rb_read_file(path, 0, &text, NULL) >= 0 &&
		    text.data && has_lock(text.data, major, minor))
			return true;
	}
	return false;
}

static int check_entry(struct rb_migration *m, const json_t *entry, struct rb_err *err)
{
	const char *device = rb_json_str(json_object_get(entry, "place"), "device", "");
	unsigned int major, minor;
	pid_t pids[MAX_TASKS];

	if (sscanf(device, "%u:%u", &major, &minor) != 2)
		return 0;
	rb_each_member (c, m) {
		int n = rb_freezer_pids(rb_json_str(c->facts, "freezer", ""), pids, MAX_TASKS,
					NULL);

		for (int i = 0; i < n && i < MAX_TASKS; i++)
			if (task_has_lock(pids[i], major, minor))
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
	static const char *const lists[] = { "volumes", "binds" };
	const json_t *entry;
	size_t i;
	int r = 0;

	rb_each_member (c, m)
		for (size_t k = 0; k < ARRAY_SIZE(lists); k++)
			json_array_foreach (json_object_get(c->facts, lists[k]), i, entry)
				if (r >= 0 && rb_storage_is_shared(entry))
					r = check_entry(m, entry, err);
	return r;
}
