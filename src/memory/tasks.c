// SPDX-License-Identifier: Apache-2.0
/* tasks.c - what /proc tells of the processes of a container */
#include "tasks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "proc.h"
#include "record.h"

/* "NSpid:\t4711\t1" */
static int nspid(pid_t pid, int level, int *ret_number)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[64], *at, *end, *save = NULL;
	int levels = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (rb_read_file(path, 0, &text, NULL) < 0)
		return 0;
	at = strstr(text.data, "\nNSpid:");
	if (!at)
		return 0;
	at += strlen("\nNSpid:");
	end = strchrnul(at, '\n');
	*end = '\0';
	for (char *word = strtok_r(at, "\t ", &save); word; word = strtok_r(NULL, "\t ", &save))
		if (++levels == level)
			*ret_number = atoi(word);
	return levels;
}

int rb_task_levels(pid_t pid)
{
	int number;

	return nspid(pid, 0, &number);
}

int rb_task_number(pid_t pid, int level)
{
	int number = 0;

	return nspid(pid, level, &number) < level ? 0 : number;
}

/* "flags:\t0140002", octal, of a descriptor of a file */
static bool is_direct(pid_t pid, const char *fd)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[64], target[8];
	ssize_t len;
	char *at;

	snprintf(path, sizeof(path), "/proc/%d/fd/%.20s", (int)pid, fd);
	len = readlink(path, target, sizeof(target));
	if (len <= 0 || target[0] != '/')
		return false;
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.20s", (int)pid, fd);
	if (rb_read_file(path, 0, &text, NULL) < 0)
		return false;
	at = strstr(text.data, "flags:");
	return at && (strtoul(at + strlen("flags:"), NULL, 8) & O_DIRECT);
}

bool rb_task_shares_memory(pid_t pid)
{
	pid_t parent = rb_pid_parent(pid);

	return parent > 1 && syscall(SYS_kcmp, pid, parent, KCMP_VM, 0, 0) == 0;
}

bool rb_task_reads_directly(pid_t pid)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && is_direct(pid, entry->d_name))
			return true;
	return false;
}

/* The features of each thread are its main thread's, where the C library switches them on. */
bool rb_task_is_special(pid_t pid, bool *ret_shadow)
{
	static const char feature[] = "x86_Thread_features:";
	_cleanup_fclose_ FILE *file = NULL;
	unsigned long locked_kib = 0;
	bool shadow = false;
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "VmLck: %lu", &locked_kib);
		if (strncmp(line, feature, strlen(feature)) == 0)
			shadow = strstr(line, "shstk");
	}
	if (ret_shadow)
		*ret_shadow = shadow;
	return shadow || locked_kib > 0;
}

/* "running", or "<call> <arguments> <sp> <pc>", or "-1 <sp> <pc>" */
static uint64_t stack_pointer(pid_t pid, const char *tid)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[64], *words[16], *save = NULL;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%.20s/syscall", (int)pid, tid);
	if (rb_read_file(path, 0, &text, NULL) < 0)
		return 0;
	for (char *word = strtok_r(text.data, " \n", &save); word && n < 16;
	     word = strtok_r(NULL, " \n", &save))
		words[n++] = word;
	return n < 3 ? 0 : strtoull(words[n - 2], NULL, 16);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int rb_task_stacks(pid_t pid, uint64_t **ret, struct rb_err *err)
{
	_cleanup_closedir_ DIR *dir = NULL;
	_cleanup_free_ uint64_t *list = NULL;
	struct dirent *entry;
	char path[64];
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return rb_err_set(err, -errno, "look at the threads of process %d", (int)pid);
	while ((entry = readdir(dir))) {
		uint64_t sp = entry->d_name[0] == '.' ? 0 : stack_pointer(pid, entry->d_name);
		uint64_t *more = sp ? realloc(list, ((size_t)n + 1) * sizeof(*list)) : NULL;

		if (!sp)
			continue;
		if (!more)
			return rb_err_set(err, -ENOMEM, "look at threads");
		list = more;
		list[n++] = sp & ~(uint64_t)(RB_PAGE_SIZE - 1);
	}
	if (n)
		qsort(list, (size_t)n, sizeof(*list), compare);
	*ret = TAKE_PTR(list);
	return n;
}
