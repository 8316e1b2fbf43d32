// SPDX-License-Identifier: Apache-2.0
/*
 * target_shared.c - shared storage on the target: has it the same? (storage_proof.c)
 *
 * Looked at when the source asks what stands in the way, once more before anything is made for the
 * container, and when it was started: Docker mounts volumes with options, and those of plugins, not
 * before that.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "json.h"
#include "obstacles.h"
#include "place.h"
#include "same.h"
#include "storage.h"
#include "target.h"

#define MOUNTINFO      "/proc/self/mountinfo"
#define TOKEN_MS       2000 /* that a token may take to be seen here */
#define TOKEN_EVERY_MS 50
#define ENGINE_MS      60000

/* Inodes of CIFS may have numbers that each client makes up. */
static bool is_cifs(const char *type)
{
	return strcmp(type, "cifs") == 0 || strcmp(type, "smb3") == 0;
}

/* Return: 1, 0; or negative errno: nobody may look there */
static int sees_token(const char *path, const char *token, const struct rb_wait *wait)
{
	struct rb_wait within = rb_wait_within(wait, TOKEN_MS);
	int r;

	if (!rb_same_is_token(token))
		return 0;

	do
		r = rb_same_has_token(path, token);
	while (r == 0 && rb_wait_ms(TOKEN_EVERY_MS, &within, NULL) >= 0);
	return r;
}

bool rb_shared_is_same(const json_t *entry, const json_t *seen, const char *path,
		       const struct rb_wait *wait)
{
	const char *token = rb_json_str(entry, "token", NULL);
	const char *kind = rb_json_str(entry, "kind", "folder");
	int token_seen = -ENOENT;
	bool written = rb_json_bool(entry, "rw", true);
	struct rb_place theirs;
	struct stat st;

	rb_place_from_json(json_object_get(entry, "place"), &theirs);
	if (stat(path, &st) < 0)
		return false;
	/* a socket, a device: a service of each host, and no storage */
	if (strcmp(kind, "folder") != 0 && strcmp(kind, "file") != 0)
		return true;
	if (S_ISDIR(st.st_mode) != (strcmp(kind, "folder") == 0))
		return false;
	if (token)
		token_seen = sees_token(path, token, wait);
	if (token_seen >= 0)
		return token_seen;
	if (rb_same_seen(path, seen, !is_cifs(theirs.type)))
		return true;
	/* each host has a copy, which the container only reads */
	return rb_json_bool(entry, "declared", false) && !written && !rb_place_is_shared(&theirs);
}

/* @name: of the volume, or path of the bind mount */
static void refuse(const struct rb_node *node, const json_t *entry, const char *what,
		   const char *name, const char *path, json_t *obstacles)
{
	struct rb_place ours = {}, theirs;

	rb_place_from_json(json_object_get(entry, "place"), &theirs);
	if (rb_place_is_shared(&theirs) &&
	    (rb_place_find(MOUNTINFO, path, &ours, NULL) < 0 || !rb_place_is_shared(&ours)))
		rb_obstacle_add(obstacles, "error", "mount it there",
				"%s'%s' is on storage of type %s, and that of node '%s' is on a "
				"disk of its own: nothing is mounted there",
				what, name, theirs.type, node->name);
	else
		rb_obstacle_add(obstacles, "error", "mount the same there",
				"%s'%s' of node '%s' is not the one that this host has: what is "
				"made or changed here is not seen there",
				what, name, node->name);
}

static void check_bind(const struct rb_node *node, const json_t *bind, json_t *obstacles,
		       const struct rb_wait *wait)
{
	const char *source = rb_json_str(bind, "source", "");
	_cleanup_free_ char *real = source[0] == '/' ? realpath(source, NULL) : NULL;
	const json_t *theirs = json_object_get(bind, "place");
	struct rb_place place = {};

	if (!real)
		rb_obstacle_add(obstacles, "error", "mount it there",
				"node '%s' has no '%s', which is on storage that both share",
				node->name, source);
	else if (!rb_json_bool(bind, "declared", false) &&
		 (rb_place_find(MOUNTINFO, real, &place, NULL) < 0 ||
		  !rb_place_is_same(&place, theirs)))
		rb_obstacle_add(obstacles, "error",
				"mount the same there; or say --shared-volume if it is the same, "
				"or --with-bind=PATH to have it copied",
				"'%s' is on storage of type %s from '%s', and that of node '%s' is "
				"not",
				source, rb_json_str(theirs, "type", "?"),
				rb_json_str(theirs, "source", "?"), node->name);
	else if (!rb_shared_is_same(bind, json_object_get(bind, "seen"), real, wait))
		refuse(node, bind, "", source, real, obstacles);
}

void rb_shared_check_binds(const struct rb_node *node, const json_t *binds, json_t *obstacles,
			   const struct rb_wait *wait)
{
	const json_t *bind;
	size_t i;

	json_array_foreach (binds, i, bind)
		if (rb_storage_is_shared(bind))
			check_bind(node, bind, obstacles, wait);
}

static bool same_options(const json_t *a, const json_t *b)
{
	return json_object_size(a) == json_object_size(b) &&
	       (json_object_size(a) == 0 || json_equal(a, b));
}

void rb_shared_check_volume(const struct rb_node *node, const json_t *volume, const json_t *there,
			    json_t *obstacles, const struct rb_wait *wait)
{
	const char *name = rb_json_str(volume, "name", "");
	const char *driver = rb_json_str(volume, "driver", "local");
	const char *path = rb_json_str(there, "Mountpoint", "");
	const json_t *options = json_object_get(volume, "options");
	const json_t *theirs = json_object_get(volume, "place");
	struct rb_place place;

	if (strcmp(rb_json_str(there, "Driver", "local"), driver) != 0 ||
	    !same_options(json_object_get(there, "Options"), options)) {
		rb_obstacle_add(obstacles, "error",
				"make it there with the driver and options that it has here",
				"volume '%s' of node '%s' has another driver or other options, so "
				"it is not the one that this host has",
				name, node->name);
		return;
	}
	/* it is not mounted yet */
	if (strcmp(driver, "local") != 0 || json_object_size(options))
		return;
	if (!rb_json_bool(volume, "declared", false) &&
	    (rb_place_find(MOUNTINFO, path, &place, NULL) < 0 || !rb_place_is_same(&place, theirs)))
		rb_obstacle_add(obstacles, "error",
				"mount the same there; or say --shared-volume if it is the same",
				"volume '%s' is on storage of type %s from '%s', and that of node "
				"'%s' is not",
				name, rb_json_str(theirs, "type", "?"),
				rb_json_str(theirs, "source", "?"), node->name);
	else if (!rb_shared_is_same(volume, json_object_get(volume, "seen"), path, wait))
		refuse(node, volume, "volume ", name, path, obstacles);
}

static const json_t *find(const struct rb_member *c, const char *list, const char *key,
			  const char *name)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (rb_json_path(c->facts, list), i, entry)
		if (rb_storage_is_shared(entry) && strcmp(rb_json_str(entry, key, ""), name) == 0)
			return entry;
	return NULL;
}

/* Where Docker has mounted it for the container. */
static int mounted_at(struct rb_migration *m, bool volume, const char *name, char **ret,
		      const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *there = NULL;
	int r = volume ? rb_engine_volume_inspect(m->node->engine, name, &there, wait, err) : 0;

	if (r < 0)
		return r;
	*ret = realpath(volume ? rb_json_str(there, "Mountpoint", "") : name, NULL);
	return *ret ? 0 : rb_err_set(err, -errno, "find '%s'", name);
}

/* "shared" {"member", "what": "volume" | "bind", "name", "seen"} */
int rb_target_shared(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, ENGINE_MS);
	bool volume = strcmp(rb_json_str(args, "what", ""), "volume") == 0;
	const struct rb_member *c = rb_member_asked(m, args);
	const char *name = rb_json_str(args, "name", "");
	_cleanup_json_ json_t *obstacles = json_array();
	_cleanup_free_ char *path = NULL;
	const json_t *entry = NULL;
	int r;

	(void)ret;
	if (c)
		entry = volume ? find(c, "offer.volumes", "name", name)
			       : find(c, "offer.binds", "source", name);
	if (!entry)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "there is no '%.200s' to share",
				   name);
	r = mounted_at(m, volume, name, &path, &wait, err);
	if (r < 0)
		return r;
	if (!rb_shared_is_same(entry, json_object_get(args, "seen"), path, &wait))
		refuse(m->node, entry, volume ? "volume " : "", name, path, obstacles);
	return rb_obstacles_refuse(obstacles, err);
}
