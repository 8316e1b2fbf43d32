// SPDX-License-Identifier: Apache-2.0
/*
 * vmas.c - the mappings of a process
 *
 * The mappings may change while the file is read. The kernel goes on at the address where the last
 * piece that it handed out ended, so a mapping that grew meanwhile can come twice; addresses are
 * made to ascend here. What is missed was not there when it began.
 */
#include "vmas.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "ranges.h"
#include "tasks.h"

enum { FIRST_SIZE = 128 };

struct list {
	struct rb_vma *vmas;
	size_t n, size;
	struct rb_ranges *wiped; /* rb_vmas_wiped(), or NULL */
};

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Special mappings ([vdso], [vvar], [vsyscall], ...) look like anonymous memory but for the name.
 */
static bool is_plain_name(const char *name)
{
	return !*name || strcmp(name, "[heap]") == 0 || starts_with(name, "[stack") ||
	       starts_with(name, "[anon:");
}

/* "7f0000000000-7f0000001000 rw-p 00000000 00:00 0    [anon:name]" */
static bool parse_header(const char *line, struct rb_vma *ret)
{
	unsigned int major, minor;
	unsigned long start, end, inode;
	char perms[8];
	int name = 0;

	if (sscanf(line, "%lx-%lx %7s %*x %x:%x %lu %n", &start, &end, perms, &major, &minor,
		   &inode, &name) < 6 ||
	    strlen(perms) < 4 || !name)
		return false;
	*ret = (struct rb_vma){ .start = start, .end = end, .shared = perms[3] != 'p' };
	ret->ours = !ret->shared && !major && !minor && !inode && is_plain_name(line + name);
	return true;
}

static int add(struct list *list, struct rb_vma vma)
{
	if (list->n && vma.start < list->vmas[list->n - 1].end)
		vma.start = list->vmas[list->n - 1].end;
	if (vma.start >= vma.end)
		return 0;
	if (list->n == list->size) {
		size_t size = list->size ? list->size * 2 : FIRST_SIZE;
		struct rb_vma *vmas = reallocarray(list->vmas, size, sizeof(*vmas));

		if (!vmas)
			return -ENOMEM;
		list->vmas = vmas;
		list->size = size;
	}
	list->vmas[list->n++] = vma;
	return 0;
}

static int apply_flags(struct list *list, const char *flags)
{
	struct rb_vma *last = &list->vmas[list->n - 1];

	/* two letters each, and a blank after each */
	last->locked = last->ours && strstr(flags, " lo ");
	/* CRIU copies a shadow stack to where it shall be before there is a pager */
	last->ours = last->ours && !last->locked && !strstr(flags, " ss ");
	return list->wiped && strstr(flags, " wf ") && strstr(flags, " um ")
		       ? rb_ranges_add(list->wiped, last->start, last->end)
		       : 0;
}

static int read_file(FILE *file, struct list *list)
{
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int r = 0;

	while (r == 0 && getline(&line, &size, file) > 0) {
		struct rb_vma vma;

		line[strcspn(line, "\n")] = '\0';
		if (starts_with(line, "VmFlags:")) {
			if (list->n)
				r = apply_flags(list, line);
		} else if (parse_header(line, &vma)) {
			r = add(list, vma);
		}
	}
	return r < 0 ? r : ferror(file) ? -errno : 0;
}

/* Return: 0; with a negative errno nothing is to be freed. */
static int read_all(pid_t pid, const char *name, struct list *list, struct rb_err *err)
{
	_cleanup_fclose_ FILE *file = NULL;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	file = fopen(path, "re");
	if (!file)
		return errno == ENOENT || errno == ESRCH
			       ? -ESRCH
			       : rb_err_set(err, -errno, "open '%s'", path);
	r = read_file(file, list);
	/* a zombie's file is empty */
	if (r == 0 && list->n == 0)
		r = -ESRCH;
	if (r < 0)
		free(list->vmas);
	return r < 0 && r != -ESRCH ? rb_err_set(err, r, "read '%s'", path) : r;
}

static int read_list(pid_t pid, const char *name, struct rb_vma **ret, struct rb_err *err)
{
	struct list list = {};
	int r = read_all(pid, name, &list, err);

	if (r < 0)
		return r;
	*ret = list.vmas;
	return (int)list.n;
}

int rb_vmas_read(pid_t pid, struct rb_vma **ret, struct rb_err *err)
{
	return read_list(pid, rb_task_is_special(pid, NULL) ? "smaps" : "maps", ret, err);
}

int rb_vmas_outline(pid_t pid, struct rb_vma **ret, struct rb_err *err)
{
	return read_list(pid, "maps", ret, err);
}

int rb_vmas_wiped(pid_t pid, struct rb_ranges *ret, struct rb_err *err)
{
	struct list list = { .wiped = ret };
	int r = read_all(pid, "smaps", &list, err);

	if (r == 0)
		free(list.vmas);
	return r;
}
