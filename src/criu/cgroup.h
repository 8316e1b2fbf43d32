/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - where cgroup hierarchies are mounted, and which folder a process is in
 *
 * Version 1, version 2 and both at once (hybrid). A process is moved between folders by writing
 * to cgroup.procs, so only single-threaded or whole processes move.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <limits.h>

struct rb_err;

enum { RB_CGROUP_MAX = 24 }; /* hierarchies; the kernel has 14 controllers */

/** One mounted hierarchy. */
struct rb_cgroup_mount {
	char controllers[128]; /* "cpu,cpuacct", "name=systemd"; "" for version 2 */
	char root[256];	       /* folder of the hierarchy that is visible at @point */
	char point[256];       /* where it is mounted */
};

/** Folder of a process in each hierarchy. */
struct rb_cgroup_place {
	int count;
	struct {
		bool freezer; /* hierarchy of the v1 freezer */
		char path[PATH_MAX];
	} dirs[RB_CGROUP_MAX];
};

/** rb_cgroup_mounts - all hierarchies that are mounted here. Return: count or negative errno. */
int rb_cgroup_mounts(struct rb_cgroup_mount ret[RB_CGROUP_MAX], struct rb_err *err);

/** rb_cgroup_place - the folders that @pid is in now */
int rb_cgroup_place(int pid, struct rb_cgroup_place *ret, struct rb_err *err);

/** rb_cgroup_return - put @pid back into the folders that rb_cgroup_place() noted */
int rb_cgroup_return(int pid, const struct rb_cgroup_place *place, struct rb_err *err);

/** rb_cgroup_has_v1_freezer - else containers are frozen in the one hierarchy of version 2 */
bool rb_cgroup_has_v1_freezer(void);

/** rb_cgroup_remove - remove the (empty) folders at @cgroup in every hierarchy */
void rb_cgroup_remove(const char *cgroup);

/** rb_cgroup_of - path of @pid's cgroup as in /proc/PID/cgroup: of the v1 memory or systemd
 * hierarchy, or of version 2 */
int rb_cgroup_of(int pid, char *ret, size_t size, struct rb_err *err);
