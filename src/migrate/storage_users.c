// SPDX-License-Identifier: Apache-2.0
/*
 * storage_users.c - other containers that use the same volumes and folders
 *
 * What two containers write to cannot be in two places. One that does not run does not write: it
 * finds its volume as it was when the other left.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "group.h"
#include "json.h"
#include "migration.h"
#include "obstacles.h"
#include "storage.h"

static const char *name_of(const json_t *container)
{
	const char *name =
		json_string_value(json_array_get(json_object_get(container, "Names"), 0));

	return name && *name == '/' ? name + 1 : name ? name : rb_json_str(container, "Id", "?");
}

static bool uses(const json_t *container, const char *volume, const char *folder)
{
	const json_t *mount;
	size_t i;

	json_array_foreach (json_object_get(container, "Mounts"), i, mount) {
		const char *type = rb_json_str(mount, "Type", "");
		const char *source = rb_json_str(mount, "Source", "");

		if (volume && strcmp(type, "volume") == 0 &&
		    strcmp(rb_json_str(mount, "Name", ""), volume) == 0)
			return true;
		/* "/" is mounted by those who look at a host, not at what is in its folders */
		if (folder && strcmp(type, "bind") == 0 && strcmp(source, "/") != 0 &&
		    (rb_path_within(source, folder) || rb_path_within(folder, source)))
			return true;
	}
	return false;
}

static int list_running(const struct rb_node *node, json_t **ret, const struct rb_wait *wait,
			struct rb_err *err)
{
	return rb_engine_call(node->engine, "GET", "/containers/json", NULL, ret, wait, err);
}

static const json_t *find_user(const json_t *running, const char *volume, const char *folder,
			       const json_t *group)
{
	const json_t *container;
	size_t i;

	json_array_foreach (running, i, container)
		if (!rb_group_has(group, rb_json_str(container, "Id", "")) &&
		    uses(container, volume, folder))
			return container;
	return NULL;
}

int rb_storage_users(const struct rb_node *node, const char *volume, const char *folder,
		     const json_t *group, char *ret_name, size_t size, const struct rb_wait *wait,
		     struct rb_err *err)
{
	_cleanup_json_ json_t *running = NULL;
	int r = list_running(node, &running, wait, err);
	const json_t *user = r < 0 ? NULL : find_user(running, volume, folder, group);

	if (!user)
		return r < 0 ? r : 0;
	snprintf(ret_name, size, "%s", name_of(user));
	return 1;
}

static bool may_be_in_use(const struct rb_migration *m)
{
	return strcmp(rb_json_str(m->entry.facts, "volume_in_use", "refuse"), "copy") == 0;
}

/* The first that is copied and used by another. @ret_what: "volume" or "folder" */
static const json_t *first_in_use(const struct rb_member *c, const json_t *running,
				  const json_t *group, const char **ret_what, const char **ret_name)
{
	const json_t *entry, *user = NULL;
	size_t i;

	json_array_foreach (json_object_get(c->facts, "volumes"), i, entry) {
		*ret_what = "volume";
		*ret_name = rb_json_str(entry, "name", "");
		user = rb_storage_is_copied(entry) ? find_user(running, *ret_name, NULL, group)
						   : NULL;
		if (user)
			return user;
	}
	json_array_foreach (json_object_get(c->facts, "binds"), i, entry) {
		*ret_what = "folder";
		*ret_name = rb_json_str(entry, "source", "");
		user = rb_storage_is_copied(entry) ? find_user(running, NULL, *ret_name, group)
						   : NULL;
		if (user)
			return user;
	}
	return NULL;
}

void rb_storage_check_users(struct rb_migration *m, struct rb_member *c, const json_t *group,
			    json_t *obstacles, const struct rb_wait *wait)
{
	_cleanup_json_ json_t *running = NULL;
	const char *what, *name;
	const json_t *user;

	if (list_running(m->node, &running, wait, NULL) < 0)
		return;
	user = first_in_use(c, running, group, &what, &name);
	if (user && may_be_in_use(m))
		rb_obstacle_add(obstacles, "warning", NULL,
				"%s '%s' is used by container '%s', too, which keeps it: from now "
				"on each writes to a copy of its own",
				what, name, name_of(user));
	else if (user)
		rb_obstacle_add(obstacles, "error",
				"stop the other one, or say --volume-in-use copy to have a copy "
				"made as it is when this one leaves",
				"%s '%s' is used by container '%s', too, which runs", what, name,
				name_of(user));
}

int rb_storage_still_ours(struct rb_migration *m, const json_t *group, const struct rb_wait *wait,
			  struct rb_err *err)
{
	_cleanup_json_ json_t *running = NULL;
	const char *what, *name;
	int r;

	if (may_be_in_use(m))
		return 0;
	r = list_running(m->node, &running, wait, err);
	rb_each_member (c, m) {
		const json_t *user = r < 0 ? NULL : first_in_use(c, running, group, &what, &name);

		if (user)
			return rb_err_code(err, RB_E_REFUSED, -ENOTSUP,
					   "container '%s' has been started meanwhile, and uses %s "
					   "'%s', too: stop it, or say --volume-in-use copy",
					   name_of(user), what, name);
	}
	return r < 0 ? r : 0;
}
