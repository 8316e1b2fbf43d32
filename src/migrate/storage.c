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

#include "beneath.h"
#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "facts.h"
#include "json.h"
#include "migration.h"
#include "obstacles.h"
#include "place.h"
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

/* one of them is in the other */
static bool is_about(const char *path, const char *folder)
{
	return rb_path_within(path, folder) || rb_path_within(folder, path);
}

const char *rb_path_forbidden(const struct rb_node *node, const char *path, const char *docker_root)
{
	static const char *const kernel[] = { "/proc", "/sys", "/dev" };
	static const char *const engine[] = { "/run/docker", "/run/containerd",
					      "/var/lib/containerd" };
	const char *name = strrchr(path, '/');

	if (strcmp(path, "/") == 0)
		return "it is the whole host";
	for (size_t i = 0; i < ARRAY_SIZE(kernel); i++)
		if (rb_path_within(path, kernel[i]))
			return "it is made by the kernel of each host";
	if (name && strcmp(name, "/docker.sock") == 0)
		return "connections to a host's Docker cannot move";
	if (docker_root && is_about(path, docker_root))
		return "Docker's own files are in it";
	for (size_t i = 0; i < ARRAY_SIZE(engine); i++)
		if (is_about(path, engine[i]))
			return "Docker's own files are in it";
	if ((node->state_dir && is_about(path, node->state_dir)) ||
	    (node->run_dir && is_about(path, node->run_dir)))
		return "reberthd's own files are in it";
	return NULL;
}

static const char *kind_of(mode_t mode)
{
	return S_ISDIR(mode) ? "folder" : S_ISREG(mode) ? "file" : "other";
}

/* Are they one another's, as the file systems have them? No link and no mount of the host leads
 * from one to the other unseen. */
static bool is_really_within(const json_t *bind, const json_t *other)
{
	const json_t *a = json_object_get(bind, "place"), *b = json_object_get(other, "place");

	return strcmp(rb_json_str(a, "device", ""), rb_json_str(b, "device", "-")) == 0 &&
	       rb_path_within(rb_json_str(a, "inside", "-"), rb_json_str(b, "inside", "/-"));
}

/* It travels with a folder that it is inside of; so where it is by its name, and where it is, must
 * be the same. Return: does it? */
static bool is_covered(const json_t *bind, const json_t *other, json_t *obstacles)
{
	const char *source = rb_json_str(bind, "source", "");
	const char *folder = rb_json_str(other, "source", "");
	bool named = rb_path_within(source, folder), is = is_really_within(bind, other);

	if (named && !is)
		rb_obstacle_add(obstacles, "error", "mount what it leads to by its own path",
				"'%s' leads out of '%s', with which it would travel: of what it "
				"leads to only the link would",
				source, folder);
	/* of two paths of one folder, once */
	else if (is && !named && (!is_really_within(other, bind) || strcmp(source, folder) > 0))
		rb_obstacle_add(obstacles, "error", "mount it by its own path",
				"'%s' leads into '%s', which is copied, too: what is one folder "
				"here would be two there",
				source, folder);
	return named && is;
}

/* The outermost stay "copied", whatever the order: only what is inside of one is changed. */
void rb_storage_settle_inside(struct rb_migration *m, json_t *obstacles)
{
	json_t *bind, *other;
	size_t i, k;

	rb_each_member (c, m)
		json_array_foreach (json_object_get(c->facts, "binds"), i, bind)
			rb_each_member (d, m)
				json_array_foreach (json_object_get(d->facts, "binds"), k, other)
					if (other != bind && rb_storage_is_copied(bind) &&
					    rb_storage_is_copied(other) &&
					    is_covered(bind, other, obstacles))
						settle(bind, "inside");
}

/* What has the path now must be what the container has: a file that an editor has replaced, say, is
 * another one. */
static bool is_mounted(const struct rb_member *c, const struct rb_place *place)
{
	int init = (int)rb_json_int(c->facts, "init_pid", 0);
	char mountinfo[64];

	snprintf(mountinfo, sizeof(mountinfo), "/proc/%d/mountinfo", init);
	return init <= 0 || rb_place_is_mounted(mountinfo, place) > 0;
}

/* What has the path of a bind mount at this moment. */
struct looked {
	int fd; /* O_PATH, or -EBADF */
	struct stat st;
	char real[PATH_MAX]; /* without links */
	struct rb_place place;
};

static void release_looked(struct looked *l)
{
	rb_close_fd(&l->fd);
}

/* The path is resolved once: what is asked later is asked of the descriptor. */
static int look_at(const char *source, struct looked *ret)
{
	char link[FD_PATH_SIZE];
	ssize_t len;

	ret->fd = open(source, O_PATH | O_CLOEXEC);
	if (ret->fd < 0 || fstat(ret->fd, &ret->st) < 0)
		return -errno;
	len = readlink(fd_path(ret->fd, link), ret->real, sizeof(ret->real) - 1);
	if (len < 0)
		return -errno;
	ret->real[len] = '\0';
	return rb_place_find(MOUNTINFO, ret->real, &ret->place, NULL);
}

static void note_place(json_t *bind, const struct looked *l)
{
	json_t *place = rb_place_json(&l->place);

	json_object_set_new(place, "ino", json_integer((json_int_t)l->st.st_ino));
	json_object_set_new(bind, "place", place);
	json_object_set_new(bind, "dev", json_integer((json_int_t)l->st.st_dev));
	json_object_set_new(bind, "ino", json_integer((json_int_t)l->st.st_ino));
}

int rb_storage_open(const json_t *bind, struct rb_err *err)
{
	const char *source = rb_json_str(bind, "source", "");
	_cleanup_close_ int path_fd = open(source, O_PATH | O_CLOEXEC);
	char link[FD_PATH_SIZE];
	struct stat st;
	int fd;

	if (path_fd < 0 || fstat(path_fd, &st) < 0)
		return rb_err_set(err, -errno, "open '%s'", source);
	if ((json_int_t)st.st_dev != rb_json_int(bind, "dev", 0) ||
	    (json_int_t)st.st_ino != rb_json_int(bind, "ino", 0))
		return rb_err_code(err, RB_E_CONFLICT, -ESTALE,
				   "what had the path '%s' was replaced meanwhile: restart the "
				   "container",
				   source);
	fd = open(fd_path(path_fd, link), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? rb_err_set(err, -errno, "open '%s'", source) : fd;
}

static void measure(json_t *bind, const struct rb_wait *wait)
{
	_cleanup_close_ int fd = rb_storage_open(bind, NULL);
	uint64_t bytes = 0;

	if (fd >= 0 && rb_tree_size(fd, rb_json_str(bind, "source", ""), &bytes, wait, NULL) >= 0)
		json_object_set_new(bind, "bytes", json_integer((json_int_t)bytes));
}

static void settle_bind(struct rb_migration *m, struct rb_member *c, json_t *bind,
			const char *docker_root, json_t *obstacles, const struct rb_wait *wait)
{
	const char *source = rb_json_str(bind, "source", ""), *kind = "other", *why;
	_cleanup_(release_looked) struct looked l = { .fd = -EBADF };
	bool found;

	why = rb_path_forbidden(m->node, source, docker_root);
	found = !why && look_at(source, &l) >= 0;
	if (!why && *l.real)
		why = rb_path_forbidden(m->node, l.real, docker_root);
	if (why) {
		rb_obstacle_add(obstacles, "error", "run it without", "'%s' is mounted: %s", source,
				why);
		return;
	}
	if (found) {
		kind = kind_of(l.st.st_mode);
		note_place(bind, &l);
	}
	json_object_set_new(bind, "kind", json_string(kind));
	if (is_declared(m, source) ||
	    (found && rb_place_is_shared(&l.place) && !is_named(m, source))) {
		settle(bind, "shared");
		if (is_declared(m, source))
			json_object_set_new(bind, "declared", json_true());
	} else if (!is_wanted(m, source)) {
		rb_obstacle_add(obstacles, "error",
				"say --with-bind to have it copied, or --shared-volume if the "
				"target has it, too",
				"'%s' of this host is mounted, and is not copied unasked", source);
	} else if (strcmp(kind, "other") == 0) {
		rb_obstacle_add(obstacles, "error", "run it without",
				"'%s' is mounted, which is neither a folder nor a file", source);
	} else if (!is_mounted(c, &l.place)) {
		rb_obstacle_add(obstacles, "error", "restart the container",
				"what has the path '%s' now is not what the container has mounted: "
				"it was replaced meanwhile",
				source);
	} else {
		settle(bind, "copied");
		measure(bind, wait);
	}
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
			    obstacles, wait);
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
	/* by way of it nothing was written; or it is a socket, or the like: nothing of it is kept
	 * back */
	if (!rb_json_bool(entry, "rw", true) ||
	    strcmp(rb_json_str(entry, "kind", ""), "other") == 0)
		return 0;
	return rb_sync_system(-EBADF, rb_json_str(entry, "source", ""), &m->wait, err);
}

int rb_storage_flush(struct rb_migration *m, struct rb_err *err)
{
	return rb_storage_each_shared(m, flush_one, err);
}
