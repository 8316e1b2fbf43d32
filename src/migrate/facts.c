// SPDX-License-Identifier: Apache-2.0
/*
 * facts.c - what hosts tell each other of themselves, and how big a container is
 */
#include "facts.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cgroup.h"
#include "cgroup_memory.h"
#include "cleanup.h"
#include "dump.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "json.h"
#include "shared.h"

#define MAX_TASKS    4096
#define GROWTH_BYTES ((uint64_t)256 << 20) /* that nobody minds */

/* value of the first line "key<blanks>: value" of /proc/cpuinfo */
static char *cpuinfo_value(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		const char *colon, *end;

		line += *line == '\n';
		if (strncmp(line, key, len) != 0 || (line[len] != '\t' && line[len] != ' '))
			continue;
		colon = strchr(line, ':');
		end = strchrnul(line, '\n');
		if (colon && colon + 2 < end)
			return strndup(colon + 2, (size_t)(end - colon - 2));
	}
	return strdup("");
}

static char *os_name(void)
{
	_cleanup_buf_ struct rb_buf text = {};
	char *at, *end;

	if (rb_read_file("/etc/os-release", 0, &text, NULL) < 0)
		return strdup("Linux");
	at = strstr(text.data, "PRETTY_NAME=\"");
	if (!at)
		return strdup("Linux");
	at += strlen("PRETTY_NAME=\"");
	end = strchr(at, '"');
	return strndup(at, end ? (size_t)(end - at) : strlen(at));
}

int rb_host_facts(json_t **ret, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_free_ char *model = NULL, *flags = NULL, *os = os_name();
	_cleanup_buf_ struct rb_buf cpuinfo = {};
	char criu[64] = "";
	struct utsname host;
	struct sysinfo memory;
	int r;

	r = rb_criu_check(criu, sizeof(criu), wait, err);
	if (r >= 0)
		r = rb_read_file("/proc/cpuinfo", 0, &cpuinfo, err);
	if (r < 0)
		return r;
	model = cpuinfo_value(cpuinfo.data, "model name");
	flags = cpuinfo_value(cpuinfo.data, "flags");
	uname(&host);
	sysinfo(&memory);
	*ret = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "os", os, "kernel", host.release,
			 "architecture", host.machine, "criu", criu, "cpu_model", model,
			 "cpu_flags", flags, "memory_bytes",
			 (json_int_t)memory.totalram * memory.mem_unit);
	return *ret ? 0 : rb_err_set(err, -ENOMEM, "describe this host");
}

/* Bytes of the line "<key>: <number> kB" of a text of /proc. */
static uint64_t kib_of(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) << 10 : 0;
}

/* What the kernel has charged for anonymous memory. Return: 0 when unknown */
static uint64_t charged(pid_t pid)
{
	_cleanup_free_ struct rb_cgroup_place *place = calloc(1, sizeof(*place));
	uint64_t bytes = 0;

	if (!place || rb_cgroup_place(pid, place, NULL) < 0)
		return 0;
	for (int i = 0; i < place->count && !bytes; i++) {
		const char *folder = place->dirs[i].path;

		bytes = rb_cgroup_memory_stat(folder, "anon"); /* version 2 */
		if (!bytes)
			bytes = rb_cgroup_memory_stat(folder, "total_rss");
	}
	return bytes;
}

/* Each process's part of the pages that it has. Walks all of them. */
static uint64_t parts(const pid_t *pids, int n)
{
	uint64_t bytes = 0;

	for (int i = 0; i < n; i++) {
		_cleanup_buf_ struct rb_buf text = {};
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pids[i]);
		if (rb_read_file(path, 0, &text, NULL) >= 0)
			bytes += kib_of(text.data, "\nPss_Anon:") + kib_of(text.data, "\nSwapPss:");
	}
	return bytes;
}

bool rb_memory_would_grow(const struct rb_memory_size *size)
{
	return size->once && size->private > size->once &&
	       size->private - size->once > GROWTH_BYTES && size->private / 3 > size->once / 2;
}

/* What is charged tells at once whether there is anything to look at; but some of it may be charged
 * elsewhere. Only where much seems to be shared it is counted, 25 ms per GiB. */
static uint64_t count_once(const pid_t *pids, int n, uint64_t private, uint64_t swapped)
{
	struct rb_memory_size size = { .private = private };

	if (n < 2 || private <= GROWTH_BYTES)
		return private;
	size.once = charged(pids[0]) + swapped;
	if (size.once > swapped && !rb_memory_would_grow(&size))
		return private;
	size.once = parts(pids, n);
	return size.once ? size.once : private;
}

/* No process may have touched all of it. */
static uint64_t objects(const pid_t *pids, int n)
{
	struct rb_shared *shared;
	uint64_t bytes;

	if (rb_shared_new(&shared, NULL) < 0)
		return 0;
	for (int i = 0; i < n; i++)
		rb_shared_add(shared, pids[i], NULL);
	bytes = rb_shared_bytes(shared);
	rb_shared_free(shared);
	return bytes;
}

void rb_memory_measure(const char *freezer_path, struct rb_memory_size *size)
{
	_cleanup_free_ pid_t *pids = calloc(MAX_TASKS, sizeof(*pids));
	int n = pids ? rb_freezer_pids(freezer_path, pids, MAX_TASKS, NULL) : 0;
	uint64_t anonymous = 0, swapped = 0, shared = 0, as_objects;

	if (n > MAX_TASKS)
		n = MAX_TASKS;
	for (int i = 0; i < n; i++) {
		_cleanup_buf_ struct rb_buf text = {};
		uint64_t shmem;
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/status", (int)pids[i]);
		if (rb_read_file(path, 0, &text, NULL) < 0)
			continue;
		shmem = kib_of(text.data, "\nRssShmem:");
		size->resident += kib_of(text.data, "\nVmRSS:");
		size->locked += kib_of(text.data, "\nVmLck:");
		anonymous += kib_of(text.data, "\nRssAnon:");
		swapped += kib_of(text.data, "\nVmSwap:");
		/* most likely it is the same that they have */
		if (shmem > shared)
			shared = shmem;
	}
	size->private += anonymous + swapped;
	as_objects = objects(pids, n);
	size->shared += as_objects > shared ? as_objects : shared;
	size->once += count_once(pids, n, anonymous + swapped, swapped);
}

uint64_t rb_memory_available(void)
{
	_cleanup_buf_ struct rb_buf text = {};

	return rb_read_file("/proc/meminfo", 0, &text, NULL) < 0
		       ? 0
		       : kib_of(text.data, "\nMemAvailable:");
}

uint64_t rb_memory_allowed(void)
{
	return rb_cgroup_memory_left(0);
}

uint64_t rb_disk_free(const char *path)
{
	struct statvfs fs;
	char at[4096];
	char *slash;

	snprintf(at, sizeof(at), "%s", path);
	while (statvfs(at, &fs) < 0) {
		slash = strrchr(at, '/');
		if (!slash || slash == at)
			return statvfs("/", &fs) < 0 ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize;
		*slash = '\0';
	}
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static bool has_word(const char *words, const char *word, size_t len)
{
	for (const char *at = words; (at = strstr(at, word)) != NULL; at++) {
		bool starts = at == words || at[-1] == ' ';

		if (starts && (at[len] == ' ' || at[len] == '\0'))
			return true;
	}
	return false;
}

void rb_missing_words(const char *have, const char *other, char *ret, size_t size)
{
	_cleanup_free_ char *copy = strdup(have);
	char *save = NULL;
	size_t used = 0;

	ret[0] = '\0';
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		size_t len = strlen(word);

		if (has_word(other, word, len) || used + len + 2 > size)
			continue;
		used += (size_t)snprintf(ret + used, size - used, "%s%s", used ? " " : "", word);
	}
}
