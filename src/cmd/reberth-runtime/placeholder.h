/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placeholder.h - the process that stands where an arriving container's init will be
 */
#pragma once

#include <stdbool.h>

#include "cgroup.h"
#include "note.h"
#include "runtime.h"

struct rb_err;
struct rb_wait;

struct placeholder {
	const struct runtime_call *call;
	struct note note;
	char dir[PATH_MAX];	     /* <run_dir>/arrivals/<id> */
	char work_dir[PATH_MAX];     /* of the migration */
	char shared_netns[PATH_MAX]; /* of the container whose network it joins, or "" */
	int accept_dad;		     /* for rb_dad_resume() */
	int host_netns_fd;	     /* where runc has to run, or it refuses net.* sysctls */
	struct rb_cgroup_place home; /* where we came from; we step aside to it */
	char failure[512];	     /* why the last restore failed */
};

/** placeholder_run - be the placeholder until the container ends; does not return
 * @ready_fd: gets one byte once the namespaces are there and hooks can be run */
_Noreturn void placeholder_run(struct placeholder *p, int ready_fd);

/** placeholder_restore - have runc restore the container in our place (restore.c)
 * @ret_pid: runc's process, to be waited for */
int placeholder_restore(struct placeholder *p, int *ret_pid, struct rb_err *err);

/** placeholder_restore_done - after runc ended: find init, or clean up and say why not.
 * Return: init's pid or negative errno. */
int placeholder_restore_done(struct placeholder *p, int status, struct rb_err *err);

/** placeholder_kill_container - kill all in the container's cgroup (and CRIU with it) */
void placeholder_kill_container(const char *cgroup, const struct rb_wait *wait);

/** placeholder_clean_runc - remove what a killed `runc restore` left: state, mount, folder */
void placeholder_clean_runc(const char *root, const char *id);

/** placeholder_unmount_root - of that, only the mount, which keeps runc from deleting the folder */
void placeholder_unmount_root(const char *root, const char *id);

/** placeholder_guard - start the process that ends the container should we be killed.
 * Return: descriptor to write a byte to before ending in good order, negative errno. */
int placeholder_guard(const struct placeholder *p, struct rb_err *err);

/** placeholder_watch_pager - of the restored container; kills it should pager and guard both be
 * killed before all of its memory is in place */
void placeholder_watch_pager(const struct placeholder *p);
