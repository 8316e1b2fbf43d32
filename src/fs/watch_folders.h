/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_folders.h - which folder of which tree a file handle stands for (inside of watch*.c only)
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct file_handle;
struct watched;

struct watch_folder {
	struct watch_folder *next; /* of the same bucket */
	uint64_t hash;		   /* of file system and handle */
	struct watched *tree;
	char *path; /* in the tree */
	int fs, type;
	unsigned int len;
	unsigned char handle[];
};

/** Zero-initialised it is empty. */
struct watch_folders {
	struct watch_folder **buckets;
	size_t n, n_buckets; /* a power of two */
	size_t bytes;	     /* of memory, more or less */
};

/**
 * watch_folders_put - remember a folder, or its new path
 * @fs: number of the file system
 * @dir_fd: the folder
 *
 * A folder may be part of several trees.
 *
 * Return: 0 or negative errno.
 */
int watch_folders_put(struct watch_folders *folders, int fs, int dir_fd, struct watched *tree,
		      const char *path);

/** watch_folders_find - the folder that a handle stands for, in one tree after the other; NULL when
 * there are no more
 * @last: what was found before, or NULL */
struct watch_folder *watch_folders_find(const struct watch_folders *folders, int fs,
					const struct file_handle *handle,
					const struct watch_folder *last);

/** watch_folders_remove - it is gone, from all trees */
void watch_folders_remove(struct watch_folders *folders, int fs, const struct file_handle *handle);

/** watch_folders_remove_tree - forget all folders of a tree */
void watch_folders_remove_tree(struct watch_folders *folders, const struct watched *tree);

void watch_folders_free(struct watch_folders *folders);
