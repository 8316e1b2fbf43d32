// SPDX-License-Identifier: Apache-2.0
/*
 * stamp.c - one number that tells whether anything of a tree changed since
 *
 * It is made of what tells changes between two rounds, too (manifest.c): names, inodes, sizes and
 * times, but no content. So it takes one scan, and is good on this host only.
 *
 * A hash, a dot, and the ctime of the tree itself: that moves when it gets another name, and is all
 * that then changes. Of a single file it is what tells whoever sets the time back.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cleanup.h"
#include "err.h"
#include "manifest.h"
#include "tree.h"

#define HASH_LEN 32

static void add_entry(XXH3_state_t *state, const char *path, const struct manifest_entry *e)
{
	uint64_t numbers[] = { e->ino,
			       e->size,
			       e->rdev,
			       e->mode,
			       (uint64_t)e->mtime_s,
			       e->mtime_ns,
			       (uint64_t)e->ctime_s,
			       e->ctime_ns };

	XXH3_128bits_update(state, path, strlen(path) + 1);
	XXH3_128bits_update(state, numbers, sizeof(numbers));
}

static void add_root(XXH3_state_t *state, struct manifest_entry e)
{
	e.ctime_s = 0;
	e.ctime_ns = 0;
	add_entry(state, "", &e);
}

static void put_ctime(char stamp[RB_STAMP_SIZE], int64_t s, uint32_t ns)
{
	snprintf(stamp + HASH_LEN, RB_STAMP_SIZE - HASH_LEN, ".%016" PRIx64,
		 (uint64_t)s * 1000000000 + ns);
}

static void finish(XXH3_state_t *state, int64_t ctime_s, uint32_t ctime_ns, char ret[RB_STAMP_SIZE])
{
	XXH128_hash_t hash = XXH3_128bits_digest(state);

	snprintf(ret, RB_STAMP_SIZE, "%016" PRIx64 "%016" PRIx64, hash.high64, hash.low64);
	put_ctime(ret, ctime_s, ctime_ns);
}

bool rb_stamp_has_ctime(const char *stamp, const struct stat *st)
{
	char wanted[RB_STAMP_SIZE];

	put_ctime(wanted, st->st_ctim.tv_sec, (uint32_t)st->st_ctim.tv_nsec);
	return strlen(stamp) == RB_STAMP_SIZE - 1 &&
	       strcmp(stamp + HASH_LEN, wanted + HASH_LEN) == 0;
}

void rb_stamp_renamed(char stamp[RB_STAMP_SIZE], const struct stat *st)
{
	if (strlen(stamp) == RB_STAMP_SIZE - 1)
		put_ctime(stamp, st->st_ctim.tv_sec, (uint32_t)st->st_ctim.tv_nsec);
}

void manifest_stamp(const struct rb_manifest *m, char ret[RB_STAMP_SIZE])
{
	XXH3_state_t state;

	XXH3_128bits_reset(&state);
	add_root(&state, m->entries[0]);
	for (size_t i = 1; i < m->n; i++)
		add_entry(&state, manifest_path(m, &m->entries[i]), &m->entries[i]);
	finish(&state, m->entries[0].ctime_s, m->entries[0].ctime_ns, ret);
}

int rb_tree_stamp_fd(int fd, const char *path, char ret[RB_STAMP_SIZE], const struct rb_wait *wait,
		     struct rb_err *err)
{
	struct rb_manifest *m = NULL;
	XXH3_state_t state;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return rb_err_set(err, -errno, "look at '%s'", path);
	if (!S_ISDIR(st.st_mode)) {
		XXH3_128bits_reset(&state);
		add_root(&state,
			 (struct manifest_entry){ .ino = st.st_ino,
						  .size = (uint64_t)st.st_size,
						  .mode = st.st_mode,
						  .mtime_s = st.st_mtim.tv_sec,
						  .mtime_ns = (uint32_t)st.st_mtim.tv_nsec });
		finish(&state, st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec, ret);
		return 0;
	}
	r = manifest_scan(fd, path, NULL, &m, wait, err);
	if (r >= 0)
		manifest_stamp(m, ret);
	rb_manifest_free(m);
	return r < 0 ? r : 0;
}

int rb_tree_stamp(const char *path, char ret[RB_STAMP_SIZE], const struct rb_wait *wait,
		  struct rb_err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? rb_err_set(err, -errno, "open '%s'", path)
		      : rb_tree_stamp_fd(fd, path, ret, wait, err);
}
