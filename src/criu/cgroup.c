// SPDX-License-Identifier: Apache-2.0
/*
 * cgroup.c - move processes between cgroups of version 1, 2 or both
 *
 * /proc/PID/cgroup names a folder per hierarchy; /proc/self/mountinfo says where each hierarchy is
 * mounted and which of its folders is visible there. Both together give a path.
 */
#include "cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "io.h"

/* Does the comma-separated @list name @word? */
static bool list_has(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
		if (strcspn(at, ",") == len && strncmp(at, word, len) == 0)
			return true;
	return false;
}

/* "28 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu" */
static bool parse_mount(char *line, struct rb_cgroup_mount *ret)
{
	char type[32], options[512];
	char *tail = strstr(line, " - ");

	if (!tail || sscanf(tail, " - %31s %*s %511s", type, options) != 2 ||
	    sscanf(line, "%*s %*s %*s %255s %255s", ret->root, ret->point) != 2)
		return false;
	if (strcmp(type, "cgroup2") == 0) {
		ret->controllers[0] = '\0';
		return true;
	}
	if (strcmp(type, "cgroup") != 0)
		return false;
	/* "rw,cpu,cpuacct": everything is kept, nobody asks for a controller called "rw" */
	return snprintf(ret->controllers, sizeof(ret->controllers), "%s", options) <
	       (int)sizeof(ret->controllers);
}

int rb_cgroup_mounts(struct rb_cgroup_mount ret[RB_CGROUP_MAX], struct rb_err *err)
{
	_cleanup_fclose_ FILE *file = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int count = 0;

	if (!file)
		return rb_err_set(err, -errno, "open /proc/self/mountinfo");
	while (count < RB_CGROUP_MAX && getline(&line, &size, file) > 0) {
		bool known = false;

		if (!parse_mount(line, &ret[count]))
			continue;
		for (int i = 0; i < count; i++)
			known |= strcmp(ret[i].controllers, ret[count].controllers) == 0;
		count += !known;
	}
	return count;
}

/* The mount of the hierarchy that a line "N:<controllers>:<path>" of /proc/PID/cgroup is about. */
static const struct rb_cgroup_mount *mount_of(const struct rb_cgroup_mount *mounts, int count,
					      const char *controllers)
{
	char first[128];

	snprintf(first, sizeof(first), "%.*s", (int)strcspn(controllers, ","), controllers);
	for (int i = 0; i < count; i++)
		if (*first ? list_has(mounts[i].controllers, first) : !mounts[i].controllers[0])
			return &mounts[i];
	return NULL;
}

/* Path of folder @cgroup below a mount; false when it lies outside of what is mounted. */
static bool folder_at(const struct rb_cgroup_mount *mount, const char *cgroup, char *ret,
		      size_t size)
{
	size_t len = strcmp(mount->root, "/") == 0 ? 0 : strlen(mount->root);

	if (strncmp(cgroup, mount->root, len) != 0 || (cgroup[len] && cgroup[len] != '/'))
		return false;
	cgroup += len;
	if (strcmp(cgroup, "/") == 0)
		cgroup = "";
	return rb_path(ret, size, "%s%s", mount->point, cgroup) == 0;
}

/* Calls @fn for each line of /proc/PID/cgroup until it returns other than 0. */
static int each_line(int pid, int (*fn)(const char *controllers, const char *path, void *arg),
		     void *arg, struct rb_err *err)
{
	char file_path[64];
	_cleanup_fclose_ FILE *file = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	snprintf(file_path, sizeof(file_path), "/proc/%d/cgroup", pid);
	file = fopen(file_path, "re");
	if (!file)
		return rb_err_set(err, -errno, "open '%s'", file_path);
	while (getline(&line, &size, file) > 0) {
		char *controllers = strchr(line, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;
		int r;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		r = fn(controllers + 1, path, arg);
		if (r != 0)
			return r;
	}
	return 0;
}

struct place_walk {
	struct rb_cgroup_mount mounts[RB_CGROUP_MAX];
	int mount_count;
	struct rb_cgroup_place *place;
};

static int note_place(const char *controllers, const char *path, void *arg)
{
	struct place_walk *walk = arg;
	struct rb_cgroup_place *place = walk->place;
	const struct rb_cgroup_mount *mount =
		mount_of(walk->mounts, walk->mount_count, controllers);

	if (!mount || place->count == RB_CGROUP_MAX ||
	    !folder_at(mount, path, place->dirs[place->count].path,
		       sizeof(place->dirs[place->count].path)))
		return 0;
	place->dirs[place->count++].freezer = list_has(controllers, "freezer");
	return 0;
}

int rb_cgroup_place(int pid, struct rb_cgroup_place *ret, struct rb_err *err)
{
	struct place_walk walk = { .place = ret };

	ret->count = 0;
	walk.mount_count = rb_cgroup_mounts(walk.mounts, err);
	if (walk.mount_count < 0)
		return walk.mount_count;
	return each_line(pid, note_place, &walk, err);
}

static int enter_folder(int pid, const char *folder, struct rb_err *err)
{
	char path[PATH_MAX], text[16];
	int r = rb_path(path, sizeof(path), "%s/cgroup.procs", folder);

	if (r < 0)
		return rb_err_set(err, r, "enter cgroup '%s'", folder);
	snprintf(text, sizeof(text), "%d", pid);
	return rb_write_knob(path, text, err);
}

int rb_cgroup_return(int pid, const struct rb_cgroup_place *place, struct rb_err *err)
{
	int first = 0;

	for (int i = 0; i < place->count; i++) {
		int r = enter_folder(pid, place->dirs[i].path, first == 0 ? err : NULL);

		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

/* A new cpuset folder of version 1 takes nobody in before it has processors and memory nodes. */
static void fill_cpuset(const char *parent, const char *folder)
{
	static const char *const knobs[] = { "cpuset.cpus", "cpuset.mems" };

	for (size_t i = 0; i < ARRAY_SIZE(knobs); i++) {
		_cleanup_buf_ struct rb_buf mine = {}, theirs = {};
		char path[PATH_MAX];

		if (rb_path(path, sizeof(path), "%s/%s", folder, knobs[i]) < 0 ||
		    rb_read_file(path, 0, &mine, NULL) < 0 || mine.len > 1)
			continue;
		if (rb_path(path, sizeof(path), "%s/%s", parent, knobs[i]) < 0 ||
		    rb_read_file(path, 0, &theirs, NULL) < 0)
			continue;
		if (rb_path(path, sizeof(path), "%s/%s", folder, knobs[i]) == 0)
			rb_write_knob(path, theirs.data, NULL);
	}
}

/* Make folder @path of a hierarchy mounted at @point, with all parents. */
static int make_folder(const struct rb_cgroup_mount *mount, const char *path, struct rb_err *err)
{
	char at[PATH_MAX], parent[PATH_MAX];
	bool cpuset = list_has(mount->controllers, "cpuset");
	size_t len = strlen(mount->point);

	while (path[len] == '/') {
		snprintf(parent, sizeof(parent), "%.*s", (int)len, path);
		len += 1 + strcspn(path + len + 1, "/");
		snprintf(at, sizeof(at), "%.*s", (int)len, path);
		if (mkdir(at, 0755) < 0 && errno != EEXIST)
			return rb_err_set(err, -errno, "make cgroup '%s'", at);
		if (cpuset)
			fill_cpuset(parent, at);
	}
	return 0;
}

int rb_cgroup_move(int pid, const char *cgroup, bool make, bool skip_freezer, struct rb_err *err)
{
	struct rb_cgroup_mount mounts[RB_CGROUP_MAX];
	int count = rb_cgroup_mounts(mounts, err);

	for (int i = 0; i < count; i++) {
		char folder[PATH_MAX];
		int r = 0;

		if (skip_freezer && (list_has(mounts[i].controllers, "freezer") ||
				     list_has(mounts[i].controllers, "devices")))
			continue;
		if (!folder_at(&mounts[i], cgroup, folder, sizeof(folder)))
			continue;
		/* also when it is there: who made it may not have filled it yet */
		if (make)
			r = make_folder(&mounts[i], folder, err);
		else if (access(folder, F_OK) < 0)
			continue;
		if (r == 0)
			r = enter_folder(pid, folder, err);
		if (r < 0)
			return r;
	}
	return count < 0 ? count : 0;
}

bool rb_cgroup_has_v1_freezer(void)
{
	struct rb_cgroup_mount mounts[RB_CGROUP_MAX];
	int count = rb_cgroup_mounts(mounts, NULL);

	for (int i = 0; i < count; i++)
		if (list_has(mounts[i].controllers, "freezer"))
			return true;
	return false;
}

void rb_cgroup_remove(const char *cgroup)
{
	struct rb_cgroup_mount mounts[RB_CGROUP_MAX];
	int count = rb_cgroup_mounts(mounts, NULL);

	for (int i = 0; i < count; i++) {
		char folder[PATH_MAX];

		if (strcmp(cgroup, "/") != 0 &&
		    folder_at(&mounts[i], cgroup, folder, sizeof(folder)))
			rmdir(folder);
	}
}

struct of_walk {
	char *ret;
	size_t size;
	int best; /* rank of what was found: memory, then systemd, then version 2 */
};

static int note_of(const char *controllers, const char *path, void *arg)
{
	struct of_walk *walk = arg;
	int rank = list_has(controllers, "memory")	   ? 3
		   : list_has(controllers, "name=systemd") ? 2
		   : !*controllers			   ? 1
							   : 0;

	if (rank <= walk->best)
		return 0;
	walk->best = rank;
	return rb_path(walk->ret, walk->size, "%s", path);
}

int rb_cgroup_of(int pid, char *ret, size_t size, struct rb_err *err)
{
	struct of_walk walk = { .ret = ret, .size = size };
	int r = each_line(pid, note_of, &walk, err);

	if (r < 0)
		return r;
	return walk.best ? 0 : rb_err_set(err, -ENOENT, "find the cgroup of process %d", pid);
}

int rb_freezer_path(const char *cgroup, char *ret_path, size_t size, struct rb_err *err)
{
	struct rb_cgroup_mount mounts[RB_CGROUP_MAX];
	int count = rb_cgroup_mounts(mounts, err), found = -1;

	if (count < 0)
		return count;
	for (int i = 0; i < count; i++)
		if (list_has(mounts[i].controllers, "freezer"))
			found = i;
	for (int i = 0; i < count && found < 0; i++)
		if (!mounts[i].controllers[0])
			found = i;
	if (found < 0 || strcmp(cgroup, "/") == 0 ||
	    !folder_at(&mounts[found], cgroup, ret_path, size))
		return rb_err_code(err, RB_E_REFUSED, -ENOENT, "no freezer for cgroup '%s'",
				   cgroup);
	return 0;
}
