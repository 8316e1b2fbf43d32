// SPDX-License-Identifier: Apache-2.0
/*
 * obstacles_disk.c - is there room on the disks of the target for all that will be written there?
 *
 * Images of the memory, Docker's folder (writable layers, volumes), and each bind mount may be on
 * one disk or on several: what goes to one is added up.
 *
 * Layers of the image come before all that, into our folder. Docker then unpacks the archive, and
 * the layers from that, while our folder gives up what it has taken: on one disk that is two copies
 * at once. After that there is one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "facts.h"
#include "image.h"
#include "io.h"
#include "json.h"
#include "obstacles.h"
#include "storage.h"

#define LAYERS "layers of the image"
#define ALWAYS 3 /* entries, before those of bind mounts */

static uint64_t add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t bytes_of(const json_t *json, const char *key)
{
	int64_t bytes = rb_json_int(json, key, 0);

	return bytes > 0 ? (uint64_t)bytes : 0;
}

/* That of the file system of @path, or of its nearest parent that exists. */
static uint64_t device_of(const char *path)
{
	char at[PATH_MAX], *slash;
	struct stat st;

	snprintf(at, sizeof(at), "%s", path);
	while (stat(at, &st) < 0) {
		slash = strrchr(at, '/');
		if (!slash || slash == at)
			return stat("/", &st) < 0 ? 0 : st.st_dev;
		*slash = '\0';
	}
	return st.st_dev;
}

/* All that goes to the disk of the first one, which no earlier one is on. */
static void check_disk(const struct rb_node *node, const struct rb_written *list, size_t n,
		       json_t *obstacles)
{
	_cleanup_buf_ struct rb_buf paths = {};
	uint64_t bytes = RB_STORAGE_RESERVE;

	for (size_t i = 0; i < n; i++) {
		if (list[i].dev != list[0].dev || (i > 0 && !list[i].bytes))
			continue;
		bytes = add(bytes, list[i].bytes);
		rb_buf_addf(&paths, "%s'%s'", paths.len ? ", " : "", list[i].path);
	}
	if (list[0].free < bytes)
		rb_obstacle_add(obstacles, "error", "make room there",
				"node '%s' has too little disk space for %s: %llu MiB needed, %llu "
				"MiB free",
				node->name, paths.data ?: "it", (unsigned long long)(bytes >> 20),
				(unsigned long long)(list[0].free >> 20));
}

void rb_obstacles_disks(const struct rb_node *node, const struct rb_written *list, size_t n,
			json_t *obstacles)
{
	for (size_t i = 0; i < n; i++) {
		size_t first = 0;

		while (list[first].dev != list[i].dev)
			first++;
		if (first == i)
			check_disk(node, list + i, n - i, obstacles);
	}
}

/* Return: how many are in @list now, which has room for them. NULL: only count them */
static size_t add_binds(const json_t *offer, struct rb_written *list, size_t n)
{
	const json_t *bind, *member;
	size_t i;

	json_array_foreach (json_object_get(offer, "binds"), i, bind) {
		const char *source = rb_json_str(bind, "source", "");

		if (!rb_storage_is_copied(bind) || source[0] != '/')
			continue;
		if (list)
			list[n] = (struct rb_written){ .path = source,
						       .bytes = bytes_of(bind, "bytes"),
						       .dev = device_of(source),
						       .free = rb_disk_free(source) };
		n++;
	}
	json_array_foreach (json_object_get(offer, "members"), i, member)
		n = add_binds(member, list, n);
	return n;
}

void rb_obstacles_layers(const struct rb_node *node, const struct rb_written *state,
			 const struct rb_written *docker, uint64_t layer_bytes, json_t *obstacles)
{
	struct rb_written list[] = { *docker, *docker, *state };

	list[0].bytes = 0;
	list[1].path = LAYERS ", twice while it loads them";
	list[1].bytes = RB_IMAGE_LOAD_TIMES * layer_bytes;
	list[2].bytes = state->dev == docker->dev ? 0 : layer_bytes;
	rb_obstacles_disks(node, list, ARRAY_SIZE(list), obstacles);
}

void rb_obstacles_disk(const struct rb_node *node, const json_t *offer, const char *docker,
		       uint64_t layer_bytes, bool lazy, json_t *obstacles)
{
	/* all trees; those of bind mounts are not there */
	uint64_t files = bytes_of(offer, "file_bytes"), binds = 0;
	size_t n = ALWAYS + add_binds(offer, NULL, 0), before = json_array_size(obstacles);
	_cleanup_free_ struct rb_written *list = calloc(n, sizeof(*list));

	if (!list)
		return;
	add_binds(offer, list, ALWAYS);
	for (size_t i = ALWAYS; i < n; i++)
		binds = add(binds, list[i].bytes);
	list[0] = (struct rb_written){ .path = node->state_dir,
				       .bytes = rb_offer_images(offer, lazy),
				       .dev = device_of(node->state_dir),
				       .free = rb_disk_free(node->state_dir) };
	list[1] = (struct rb_written){ .path = docker,
				       .bytes = files > binds ? files - binds : 0,
				       .dev = device_of(docker),
				       .free = rb_disk_free(docker) };
	list[2] = list[1];
	list[2].path = LAYERS;
	list[2].bytes = layer_bytes;
	rb_obstacles_disks(node, list, n, obstacles);
	if (layer_bytes && json_array_size(obstacles) == before)
		rb_obstacles_layers(node, &list[0], &list[1], layer_bytes, obstacles);
}
