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
#include "received.h"
#include "storage.h"
#include "target.h"
#include "tree.h"
#include "verify.h"
#include "wait.h"

#define LOCK_POLL_MS 20

void rb_target_check_storage(const struct rb_node *node, const json_t *offer,
			     const char *docker_root, json_t *obstacles, const struct rb_wait *wait)
{
	rb_volumes_check(node, offer, obstacles, wait);
	rb_binds_check(node, offer, docker_root, obstacles, wait);
}

/* One worker at a time looks for volumes and folders, and makes them. Another may look for long: a
 * stamp takes a walk through all that is there. */
static int lock_storage(const struct rb_migration *m, const struct rb_wait *wait,
			struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char path[512];

	rb_path(path, sizeof(path), "%s/volumes.lock", m->node->run_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return rb_err_set(err, -errno, "open '%s'", path);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int r = errno == EWOULDBLOCK ? rb_wait_ms(LOCK_POLL_MS, wait, err)
					     : rb_err_set(err, -errno, "lock '%s'", path);

		if (r < 0)
			return r;
	}
	return TAKE_FD(fd);
}

int rb_target_create_storage(struct rb_migration *m, struct rb_member *c,
			     const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_close_ int lock = lock_storage(m, wait, err);
	_cleanup_json_ json_t *info = NULL, *obstacles = json_array();
	int r = lock < 0 ? lock : rb_volumes_make(m, c, wait, err);

	if (r < 0 || !json_array_size(rb_json_path(c->facts, "offer.binds")))
		return r;
	/* Docker would make a folder that is not there */
	rb_shared_check_binds(m->node, rb_json_path(c->facts, "offer.binds"), obstacles, wait);
	r = rb_obstacles_refuse(obstacles, err);
	if (r < 0)
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

static int sync_bind(const struct rb_member *c, const char *source, const struct rb_wait *wait,
		     struct rb_err *err)
{
	_cleanup_close_ int fd = rb_binds_open(c, source, O_RDONLY, err);

	return fd < 0 ? fd : rb_sync_system(fd, source, wait, err);
}

int rb_target_sync_storage(const struct rb_member *c, const struct rb_wait *wait,
			   struct rb_err *err)
{
	const json_t *entry;
	size_t i;
	int r = 0;

	json_array_foreach (rb_json_path(c->facts, "offer.volumes"), i, entry) {
		const char *here = rb_volumes_here(c, rb_json_str(entry, "name", ""));

		if (r >= 0 && here)
			r = rb_sync_system(-EBADF, here, wait, err);
	}
	json_array_foreach (rb_json_path(c->facts, "offer.binds"), i, entry)
		if (r >= 0 && rb_storage_is_copied(entry))
			r = sync_bind(c, rb_json_str(entry, "source", ""), wait, err);
	return r;
}

int rb_target_remove_storage(struct rb_migration *m, struct rb_member *c,
			     const struct rb_wait *wait, struct rb_err *err)
{
	int r = rb_volumes_remove(m, c, wait, err);

	return r < 0 ? r : rb_binds_undo(m, c, err);
}

/* --- what is written there --- */

/* Where a tree is: the writable layer, a volume, a bind mount. */
struct place_of_tree {
	char path[PATH_MAX];
	int fd;	   /* of a bind mount: what was made for it */
	bool file; /* which is a file */
};

static void release_place(struct place_of_tree *place)
{
	rb_close_fd(&place->fd);
}

/* Return: 0; 1 when there is no such volume; negative errno */
static int find_volume(const struct rb_member *c, const char *name, struct place_of_tree *ret)
{
	const char *here = rb_volumes_here(c, name);

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

	if (!bind)
		return 1;
	ret->file = rb_storage_is_file(bind);
	ret->fd = rb_binds_open(c, source, ret->file ? O_RDWR : O_PATH | O_DIRECTORY, err);
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

/* "tree" {"member", "what": "rootfs" | "volume" | "bind", "name", "durable"}: a stream of tree.h
 * follows */
int rb_target_tree(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	_cleanup_(release_place) struct place_of_tree place = { .fd = -EBADF };
	struct rb_member *c = rb_member_asked(m, args);
	bool rootfs = strcmp(rb_json_str(args, "what", ""), "rootfs") == 0;
	bool durable = rb_json_bool(args, "durable", false);
	_cleanup_close_ int names = -EBADF;
	struct rb_tree_stats stats = {};
	int r = 0;

	if (rootfs && c)
		r = rb_target_open_rootfs(c, err);
	if (r >= 0)
		r = find_tree(c, args, &place, err);
	if (r >= 0 && !m->received)
		r = rb_received_new(&m->received, err);
	if (r >= 0 && strcmp(rb_json_str(args, "what", ""), "bind") == 0)
		r = rb_binds_names(c, rb_json_str(args, "name", ""), &names, err);
	if (r < 0) {
		/* so that the peer is not stuck in its sending, and reads why */
		rb_stream_drain(m->conn, &m->wait, NULL);
		return r;
	}
	rb_received_note_names(m->received, names);
	if (place.file)
		r = rb_tree_receive_file(m->conn, place.fd, rb_json_str(args, "name", ""), durable,
					 m->received, &stats, &m->wait, err);
	else
		r = rb_tree_receive(m->conn, place.path, durable, m->received, &stats, &m->wait,
				    err);
	rb_received_note_names(m->received, -EBADF);
	if (r >= 0 && names >= 0 && fdatasync(names) < 0)
		r = rb_err_set(err, -errno, "write down what came to '%s'", place.path);
	if (r < 0)
		return r;
	if (rootfs)
		rb_target_note_rootfs(c, stats.files || stats.removed);
	*ret = json_pack("{s:I, s:I}", "files", (json_int_t)stats.files, "bytes",
			 (json_int_t)stats.bytes);
	return 0;
}

/* "verify" {"member", "what", "name"}: a stream of verify.h follows */
int rb_target_verify(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	_cleanup_(release_place) struct place_of_tree place = { .fd = -EBADF };
	const struct rb_member *c = rb_member_asked(m, args);
	struct rb_verify_stats stats = {};
	bool bind = strcmp(rb_json_str(args, "what", ""), "bind") == 0;
	int r = find_tree(c, args, &place, err);

	if (r >= 0 && !bind) {
		place.fd = open(place.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		r = place.fd < 0 ? rb_err_set(err, -errno, "open '%s'", place.path) : 0;
	}
	if (r < 0) {
		rb_stream_drain(m->conn, &m->wait, NULL);
		return r;
	}
	r = rb_verify_receive(m->conn, place.fd, bind ? rb_json_str(args, "name", "") : place.path,
			      &stats, &m->wait, err);
	*ret = json_pack("{s:I, s:I}", "files", (json_int_t)stats.files, "bytes",
			 (json_int_t)stats.bytes);
	return r;
}
