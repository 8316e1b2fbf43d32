/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mounts.h - lines of /proc/PID/mountinfo
 */
#pragma once

#include <sys/types.h>

/** One mount; the strings point into @text. What may have been escaped is not any more, but for
 * options and super_options. */
struct mount_line {
	char *text;	     /* malloc'd */
	int id;		     /* as in /proc/PID/fdinfo */
	char *device;	     /* "major:minor" */
	char *root;	     /* what of the file system is */
	char *point;	     /* where it is mounted */
	char *options;	     /* of the mount: "rw,relatime" */
	char *type;	     /* "overlay" */
	char *source;	     /* "tmpfs"; NULL: it has none, and super_options are "" */
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
 * mounts_each - call @fn for each line of @mountinfo, in their order
 * @fn: negative ends it; what it is given is released after it
 *
 * Return: 0, or what @fn returned, or negative errno.
 */
int mounts_each(const char *mountinfo, int (*fn)(const struct mount_line *line, void *arg),
		void *arg);

/**
 * mounts_find_anywhere - is the file system of @line mounted in any mount namespace?
 *
 * Return: 1 with a process that lives there, 0, or negative errno. Needs CAP_SYS_PTRACE or root.
 */
int mounts_find_anywhere(const struct mount_line *line, pid_t *ret_pid);
