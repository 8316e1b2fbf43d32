/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_util.h - layers and archives of images as `docker save` writes them, made in memory
 */
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "digest.h"
#include "io.h"
#include "json.h"

/* bytes that compress about 2:1 and are the same for the same seed */
static inline void util_fill(uint8_t *data, size_t len, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + 1;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		data[i] = (uint8_t)(x >> 33 & 0x0f);
	}
}

static inline la_ssize_t util_write(struct archive *a, void *arg, const void *data, size_t len)
{
	(void)a;
	return rb_buf_add(arg, data, len) < 0 ? -1 : (la_ssize_t)len;
}

static inline struct archive *util_tar(struct rb_buf *out)
{
	struct archive *a = archive_write_new();

	archive_write_set_format_pax_restricted(a);
	archive_write_set_bytes_per_block(a, 0);
	archive_write_open(a, out, NULL, util_write, NULL);
	return a;
}

static inline void util_tar_file(struct archive *a, const char *path, const void *data, size_t len)
{
	struct archive_entry *entry = archive_entry_new();

	archive_entry_set_pathname(entry, path);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_size(entry, (la_int64_t)len);
	archive_write_header(a, entry);
	if (len)
		archive_write_data(a, data, len);
	archive_entry_free(entry);
}

static inline void util_tar_end(struct archive *a)
{
	archive_write_close(a);
	archive_write_free(a);
}

static inline void util_sha256(const void *data, size_t len, char ret[RB_DIGEST_DIGITS + 1])
{
	struct rb_digest *digest = rb_digest_new();
	uint8_t bytes[RB_DIGEST_BYTES];

	rb_digest_start(digest);
	rb_digest_add(digest, data, len);
	rb_digest_end(digest, bytes);
	rb_hex_encode(bytes, ret);
	rb_digest_free(digest);
}

/* a layer of @files files: sizes differ, contents follow from @seed, and file i from @seed + i */
static inline void util_layer(struct rb_buf *out, int files, size_t largest, uint64_t seed)
{
	struct archive *a = util_tar(out);
	uint8_t *data = malloc(largest);

	for (int i = 0; i < files; i++) {
		size_t len = i % 7 == 0 ? largest : (size_t)(i * 977) % (largest / 4 + 1);
		char path[300];

		snprintf(path, sizeof(path), "usr/lib/%s%d/file-%d",
			 i % 11 ? ""
				: "a/very/long/"
				  "path/that/does/not/fit/into/the/hundred/bytes/of/a/header/"
				  "because/it/goes/"
				  "on/and/on/and/on/",
			 i % 5, i);
		util_fill(data, len, seed + (uint64_t)i);
		util_tar_file(a, path, data, len);
	}
	free(data);
	util_tar_end(a);
}

/* what `docker save` of Docker 25 and later writes: blobs, then manifest.json. Returns diff IDs. */
static inline json_t *util_archive(struct rb_buf *out, const struct rb_buf *layers, size_t count)
{
	struct archive *a = util_tar(out);
	json_t *ids = json_array(), *files = json_array();
	_cleanup_json_ json_t *manifest = json_pack("[{s:o}]", "Layers", files);
	_cleanup_free_ char *text = NULL;

	for (size_t i = 0; i < count; i++) {
		char hex[RB_DIGEST_DIGITS + 1], path[128];

		util_sha256(layers[i].data, layers[i].len, hex);
		snprintf(path, sizeof(path), "blobs/sha256/%s", hex);
		util_tar_file(a, path, layers[i].data, layers[i].len);
		json_array_append_new(files, json_string(path));
		json_array_append_new(ids, json_sprintf("sha256:%s", hex));
	}
	text = json_dumps(manifest, JSON_COMPACT);
	util_tar_file(a, "manifest.json", text, strlen(text));
	util_tar_end(a);
	return ids;
}

/* Docker's folder, with a layer's files in it: what of @layer (a tar) are files is unpacked */
static inline void util_store(const char *root, const char *chain, const char *folder,
			      const struct rb_buf *layer)
{
	struct archive *a = archive_read_new(), *disk = archive_write_disk_new();
	struct archive_entry *entry;
	char path[4096];

	snprintf(path, sizeof(path), "%s/image/overlay2/layerdb/sha256/%s", root, chain);
	rb_mkdir_p(path, 0700, NULL);
	snprintf(path, sizeof(path), "%s/image/overlay2/layerdb/sha256/%s/cache-id", root, chain);
	rb_write_file(path, folder, strlen(folder), 0600, false, NULL);
	snprintf(path, sizeof(path), "%s/overlay2/%s/diff", root, folder);
	rb_mkdir_p(path, 0755, NULL);
	archive_read_support_format_tar(a);
	archive_read_open_memory(a, layer->data, layer->len);
	while (archive_read_next_header(a, &entry) == ARCHIVE_OK) {
		snprintf(path, sizeof(path), "%s/overlay2/%s/diff/%s", root, folder,
			 archive_entry_pathname(entry));
		archive_entry_set_pathname(entry, path);
		archive_read_extract2(a, entry, disk);
	}
	archive_read_free(a);
	archive_write_free(disk);
}
