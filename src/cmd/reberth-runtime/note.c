// SPDX-License-Identifier: Apache-2.0
/*
 * note.c - load and save what is known of a placeholder
 */
#include "note.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "proc.h"
#include "workdir.h"

static int note_path(const char *id, const char *suffix, char *ret, size_t size)
{
	if (!rb_criu_id_valid(id))
		return -EINVAL;
	return rb_path(ret, size, "%s/placeholders/%s%s", rb_criu_run_dir(), id, suffix);
}

int note_load(const char *id, struct note *ret, struct rb_err *err)
{
	_cleanup_json_ json_t *json = NULL;
	char path[PATH_MAX];
	int r = note_path(id, ".json", path, sizeof(path));

	if (r < 0)
		return rb_err_set(err, r, "find the placeholder of '%s'", id);
	r = rb_json_load(path, &json, err);
	if (r < 0)
		return r;
	*ret = (struct note){ .pid = (pid_t)rb_json_int(json, "pid", 0),
			      .starttime = (unsigned long long)rb_json_int(json, "starttime", 0),
			      .init = (pid_t)rb_json_int(json, "init", 0) };
	snprintf(ret->id, sizeof(ret->id), "%s", id);
	snprintf(ret->state, sizeof(ret->state), "%s", rb_json_str(json, "state", ""));
	snprintf(ret->cgroup, sizeof(ret->cgroup), "%s", rb_json_str(json, "cgroup", ""));
	snprintf(ret->bundle, sizeof(ret->bundle), "%s", rb_json_str(json, "bundle", ""));
	return 0;
}

int note_save(const struct note *note, struct rb_err *err)
{
	_cleanup_json_ json_t *json =
		json_pack("{s:i, s:I, s:i, s:s, s:s, s:s}", "pid", (int)note->pid, "starttime",
			  (json_int_t)note->starttime, "init", (int)note->init, "state",
			  note->state, "cgroup", note->cgroup, "bundle", note->bundle);
	char path[PATH_MAX], dir[PATH_MAX];
	int r;

	if (!json)
		return rb_err_set(err, -ENOMEM, "note the placeholder of %s", note->id);
	r = note_path(note->id, ".json", path, sizeof(path));
	if (r == 0)
		r = rb_path(dir, sizeof(dir), "%s/placeholders", rb_criu_run_dir());
	if (r < 0)
		return rb_err_set(err, r, "note the placeholder of %s", note->id);
	r = rb_mkdir_p(dir, 0700, err);
	return r < 0 ? r : rb_json_save(path, json, false, err);
}

/* All that begins with the id: a writer that was killed has left a file that it never renamed. */
void note_remove(const char *id)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[PATH_MAX];
	struct dirent *entry;

	if (!rb_criu_id_valid(id) ||
	    rb_path(path, sizeof(path), "%s/placeholders", rb_criu_run_dir()) < 0)
		return;
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (strncmp(entry->d_name, id, strlen(id)) == 0 && entry->d_name[strlen(id)] == '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
}

bool note_alive(const struct note *note)
{
	return note->pid > 1 && rb_pid_alive(note->pid, note->starttime);
}

bool note_started(const char *id)
{
	char path[PATH_MAX];

	return note_path(id, ".started", path, sizeof(path)) == 0 && access(path, F_OK) == 0;
}

int note_set_started(const char *id, struct rb_err *err)
{
	char path[PATH_MAX];
	int r = note_path(id, ".started", path, sizeof(path));

	return r < 0 ? rb_err_set(err, r, "start '%s'", id)
		     : rb_write_file(path, "", 0, 0600, false, err);
}
