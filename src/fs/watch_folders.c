// SPDX-License-Identifier: Apache-2.0
/* watch_folders.c - which folder of which tree a file handle stands for */
#include "watch_folders.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define FIRST_BUCKETS 256
#define OVERHEAD      16 /* of malloc(), each time */

/* what name_to_handle_at(2) fills, with room for the largest */
struct any_handle {
	struct file_handle head;
	unsigned char bytes[MAX_HANDLE_SZ];
};

static uint64_t hash_of(int fs, const struct file_handle *handle)
{
	return XXH3_64bits_withSeed(handle->f_handle, handle->handle_bytes,
				    (uint64_t)fs << 32 | (uint32_t)handle->handle_type);
}

static bool is_it(const struct watch_folder *folder, uint64_t hash, int fs,
		  const struct file_handle *handle)
{
	return folder->hash == hash && folder->fs == fs && folder->type == handle->handle_type &&
	       folder->len == handle->handle_bytes &&
	       memcmp(folder->handle, handle->f_handle, folder->len) == 0;
}

static size_t bytes_of(const struct watch_folder *folder)
{
	return sizeof(*folder) + folder->len + strlen(folder->path) + 1 + 2 * OVERHEAD;
}

static void unlink_at(struct watch_folders *folders, struct watch_folder **at)
{
	struct watch_folder *folder = *at;

	*at = folder->next;
	folders->bytes -= bytes_of(folder);
	folders->n--;
	free(folder->path);
	free(folder);
}

static int grow(struct watch_folders *folders)
{
	size_t n = folders->n_buckets ? folders->n_buckets * 2 : FIRST_BUCKETS;
	struct watch_folder **buckets = calloc(n, sizeof(struct watch_folder *));

	if (!buckets)
		return -ENOMEM;
	for (size_t i = 0; i < folders->n_buckets; i++) {
		struct watch_folder *folder, *next;

		for (folder = folders->buckets[i]; folder; folder = next) {
			next = folder->next;
			folder->next = buckets[folder->hash & (n - 1)];
			buckets[folder->hash & (n - 1)] = folder;
		}
	}
	free(folders->buckets);
	folders->bytes += (n - folders->n_buckets) * sizeof(struct watch_folder *);
	folders->buckets = buckets;
	folders->n_buckets = n;
	return 0;
}

struct watch_folder *watch_folders_find(const struct watch_folders *folders, int fs,
					const struct file_handle *handle,
					const struct watch_folder *last)
{
	uint64_t hash = hash_of(fs, handle);
	struct watch_folder *folder;

	if (folders->n == 0)
		return NULL;
	folder = last ? last->next : folders->buckets[hash & (folders->n_buckets - 1)];
	while (folder && !is_it(folder, hash, fs, handle))
		folder = folder->next;
	return folder;
}

static int add(struct watch_folders *folders, int fs, const struct file_handle *handle,
	       struct watched *tree, const char *path)
{
	struct watch_folder *folder, **first;

	if (folders->n >= folders->n_buckets && grow(folders) < 0)
		return -ENOMEM;
	folder = calloc(1, sizeof(*folder) + handle->handle_bytes);
	if (!folder)
		return -ENOMEM;
	folder->path = strdup(path);
	if (!folder->path) {
		free(folder);
		return -ENOMEM;
	}
	folder->hash = hash_of(fs, handle);
	folder->tree = tree;
	folder->fs = fs;
	folder->type = handle->handle_type;
	folder->len = handle->handle_bytes;
	memcpy(folder->handle, handle->f_handle, folder->len);
	first = &folders->buckets[folder->hash & (folders->n_buckets - 1)];
	folder->next = *first;
	*first = folder;
	folders->bytes += bytes_of(folder);
	folders->n++;
	return 0;
}

int watch_folders_put(struct watch_folders *folders, int fs, int dir_fd, struct watched *tree,
		      const char *path)
{
	struct any_handle any = { .head.handle_bytes = MAX_HANDLE_SZ };
	struct watch_folder *folder = NULL;
	char *copy;
	int mount_id;

	if (name_to_handle_at(dir_fd, "", &any.head, &mount_id, AT_EMPTY_PATH) < 0)
		return -errno;
	while ((folder = watch_folders_find(folders, fs, &any.head, folder)))
		if (folder->tree == tree)
			break;
	if (!folder)
		return add(folders, fs, &any.head, tree, path);
	if (strcmp(folder->path, path) == 0)
		return 0;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	folders->bytes += strlen(copy) - strlen(folder->path);
	free(folder->path);
	folder->path = copy;
	return 0;
}

void watch_folders_remove(struct watch_folders *folders, int fs, const struct file_handle *handle)
{
	uint64_t hash = hash_of(fs, handle);
	struct watch_folder **at;

	if (folders->n == 0)
		return;
	at = &folders->buckets[hash & (folders->n_buckets - 1)];
	while (*at) {
		if (is_it(*at, hash, fs, handle))
			unlink_at(folders, at);
		else
			at = &(*at)->next;
	}
}

void watch_folders_remove_tree(struct watch_folders *folders, const struct watched *tree)
{
	for (size_t i = 0; folders->n && i < folders->n_buckets; i++) {
		struct watch_folder **at = &folders->buckets[i];

		while (*at) {
			if ((*at)->tree == tree)
				unlink_at(folders, at);
			else
				at = &(*at)->next;
		}
	}
}

void watch_folders_free(struct watch_folders *folders)
{
	for (size_t i = 0; i < folders->n_buckets; i++)
		while (folders->buckets[i])
			unlink_at(folders, &folders->buckets[i]);
	free(folders->buckets);
	*folders = (struct watch_folders){};
}
