// SPDX-License-Identifier: Apache-2.0
/*
 * describe.c - what an image is, and how much of it an engine has
 */
#include "image.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "json.h"

#define STORE_LAYERS	 "layers"     /* Docker's own: image ID = digest of its configuration */
#define STORE_CONTAINERD "containerd" /* image ID = digest of its manifest or index */

static int out_of_memory(struct rb_err *err)
{
	return rb_err_set(err, -ENOMEM, "describe the image");
}

/* which store the engine keeps images in; Docker shows it by ["driver-type", "io.containerd..."] */
static int image_store(struct rb_engine *engine, const char **ret, const struct rb_wait *wait,
		       struct rb_err *err)
{
	_cleanup_json_ json_t *info = NULL;
	json_t *pair;
	size_t i;
	int r;

	r = rb_engine_info(engine, &info, wait, err);
	if (r < 0)
		return r;
	*ret = STORE_LAYERS;
	json_array_foreach (json_object_get(info, "DriverStatus"), i, pair) {
		const char *key = json_string_value(json_array_get(pair, 0));
		const char *value = json_string_value(json_array_get(pair, 1));

		if (key && value && strcmp(key, "driver-type") == 0 &&
		    strncmp(value, "io.containerd.snapshotter", 25) == 0)
			*ret = STORE_CONTAINERD;
	}
	return 0;
}

int rb_image_describe(struct rb_engine *engine, const char *ref, json_t **ret,
		      const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *image = NULL, *out = NULL;
	json_t *layers, *tags;
	const char *id = NULL, *store = NULL;
	int r;

	r = rb_engine_image_inspect(engine, ref, &image, wait, err);
	if (r == 0)
		r = rb_json_need_str(image, "Id", &id, err);
	if (r == 0)
		r = image_store(engine, &store, wait, err);
	if (r < 0)
		return rb_err_wrap(err, r, "image '%s'", ref);
	layers = rb_json_path(image, "RootFS.Layers");
	tags = json_object_get(image, "RepoTags");
	out = json_pack("{s:s, s:o, s:o, s:I, s:s, s:s, s:s, s:s}", "id", id, "tags",
			json_is_array(tags) ? json_incref(tags) : json_array(), "layers",
			json_is_array(layers) ? json_incref(layers) : json_array(), "size",
			(json_int_t)rb_json_int(image, "Size", 0), "architecture",
			rb_json_str(image, "Architecture", ""), "os", rb_json_str(image, "Os", ""),
			"created", rb_json_str(image, "Created", ""), "store", store);
	if (!out)
		return out_of_memory(err);
	*ret = TAKE_PTR(out);
	return 0;
}

/* --- comparing --- */

static int common_prefix(const json_t *a, const json_t *b)
{
	size_t i;

	for (i = 0; i < json_array_size(a) && i < json_array_size(b); i++)
		if (!json_equal(json_array_get(a, i), json_array_get(b, i)))
			break;
	return (int)i;
}

static bool same_text(const json_t *image, const char *key, const json_t *description,
		      const char *described)
{
	return strcmp(rb_json_str(image, key, ""), rb_json_str(description, described, "")) == 0;
}

/* one image under two IDs: see image.h */
static bool is_same_image(const json_t *image, const json_t *description)
{
	const json_t *layers = json_object_get(description, "layers");

	return json_array_size(layers) > 0 &&
	       json_equal(rb_json_path(image, "RootFS.Layers"), layers) &&
	       same_text(image, "Architecture", description, "architecture") &&
	       same_text(image, "Os", description, "os") &&
	       same_text(image, "Created", description, "created");
}

struct search {
	const json_t *description;
	const char *store; /* of this engine */
	bool other_store;  /* the image comes from the other kind */
	int layers;	   /* longest beginning in common so far */
	char id[RB_IMAGE_ID_SIZE];
};

static int look_at(struct rb_engine *engine, const char *id, struct search *search,
		   const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *image = NULL;
	int r, common;

	r = rb_engine_image_inspect(engine, id, &image, wait, err);
	if (r == -ENOENT) { /* removed since it was listed */
		rb_err_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	common = common_prefix(rb_json_path(image, "RootFS.Layers"),
			       json_object_get(search->description, "layers"));
	if (common > search->layers)
		search->layers = common;
	if (search->other_store && is_same_image(image, search->description))
		snprintf(search->id, sizeof(search->id), "%s", rb_json_str(image, "Id", ""));
	return 0;
}

/* compare with all images here */
static int search_all(struct rb_engine *engine, struct search *search, const struct rb_wait *wait,
		      struct rb_err *err)
{
	_cleanup_json_ json_t *images = NULL;
	json_t *image;
	size_t i;
	int r;

	r = rb_engine_call(engine, "GET", "/images/json", NULL, &images, wait, err);
	json_array_foreach (images, i, image) {
		if (r < 0 || search->id[0])
			break;
		r = look_at(engine, rb_json_str(image, "Id", ""), search, wait, err);
	}
	return r;
}

/* the described ID itself: fills search->id when it is here */
static int search_id(struct rb_engine *engine, struct search *search, const struct rb_wait *wait,
		     struct rb_err *err)
{
	_cleanup_json_ json_t *image = NULL;
	const char *id;
	int r;

	r = rb_json_need_str(search->description, "id", &id, err);
	if (r < 0)
		return r;
	r = rb_engine_image_inspect(engine, id, &image, wait, err);
	if (r == 0 && strcmp(rb_json_str(image, "Id", ""), id) == 0)
		snprintf(search->id, sizeof(search->id), "%s", id);
	if (r != -ENOENT)
		return r;
	rb_err_clear(err);
	return 0;
}

/* by ID, then by likeness if the image comes from the other kind of store */
static int search_image(struct rb_engine *engine, struct search *search, const struct rb_wait *wait,
			struct rb_err *err)
{
	const char *theirs;
	int r;

	r = search_id(engine, search, wait, err);
	if (r < 0 || search->id[0])
		return r;
	r = image_store(engine, &search->store, wait, err);
	if (r < 0)
		return r;
	theirs = rb_json_str(search->description, "store", search->store);
	search->other_store = strcmp(search->store, theirs) != 0;
	return search->other_store ? search_all(engine, search, wait, err) : 0;
}

int rb_image_find(struct rb_engine *engine, const json_t *description,
		  char ret_id[RB_IMAGE_ID_SIZE], const struct rb_wait *wait, struct rb_err *err)
{
	struct search search = { .description = description };
	int r;

	r = search_image(engine, &search, wait, err);
	if (r < 0)
		return r;
	if (!search.id[0])
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT, "image %.19s is not here",
				   rb_json_str(description, "id", ""));
	memcpy(ret_id, search.id, RB_IMAGE_ID_SIZE);
	return 0;
}

int rb_image_present(struct rb_engine *engine, const json_t *description, int *ret_layers,
		     const struct rb_wait *wait, struct rb_err *err)
{
	struct search search = { .description = description };
	int r;

	r = search_image(engine, &search, wait, err);
	if (r < 0)
		return r;
	if (search.id[0]) {
		*ret_layers = -1;
		return 0;
	}
	if (strcmp(search.store, STORE_CONTAINERD) == 0) {
		*ret_layers = 0; /* it wants each blob that the manifest names */
		return 0;
	}
	if (!search.other_store) {
		r = search_all(engine, &search, wait, err);
		if (r < 0)
			return r;
	}
	*ret_layers = search.layers;
	return 0;
}

/* --- tags --- */

/* "registry:5000/name:tag" -> both parts in place; false without a tag */
static bool split_tag(char *ref, const char **ret_repo, const char **ret_tag)
{
	char *colon = strrchr(ref, ':');

	if (!colon || strchr(colon, '/') || colon == ref || !colon[1])
		return false;
	*colon = '\0';
	*ret_repo = ref;
	*ret_tag = colon + 1;
	return true;
}

static int add_tag(struct rb_engine *engine, const char *id, const char *ref,
		   const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_free_ char *copy = strdup(ref);
	_cleanup_json_ json_t *image = NULL;
	char where[256], repo_part[1024], tag_part[512], path[2048];
	const char *repo, *tag;
	int r;

	if (!copy)
		return out_of_memory(err);
	if (!split_tag(copy, &repo, &tag))
		return 0;
	r = rb_engine_image_inspect(engine, ref, &image, wait, err);
	if (r != -ENOENT)
		return r;
	rb_err_clear(err);
	r = rb_engine_escape(id, where, sizeof(where));
	if (r == 0)
		r = rb_engine_escape(repo, repo_part, sizeof(repo_part));
	if (r == 0)
		r = rb_engine_escape(tag, tag_part, sizeof(tag_part));
	if (r < 0)
		return rb_err_set(err, r, "the tag '%.100s'", ref);
	rb_path(path, sizeof(path), "/images/%s/tag?repo=%s&tag=%s", where, repo_part, tag_part);
	return rb_engine_call(engine, "POST", path, NULL, NULL, wait, err);
}

int rb_image_add_tags(struct rb_engine *engine, const char *id, const json_t *description,
		      const struct rb_wait *wait, struct rb_err *err)
{
	json_t *tag;
	size_t i;

	json_array_foreach (json_object_get(description, "tags"), i, tag) {
		const char *ref = json_string_value(tag);
		int r;

		if (!ref || strcmp(ref, "<none>:<none>") == 0)
			continue;
		r = add_tag(engine, id, ref, wait, err);
		if (r < 0)
			return r;
	}
	return 0;
}
