// SPDX-License-Identifier: Apache-2.0
/*
 * target_prepare.c - the target's verbs before anything runs here: check, image, create, files
 *
 * Everything made here has a name that follows from the migration's id, or is in the journal before
 * it is made, so that undo finds it whenever the worker was killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arrival.h"
#include "cleanup.h"
#include "conn.h"
#include "dump.h"
#include "engine.h"
#include "err.h"
#include "facts.h"
#include "image.h"
#include "io.h"
#include "json.h"
#include "kept.h"
#include "log.h"
#include "logfile.h"
#include "obstacles.h"
#include "plain.h"
#include "sizes.h"
#include "spec.h"
#include "storage.h"
#include "target.h"
#include "travel.h"

#define ENGINE_MS 60000

static const json_t *offer_of(const struct rb_member *c)
{
	return json_object_get(c->facts, "offer");
}

/* @layers: present of it. Return: bytes of the others; an image that several members use counts
 * with the first */
static uint64_t bytes_to_come(const json_t *offer, const json_t *member, int layers)
{
	const json_t *image = json_object_get(member, "image"), *other;
	const char *id = rb_json_str(image, "id", "");
	size_t i;

	if (member != offer &&
	    strcmp(rb_json_str(json_object_get(offer, "image"), "id", ""), id) == 0)
		return 0;
	json_array_foreach (json_object_get(offer, "members"), i, other) {
		if (member == offer || other == member)
			break;
		if (strcmp(rb_json_str(json_object_get(other, "image"), "id", ""), id) == 0)
			return 0;
	}
	return rb_image_bytes_missing(image, layers);
}

int rb_target_check(const struct rb_node *node, const json_t *offer, json_t *obstacles,
		    json_t *answer, const struct rb_wait *wait, struct rb_err *err)
{
	json_t *members = json_array();
	const json_t *member;
	uint64_t missing = 0;
	int layers = 0, r;
	size_t i;

	r = rb_image_present(node->engine, json_object_get(offer, "image"), &layers, wait, err);
	missing += bytes_to_come(offer, offer, layers);
	json_object_set_new(answer, "layers_present", json_integer(layers));
	json_object_set_new(answer, "members", members);
	json_array_foreach (json_object_get(offer, "members"), i, member) {
		if (r >= 0)
			r = rb_image_present(node->engine, json_object_get(member, "image"),
					     &layers, wait, err);
		missing += bytes_to_come(offer, member, layers);
		json_array_append_new(members, json_pack("{s:i}", "layers_present", layers));
	}
	return r < 0 ? r : rb_obstacles_target(node, offer, missing, obstacles, wait, err);
}

int rb_target_image(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	struct rb_member *c = rb_member_asked(m, args);
	char id[RB_IMAGE_ID_SIZE];
	int r;

	(void)ret;
	if (!c)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "there is no such member");
	/* who has brought it since the check wants to have it: it is not ours to remove then */
	r = rb_image_find(m->node->engine, json_object_get(offer_of(c), "image"), id, &m->wait,
			  err);
	if (r == -ENOENT) {
		rb_err_clear(err);
		/* nor is one whose mark outlived it: what comes now is not what was pushed */
		rb_images_forget(m->node, &m->wait, NULL);
		rb_member_fact(c, "image_loaded", json_true());
		r = rb_migration_save(m, err);
	}
	if (r < 0)
		return r;
	return rb_image_receive(m->node, json_object_get(offer_of(c), "image"), false, NULL,
				m->conn, &m->wait, err);
}

/* an image that came for this container alone goes again */
int rb_target_image_undo(struct rb_migration *m, struct rb_err *err)
{
	int result = 0;

	rb_each_member (c, m) {
		struct rb_wait wait = rb_migration_cleanup_wait(ENGINE_MS);
		int r;

		if (!rb_json_bool(c->facts, "image_loaded", false))
			continue;
		r = rb_image_take_away(m->node, json_object_get(offer_of(c), "image"), &wait,
				       result == 0 ? err : NULL);
		if (result == 0)
			result = r;
	}
	return result;
}

/* the name until the migration is done; undo finds the container by it */
static void temporary_name(const struct rb_migration *m, const struct rb_member *c, char *ret,
			   size_t size)
{
	size_t number = rb_member_number(m, c);

	if (number)
		snprintf(ret, size, "reberth-%s-%zu", m->entry.id, number);
	else
		snprintf(ret, size, "reberth-%s", m->entry.id);
}

/* where Docker keeps the new container's files */
static int note_paths(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
		      struct rb_err *err)
{
	_cleanup_json_ json_t *inspect = NULL, *info = NULL;
	const char *id = c->container_id;
	struct rb_rootfs rootfs;
	char log_path[1024];
	int r;

	r = rb_engine_inspect(m->node->engine, id, &inspect, wait, err);
	if (r >= 0)
		r = rb_engine_info(m->node->engine, &info, wait, err);
	if (r >= 0)
		r = rb_engine_rootfs(inspect, info, &rootfs, wait, err);
	if (r < 0)
		return r;
	snprintf(log_path, sizeof(log_path), "%s/containers/%s/%s-json.log",
		 rb_json_str(info, "DockerRootDir", "/var/lib/docker"), id, id);
	rb_member_fact(c, "upper", json_string(rootfs.upper));
	rb_member_fact(c, "merged", json_string(rootfs.merged));
	rb_member_fact(c, "log_path", json_string(log_path));
	return rb_migration_save(m, err);
}

/* The image's name may mean another image here: then its ID stands in. */
static int use_image(struct rb_migration *m, struct rb_member *c, json_t *spec,
		     const struct rb_wait *wait, struct rb_err *err)
{
	char id[RB_IMAGE_ID_SIZE];
	int r = rb_image_find(m->node->engine, json_object_get(offer_of(c), "image"), id, wait,
			      err);

	return r < 0 ? r : rb_engine_use_image(m->node->engine, spec, id, wait, err);
}

/* one that has joined another's network joins it here, too */
static int join(struct rb_migration *m, struct rb_member *c, json_t *spec, struct rb_err *err)
{
	size_t number = rb_member_number(m, c);
	int64_t whom = rb_json_int(offer_of(c), "joins", 0);

	if (!number)
		return 0;
	if (whom < 0 || whom >= (int64_t)number)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "'%s' joins the network of a container that comes after it",
				   c->name);
	return rb_spec_join(spec, m->members[whom].container_id, err);
}

static int note_container(struct rb_migration *m, struct rb_member *c, const char *id,
			  struct rb_err *err)
{
	snprintf(c->container_id, sizeof(c->container_id), "%s", id);
	rb_member_fact(c, "new_id", json_string(id));
	if (rb_member_number(m, c))
		return rb_migration_save(m, err);
	snprintf(m->entry.container_id, sizeof(m->entry.container_id), "%s", id);
	return rb_journal_container_id(m->node->journal, m->entry.id, id, err);
}

static int create_one(struct rb_migration *m, struct rb_member *c, const struct rb_wait *wait,
		      struct rb_err *err)
{
	json_t *spec = json_object_get(offer_of(c), "spec");
	char name[64], id[65];
	int r;

	temporary_name(m, c, name, sizeof(name));
	r = use_image(m, c, spec, wait, err);
	if (r >= 0)
		r = join(m, c, spec, err);
	if (r >= 0)
		r = rb_engine_create(m->node->engine, name, spec, id, wait, err);
	if (r >= 0)
		r = note_container(m, c, id, err);
	return r < 0 ? r : note_paths(m, c, wait, err);
}

int rb_target_create(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_wait(m, ENGINE_MS);
	json_t *members = json_array();
	int r;

	(void)args;
	r = rb_mkdir_p(m->work_dir, 0700, err);
	/* all volumes and folders first: several may use one */
	rb_each_member (c, m)
		if (r >= 0)
			r = rb_target_create_storage(m, c, &wait, err);
	if (r >= 0)
		r = rb_target_finish_storage(m, &wait, err);
	if (r >= 0)
		r = rb_travel_arrive(m->node, rb_json_path(m->entry.facts, "offer.networks"),
				     m->entry.id, m->entry.peer, err);
	rb_each_member (c, m) {
		if (r >= 0)
			r = create_one(m, c, &wait, err);
		if (r >= 0 && rb_member_number(m, c))
			json_array_append_new(members,
					      json_pack("{s:s}", "new_id", c->container_id));
	}
	/* each create may have filled one */
	rb_each_member (c, m)
		if (r >= 0)
			r = rb_target_empty_storage(m, c, &wait, err);
	if (r >= 0)
		*ret = json_pack("{s:s, s:O}", "new_id", m->entry.container_id, "members", members);
	json_decref(members);
	return r < 0 ? r : 0;
}

int rb_target_create_undo(struct rb_migration *m, struct rb_err *err)
{
	struct rb_wait wait = rb_migration_cleanup_wait(ENGINE_MS);
	char name[64];
	int r = 0;

	rb_each_member (c, m) {
		temporary_name(m, c, name, sizeof(name));
		if (r >= 0)
			r = rb_engine_remove(m->node->engine, name, true, false, &wait, err);
	}
	if (r >= 0)
		r = rb_travel_turn_back(m->node, rb_json_path(m->entry.facts, "offer.networks"),
					m->entry.id, err);
	rb_each_member (c, m)
		if (r >= 0)
			r = rb_target_remove_storage(m, c, &wait, err);
	return r < 0 ? r : rb_migration_remove_work(m, err);
}

/* "images" {"member", "what": "images" | "pages", "bytes"}: a stream of plain.h follows */
int rb_target_images(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	struct rb_member *c = rb_member_asked(m, args);
	char images[PATH_MAX];
	int r;

	(void)ret;
	/* the container stands still */
	rb_migration_hurry(m, true);
	r = c ? rb_target_images_folder(m, c, (uint64_t)rb_json_int(args, "bytes", 0), images, err)
	      : rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "there is no such member");
	if (r >= 0)
		return rb_plain_receive(m->conn, images, &m->wait, err);
	/* so that the peer is not stuck in its sending, and reads why */
	rb_stream_drain(m->conn, &m->wait, NULL);
	return r;
}

/* "log": earlier lines of `docker logs`; they go into the file until Docker has opened it */
int rb_target_log(struct rb_migration *m, const json_t *args, json_t **ret, struct rb_err *err)
{
	struct rb_member *c = rb_member_asked(m, args);
	const char *path = c ? rb_json_str(c->facts, "log_path", NULL) : NULL;
	int placeholder;

	(void)ret;
	if (!path)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "no container was created yet");
	placeholder = rb_criu_placeholder_pid(m->node->run_dir, c->container_id);
	return placeholder > 0 ? rb_logfile_replay(m->conn, placeholder, &m->wait, err)
			       : rb_logfile_receive(m->conn, path, &m->wait, err);
}
