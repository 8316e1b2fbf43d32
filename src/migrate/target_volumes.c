// SPDX-License-Identifier: Apache-2.0
/*
 * target_volumes.c - a container's volumes on the target
 *
 * One that was there before is never written to and never removed. Docker's call to make a volume
 * hands out one that exists as if it were new. So each that is made has a label with the
 * migration's id, and is ours as long as it has that: it is looked at before anything is emptied or
 * removed. A later move of the container replaces it by its own.
 */
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "obstacles.h"
#include "storage.h"
#include "target.h"

#define LABEL "reberth.migration"

static const json_t *volumes_of(const struct rb_member *c)
{
	return rb_json_path(c->facts, "offer.volumes");
}

const char *rb_volumes_here(const struct rb_member *c, const char *name)
{
	return rb_json_str(json_object_get(c->facts, "volumes_here"), name, NULL);
}

/* Docker itself mounts the same for the same options. */
static bool can_be_made(const json_t *volume)
{
	return !rb_storage_is_shared(volume) ||
	       (!rb_json_bool(volume, "declared", false) &&
		strcmp(rb_json_str(volume, "driver", "local"), "local") == 0 &&
		json_object_size(json_object_get(volume, "options")));
}

static void check_volume(const struct rb_node *node, const json_t *volume, json_t *obstacles,
			 const struct rb_wait *wait)
{
	const char *name = rb_json_str(volume, "name", "");
	_cleanup_json_ json_t *there = NULL;
	char user[256];

	if (rb_engine_volume_inspect(node->engine, name, &there, wait, NULL) < 0) {
		if (!can_be_made(volume))
			rb_obstacle_add(obstacles, "error",
					"make it there with the driver and options that it has "
					"here",
					"node '%s' has no volume '%s', which is on storage that "
					"both share",
					node->name, name);
	} else if (rb_storage_is_shared(volume)) {
		rb_shared_check_volume(node, volume, there, obstacles, wait);
	} else if (rb_storage_users(node, name, NULL, user, sizeof(user), wait, NULL) > 0) {
		rb_obstacle_add(obstacles, "error",
				"give one of them a volume of another name; or say --shared-volume "
				"if it is the same on both",
				"node '%s' has a volume '%s', which container '%s' uses there",
				node->name, name, user);
	} else {
		rb_obstacle_add(obstacles, "error",
				"rename or remove it; or say --shared-volume if it is the same on "
				"both",
				"node '%s' has a volume '%s'", node->name, name);
	}
}

void rb_volumes_check(const struct rb_node *node, const json_t *offer, json_t *obstacles,
		      const struct rb_wait *wait)
{
	const json_t *volume;
	size_t i;

	json_array_foreach (json_object_get(offer, "volumes"), i, volume)
		check_volume(node, volume, obstacles, wait);
}

/* --- make it --- */

static int not_ours(const char *name, struct rb_err *err)
{
	return rb_err_code(err, RB_E_CONFLICT, -EEXIST,
			   "a volume '%s' appeared here meanwhile: rename or remove it", name);
}

/* Docker would hand out one that exists as if it were new, and we would empty it. Return: 1 when
 * the one that is there is to be used */
static int volume_is_there(struct rb_migration *m, const json_t *volume, const struct rb_wait *wait,
			   struct rb_err *err)
{
	const char *name = rb_json_str(volume, "name", "");
	_cleanup_json_ json_t *there = NULL, *obstacles = json_array();
	int r = rb_engine_volume_inspect(m->node->engine, name, &there, wait, err);

	if (r == -ENOENT && can_be_made(volume)) {
		rb_err_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	if (!rb_storage_is_shared(volume))
		return not_ours(name, err);
	rb_shared_check_volume(m->node, volume, there, obstacles, wait);
	r = rb_obstacles_refuse(obstacles, err);
	return r < 0 ? r : 1;
}

/* Is this, as Docker describes it, the one that the migration has made? */
static bool is_ours(const struct rb_migration *m, const json_t *there)
{
	return strcmp(rb_json_str(json_object_get(there, "Labels"), LABEL, ""), m->entry.id) == 0;
}

/* The same with our label. */
static json_t *labelled(const struct rb_migration *m, const json_t *volume)
{
	json_t *copy = json_copy((json_t *)volume);
	json_t *labels = json_copy(json_object_get(volume, "labels"));

	if (!json_is_object(labels)) {
		json_decref(labels);
		labels = json_object();
	}
	if (json_object_set_new(labels, LABEL, json_string(m->entry.id)) < 0 ||
	    json_object_set(copy, "labels", labels) < 0) {
		json_decref(copy);
		copy = NULL;
	}
	json_decref(labels);
	return copy;
}

static int make_volume(struct rb_migration *m, struct rb_member *c, const json_t *volume,
		       const struct rb_wait *wait, struct rb_err *err)
{
	const char *name = rb_json_str(volume, "name", ""), *path;
	_cleanup_json_ json_t *wanted = labelled(m, volume), *there = NULL;
	int r = wanted ? rb_engine_volume_create(m->node->engine, wanted, &there, wait, err)
		       : rb_err_set(err, -ENOMEM, "make volume '%s'", name);

	if (r < 0)
		return r;
	if (!is_ours(m, there))
		return not_ours(name, err);
	r = rb_json_need_str(there, "Mountpoint", &path, err);
	if (r >= 0 && !rb_storage_is_shared(volume))
		json_object_set_new(json_object_get(c->facts, "volumes_here"), name,
				    json_string(path));
	return r < 0 ? r : 0;
}

static int create_volume(struct rb_migration *m, struct rb_member *c, const json_t *volume,
			 const struct rb_wait *wait, struct rb_err *err)
{
	const char *name;
	int r = rb_json_need_str(volume, "name", &name, err);

	if (r >= 0)
		r = volume_is_there(m, volume, wait, err);
	if (r)
		return r < 0 ? r : 0;
	json_array_append_new(json_object_get(c->facts, "volumes_made"), json_string(name));
	r = rb_migration_save(m, err);
	return r < 0 ? r : make_volume(m, c, volume, wait, err);
}

int rb_volumes_make(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
		    struct rb_err *err)
{
	const json_t *volume;
	size_t i;
	int r = 0;

	rb_member_fact(c, "volumes_made", json_array());
	rb_member_fact(c, "volumes_here", json_object());
	json_array_foreach (volumes_of(c), i, volume)
		if (r >= 0)
			r = create_volume(m, c, volume, wait, err);
	return r;
}

/* Still, for somebody may have removed it, and made another one. Return: 1, 0 or negative errno */
static int look(struct rb_migration *m, const char *name, const struct rb_wait *wait,
		struct rb_err *err)
{
	_cleanup_json_ json_t *there = NULL;
	int r = rb_engine_volume_inspect(m->node->engine, name, &there, wait, err);

	if (r == -ENOENT)
		rb_err_clear(err);
	return r == -ENOENT ? 0 : r < 0 ? r : is_ours(m, there);
}

int rb_target_empty_storage(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
			    struct rb_err *err)
{
	const json_t *volume;
	size_t i;

	json_array_foreach (volumes_of(c), i, volume) {
		const char *name = rb_json_str(volume, "name", "");
		const char *path = rb_volumes_here(c, name);
		int r = path ? look(m, name, wait, err) : 1;

		if (r == 0)
			r = not_ours(name, err);
		if (r >= 0 && path)
			r = rb_rm_rf(path, err);
		if (r >= 0 && path)
			r = rb_mkdir_p(path, 0755, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int rb_volumes_remove(struct rb_migration *m, const struct rb_member *c, const struct rb_wait *wait,
		      struct rb_err *err)
{
	const json_t *volume;
	size_t i;

	json_array_foreach (json_object_get(c->facts, "volumes_made"), i, volume) {
		const char *name = json_string_value(volume) ?: "";
		int r = look(m, name, wait, err);

		/* none of this name, or somebody else's */
		if (r == 0)
			continue;
		if (r > 0)
			r = rb_engine_volume_remove(m->node->engine, name, wait, err);
		if (r < 0)
			return r;
	}
	return 0;
}
