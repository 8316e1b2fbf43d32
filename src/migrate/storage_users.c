// SPDX-License-Identifier: Apache-2.0
/*
 * storage_users.c - other containers that use the same volumes and folders
 *
 * What two containers write to cannot be in two places. One that does not run does not write: it
 * finds its volume as it was when the other left.
 *
 * The same folder may have several paths: by symbolic links, by mounts of the host, as the place
 * where Docker keeps a volume. So folders are compared as file systems have them.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "group.h"
#include "json.h"
#include "migration.h"
#include "obstacles.h"
#include "place.h"
#include "storage.h"

#define MOUNTINFO "/proc/self/mountinfo"

static const char *name_of(const json_t *container)
{
	const char *name =
		json_string_value(json_array_get(json_object_get(container, "Names"), 0));

	return name && *name == '/' ? name + 1 : name ? name : rb_json_str(container, "Id", "?");
}

/* --- where things are --- */

/* A folder, however it is called: by the file system that it is on, and its path in there. */
struct where {
	char path[PATH_MAX]; /* without links, as far as it is known */
	struct rb_place place;
	uint64_t dev, ino; /* 0: not known */
};

/* A server of files that does not answer must make nobody wait: what is on storage that several
 * hosts have is not touched, and taken by its path. */
static void find(const char *path, struct where *ret)
{
	_cleanup_free_ char *real = NULL;
	struct stat st;

	*ret = (struct where){};
	snprintf(ret->path, sizeof(ret->path), "%s", path);
	if (rb_place_find(MOUNTINFO, path, &ret->place, NULL) < 0 ||
	    rb_place_is_shared(&ret->place))
		return;
	real = realpath(path, NULL);
	if (!real || rb_place_find(MOUNTINFO, real, &ret->place, NULL) < 0)
		return;
	snprintf(ret->path, sizeof(ret->path), "%s", real);
	if (rb_place_is_shared(&ret->place) || stat(real, &st) < 0)
		return;
	ret->dev = st.st_dev;
	ret->ino = st.st_ino;
}

static bool is_within(const struct where *a, const struct where *b)
{
	return rb_path_within(a->path, b->path) ||
	       (*a->place.device && strcmp(a->place.device, b->place.device) == 0 &&
		rb_path_within(a->place.inside, b->place.inside));
}

static bool is_same(const struct where *a, const struct where *b)
{
	return a->ino && a->ino == b->ino && a->dev == b->dev;
}

/* --- who uses it --- */

/* The path of a volume that Docker keeps itself ends with this. */
#define DATA "/_data"

/* What is asked for. */
struct wanted {
	const char *volume; /* name, or NULL */
	struct where where; /* of the folder; of a volume, too, if it is known */
};

/* @path: NULL: not known */
static void want(struct wanted *w, const char *volume, const char *path)
{
	char folder[PATH_MAX];
	size_t len;

	*w = (struct wanted){ .volume = volume };
	snprintf(folder, sizeof(folder), "%s", path ?: "");
	len = strlen(folder);
	/* its own folder of Docker's has nothing else in it */
	if (volume && len > strlen(DATA) && strcmp(folder + len - strlen(DATA), DATA) == 0)
		folder[len - strlen(DATA)] = '\0';
	if (folder[0] == '/')
		find(folder, &w->where);
}

/* What others have mounted. */
struct others {
	struct other {
		const char *name;
		const json_t *mount;
		struct where where;
	} * list;
	size_t n;
};

static void release_others(struct others *others)
{
	free(others->list);
}

/* @running: list of containers, as Docker gives it; it must live longer. Return: 0 or -ENOMEM */
static int list_others(const json_t *running, const json_t *group, struct others *ret)
{
	const json_t *container, *mount;
	size_t i, k;

	json_array_foreach (running, i, container)
		ret->n += json_array_size(json_object_get(container, "Mounts"));
	ret->list = calloc(ret->n + 1, sizeof(*ret->list));
	if (!ret->list)
		return -ENOMEM;
	ret->n = 0;
	json_array_foreach (running, i, container) {
		if (rb_group_has(group, rb_json_str(container, "Id", "")))
			continue;
		json_array_foreach (json_object_get(container, "Mounts"), k, mount) {
			struct other *other = &ret->list[ret->n++];

			other->name = name_of(container);
			other->mount = mount;
			find(rb_json_str(mount, "Source", ""), &other->where);
		}
	}
	return 0;
}

/* "/" is mounted by those who look at a host, not at what is in its folders; and so is the folder
 * of all of Docker's volumes. */
static bool has(const struct other *other, const struct wanted *w)
{
	const struct where *theirs = &other->where;

	if (w->volume && strcmp(rb_json_str(other->mount, "Type", ""), "volume") == 0 &&
	    strcmp(rb_json_str(other->mount, "Name", ""), w->volume) == 0)
		return true;
	if (theirs->path[0] != '/' || strcmp(theirs->path, "/") == 0 || !*w->where.path)
		return false;
	return is_within(theirs, &w->where) || is_same(theirs, &w->where) ||
	       (!w->volume && is_within(&w->where, theirs));
}

/* Return: its name, or NULL */
static const char *find_user(const struct others *others, const char *volume, const char *path)
{
	struct wanted w;

	want(&w, volume, path);
	for (size_t i = 0; i < others->n; i++)
		if (has(&others->list[i], &w))
			return others->list[i].name;
	return NULL;
}

int rb_storage_user(const json_t *running, const char *volume, const char *path,
		    const json_t *group, const char **ret_name)
{
	_cleanup_(release_others) struct others others = {};
	int r = list_others(running, group, &others);

	*ret_name = r < 0 ? NULL : find_user(&others, volume, path);
	return r < 0 ? r : *ret_name != NULL;
}

static int list_running(const struct rb_node *node, json_t **ret, const struct rb_wait *wait,
			struct rb_err *err)
{
	return rb_engine_call(node->engine, "GET", "/containers/json", NULL, ret, wait, err);
}

int rb_storage_users(const struct rb_node *node, const char *volume, const char *path,
		     char *ret_name, size_t size, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *running = NULL;
	const char *user = NULL;
	int r = list_running(node, &running, wait, err);

	if (r >= 0) {
		r = rb_storage_user(running, volume, path, NULL, &user);
		if (r < 0)
			rb_err_set(err, r, "look for other users");
	}
	if (r > 0)
		snprintf(ret_name, size, "%s", user);
	return r;
}

static bool may_be_in_use(const struct rb_migration *m)
{
	return strcmp(rb_json_str(m->entry.facts, "volume_in_use", "refuse"), "copy") == 0;
}

/* The first that is copied and used by another, whose name is returned. @ret_what: "volume" or
 * "folder" */
static const char *first_in_use(const struct rb_member *c, const struct others *others,
				const char **ret_what, const char **ret_name)
{
	const char *user = NULL;
	const json_t *entry;
	size_t i;

	json_array_foreach (json_object_get(c->facts, "volumes"), i, entry) {
		*ret_what = "volume";
		*ret_name = rb_json_str(entry, "name", "");
		if (rb_storage_is_copied(entry))
			user = find_user(others, *ret_name, rb_json_str(entry, "source", ""));
		if (user)
			return user;
	}
	json_array_foreach (json_object_get(c->facts, "binds"), i, entry) {
		*ret_what = "folder";
		*ret_name = rb_json_str(entry, "source", "");
		if (rb_storage_is_copied(entry))
			user = find_user(others, NULL, *ret_name);
		if (user)
			return user;
	}
	return NULL;
}

/* @running: what @ret points into */
static int find_others(const struct rb_node *node, const json_t *group, json_t **running,
		       struct others *ret, const struct rb_wait *wait, struct rb_err *err)
{
	int r = list_running(node, running, wait, err);

	if (r < 0)
		return r;
	r = list_others(*running, group, ret);
	return r < 0 ? rb_err_set(err, r, "look for other users") : 0;
}

void rb_storage_check_users(struct rb_migration *m, struct rb_member *c, const json_t *group,
			    json_t *obstacles, const struct rb_wait *wait)
{
	_cleanup_(release_others) struct others others = {};
	_cleanup_json_ json_t *running = NULL;
	const char *what, *name, *user;
	struct rb_err why = {};

	if (find_others(m->node, group, &running, &others, wait, &why) < 0) {
		rb_obstacle_add(obstacles, "error", NULL,
				"who else uses its volumes and folders cannot be told: %s",
				why.msg);
		return;
	}
	user = first_in_use(c, &others, &what, &name);
	if (user && may_be_in_use(m))
		rb_obstacle_add(obstacles, "warning", NULL,
				"%s '%s' is used by container '%s', too, which keeps it: from now "
				"on each writes to a copy of its own",
				what, name, user);
	else if (user)
		rb_obstacle_add(obstacles, "error",
				"stop the other one, or say --volume-in-use copy to have a copy "
				"made as it is when this one leaves",
				"%s '%s' is used by container '%s', too, which runs", what, name,
				user);
}

int rb_storage_still_ours(struct rb_migration *m, const json_t *group, const struct rb_wait *wait,
			  struct rb_err *err)
{
	_cleanup_(release_others) struct others others = {};
	_cleanup_json_ json_t *running = NULL;
	const char *what, *name;
	int r;

	if (may_be_in_use(m))
		return 0;
	r = find_others(m->node, group, &running, &others, wait, err);
	rb_each_member (c, m) {
		const char *user = r < 0 ? NULL : first_in_use(c, &others, &what, &name);

		if (user)
			return rb_err_code(err, RB_E_REFUSED, -ENOTSUP,
					   "container '%s' has been started meanwhile, and uses %s "
					   "'%s', too: stop it, or say --volume-in-use copy",
					   user, what, name);
	}
	return r < 0 ? r : 0;
}
