// SPDX-License-Identifier: Apache-2.0
/*
 * storage.c - volumes and bind mounts on the source: which are copied, and which are shared
 *
 * Storage that both hosts have mounted stays where it is. What the tasks of one host have written
 * is seen by those of the other when it has reached the server, and when the other host does not
 * answer from its own cache. The first is ours to see to: with the tasks frozen, and before READY
 * is asked for, the file systems are synced (NFS: dirty pages are written and committed, as at a
 * close()). The second is theirs: opening a file has NFS ask the server whether what is cached is
 * still right (close-to-open), CIFS and Ceph have leases and capabilities that are taken back from
 * the host that wrote. CRIU opens all files anew on the target, after that sync. What is not done:
 * no cache of the target is dropped, so with mounts that do not ask ("nocto", or a long "actimeo")
 * a file that the target had looked at before may be seen as it was for that time.
 *
 * A lock on shared storage belongs to the host; the frozen tasks have it until they are killed, and
 * they must not lose it before that, for they may have to go on. So CRIU could not take it on the
 * target, and a container that holds one is refused.
 */
#include "storage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "facts.h"
#include "json.h"
#include "migration.h"
#include "obstacles.h"
#include "place.h"
#include "single.h"
#include "spec.h"
#include "tree.h"

#define MOUNTINFO "/proc/self/mountinfo"

bool rb_storage_is_copied(const json_t *entry)
{
	return strcmp(rb_json_str(entry, "how", ""), "copied") == 0;
}

bool rb_storage_is_shared(const json_t *entry)
{
	return strcmp(rb_json_str(entry, "how", ""), "shared") == 0;
}

bool rb_storage_is_file(const json_t *bind)
{
	return strcmp(rb_json_str(bind, "kind", ""), "file") == 0;
}

static void settle(json_t *entry, const char *how)
{
	json_object_set_new(entry, "how", json_string(how));
}

/* --- what the user said --- */

static bool names(const json_t *list, const char *name)
{
	const json_t *value;
	size_t i;

	json_array_foreach (list, i, value)
		if (strcmp(json_string_value(value) ?: "", name) == 0)
			return true;
	return false;
}

static bool is_declared(const struct rb_migration *m, const char *name)
{
	return names(json_object_get(m->entry.facts, "shared_volumes"), name);
}

/* --with-bind=PATH; more than --with-bind, which leaves what is shared where it is */
static bool is_named(const struct rb_migration *m, const char *source)
{
	return names(json_object_get(m->entry.facts, "binds_wanted"), source);
}

/* also with a folder that it is inside of */
static bool is_wanted(const struct rb_migration *m, const char *source)
{
	const json_t *value;
	size_t i;

	if (rb_json_bool(m->entry.facts, "with_bind", false))
		return true;
	json_array_foreach (json_object_get(m->entry.facts, "binds_wanted"), i, value)
		if (rb_path_within(source, json_string_value(value) ?: "-"))
			return true;
	return false;
}

static bool has(const json_t *facts, const char *list, const char *key, const char *name)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (json_object_get(facts, list), i, entry)
		if (strcmp(rb_json_str(entry, key, ""), name) == 0)
			return true;
	return false;
}

static bool any_has(const json_t *facts, bool volumes, const char *name)
{
	const json_t *member;
	size_t i;

	if (has(facts, "binds", "source", name) || (volumes && has(facts, "volumes", "name", name)))
		return true;
	json_array_foreach (json_object_get(facts, "members"), i, member)
		if (any_has(member, volumes, name))
			return true;
	return false;
}

int rb_storage_check_request(const json_t *facts, struct rb_err *err)
{
	const json_t *value;
	size_t i;

	json_array_foreach (json_object_get(facts, "binds_wanted"), i, value)
		if (!any_has(facts, false, json_string_value(value)))
			return rb_err_code(err, RB_E_USAGE, -EINVAL,
					   "--with-bind: the container has no bind mount of '%s'; "
					   "'docker inspect' has their paths (Source)",
					   json_string_value(value));
	json_array_foreach (json_object_get(facts, "shared_volumes"), i, value)
		if (!any_has(facts, true, json_string_value(value)))
			return rb_err_code(err, RB_E_USAGE, -EINVAL,
					   "--shared-volume: the container has no volume and no "
					   "bind mount '%s'",
					   json_string_value(value));
	return 0;
}

/* --- volumes --- */

/* The file system was mounted there for this volume, by Docker or by a plugin, or by hand. That of
 * all of Docker's volumes may be of such a type, too; then each host has a part of its own. */
static bool has_own_mount(const json_t *volume, const struct rb_place *place)
{
	return strcmp(rb_json_str(volume, "driver", "local"), "local") != 0 ||
	       strcmp(place->point, rb_json_str(volume, "source", "")) == 0;
}

static void settle_volume(struct rb_migration *m, json_t *volume, json_t *obstacles)
{
	const char *name = rb_json_str(volume, "name", "");
	struct rb_place place = {};
	bool found = rb_place_find(MOUNTINFO, rb_json_str(volume, "source", ""), &place, NULL) >= 0;

	if (is_declared(m, name))
		json_object_set_new(volume, "declared", json_true());
	else if (!found || !rb_place_is_shared(&place) || !has_own_mount(volume, &place)) {
		settle(volume, "copied");
		if (strcmp(rb_json_str(volume, "driver", "local"), "local") != 0 ||
		    json_object_size(json_object_get(volume, "options")))
			rb_obstacle_add(obstacles, "error",
					"if both hosts have it, say --shared-volume; else use a "
					"plain local volume",
					"volume '%s' has a driver or options of its own, and "
					"cannot be copied",
					name);
		return;
	}
	settle(volume, "shared");
	json_object_set_new(volume, "place", rb_place_json(&place));
}

/* --- bind mounts --- */

bool rb_path_within(const char *path, const char *folder)
{
	size_t len = strcmp(folder, "/") == 0 ? 0 : strlen(folder);

	return strncmp(path, folder, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

const char *rb_path_forbidden(const struct rb_node *node, const char *path, const char *docker_root)
{
	static const char *const kernel[] = { "/proc", "/sys", "/dev" };

	if (strcmp(path, "/") == 0)
		return "it is the whole host";
	for (size_t i = 0; i < ARRAY_SIZE(kernel); i++)
		if (rb_path_within(path, kernel[i]))
			return "it is made by the kernel of each host";
	if (strstr(path, "docker.sock"))
		return "connections to a host's Docker cannot move";
	if (docker_root && (rb_path_within(path, docker_root) || rb_path_within(docker_root, path)))
		return "Docker's own files are in it";
	if ((node->state_dir &&
	     (rb_path_within(path, node->state_dir) || rb_path_within(node->state_dir, path))) ||
	    (node->run_dir &&
	     (rb_path_within(path, node->run_dir) || rb_path_within(node->run_dir, path))))
		return "reberthd's own files are in it";
	return NULL;
}

/* "folder", "file"; or NULL: something that has no content to copy */
static const char *kind_of(const char *path, struct stat *ret)
{
	if (stat(path, ret) < 0)
		return NULL;
	return S_ISDIR(ret->st_mode) ? "folder" : S_ISREG(ret->st_mode) ? "file" : NULL;
}

/* inside of another bind mount that is copied, of whichever container, with which it travels */
static bool is_covered(struct rb_migration *m, const char *source)
{
	const json_t *other;
	size_t i;

	rb_each_member (c, m)
		json_array_foreach (json_object_get(c->facts, "binds"), i, other) {
			const char *folder = rb_json_str(other, "source", "");

			if (strcmp(folder, source) != 0 && rb_storage_is_copied(other) &&
			    rb_path_within(source, folder))
				return true;
		}
	return false;
}

/* The outermost stay "copied", whatever the order: only what is inside of one is changed. */
void rb_storage_settle_inside(struct rb_migration *m)
{
	json_t *bind;
	size_t i;

	rb_each_member (c, m)
		json_array_foreach (json_object_get(c->facts, "binds"), i, bind)
			if (rb_storage_is_copied(bind) &&
			    is_covered(m, rb_json_str(bind, "source", "")))
				settle(bind, "inside");
}

/* What has the path now must be what the container has: a file that an editor has replaced, say, is
 * another one. */
static bool is_mounted(const struct rb_member *c, const struct rb_place *place)
{
	int init = (int)rb_json_int(c->facts, "init_pid", 0);
	char mountinfo[64];

	snprintf(mountinfo, sizeof(mountinfo), "/proc/%d/mountinfo", init);
	return init <= 0 || rb_place_is_mounted(mountinfo, place) != 0;
}

static void measure(json_t *bind, const char *path, const struct stat *st)
{
	uint64_t bytes = (uint64_t)st->st_blocks * 512;

	if (S_ISDIR(st->st_mode))
		rb_tree_size(path, &bytes, NULL);
	json_object_set_new(bind, "bytes", json_integer((json_int_t)bytes));
}

static void settle_bind(struct rb_migration *m, struct rb_member *c, json_t *bind,
			const char *docker_root, json_t *obstacles)
{
	const char *source = rb_json_str(bind, "source", ""), *kind, *why;
	_cleanup_free_ char *real = NULL;
	struct rb_place place = {};
	struct stat st = {};
	bool found;

	why = rb_path_forbidden(m->node, source, docker_root);
	real = why ? NULL : realpath(source, NULL);
	if (real)
		why = rb_path_forbidden(m->node, real, docker_root);
	if (why) {
		rb_obstacle_add(obstacles, "error", "run it without", "'%s' is mounted: %s", source,
				why);
		return;
	}
	found = real && rb_place_find(MOUNTINFO, real, &place, NULL) >= 0;
	kind = real ? kind_of(real, &st) : NULL;
	json_object_set_new(bind, "kind", json_string(kind ? kind : "other"));
	if (is_declared(m, source) ||
	    (found && rb_place_is_shared(&place) && !is_named(m, source))) {
		settle(bind, "shared");
		json_object_set_new(bind, "place", rb_place_json(&place));
		json_object_set_new(json_object_get(bind, "place"), "ino",
				    json_integer((json_int_t)st.st_ino));
		if (is_declared(m, source))
			json_object_set_new(bind, "declared", json_true());
	} else if (!is_wanted(m, source)) {
		rb_obstacle_add(obstacles, "error",
				"say --with-bind to have it copied, or --shared-volume if the "
				"target has it, too",
				"'%s' of this host is mounted, and is not copied unasked", source);
	} else if (!kind) {
		rb_obstacle_add(obstacles, "error", "run it without",
				"'%s' is mounted, which is neither a folder nor a file", source);
	} else if (!found || !is_mounted(c, &place)) {
		rb_obstacle_add(obstacles, "error", "restart the container",
				"what has the path '%s' now is not what the container has mounted: "
				"it was replaced meanwhile",
				source);
	} else {
		settle(bind, "copied");
		measure(bind, real, &st);
	}
}

void rb_storage_check_staging(const struct rb_node *node, const json_t *binds, json_t *obstacles)
{
	uint64_t bytes = 0;
	const json_t *bind;
	size_t i;

	json_array_foreach (binds, i, bind)
		if (rb_storage_is_copied(bind) && rb_storage_is_file(bind))
			bytes += (uint64_t)rb_json_int(bind, "bytes", 0);
	if (bytes && node->state_dir && rb_disk_free(node->state_dir) < bytes + RB_STORAGE_RESERVE)
		rb_obstacle_add(obstacles, "error", "make room there",
				"node '%s' has too little disk space in %s, where single files are "
				"copied first: %llu MiB needed",
				node->name, node->state_dir,
				(unsigned long long)((bytes + RB_STORAGE_RESERVE) >> 20));
}

int rb_storage_settle(struct rb_migration *m, struct rb_member *c, json_t *obstacles,
		      const struct rb_wait *wait, struct rb_err *err)
{
	json_t *binds = json_object_get(c->facts, "binds"), *entry;
	_cleanup_json_ json_t *info = NULL;
	size_t i;
	int r;

	json_array_foreach (json_object_get(c->facts, "volumes"), i, entry)
		settle_volume(m, entry, obstacles);
	if (!json_array_size(binds))
		return 0;
	r = m->node->engine ? rb_engine_info(m->node->engine, &info, wait, err) : 0;
	if (r < 0)
		return r;
	json_array_foreach (binds, i, entry)
		settle_bind(m, c, entry, rb_json_str(info, "DockerRootDir", "/var/lib/docker"),
			    obstacles);
	rb_storage_check_staging(m->node, binds, obstacles);
	return 0;
}

int rb_storage_mark_spec(struct rb_migration *m, json_t *spec, struct rb_err *err)
{
	const json_t *volume;
	size_t i;
	int r = 0;

	rb_each_member (c, m)
		json_array_foreach (json_object_get(c->facts, "volumes"), i, volume)
			if (r >= 0 && rb_storage_is_shared(volume))
				r = rb_spec_forbid_copy(spec, rb_json_str(volume, "name", ""), err);
	return r;
}

/* --- single files --- */

int rb_storage_staged(const struct rb_member *c, const char *source, char *ret, size_t size,
		      struct rb_err *err)
{
	const json_t *binds = json_object_get(c->facts, "binds"), *bind;
	size_t i;

	if (!binds)
		binds = rb_json_path(c->facts, "offer.binds");
	json_array_foreach (binds, i, bind)
		if (strcmp(rb_json_str(bind, "source", ""), source) == 0)
			return rb_path(ret, size, "%s/bind-%zu", c->work_dir, i) < 0
				       ? rb_err_set(err, -ENAMETOOLONG, "name a folder")
				       : 0;
	return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "there is no bind mount '%.200s'", source);
}

int rb_storage_stage(struct rb_migration *m, struct rb_member *c, const json_t *bind, char *stamp,
		     struct rb_err *err)
{
	const char *source = rb_json_str(bind, "source", "");
	_cleanup_close_ int fd = open(source, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char folder[PATH_MAX];
	int r;

	if (fd < 0)
		return rb_err_set(err, -errno, "open '%s'", source);
	r = rb_storage_staged(c, source, folder, sizeof(folder), err);
	if (r >= 0)
		r = rb_tree_stamp_fd(fd, source, stamp, NULL, err);
	/* in the freeze in any case: stores through a shared mapping do not move its times */
	return r < 0 ? r : rb_single_take(fd, source, folder, m->frozen_us != 0, err);
}

/* --- shared storage --- */

int rb_storage_each_shared(struct rb_migration *m,
			   int (*fn)(struct rb_migration *m, const json_t *entry,
				     struct rb_err *err),
			   struct rb_err *err)
{
	static const char *const lists[] = { "volumes", "binds" };
	const json_t *entry;
	size_t i;
	int r = 0;

	rb_each_member (c, m)
		for (size_t k = 0; k < ARRAY_SIZE(lists); k++)
			json_array_foreach (json_object_get(c->facts, lists[k]), i, entry)
				if (r >= 0 && rb_storage_is_shared(entry))
					r = fn(m, entry, err);
	return r;
}

static int flush_one(struct rb_migration *m, const json_t *entry, struct rb_err *err)
{
	const char *source = rb_json_str(entry, "source", "");
	_cleanup_close_ int fd = open(source, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	(void)m;
	/* by way of it nothing was written */
	if (!rb_json_bool(entry, "rw", true))
		return 0;
	if (fd < 0)
		/* a socket, or the like: nothing of it is kept back */
		return errno == ENXIO ? 0 : rb_err_set(err, -errno, "open '%s'", source);
	return syncfs(fd) < 0
		       ? rb_err_set(err, -errno, "write what '%s' has to shared storage", source)
		       : 0;
}

int rb_storage_flush(struct rb_migration *m, struct rb_err *err)
{
	return rb_storage_each_shared(m, flush_one, err);
}
