/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mounts.h - lines of /proc/PID/mountinfo (inside of fs/ only)
 */
#pragma once

#include <sys/types.h>

/** One mount; the strings point into @text. All but super_options and options are unescaped. */
struct mount_line {
	char *text;	     /* malloc'd */
	char *device;	     /* "major:minor" */
	char *point;	     /* where it is mounted */
	char *options;	     /* of the mount: "rw,relatime" */
	char *type;	     /* "overlay" */
	char *super_options; /* of the file system */
};

void mount_line_release(struct mount_line *line);

/** mounts_unescape - "\040" and the like, in place */
void mounts_unescape(char *text);

/**
 * mounts_find - last line of @mountinfo (the topmost mount) that is mounted at @point
 *
 * Return: 1, 0 when there is none, or negative errno.
 */
int mounts_find(const char *mountinfo, const char *point, struct mount_line *ret);

/**
 * mounts_find_anywhere - is the file system of @line mounted in any mount namespace?
 *
 * Return: 1 with a process that lives there, 0, or negative errno. Needs CAP_SYS_PTRACE or root.
 */
int mounts_find_anywhere(const struct mount_line *line, pid_t *ret_pid);
