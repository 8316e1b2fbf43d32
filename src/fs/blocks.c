// SPDX-License-Identifier: Apache-2.0
/*
 * blocks.c - what the other side has of the large files of a tree
 *
 * The hashes are those of what was put into the stream, changed as it is put there. They are what
 * the receiver has only if it took the stream: so a file that was sent is `pending` until the
 * commit, and one that still is pending when the next send begins is as if it had never been sent.
 *
 * Only what is hashed is sent and the other way round: a block is read once, into a buffer, for
 * both.
 */
#include "blocks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "blocks_internal.h"
#include "cleanup.h"
#include "dirty.h"
#include "err.h"

#define BUCKETS	   1024
#define BLOCK_MIN  ((uint64_t)4096)
#define FILE_NEW   ((uint64_t)1 << 18)	/* blocks of a file when it is first sent, */
#define FILE_MAX   ((uint64_t)1 << 20)	/* and when it has grown */
#define TREE_MAX   ((uint64_t)64 << 20) /* bytes of hashes of a tree */
#define SECRET_LEN 192
#define ZEROS	   ((size_t)64 << 10)

struct block_file {
	struct block_file *next;
	dev_t dev;
	ino_t ino;
	struct statx_timestamp born; /* inode numbers are used again */
	char *path;		     /* where the receiver has it */
	bool sent, pending, whole;
	unsigned int round; /* in which it was last known to be in the tree */

	uint64_t block, size;
	XXH128_hash_t *hashes, zeros;
	size_t n;
	struct dirty_file *dirty;

	XXH3_state_t *state; /* of block `current`, which is fed in pieces */
	size_t current, filled;
};

struct rb_blocks {
	struct block_file *buckets[BUCKETS];
	struct dirty *dirty;
	uint64_t bytes;
	size_t *promised; /* of all trees */
	bool frozen;
	unsigned int round;
	uint8_t secret[SECRET_LEN];
};

static const uint8_t zeros[ZEROS];

int rb_blocks_new(size_t *promised, struct rb_blocks **ret, struct rb_err *err)
{
	struct rb_blocks *blocks = calloc(1, sizeof(*blocks));
	int r = -ENOMEM;

	if (blocks)
		r = getrandom(blocks->secret, SECRET_LEN, 0) == SECRET_LEN ? 0 : -EIO;
	if (r == 0)
		r = dirty_open(&blocks->dirty);
	if (r < 0) {
		free(blocks);
		return rb_err_set(err, r, "prepare for large files");
	}
	blocks->promised = promised;
	*ret = blocks;
	return 0;
}

static void free_file(struct rb_blocks *blocks, struct block_file *file)
{
	dirty_file_free(blocks->dirty, file->dirty);
	blocks->bytes -= file->n * sizeof(*file->hashes);
	XXH3_freeState(file->state);
	free(file->hashes);
	free(file->path);
	free(file);
}

static struct block_file **bucket_of(struct rb_blocks *blocks, ino_t ino)
{
	return &blocks->buckets[ino % BUCKETS];
}

static void remove_file(struct rb_blocks *blocks, struct block_file *file)
{
	struct block_file **at = bucket_of(blocks, file->ino);

	while (*at != file)
		at = &(*at)->next;
	*at = file->next;
	free_file(blocks, file);
}

static void for_all(struct rb_blocks *blocks, void (*fn)(struct block_file *))
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct block_file *file = blocks->buckets[i]; file; file = file->next)
			fn(file);
}

void rb_blocks_free(struct rb_blocks *blocks)
{
	if (!blocks)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		while (blocks->buckets[i])
			remove_file(blocks, blocks->buckets[i]);
	dirty_close(blocks->dirty);
	explicit_bzero(blocks->secret, SECRET_LEN);
	free(blocks);
}

void rb_blocks_frozen(struct rb_blocks *blocks, bool frozen)
{
	if (blocks)
		blocks->frozen = frozen;
}

const char *rb_blocks_why(const struct rb_blocks *blocks)
{
	return dirty_why(blocks->dirty);
}

static void end_pending(struct block_file *file)
{
	file->sent |= file->pending;
	file->pending = false;
}

void rb_blocks_commit(struct rb_blocks *blocks)
{
	if (blocks)
		for_all(blocks, end_pending);
}

static void drop_pending(struct block_file *file)
{
	file->sent &= !file->pending;
	file->pending = false;
}

void blocks_begin(struct rb_blocks *blocks)
{
	blocks->round++;
	for_all(blocks, drop_pending);
}

struct block_file *blocks_find(struct rb_blocks *blocks, dev_t dev, ino_t ino)
{
	struct block_file *file = *bucket_of(blocks, ino);

	while (file && (file->ino != ino || file->dev != dev))
		file = file->next;
	return file;
}

int blocks_add(struct rb_blocks *blocks, int fd)
{
	struct block_file *file;
	struct statx st;
	uint64_t block = BLOCK_MIN;
	dev_t dev;
	int r;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
		return -errno;
	dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	file = blocks_find(blocks, dev, st.stx_ino);
	if (file && memcmp(&file->born, &st.stx_btime, sizeof(file->born)) != 0) {
		remove_file(blocks, file);
		file = NULL;
	}
	if (file) {
		file->round = blocks->round;
		return 1;
	}
	while (st.stx_size / block >= FILE_NEW)
		block *= 2;
	if (!(st.stx_mask & STATX_BTIME) || *blocks->promised >= RB_BLOCKS_PROMISES ||
	    blocks->bytes + (st.stx_size / block + 1) * sizeof(*file->hashes) > TREE_MAX)
		return 0;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	*file = (struct block_file){ .dev = dev,
				     .ino = st.stx_ino,
				     .born = st.stx_btime,
				     .block = block,
				     .round = blocks->round };
	r = dirty_file_new(blocks->dirty, fd, block, &file->dirty);
	if (r < 0) {
		free(file);
		return r;
	}
	file->next = *bucket_of(blocks, file->ino);
	*bucket_of(blocks, file->ino) = file;
	return 1;
}

void blocks_touch(struct rb_blocks *blocks, dev_t dev, ino_t ino)
{
	struct block_file *file = blocks_find(blocks, dev, ino);

	if (file)
		file->round = blocks->round;
}

void blocks_prune(struct rb_blocks *blocks,
		  bool (*is_gone)(void *arg, const char *path, dev_t dev, ino_t ino), void *arg)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct block_file *file = blocks->buckets[i], *next; file; file = next) {
			next = file->next;
			if (file->round != blocks->round && file->path &&
			    is_gone(arg, file->path, file->dev, file->ino))
				remove_file(blocks, file);
		}
}

void blocks_watch(struct rb_blocks *blocks)
{
	dirty_watch(blocks->dirty, !blocks->frozen);
}

void blocks_drain(struct rb_blocks *blocks)
{
	if (blocks)
		dirty_drain(blocks->dirty);
}

bool blocks_is_sent(const struct block_file *file, const char *path)
{
	return file->sent && file->path && strcmp(file->path, path) == 0;
}

uint64_t blocks_size(const struct block_file *file)
{
	return file->block;
}

static XXH128_hash_t hash(const struct rb_blocks *blocks, const void *data, size_t len)
{
	return XXH3_128bits_withSecret(data, len, blocks->secret, SECRET_LEN);
}

static int start_state(const struct rb_blocks *blocks, struct block_file *file)
{
	if (!file->state)
		file->state = XXH3_createState();
	if (!file->state)
		return -ENOMEM;
	XXH3_128bits_reset_withSecret(file->state, blocks->secret, SECRET_LEN);
	return 0;
}

static void add_zeros(struct block_file *file, size_t len)
{
	for (size_t n; len; len -= n) {
		n = len < ZEROS ? len : ZEROS;
		XXH3_128bits_update(file->state, zeros, n);
	}
}

static size_t block_len(const struct block_file *file, size_t i)
{
	uint64_t left = file->size - (uint64_t)i * file->block;

	return (size_t)(left < file->block ? left : file->block);
}

static XXH128_hash_t hash_zeros(struct rb_blocks *blocks, struct block_file *file, size_t len)
{
	if (len == file->block)
		return file->zeros;
	start_state(blocks, file); /* there is one already */
	add_zeros(file, len);
	return XXH3_128bits_digest(file->state);
}

/* The receiver's file has zeros wherever it grows. */
static int resize(struct rb_blocks *blocks, struct block_file *file, uint64_t size, size_t keep)
{
	size_t n = (size_t)((size + file->block - 1) / file->block);
	XXH128_hash_t *hashes;

	if (n > FILE_MAX ||
	    blocks->bytes + n * sizeof(*hashes) > TREE_MAX + file->n * sizeof(*hashes))
		return -EFBIG;
	hashes = reallocarray(file->hashes, n + 1, sizeof(*hashes));
	if (!hashes)
		return -ENOMEM;
	blocks->bytes += n * sizeof(*hashes);
	blocks->bytes -= file->n * sizeof(*hashes);
	file->hashes = hashes;
	file->size = size;
	for (size_t i = keep < file->n ? keep : file->n; i < n; i++)
		hashes[i] = hash_zeros(blocks, file, block_len(file, i));
	file->n = n;
	return 0;
}

int blocks_start(struct rb_blocks *blocks, struct block_file *file, int fd, uint64_t size,
		 bool whole, struct bits *ret)
{
	struct bits unused = {}, *changed = whole ? &unused : ret;
	int r;

	if (whole && *blocks->promised >= RB_BLOCKS_PROMISES)
		return -EFBIG;
	*blocks->promised += whole;
	r = start_state(blocks, file);
	file->sent = false; /* until it is done, and committed */
	file->whole = whole;
	if (r == 0) {
		add_zeros(file, (size_t)file->block);
		file->zeros = XXH3_128bits_digest(file->state);
		r = resize(blocks, file, size, whole ? 0 : file->n);
	}
	if (r == 0)
		r = dirty_look(blocks->dirty, file->dirty, fd, size, !blocks->frozen, changed);
	if (r == 0 && !whole) {
		r = bits_resize(ret, file->n);
		if (r == 0)
			bits_add(ret, 0, file->n);
	}
	file->current = SIZE_MAX;
	bits_free(&unused);
	return whole && r > 0 ? 0 : r;
}

static bool differs(struct block_file *file, size_t i, XXH128_hash_t now)
{
	bool same = XXH128_isEqual(file->hashes[i], now);

	file->hashes[i] = now;
	return !same;
}

bool blocks_differs(struct rb_blocks *blocks, struct block_file *file, size_t i, const void *data,
		    size_t len)
{
	return differs(file, i, hash(blocks, data, len));
}

bool blocks_differs_zeros(struct rb_blocks *blocks, struct block_file *file, size_t i, size_t len)
{
	return differs(file, i, hash_zeros(blocks, file, len));
}

static void end_block(struct block_file *file)
{
	if (file->current == SIZE_MAX)
		return;
	add_zeros(file, block_len(file, file->current) - file->filled);
	file->hashes[file->current] = XXH3_128bits_digest(file->state);
	file->current = SIZE_MAX;
}

void blocks_feed(struct rb_blocks *blocks, struct block_file *file, uint64_t offset,
		 const void *data, size_t len)
{
	for (const uint8_t *at = data; len;) {
		size_t i = (size_t)(offset / file->block), in = (size_t)(offset % file->block);
		size_t whole = block_len(file, i), n = whole - in < len ? whole - in : len;

		if (n == whole) {
			end_block(file);
			file->hashes[i] = hash(blocks, at, n);
		} else {
			if (file->current != i) {
				end_block(file);
				start_state(blocks, file);
				file->current = i;
				file->filled = 0;
			}
			add_zeros(file, in - file->filled);
			XXH3_128bits_update(file->state, at, n);
			file->filled = in + n;
		}
		at += n;
		offset += n;
		len -= n;
	}
}

/* What the receiver had at @path is replaced. */
static void forget_path(struct rb_blocks *blocks, const struct block_file *but, const char *path)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct block_file *file = blocks->buckets[i], *next; file; file = next) {
			next = file->next;
			if (file == but || !file->path || strcmp(file->path, path) != 0)
				continue;
			file->sent = false;
			if (file->round != blocks->round) /* else it travels under another name */
				remove_file(blocks, file);
		}
}

void blocks_drop(struct rb_blocks *blocks, struct block_file *file)
{
	if (file)
		remove_file(blocks, file);
}

int blocks_done(struct rb_blocks *blocks, struct block_file *file, const char *path)
{
	char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	end_block(file);
	if (file->whole)
		forget_path(blocks, file, path);
	free(file->path);
	file->path = copy;
	file->pending = true;
	return 0;
}
