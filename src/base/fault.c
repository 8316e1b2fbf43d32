// SPDX-License-Identifier: Apache-2.0
/*
 * fault.c - named fault points
 */
#include "fault.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "wait.h"

static char fault_dir[PATH_MAX - 32];

void rb_fault_setup(const char *run_dir)
{
	snprintf(fault_dir, sizeof(fault_dir), "%s", run_dir);
}

/*
 * Looks the point up and takes one from its count. The new text replaces the file in one step;
 * two processes that pass points at the same instant may both take the last one, which tests avoid.
 */
static int find_action(const char *path, const char *point, char action[16])
{
	_cleanup_buf_ struct rb_buf text = {}, rest = {};
	char *save = NULL;
	bool found = false, changed = false;

	if (rb_read_file(path, 0, &text, NULL) < 0)
		return 0;
	for (char *line = strtok_r(text.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char name[96], act[16];
		int count = -1;
		int n = sscanf(line, "%95s %15s %d", name, act, &count);

		if (!found && n >= 2 && strcmp(name, point) == 0 && count != 0) {
			found = true;
			memcpy(action, act, sizeof(act));
			if (n == 3) {
				changed = true;
				rb_buf_addf(&rest, "%s %s %d\n", name, act, count - 1);
				continue;
			}
		}
		rb_buf_addf(&rest, "%s\n", line);
	}
	if (changed)
		rb_write_file(path, rest.data, rest.len, 0600, false, NULL);
	return found;
}

static void pause_until_released(const char *point)
{
	char path[PATH_MAX], text[160];

	snprintf(path, sizeof(path), "%s/fault.reached", fault_dir);
	snprintf(text, sizeof(text), "%s %d\n", point, (int)getpid());
	if (rb_write_file(path, text, strlen(text), 0600, false, NULL) < 0)
		return;
	while (access(path, F_OK) == 0)
		usleep(2000);
}

int rb_fault_point(const char *point, const struct rb_wait *wait, struct rb_err *err)
{
	char path[PATH_MAX], action[16];

	if (!fault_dir[0])
		return 0;
	snprintf(path, sizeof(path), "%s/faults", fault_dir);
	if (find_action(path, point, action) <= 0)
		return 0;
	if (strcmp(action, "pause") == 0) {
		pause_until_released(point);
		return 0;
	}
	if (strcmp(action, "hang") == 0)
		return rb_wait_ms(INT_MAX, wait, err);
	if (strcmp(action, "kill") == 0)
		raise(SIGKILL);
	if (strcmp(action, "enospc") == 0)
		return rb_err_set(err, -ENOSPC, "fault point %s", point);
	return rb_err_set(err, -EIO, "fault point %s", point);
}
