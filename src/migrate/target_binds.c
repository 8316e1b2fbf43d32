// SPDX-License-Identifier: Apache-2.0
/*
 * target_binds.c - bind mounts on the target: files and folders of the host that are made for a
 * container
 *
 * The source names the path. It could have a container mount any path of this host, and write
 * there: who may start containers is root. So this is no wall against a peer, but it keeps an
 * honest one from harm: nothing is written but where there was nothing, or what the same container
 * had left (storage_left.c); never in folders of the kernel, of Docker, and of ours; and only where
 * the configuration lets it ("allow_bind").
 *
 * Others who can write above the path must not be able to lead us elsewhere. So links are resolved
 * once, before the path is looked at; from then on the path without links is opened such that none
 * is followed, and what is opened must be the inode that was made.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "err.h"
#include "facts.h"
#include "json.h"
#include "obstacles.h"
#include "place.h"
#include "storage.h"
#include "target_binds.h"

/* --- may it be there? --- */

/* absolute, and without anything that Docker would have cleaned away */
static bool is_clean(const char *path)
{
	if (path[0] != '/' || strlen(path) >= PATH_MAX - 64)
		return false;
	for (const char *at = path; *at;) {
		size_t len = strcspn(++at, "/");

		if (len == 0 || (len == 1 && at[0] == '.') ||
		    (len == 2 && at[0] == '.' && at[1] == '.'))
			return false;
		at += len;
	}
	return true;
}

/* Without links, as far as it exists. */
static int resolve(const char *path, char ret[PATH_MAX])
{
	char head[PATH_MAX];
	size_t len = strlen(path);

	snprintf(head, sizeof(head), "%s", path);
	while (len > 1 && !realpath(head, ret)) {
		if (errno != ENOENT)
			return -errno;
		while (head[--len] != '/')
			;
		head[len] = '\0';
	}
	if (len <= 1) {
		len = 0;
		ret[0] = '\0';
	}
	if (strlen(ret) + strlen(path + len) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcat(ret, path + len);
	return 0;
}

/* What the configuration names may have links in it, too, and a slash at its end. */
static bool allows(const char *entry, const char *path)
{
	char plain[PATH_MAX], folder[PATH_MAX];
	int len = snprintf(plain, sizeof(plain), "%s", entry);

	if (entry[0] != '/' || len >= PATH_MAX)
		return false;
	while (len > 1 && plain[len - 1] == '/')
		plain[--len] = '\0';
	return resolve(plain, folder) >= 0 && rb_path_within(path, folder);
}

static bool is_allowed(const struct rb_node *node, const char *path)
{
	const json_t *entry;
	size_t i;

	if (!node->allow_bind)
		return true;
	json_array_foreach (node->allow_bind, i, entry)
		if (allows(json_string_value(entry) ?: "", path))
			return true;
	return false;
}

/* It does not outlive a restart of the host. */
static bool is_in_memory(const char *path)
{
	struct rb_place place;

	return rb_place_find("/proc/self/mountinfo", path, &place, NULL) >= 0 &&
	       (strcmp(place.type, "tmpfs") == 0 || strcmp(place.type, "ramfs") == 0);
}

static bool is_empty(const char *path, const struct stat *st)
{
	_cleanup_closedir_ DIR *dir = NULL;
	int n = 0;

	if (!S_ISDIR(st->st_mode))
		return st->st_size == 0;
	dir = opendir(path);
	while (dir && n <= 2 && readdir(dir))
		n++;
	return dir && n <= 2;
}

static bool is_mount_point(const char *path)
{
	struct statx stx;

	return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &stx) == 0 &&
	       (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static enum bind_fate refuse(struct bind_judged *j, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static enum bind_fate refuse(struct bind_judged *j, const char *remedy, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(j->what, sizeof(j->what), fmt, ap);
	va_end(ap);
	j->remedy = remedy;
	return BIND_REFUSED;
}

static enum bind_fate judge_path(const struct rb_node *node, const char *source,
				 const char *docker_root, struct bind_judged *j)
{
	const char *why;
	int r;

	if (!is_clean(source))
		return refuse(j, NULL, "'%.200s' is no path that can be mounted", source);
	r = resolve(source, j->path);
	if (r < 0)
		return refuse(j, NULL, "node '%s' cannot have '%s': %s", node->name, source,
			      strerror(-r));
	why = rb_path_forbidden(node, source, docker_root);
	if (!why)
		why = rb_path_forbidden(node, j->path, docker_root);
	if (why)
		return refuse(j, NULL, "nothing is brought to '%s' of node '%s': %s", source,
			      node->name, why);
	if (!is_allowed(node, j->path))
		return refuse(j, "add it to \"allow_bind\" in its configuration",
			      "node '%s' does not let anybody bring something to '%s'", node->name,
			      source);
	return BIND_ABSENT;
}

enum bind_fate bind_judge(const struct rb_node *node, const json_t *moves, const json_t *bind,
			  const char *docker_root, const struct rb_wait *wait,
			  struct bind_judged *j)
{
	const char *source = rb_json_str(bind, "source", "");
	bool file = rb_storage_is_file(bind);
	struct rb_err why = {};
	char user[256];
	int r;

	if (judge_path(node, source, docker_root, j) == BIND_REFUSED)
		return BIND_REFUSED;
	if (lstat(j->path, &j->st) < 0)
		return errno == ENOENT ? BIND_ABSENT
				       : refuse(j, NULL, "node '%s' cannot look at '%s': %s",
						node->name, source, strerror(errno));
	if (file ? !S_ISREG(j->st.st_mode) : !S_ISDIR(j->st.st_mode))
		return refuse(j, "rename or remove it", "node '%s' has a '%s' that is no %s",
			      node->name, source, file ? "file" : "folder");
	r = node->engine ? rb_storage_users(node, NULL, j->path, user, sizeof(user), wait, &why)
			 : 0;
	if (r < 0)
		return refuse(j, NULL, "who uses '%s' on node '%s' cannot be told: %s", source,
			      node->name, why.msg);
	if (r > 0)
		return refuse(j, "stop that container",
			      "'%s' is in use on node '%s', by container '%s'", source, node->name,
			      user);
	if (is_empty(j->path, &j->st))
		return BIND_EMPTY;
	r = rb_storage_was_left(node, moves, source, j->path, j->stamp, wait, &why);
	if (r < 0)
		return refuse(j, NULL, "node '%s' cannot tell whether '%s' was changed: %s",
			      node->name, source, why.msg);
	if (r == 0)
		return refuse(
			j, "empty or rename it; or say --shared-volume if it is the same on both",
			"node '%s' has '%s' with something in it, which this container has "
			"not left there, or which was changed since",
			node->name, source);
	if (is_mount_point(j->path))
		return refuse(j, "empty it",
			      "'%s' of node '%s' is a file system of its own, and what is in it "
			      "cannot be put aside",
			      source, node->name);
	return BIND_LEFT;
}

void rb_binds_check(const struct rb_node *node, const json_t *offer, const char *docker_root,
		    json_t *obstacles, const struct rb_wait *wait)
{
	const json_t *moves = json_object_get(offer, "moves");
	const json_t *bind;
	size_t i;

	json_array_foreach (json_object_get(offer, "binds"), i, bind) {
		struct bind_judged j = {};

		if (!rb_storage_is_copied(bind))
			continue;
		if (bind_judge(node, moves, bind, docker_root, wait, &j) == BIND_REFUSED)
			rb_obstacle_add(obstacles, "error", j.remedy, "%s", j.what);
		else if (is_in_memory(j.path))
			rb_obstacle_add(obstacles, "warning", NULL,
					"'%s' of node '%s' is in memory: what is brought there is "
					"gone when that host is restarted",
					rb_json_str(bind, "source", ""), node->name);
	}
	rb_shared_check_binds(node, json_object_get(offer, "binds"), obstacles, wait);
}
