// SPDX-License-Identifier: Apache-2.0
/*
 * target_storage.c - volumes and bind mounts on the target, and what is written to them
 *
 * All that is made here is in the journal before. A volume or folder that had something in it is
 * never written to; one that both sides share is looked at, and that is all.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cleanup.h"
#include "conn.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "obstacles.h"
#include "place.h"
#include "received.h"
#include "single.h"
#include "storage.h"
#include "target.h"
#include "tree.h"
#include "verify.h"

static const json_t *volumes_of(const struct rb_member *c)
{
	return rb_json_path(c->facts, "offer.volumes");
}

/* Where a volume is that was made here, or NULL. Only of those that we made, as Docker said; the
 * offer is the peer's word, and has no say in which folder is emptied and written to. */
static const char *volume_here(const struct rb_member *c, const char *name)
{
	return rb_json_str(json_object_get(c->facts, "volumes_here"), name, NULL);
}

/* --- may it be here? --- */

static bool same_options(const json_t *a, const json_t *b)
{
	return json_object_size(a) == json_object_size(b) &&
	       (json_object_size(a) == 0 || json_equal(a, b));
}

/* One that is shared: it has to be the same. What has options is mounted by Docker or its plugin as
 * they say; a plain one has something mounted by hand in its place. */
static void check_shared(const struct rb_node *node, const json_t *volume, const json_t *there,
			 json_t *obstacles)
{
	const char *name = rb_json_str(volume, "name", "");
	const char *driver = rb_json_str(volume, "driver", "local");
	const json_t *options = json_object_get(volume, "options");
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
	if (rb_json_bool(volume, "declared", false) || strcmp(driver, "local") != 0 ||
	    json_object_size(options))
		return;
	if (rb_place_find("/proc/self/mountinfo", rb_json_str(there, "Mountpoint", ""), &place,
			  NULL) < 0 ||
	    !rb_place_is_same(&place, json_object_get(volume, "place")))
		rb_obstacle_add(obstacles, "error",
				"mount the same there; or say --shared-volume if it is the same",
				"volume '%s' is on storage of type %s from '%s', and that of node "
				"'%s' is not",
				name, rb_json_str(json_object_get(volume, "place"), "type", "?"),
				rb_json_str(json_object_get(volume, "place"), "source", "?"),
				node->name);
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
		check_shared(node, volume, there, obstacles);
	} else if (rb_storage_users(node, name, NULL, NULL, user, sizeof(user), wait, NULL) > 0) {
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

void rb_target_check_storage(const struct rb_node *node, const json_t *offer,
			     const char *docker_root, json_t *obstacles, const struct rb_wait *wait)
{
	const json_t *volume;
	size_t i;

	json_array_foreach (json_object_get(offer, "volumes"), i, volume)
		check_volume(node, volume, obstacles, wait);
	rb_binds_check(node, offer, docker_root, obstacles, wait);
}

/* --- make it --- */

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
		return rb_err_code(err, RB_E_CONFLICT, -EEXIST,
				   "a volume '%s' appeared here meanwhile: rename or remove it",
				   name);
	check_shared(m->node, volume, there, obstacles);
	r = rb_obstacles_refuse(obstacles, err);
	return r < 0 ? r : 1;
}

/* one worker at a time looks for volumes and folders, and makes them */
static int lock_storage(const struct rb_migration *m, struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char path[512];

	rb_path(path, sizeof(path), "%s/volumes.lock", m->node->run_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return rb_err_set(err, -errno, "lock '%s'", path);
	return TAKE_FD(fd);
}

static int create_volume(struct rb_migration *m, struct rb_member *c, const json_t *volume,
			 const struct rb_wait *wait, struct rb_err *err)
{
	json_t *made = json_object_get(c->facts, "volumes_made");
	json_t *here = json_object_get(c->facts, "volumes_here");
	_cleanup_json_ json_t *answer = NULL;
	const char *name, *path;
	int r = rb_json_need_str(volume, "name", &name, err);

	if (r >= 0)
		r = volume_is_there(m, volume, wait, err);
	if (r)
		return r < 0 ? r : 0;
	json_array_append_new(made, json_string(name));
	r = rb_migration_save(m, err);
	if (r >= 0)
		r = rb_engine_volume_create(m->node->engine, volume, &answer, wait, err);
	if (r >= 0)
		r = rb_json_need_str(answer, "Mountpoint", &path, err);
	if (r < 0)
		return r;
	if (!rb_storage_is_shared(volume))
		json_object_set_new(here, name, json_string(path));
	return 0;
}

int rb_target_create_storage(struct rb_migration *m, struct rb_member *c,
			     const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_close_ int lock = lock_storage(m, err);
	_cleanup_json_ json_t *info = NULL;
	const json_t *volume;
	size_t i;
	int r = lock < 0 ? lock : 0;

	rb_member_fact(c, "volumes_made", json_array());
	rb_member_fact(c, "volumes_here", json_object());
	json_array_foreach (volumes_of(c), i, volume)
		if (r >= 0)
			r = create_volume(m, c, volume, wait, err);
	if (r < 0 || !json_array_size(rb_json_path(c->facts, "offer.binds")))
		return r;
	r = rb_engine_info(m->node->engine, &info, wait, err);
	return r < 0 ? r
		     : rb_binds_make(m, c, rb_json_str(info, "DockerRootDir", "/var/lib/docker"),
				     wait, err);
}

static bool has_binds(struct rb_migration *m)
{
	rb_each_member (c, m)
		if (json_array_size(rb_json_path(c->facts, "offer.binds")))
			return true;
	return false;
}

int rb_target_finish_storage(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *info = NULL;
	int r;

	if (!has_binds(m))
		return 0;
	r = rb_engine_info(m->node->engine, &info, wait, err);
	return r < 0 ? r
		     : rb_binds_make_inside(
			       m, rb_json_str(info, "DockerRootDir", "/var/lib/docker"), wait, err);
}

int rb_target_empty_storage(struct rb_member *c, struct rb_err *err)
{
	const json_t *volume;
	size_t i;

	json_array_foreach (volumes_of(c), i, volume) {
		const char *path = volume_here(c, rb_json_str(volume, "name", ""));
		int r = path ? rb_rm_rf(path, err) : 0;

		if (r >= 0 && path)
			r = rb_mkdir_p(path, 0755, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int sync_bind(const struct rb_member *c, const char *source, struct rb_err *err)
{
	_cleanup_close_ int fd = rb_binds_open(c, source, O_RDONLY, err);

	if (fd < 0)
		return fd;
	return syncfs(fd) < 0 ? rb_err_set(err, -errno, "write '%s' to disk", source) : 0;
}

int rb_target_sync_storage(const struct rb_member *c, struct rb_err *err)
{
	const json_t *entry;
	size_t i;
	int r = 0;

	json_array_foreach (volumes_of(c), i, entry) {
		const char *here = volume_here(c, rb_json_str(entry, "name", ""));

		if (r >= 0 && here)
			r = rb_tree_sync(here, err);
	}
	json_array_foreach (rb_json_path(c->facts, "offer.binds"), i, entry)
		if (r >= 0 && rb_storage_is_copied(entry))
			r = sync_bind(c, rb_json_str(entry, "source", ""), err);
	return r;
}

int rb_target_remove_storage(struct rb_migration *m, struct rb_member *c,
			     const struct rb_wait *wait, struct rb_err *err)
{
	const json_t *volume;
	size_t i;

	json_array_foreach (json_object_get(c->facts, "volumes_made"), i, volume) {
		int r = rb_engine_volume_remove(m->node->engine, json_string_value(volume), wait,
						err);

		if (r < 0 && r != -ENOENT)
			return r;
	}
	return rb_binds_undo(c, err);
}

/* --- what is written there --- */

/* Where a tree is: the writable layer, a volume, a bind mount. */
struct place_of_tree {
	char path[PATH_MAX];
	int fd;	   /* that the path is of, or -EBADF */
	bool file; /* it is the folder of a single file, which is at the other end of it */
};

static void release_place(struct place_of_tree *place)
{
	rb_close_fd(&place->fd);
}

/* Return: 0; 1 when there is no such volume; negative errno */
static int find_volume(const struct rb_member *c, const char *name, struct place_of_tree *ret)
{
	const char *here = volume_here(c, name);

	if (here)
		return rb_path(ret->path, sizeof(ret->path), "%s", here);
	return 1;
}

static const json_t *find_bind(const struct rb_member *c, const char *source)
{
	const json_t *bind;
	size_t i;

	json_array_foreach (rb_json_path(c->facts, "offer.binds"), i, bind)
		if (rb_storage_is_copied(bind) &&
		    strcmp(rb_json_str(bind, "source", ""), source) == 0)
			return bind;
	return NULL;
}

/* Return: as find_volume() */
static int find_bind_place(const struct rb_member *c, const char *source, struct place_of_tree *ret,
			   struct rb_err *err)
{
	const json_t *bind = find_bind(c, source);
	int r;

	if (!bind)
		return 1;
	ret->file = rb_storage_is_file(bind);
	if (ret->file) {
		r = rb_storage_staged(c, source, ret->path, sizeof(ret->path), err);
		return r < 0 ? r : rb_mkdir_p(ret->path, 0700, err);
	}
	ret->fd = rb_binds_open(c, source, O_PATH | O_DIRECTORY, err);
	return ret->fd < 0 ? ret->fd
			   : rb_path(ret->path, sizeof(ret->path), "/proc/self/fd/%d", ret->fd);
}

static int find_tree(const struct rb_member *c, const json_t *args, struct place_of_tree *ret,
		     struct rb_err *err)
{
	const char *what = rb_json_str(args, "what", ""), *name = rb_json_str(args, "name", "");
	const char *upper = c ? rb_json_str(c->facts, "upper", NULL) : NULL;
	int r = 1;

	if (upper && strcmp(what, "rootfs") == 0)
		r = rb_path(ret->path, sizeof(ret->path), "%s", upper);
	else if (c && strcmp(what, "volume") == 0)
		r = find_volume(c, name, ret);
	else if (c && strcmp(what, "bind") == 0)
		r = find_bind_place(c, name, ret, err);
	if (r > 0)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "there is no '%.40s' to write to",
				   c ? what : "member");
	return r;
}

/* A single file, from its folder into the one that is mounted: in each round, whatever came. */
static int put_file(const struct rb_member *c, const json_t *args, const char *folder, bool durable,
		    struct rb_err *err)
{
	const char *source = rb_json_str(args, "name", "");
	_cleanup_close_ int fd = rb_binds_open(c, source, O_WRONLY, err);

	return fd < 0 ? fd : rb_single_put(folder, fd, source, durable, err);
}

/* "tree" {"member", "what": "rootfs" | "volume" | "bind", "name", "durable"}: a stream of tree.h
 * follows */
int rb_target_tree(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	_cleanup_(release_place) struct place_of_tree place = { .fd = -EBADF };
	struct rb_member *c = rb_member_asked(m, args);
	bool rootfs = strcmp(rb_json_str(args, "what", ""), "rootfs") == 0;
	bool durable = rb_json_bool(args, "durable", false);
	struct rb_tree_stats stats = {};
	int r = 0;

	if (rootfs && c)
		r = rb_target_open_rootfs(c, err);
	if (r >= 0)
		r = find_tree(c, args, &place, err);
	if (r >= 0 && !m->received)
		r = rb_received_new(&m->received, err);
	if (r < 0) {
		/* so that the peer is not stuck in its sending, and reads why */
		rb_stream_drain(m->conn, &m->wait, NULL);
		return r;
	}
	r = rb_tree_receive(m->conn, place.path, durable, m->received, &stats, &m->wait, err);
	if (r >= 0 && place.file)
		r = put_file(c, args, place.path, durable, err);
	if (r < 0)
		return r;
	if (rootfs)
		rb_target_note_rootfs(c, stats.files || stats.removed);
	*ret = json_pack("{s:I, s:I}", "files", (json_int_t)stats.files, "bytes",
			 (json_int_t)stats.bytes);
	return 0;
}

/* What is compared of a single file is the one that is mounted, not what it was copied from. */
static int take_file(const struct rb_member *c, const json_t *args, const char *folder,
		     struct rb_err *err)
{
	const char *source = rb_json_str(args, "name", "");
	_cleanup_close_ int fd = rb_binds_open(c, source, O_RDONLY, err);

	return fd < 0 ? fd : rb_single_take(fd, source, folder, true, err);
}

/* "verify" {"member", "what", "name"}: a stream of verify.h follows */
int rb_target_verify(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	_cleanup_(release_place) struct place_of_tree place = { .fd = -EBADF };
	const struct rb_member *c = rb_member_asked(m, args);
	struct rb_verify_stats stats = {};
	int r = find_tree(c, args, &place, err);

	if (r >= 0 && place.file)
		r = take_file(c, args, place.path, err);
	if (r < 0) {
		rb_stream_drain(m->conn, &m->wait, NULL);
		return r;
	}
	r = rb_verify_receive(m->conn, place.path, &stats, &m->wait, err);
	*ret = json_pack("{s:I, s:I}", "files", (json_int_t)stats.files, "bytes",
			 (json_int_t)stats.bytes);
	return r;
}
