// SPDX-License-Identifier: Apache-2.0
/*
 * verbs.c - start, state, kill, delete of a container that is not restored yet
 *
 * They answer as runc would of a container whose init is the placeholder. Once the container is
 * restored runc knows it and answers itself; only `delete` still has to make sure that nothing of a
 * container lives whose placeholder was killed.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "json.h"
#include "note.h"
#include "placeholder.h"
#include "proc.h"
#include "runtime.h"
#include "wait.h"
#include "workdir.h"

enum { KILL_MS = 10000, ARRIVAL_MS = 600000 };

/* Is there a placeholder whose container is not restored yet? */
static bool is_arriving(const char *id, struct note *note)
{
	return note_load(id, note, NULL) == 0 && note_alive(note) &&
	       strcmp(note->state, "restored") != 0;
}

static bool runc_knows(const struct runtime_call *call)
{
	char path[PATH_MAX];

	return rb_path(path, sizeof(path), "%s/%s/state.json", call->root, call->id) == 0 &&
	       access(path, F_OK) == 0;
}

int runtime_start(const struct runtime_call *call)
{
	struct rb_err err = {};
	struct note note;

	if (!is_arriving(call->id, &note))
		return -1;
	return note_set_started(call->id, &err) < 0 ? runtime_fail(call, &err) : 0;
}

static void created_at(const char *bundle, char *ret, size_t size)
{
	char path[PATH_MAX];
	struct stat st;
	struct tm tm;

	ret[0] = '\0';
	if (rb_path(path, sizeof(path), "%s/config.json", bundle) == 0 && stat(path, &st) == 0)
		strftime(ret, size, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&st.st_mtime, &tm));
}

int runtime_state(const struct runtime_call *call)
{
	_cleanup_json_ json_t *state = NULL;
	_cleanup_free_ char *text = NULL;
	char created[40];
	struct note note;

	if (!is_arriving(call->id, &note))
		return -1;
	created_at(note.bundle, created, sizeof(created));
	state = json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s}", "ociVersion", "1.0.2", "id",
			  call->id, "pid", (int)note.pid, "status",
			  note_started(call->id) ? "running" : "created", "bundle", note.bundle,
			  "rootfs", "", "created", created, "owner", "");
	text = state ? json_dumps(state, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
	return text && puts(text) >= 0 ? 0 : 1;
}

static bool is_deadly(const char *signal)
{
	static const char *const deadly[] = { "9", "15", "KILL", "TERM", "SIGKILL", "SIGTERM" };

	for (size_t i = 0; i < ARRAY_SIZE(deadly); i++)
		if (strcmp(signal, deadly[i]) == 0)
			return true;
	return false;
}

/* The last argument is the signal; without one runc sends SIGTERM. */
int runtime_kill(const struct runtime_call *call)
{
	struct note note;
	const char *signal = "SIGTERM";

	if (!is_arriving(call->id, &note))
		return -1;
	for (char **arg = call->argv + call->verb_at + 1; *arg; arg++)
		if ((*arg)[0] != '-' && strcmp(*arg, call->id) != 0)
			signal = *arg;
	if (is_deadly(signal))
		kill(note.pid, SIGKILL);
	return 0;
}

/* End what a killed placeholder may have left, so that runc's delete finds a dead container. */
static void end_leftovers(const struct note *note)
{
	struct rb_wait wait = rb_wait_within(NULL, KILL_MS);

	if (note_alive(note)) {
		kill(note->pid, SIGKILL);
		while (note_alive(note) && rb_wait_ms(2, &wait, NULL) == 0)
			;
	}
	placeholder_kill_container(note->cgroup, &wait);
}

int runtime_delete(const struct runtime_call *call)
{
	struct note note;

	if (note_load(call->id, &note, NULL) < 0)
		return -1;
	end_leftovers(&note);
	note_remove(call->id);
	placeholder_unmount_root(call->root, call->id);
	if (runc_knows(call))
		return -1;
	placeholder_clean_runc(call->root, call->id);
	rb_cgroup_remove(note.cgroup);
	return 0;
}

/* Nothing can be done inside a container that is not there yet: wait until it is, or is gone. */
int runtime_wait_restored(const struct runtime_call *call)
{
	struct rb_wait wait = rb_wait_within(NULL, ARRIVAL_MS);
	struct note note;

	while (is_arriving(call->id, &note) && rb_wait_ms(10, &wait, NULL) == 0)
		;
	return -1;
}
