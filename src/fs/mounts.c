// SPDX-License-Identifier: Apache-2.0
/*
 * mounts.c - lines of /proc/PID/mountinfo
 *
 *   36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
 *   (1)(2)(3)   (4)   (5)      (6)      (7)   (8) (9)   (10)         (11)
 *
 * proc_pid_mountinfo(5). (7) is any number of words; the kernel writes blanks, newlines and
 * backslashes in (4), (5), (10) and (11) as octal.
 */
#include "mounts.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"

#define MAX_NAMESPACES 4096

void mount_line_release(struct mount_line *line)
{
	free(line->text);
	*line = (struct mount_line){};
}

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

void mounts_unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from;) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && is_octal(from[2]) &&
		    is_octal(from[3])) {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 |
				       (from[3] - '0'));
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

/* Cut @text into words. Return: 0, or -EINVAL when it is no line of mountinfo. */
static int parse_line(char *text, struct mount_line *ret)
{
	char *next = NULL, *word = strtok_r(text, " \n", &next);
	int n = 0;

	for (; word && strcmp(word, "-") != 0; word = strtok_r(NULL, " \n", &next)) {
		n++;
		if (n == 1)
			ret->id = atoi(word);
		else if (n == 3)
			ret->device = word;
		else if (n == 4)
			ret->root = word;
		else if (n == 5)
			ret->point = word;
		else if (n == 6)
			ret->options = word;
	}
	ret->type = strtok_r(NULL, " \n", &next);
	ret->source = strtok_r(NULL, " \n", &next);
	ret->super_options = strtok_r(NULL, " \n", &next);
	if (n < 6 || !ret->type)
		return -EINVAL;
	if (!ret->super_options) { /* an empty source makes a word vanish */
		ret->super_options = text + strlen(text);
		ret->source = NULL;
	}
	if (ret->source)
		mounts_unescape(ret->source);
	mounts_unescape(ret->root);
	mounts_unescape(ret->point);
	return 0;
}

static int find_last(const char *mountinfo,
		     bool (*match)(const struct mount_line *line, const void *arg), const void *arg,
		     struct mount_line *ret)
{
	_cleanup_(mount_line_release) struct mount_line found = {};
	_cleanup_fclose_ FILE *file = fopen(mountinfo, "re");
	_cleanup_free_ char *text = NULL;
	size_t size = 0;

	if (!file)
		return -errno;
	while (getline(&text, &size, file) > 0) {
		struct mount_line line = {};

		if (parse_line(text, &line) < 0 || !match(&line, arg))
			continue;
		mount_line_release(&found);
		found = line;
		found.text = TAKE_PTR(text);
		size = 0;
	}
	if (ferror(file))
		return -errno;
	if (!found.text)
		return 0;
	*ret = found;
	found = (struct mount_line){};
	return 1;
}

int mounts_each(const char *mountinfo, int (*fn)(const struct mount_line *line, void *arg),
		void *arg)
{
	_cleanup_fclose_ FILE *file = fopen(mountinfo, "re");
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r = 0;

	if (!file)
		return -errno;
	while (r >= 0 && getline(&text, &size, file) > 0) {
		struct mount_line line = {};

		if (parse_line(text, &line) >= 0)
			r = fn(&line, arg);
	}
	return r < 0 ? r : ferror(file) ? -errno : 0;
}

static bool is_mounted_at(const struct mount_line *line, const void *point)
{
	return strcmp(line->point, point) == 0;
}

int mounts_find(const char *mountinfo, const char *point, struct mount_line *ret)
{
	return find_last(mountinfo, is_mounted_at, point, ret);
}

/* The device alone would not do: its number is free for others as soon as the last mount is gone.
 */
static bool is_same_file_system(const struct mount_line *line, const void *arg)
{
	const struct mount_line *wanted = arg;

	return strcmp(line->device, wanted->device) == 0 && strcmp(line->type, wanted->type) == 0 &&
	       strcmp(line->super_options, wanted->super_options) == 0;
}

struct seen {
	ino_t namespaces[MAX_NAMESPACES];
	size_t n;
};

/* Has this process a mount namespace that was not looked at yet? */
static bool is_new_namespace(struct seen *seen, const char *pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%.20s/ns/mnt", pid);
	if (stat(path, &st) < 0)
		return false; /* gone, or a kernel thread */
	for (size_t i = 0; i < seen->n; i++)
		if (seen->namespaces[i] == st.st_ino)
			return false;
	if (seen->n < MAX_NAMESPACES)
		seen->namespaces[seen->n++] = st.st_ino;
	return true;
}

int mounts_find_anywhere(const struct mount_line *line, pid_t *ret_pid)
{
	_cleanup_free_ struct seen *seen = calloc(1, sizeof(*seen));
	_cleanup_closedir_ DIR *proc = opendir("/proc");
	struct dirent *d;

	if (!seen || !proc)
		return seen ? -errno : -ENOMEM;
	while ((d = readdir(proc))) {
		_cleanup_(mount_line_release) struct mount_line found = {};
		char path[64];
		int r;

		if (!isdigit((unsigned char)d->d_name[0]) || !is_new_namespace(seen, d->d_name))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/mountinfo", d->d_name);
		r = find_last(path, is_same_file_system, line, &found);
		if (r < 0 && r != -ENOENT && r != -ESRCH && r != -EINVAL)
			return r;
		if (r > 0) {
			*ret_pid = (pid_t)atoi(d->d_name);
			return 1;
		}
	}
	return 0;
}
