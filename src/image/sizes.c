// SPDX-License-Identifier: Apache-2.0
/*
 * sizes.c - how large the layers of an image are, unpacked
 *
 * Docker's API has sizes of the steps of an image's history only, and does not say which of them
 * made a layer. Its store has a file "size" for each layer, in a folder whose name is the chain ID.
 */
#include "sizes.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "io.h"
#include "json.h"
#include "legacy.h"

#define SIZE_FILE_MAX 64

/* Return: bytes, -1: not known */
static json_int_t layer_size(const char *root, const char *driver, const char *chain_id)
{
	_cleanup_buf_ struct rb_buf text = {};
	const char *digits = strncmp(chain_id, "sha256:", 7) == 0 ? chain_id + 7 : "";
	char path[PATH_MAX];
	char *end;
	long long size;

	if (!*digits || strspn(digits, "0123456789abcdef") != strlen(digits) ||
	    rb_path(path, sizeof(path), "%s/image/%s/layerdb/sha256/%s/size", root, driver,
		    digits) < 0 ||
	    rb_read_file(path, SIZE_FILE_MAX, &text, NULL) < 0 || !text.data)
		return -1;
	size = strtoll(text.data, &end, 10);
	return end != text.data && size >= 0 ? size : -1;
}

int rb_image_sizes(struct rb_engine *engine, const json_t *description, json_t **ret,
		   const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *info = NULL, *chain = NULL, *sizes = json_array();
	json_t *id;
	size_t i;
	int r = rb_engine_info(engine, &info, wait, err);

	if (r < 0)
		return r;
	chain = rb_layer_chain(json_object_get(description, "layers"));
	if (!chain || !sizes)
		return rb_err_set(err, -ENOMEM, "look up the sizes of layers");
	json_array_foreach (chain, i, id)
		json_array_append_new(
			sizes,
			json_integer(layer_size(
				rb_json_str(info, "DockerRootDir", "/var/lib/docker"),
				rb_json_str(info, "Driver", "overlay2"), json_string_value(id))));
	*ret = TAKE_PTR(sizes);
	return 0;
}

uint64_t rb_image_bytes_missing(const json_t *description, int present)
{
	const json_t *sizes = json_object_get(description, "layer_bytes"), *size;
	size_t count = json_array_size(json_object_get(description, "layers")), i;
	int64_t all = rb_json_int(description, "size", 0);
	uint64_t missing = 0;

	all = all > 0 ? all : 0;
	if (present < 0)
		return 0;
	if (json_array_size(sizes) != count || !count)
		return (uint64_t)all;
	/* the peer's numbers: none of them is larger than the whole */
	json_array_foreach (sizes, i, size) {
		json_int_t bytes = json_integer_value(size);

		if (!json_is_integer(size) || bytes < 0 || bytes > all)
			return (uint64_t)all;
		missing += i >= (size_t)present ? (uint64_t)bytes : 0;
	}
	return missing < (uint64_t)all ? missing : (uint64_t)all;
}
