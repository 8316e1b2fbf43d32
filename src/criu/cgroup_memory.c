// SPDX-License-Identifier: Apache-2.0
/*
 * cgroup_memory.c - what the memory limits of a cgroup leave
 *
 * A process is charged to its cgroup and to all above it, and each of them may have a limit: the
 * least that one of them leaves counts. What is used but can be taken back does not: pages of
 * files, and caches of the kernel. (Memory of a tmpfs or memfd cannot be taken back without swap,
 * and is counted among the anonymous pages by the kernel, too.) Version 2 has a second limit, above
 * which nobody is killed, but stopped again and again for what cannot be had: it is as good as the
 * other.
 *
 * Those above a cgroup are seen up to where its hierarchy is mounted: in a container, not beyond.
 */
#include "cgroup_memory.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "cleanup.h"
#include "io.h"

static const struct version {
	const char *limits[2];
	const char *usage;
	const char *reclaimable[3]; /* in memory.stat */
} versions[] = {
	{ { "memory.max", "memory.high" },
	  "memory.current",
	  { "inactive_file", "active_file", "slab_reclaimable" } },
	{ { "memory.limit_in_bytes" },
	  "memory.usage_in_bytes",
	  { "total_inactive_file", "total_active_file" } },
};

/* A knob's number; "max" is UINT64_MAX. Return: false when there is no such knob */
static bool read_number(const char *folder, const char *name, uint64_t *ret)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[PATH_MAX];

	if (rb_path(path, sizeof(path), "%s/%s", folder, name) < 0 ||
	    rb_read_file(path, 0, &text, NULL) < 0 || !text.len)
		return false;
	*ret = strncmp(text.data, "max", 3) == 0 ? UINT64_MAX : strtoull(text.data, NULL, 10);
	return true;
}

uint64_t rb_cgroup_memory_stat(const char *folder, const char *key)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[PATH_MAX];
	size_t len = strlen(key);

	if (rb_path(path, sizeof(path), "%s/memory.stat", folder) < 0 ||
	    rb_read_file(path, 0, &text, NULL) < 0)
		return 0;
	for (const char *line = text.data; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) == 0 && line[len] == ' ')
			return strtoull(line + len, NULL, 10);
	}
	return 0;
}

static uint64_t left_by(const char *folder, const struct version *version)
{
	uint64_t least = UINT64_MAX, used, one;

	for (size_t i = 0; i < ARRAY_SIZE(version->limits); i++)
		if (version->limits[i] && read_number(folder, version->limits[i], &one) &&
		    one < least)
			least = one;
	/* version 1 says "none" by a number that nobody reaches */
	if (least > INT64_MAX / 2 || !read_number(folder, version->usage, &used))
		return UINT64_MAX;
	for (size_t i = 0; i < ARRAY_SIZE(version->reclaimable); i++) {
		one = version->reclaimable[i]
			      ? rb_cgroup_memory_stat(folder, version->reclaimable[i])
			      : 0;
		/* they are not read at one moment */
		used -= one < used ? one : used;
	}
	return used < least ? least - used : 0;
}

static bool is_cgroup(const char *folder)
{
	char path[PATH_MAX];

	return rb_path(path, sizeof(path), "%s/cgroup.procs", folder) == 0 &&
	       access(path, F_OK) == 0;
}

uint64_t rb_cgroup_memory_left_in(const char *folder)
{
	uint64_t least = UINT64_MAX;
	char at[PATH_MAX], *slash;

	if (rb_path(at, sizeof(at), "%s", folder) < 0)
		return least;
	while (is_cgroup(at)) {
		for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
			uint64_t left = left_by(at, &versions[i]);

			least = left < least ? left : least;
		}
		slash = strrchr(at, '/');
		if (!slash)
			break;
		*slash = '\0';
	}
	return least;
}

uint64_t rb_cgroup_memory_left(int pid)
{
	_cleanup_free_ struct rb_cgroup_place *place = calloc(1, sizeof(*place));
	uint64_t least = UINT64_MAX;

	if (!place || rb_cgroup_place(pid ? pid : (int)getpid(), place, NULL) < 0)
		return least;
	/* only that of the controller has limits in it */
	for (int i = 0; i < place->count; i++) {
		uint64_t left = rb_cgroup_memory_left_in(place->dirs[i].path);

		least = left < least ? left : least;
	}
	return least;
}
