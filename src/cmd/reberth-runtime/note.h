/* SPDX-License-Identifier: Apache-2.0 */
/*
 * note.h - what is known of a placeholder: <run_dir>/placeholders/<id>.json
 *
 * Written by `create` and the placeholder, read by the other verbs and by reberthd. It is there as
 * long as the placeholder lives, and after it was killed until `delete`.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct rb_err;

struct note {
	char id[65];
	pid_t pid;
	unsigned long long starttime;
	pid_t init;	       /* of the restored container, 0 before */
	char state[16];	       /* "waiting", "restoring", "restored", "failed" */
	char cgroup[PATH_MAX]; /* "/docker/ID" */
	char bundle[PATH_MAX];
};

/** note_load - -ENOENT when there is none */
int note_load(const char *id, struct note *ret, struct rb_err *err);
int note_save(const struct note *note, struct rb_err *err);

/** note_remove - the note and the mark of `start` */
void note_remove(const char *id);

/** note_alive - does this very placeholder live? */
bool note_alive(const struct note *note);

/** note_started - was `start` called? note_set_started - it is */
bool note_started(const char *id);
int note_set_started(const char *id, struct rb_err *err);
