// SPDX-License-Identifier: Apache-2.0
/*
 * test_describe.c - which image here is the one that a peer describes, and what it is named
 *
 * fixtures/DOCKER-STORE.inspect.json is what Docker of that version said of one image: in its own
 * store, where it was imported, and in containerd's, into which what it saved was loaded.
 */
#include <errno.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "fake_docker.h"
#include "image.h"
#include "json.h"
#include "tap.h"

#define ID_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct rb_engine *engine;

static void use_store(bool containerd)
{
	fake_set("info", containerd ? json_pack("{s:[[s,s]]}", "DriverStatus", "driver-type",
						"io.containerd.snapshotter.v1")
				    : json_pack("{s:[[s,s]]}", "DriverStatus", "Backing", "extfs"));
}

/* as `docker inspect` shows one whose date is fixed; @config is text */
static json_t *image(const char *config)
{
	return json_pack("{s:{s:[s,s]}, s:[s], s:s, s:s, s:s, s:i, s:o}", "RootFS", "Layers",
			 "sha256:11", "sha256:22", "RepoTags", "app:1", "Architecture", "amd64",
			 "Os", "linux", "Created", "1970-01-01T00:00:00Z", "Size", 4711, "Config",
			 json_loads(config, 0, NULL));
}

/* what a source with Docker's own store says of an image of that configuration */
static json_t *describe(const char *config)
{
	json_t *description = NULL;

	fake_clear();
	use_store(false);
	fake_add_image(ID_A, image(config));
	rb_image_describe(engine, ID_A, &description, NULL, NULL);
	return description;
}

/* Return: as rb_image_find(), on a target with containerd's store that has one of @config */
static int find(const char *described, const char *config)
{
	_cleanup_json_ json_t *description = describe(described);
	char id[RB_IMAGE_ID_SIZE] = "";
	int r;

	fake_clear();
	use_store(true);
	fake_add_image(ID_B, image(config));
	r = rb_image_find(engine, description, id, NULL, NULL);
	return r == 0 && strcmp(id, ID_B) != 0 ? -EXDEV : r;
}

static void one_image_has_two_ids(void)
{
	CHECK_INT(find("{\"Cmd\":[\"a\"]}", "{\"Cmd\":[\"a\"]}"), 0);
	CHECK_INT(find("{}", "{}"), 0);
	/* written in another way: nothing, the builder's container, an order of keys */
	CHECK_INT(find("{\"Cmd\":[\"a\"],\"Env\":null,\"Hostname\":\"x\",\"Image\":\"sha256:1\","
		       "\"Labels\":{\"a\":\"1\",\"b\":\"2\"},\"StdinOnce\":false}",
		       "{\"Labels\":{\"b\":\"2\",\"a\":\"1\"},\"Entrypoint\":[],\"Cmd\":[\"a\"],"
		       "\"User\":\"\"}"),
		  0);
	CHECK_INT(find("{\"Healthcheck\":{\"Test\":[\"CMD\",\"x\"],\"Interval\":0}}",
		       "{\"Healthcheck\":{\"Test\":[\"CMD\",\"x\"]}}"),
		  0);
}

static void real_dockers_agree(void)
{
	static const char *const versions[] = { "26.1", "28.5" };

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		_cleanup_json_ json_t *there = NULL, *here = NULL, *description = NULL;
		char path[512], id[RB_IMAGE_ID_SIZE];

		rb_path(path, sizeof(path), "%s/%s-layers.inspect.json", FIXTURES, versions[i]);
		CHECK_INT(rb_json_load(path, &there, NULL), 0);
		rb_path(path, sizeof(path), "%s/%s-containerd.inspect.json", FIXTURES, versions[i]);
		CHECK_INT(rb_json_load(path, &here, NULL), 0);
		fake_clear();
		use_store(false);
		fake_add_image(rb_json_str(there, "Id", ""), json_incref(there));
		CHECK_INT(rb_image_describe(engine, rb_json_str(there, "Id", ""), &description,
					    NULL, NULL),
			  0);
		fake_clear();
		use_store(true);
		fake_add_image(rb_json_str(here, "Id", ""), json_incref(here));
		CHECK_INT(rb_image_find(engine, description, id, NULL, NULL), 0);
		CHECK_STR(id, rb_json_str(here, "Id", ""));
		CHECK(strcmp(id, rb_json_str(there, "Id", "")) != 0);
	}
}

static void what_containers_inherit_tells_images_apart(void)
{
	CHECK_INT(find("{\"Cmd\":[\"a\"]}", "{\"Cmd\":[\"b\"]}"), -ENOENT);
	CHECK_INT(find("{\"Cmd\":[\"a\",\"b\"]}", "{\"Cmd\":[\"b\",\"a\"]}"), -ENOENT);
	CHECK_INT(find("{\"Env\":[\"A=1\"]}", "{\"Env\":[\"A=2\"]}"), -ENOENT);
	CHECK_INT(find("{\"Entrypoint\":[\"a\"]}", "{}"), -ENOENT);
	CHECK_INT(find("{}", "{\"User\":\"nobody\"}"), -ENOENT);
	CHECK_INT(find("{\"Volumes\":{\"/a\":{}}}", "{\"Volumes\":{\"/b\":{}}}"), -ENOENT);
	CHECK_INT(find("{\"Labels\":{\"a\":\"\"}}", "{}"), -ENOENT);
	CHECK_INT(find("{\"Healthcheck\":{\"Test\":[\"CMD\",\"x\"],\"Interval\":5}}",
		       "{\"Healthcheck\":{\"Test\":[\"CMD\",\"x\"]}}"),
		  -ENOENT);
}

static void in_one_kind_of_store_the_id_decides(void)
{
	_cleanup_json_ json_t *description = describe("{}");
	char id[RB_IMAGE_ID_SIZE];

	CHECK_INT(rb_image_find(engine, description, id, NULL, NULL), 0);
	CHECK_STR(id, ID_A);
	fake_clear();
	fake_add_image(ID_B, image("{}"));
	CHECK_INT(rb_image_find(engine, description, id, NULL, NULL), -ENOENT);
}

static json_t *many(size_t count)
{
	json_t *out = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(out, json_sprintf("app:%zu", i));
	return out;
}

static void how_much_is_described_has_a_limit(void)
{
	_cleanup_json_ json_t *tags = json_pack("{s:s, s:[s], s:o}", "id", ID_A, "layers", "x",
						"tags", many(RB_IMAGE_TAGS_MAX + 1));
	_cleanup_json_ json_t *layers =
		json_pack("{s:s, s:o, s:[]}", "id", ID_A, "layers", many(5000), "tags");
	_cleanup_json_ json_t *described = NULL;
	char id[RB_IMAGE_ID_SIZE];
	struct rb_err err = {};
	json_t *tagged;
	int present;

	fake_clear();
	CHECK_INT(rb_image_find(engine, tags, id, NULL, &err), -EPROTO);
	CHECK_INT(err.code, RB_E_PROTOCOL);
	CHECK_INT(rb_image_present(engine, layers, &present, NULL, &err), -EPROTO);
	CHECK_INT(fake_calls("GET"), 0);
	/* and who has more does not say so */
	tagged = image("{}");
	json_object_set_new(tagged, "RepoTags", many(RB_IMAGE_TAGS_MAX + 1));
	fake_add_image(ID_A, tagged);
	CHECK_INT(rb_image_describe(engine, ID_A, &described, NULL, &err), 0);
	CHECK_INT(json_array_size(json_object_get(described, "tags")), RB_IMAGE_TAGS_MAX);
	CHECK_INT(rb_image_find(engine, described, id, NULL, &err), 0);
}

static void names_of_others_stay_with_them(void)
{
	_cleanup_json_ json_t *description = describe("{}"), *names = NULL;
	struct rb_err err = {};
	json_t *other = image("{}");

	json_object_set_new(
		description, "tags",
		json_pack("[s,s,s,s]", "app:1", "app:latest", "app:2", "<none>:<none>"));
	json_object_set_new(other, "RepoTags", json_pack("[s]", "app:latest"));
	fake_add_image(ID_B, other);
	CHECK_INT(rb_image_add_tags(engine, ID_A, description, &names, NULL, &err), 0);
	CHECK_STR(json_string_value(json_array_get(json_object_get(names, "given"), 0)), "app:1");
	CHECK_STR(json_string_value(json_array_get(json_object_get(names, "given"), 1)), "app:2");
	CHECK_INT(json_array_size(json_object_get(names, "given")), 2);
	CHECK_STR(json_string_value(json_array_get(json_object_get(names, "taken"), 0)),
		  "app:latest");
	CHECK_INT(json_array_size(json_object_get(names, "taken")), 1);
	CHECK_INT(fake_calls("POST /images/" ID_A "/tag"), 1);
}

int main(void)
{
	if (rb_engine_open(fake_start(), &engine, NULL) < 0)
		return 1;
	TAP_RUN(one_image_has_two_ids);
	TAP_RUN(real_dockers_agree);
	TAP_RUN(what_containers_inherit_tells_images_apart);
	TAP_RUN(in_one_kind_of_store_the_id_decides);
	TAP_RUN(how_much_is_described_has_a_limit);
	TAP_RUN(names_of_others_stay_with_them);
	rb_engine_close(engine);
	fake_stop();
	return tap_done();
}
