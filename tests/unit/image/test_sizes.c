// SPDX-License-Identifier: Apache-2.0
/*
 * test_sizes.c - how large layers are, as Docker's store says
 */
#include "sizes.h"

#include <limits.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "fake_docker.h"
#include "image_util.h"
#include "io.h"
#include "json.h"
#include "tap.h"

#define LAYER "sha256:1d9c50e25d43a29a5bd6756e5a08e872d16f9d2300ab739c35d91ecc2d3a3897"
#define UPPER "sha256:5bb54ac28f621d711d58012bb8a2448d298bc61b05be2042542747fe64359f91"

static struct rb_engine *engine;

/* the store has a layer's size, by its chain ID without "sha256:" */
static void put_size(const char *chain, const char *text)
{
	char path[PATH_MAX];

	rb_path(path, sizeof(path), "%s/docker/image/overlay2/layerdb/sha256/%s", fake_dir, chain);
	rb_mkdir_p(path, 0700, NULL);
	rb_path(path, sizeof(path), "%s/docker/image/overlay2/layerdb/sha256/%s/size", fake_dir,
		chain);
	rb_write_file(path, text, strlen(text), 0600, false, NULL);
}

/* Return: of the layer with that number; -2: the call failed */
static int64_t size_at(const json_t *layers, size_t number)
{
	_cleanup_json_ json_t *description = json_pack("{s:O}", "layers", layers), *sizes = NULL;

	if (rb_image_sizes(engine, description, &sizes, NULL, NULL) < 0 ||
	    json_array_size(sizes) != json_array_size(layers))
		return -2;
	return json_integer_value(json_array_get(sizes, number));
}

static void use_driver(const char *driver)
{
	char root[PATH_MAX];

	rb_path(root, sizeof(root), "%s/docker", fake_dir);
	fake_set("info", json_pack("{s:s, s:s}", "Driver", driver, "DockerRootDir", root));
}

static void layers_are_looked_up_by_chain(void)
{
	_cleanup_json_ json_t *layers = json_pack("[s,s]", LAYER, UPPER);
	char hex[RB_DIGEST_DIGITS + 1];

	use_driver("overlay2");
	util_sha256(LAYER " " UPPER, strlen(LAYER " " UPPER), hex);
	put_size(&LAYER[7], "4711");
	put_size(hex, "12\n");
	CHECK_INT(size_at(layers, 0), 4711);
	CHECK_INT(size_at(layers, 1), 12);
	put_size(hex, "0");
	CHECK_INT(size_at(layers, 1), 0);
}

static void what_is_not_there_is_not_known(void)
{
	static const char *const ids[] = { UPPER, "sha256:", "x", "sha256:../../../../sizes",
					   "sha256:1D9C" };

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		_cleanup_json_ json_t *layers = json_pack("[s]", ids[i]);

		CHECK_INT(size_at(layers, 0), -1);
	}
}

static void nonsense_is_not_known(void)
{
	static const char *const texts[] = { "", "many", "-5" };
	_cleanup_json_ json_t *layers = json_pack("[s]", LAYER);

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		put_size(&LAYER[7], texts[i]);
		CHECK_INT(size_at(layers, 0), -1);
	}
}

static void another_store_does_not_tell(void)
{
	_cleanup_json_ json_t *layers = json_pack("[s]", LAYER);

	put_size(&LAYER[7], "4711");
	CHECK_INT(size_at(layers, 0), 4711);
	use_driver("overlayfs");
	CHECK_INT(size_at(layers, 0), -1);
}

int main(void)
{
	if (rb_engine_open(fake_start(), &engine, NULL) < 0)
		return 1;
	TAP_RUN(layers_are_looked_up_by_chain);
	TAP_RUN(what_is_not_there_is_not_known);
	TAP_RUN(nonsense_is_not_known);
	TAP_RUN(another_store_does_not_tell);
	rb_engine_close(engine);
	fake_stop();
	return tap_done();
}
