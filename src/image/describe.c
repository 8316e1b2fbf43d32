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
#include "digest.h"
#include "engine.h"
#include "err.h"
#include "json.h"

#define STORE_LAYERS	 "layers"     /* Docker's own: image ID = digest of its configuration */
#define STORE_CONTAINERD "containerd" /* image ID = digest of its manifest or index */

/* Docker's stores and mount(2) do not take as many by far */
#define LAYERS_MAX 1024

static int out_of_memory(struct rb_err *err)
{
	return rb_err_set(err, -ENOMEM, "describe the image");
}

/* --- configuration --- */

static bool is_empty(const json_t *value)
{
	return !value || json_is_null(value) || json_is_false(value) ||
	       ((json_is_array(value) || json_is_object(value)) && json_array_size(value) == 0 &&
		json_object_size(value) == 0) ||
	       (json_is_string(value) && json_string_length(value) == 0) ||
	       (json_is_integer(value) && json_integer_value(value) == 0);
}

/* of an object: without members that stand for nothing, which some versions of Docker leave out */
static json_t *without_empty(const json_t *object)
{
	json_t *out = json_object(), *value;
	const char *key;

	json_object_foreach ((json_t *)object, key, value)
		if (!is_empty(value))
			json_object_set(out, key, value);
	return out;
}

/*
 * What containers of an image inherit, as one digest: that of the members of Config which both
 * stores have (moby daemon/containerd/imagespec.go), sorted. The rest are what the builder's
 * container had, and differ between stores.
 */
static int config_digest(const json_t *config, char ret[RB_DIGEST_DIGITS + 1])
{
	static const char *const members[] = { "Cmd",	       "Entrypoint",  "Env",
					       "ExposedPorts", "Healthcheck", "Labels",
					       "OnBuild",      "Shell",	      "StopSignal",
					       "User",	       "Volumes",     "WorkingDir" };
	_cleanup_json_ json_t *all = json_object();
	_cleanup_free_ char *text = NULL;
	uint8_t bytes[RB_DIGEST_BYTES];
	struct rb_digest *digest;
	bool done;

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const json_t *value = json_object_get(config, members[i]);

		/* empty keys of Labels, Volumes count; the probe's numbers may be left out */
		if (strcmp(members[i], "Healthcheck") == 0 && json_is_object(value))
			json_object_set_new(all, members[i], without_empty(value));
		else if (!is_empty(value))
			json_object_set(all, members[i], (json_t *)value);
	}
	if (is_empty(json_object_get(all, "Healthcheck")))
		json_object_del(all, "Healthcheck");
	text = json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS);
	digest = rb_digest_new();
	done = text && digest && rb_digest_start(digest) &&
	       rb_digest_add(digest, text, strlen(text)) && rb_digest_end(digest, bytes);
	rb_digest_free(digest);
	if (!done)
		return -ENOMEM;
	rb_hex_encode(bytes, ret);
	return 0;
}

/* which store the engine keeps images in */
static int image_store(struct rb_engine *engine, const char **ret, const struct rb_wait *wait,
		       struct rb_err *err)
{
	_cleanup_json_ json_t *info = NULL;
	int r = rb_engine_info(engine, &info, wait, err);

	if (r >= 0)
		*ret = rb_engine_uses_containerd(info) ? STORE_CONTAINERD : STORE_LAYERS;
	return r;
}

/* as many of its tags as a peer takes */
static json_t *tags_of(const json_t *image)
{
	json_t *out = json_array(), *tag;
	size_t i;

	json_array_foreach (json_object_get(image, "RepoTags"), i, tag)
		if (json_array_size(out) < RB_IMAGE_TAGS_MAX)
			json_array_append(out, tag);
	return out;
}

int rb_image_describe(struct rb_engine *engine, const char *ref, json_t **ret,
		      const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *image = NULL, *out = NULL;
	char config[RB_DIGEST_DIGITS + 1];
	const char *id = NULL, *store = NULL;
	json_t *layers;
	int r;

	r = rb_engine_image_inspect(engine, ref, &image, wait, err);
	if (r == 0)
		r = rb_json_need_str(image, "Id", &id, err);
	if (r == 0)
		r = image_store(engine, &store, wait, err);
	if (r < 0)
		return rb_err_wrap(err, r, "image '%s'", ref);
	if (config_digest(json_object_get(image, "Config"), config) < 0)
		return out_of_memory(err);
	layers = rb_json_path(image, "RootFS.Layers");
	out = json_pack(
		"{s:s, s:o, s:o, s:I, s:s, s:s, s:s, s:s, s:s}", "id", id, "tags", tags_of(image),
		"layers", json_is_array(layers) ? json_incref(layers) : json_array(), "size",
		(json_int_t)rb_json_int(image, "Size", 0), "architecture",
		rb_json_str(image, "Architecture", ""), "os", rb_json_str(image, "Os", ""),
		"created", rb_json_str(image, "Created", ""), "config", config, "store", store);
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
	char config[RB_DIGEST_DIGITS + 1];

	return json_array_size(layers) > 0 &&
	       config_digest(json_object_get(image, "Config"), config) == 0 &&
	       strcmp(config, rb_json_str(description, "config", "")) == 0 &&
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

/* a peer says it; how many there are costs calls on Docker */
static int check_description(const json_t *description, struct rb_err *err)
{
	size_t layers = json_array_size(json_object_get(description, "layers"));
	size_t tags = json_array_size(json_object_get(description, "tags"));
	uint8_t digest[RB_DIGEST_BYTES];
	const char *id;
	int r = rb_json_need_str(description, "id", &id, err);

	if (r < 0)
		return r;
	if (strncmp(id, "sha256:", 7) != 0 || strlen(id) != 7 + RB_DIGEST_DIGITS ||
	    !rb_hex_decode(id + 7, digest))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "'%.80s' is no image's ID", id);
	if (layers > LAYERS_MAX || tags > RB_IMAGE_TAGS_MAX)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "an image of %zu layers and %zu names is described: there may "
				   "be %d and %d",
				   layers, tags, LAYERS_MAX, RB_IMAGE_TAGS_MAX);
	return 0;
}

/* by ID, then by likeness if the image comes from the other kind of store */
static int search_image(struct rb_engine *engine, struct search *search, const struct rb_wait *wait,
			struct rb_err *err)
{
	const char *theirs;
	int r;

	r = check_description(search->description, err);
	if (r == 0)
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
