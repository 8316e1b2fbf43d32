// SPDX-License-Identifier: Apache-2.0
/*
 * shared_walk.c - which pages of shared memory have changed since they were sent
 *
 * Who wrote to shared memory cannot be told by the page tables of those who have it now: a process
 * that wrote and ended took its marks along, and write(2) to a memfd leaves none. So pages are
 * compared with what was sent, by a hash of 128 bits for each, with a secret of this move's own.
 * What is sent is what was hashed, one and the same copy: a page that was read half old, half new
 * differs from what it is in the end, and is sent again.
 *
 * Holes are left alone (SEEK_DATA): reading them through a mapping would fill them. So read(2) is
 * used while the container runs, which can neither do that nor fail by a signal when an object is
 * cut short meanwhile. When it stands still nothing changes any more, and a mapping is faster; and
 * so is more than one thread (shared_ahead.h). A page that was sent and is a hole now is sent as
 * zeros.
 */
#include "shared.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block.h"
#include "err.h"
#include "shared_ahead.h"
#include "shared_files.h"
#include "shared_internal.h"

static void unmap(struct rb_shared_object *object)
{
	if (object->map)
		munmap(object->map, object->map_len);
	object->map = NULL;
}

/* Without a mapping everything works, but slower. It stays, as ending it takes time, too. */
static void map(struct rb_shared_object *object)
{
	size_t len = object->pages * RB_PAGE_SIZE;
	void *at;

	if (object->map && object->map_len == len)
		return;
	unmap(object);
	at = mmap(NULL, len, PROT_READ, MAP_SHARED, object->fd, 0);
	if (at == MAP_FAILED)
		return;
	object->map = at;
	object->map_len = len;
}

/* What a walk does with the pages that are not what was sent last. */
struct walk {
	struct rb_block *block; /* NULL: only count */
	struct rb_ahead *ahead;
	bool frozen;
	const struct rb_wait *wait;
	uint64_t changed; /* pages */
};

static int changed(struct rb_shared *shared, struct rb_shared_object *object, size_t i,
		   const uint8_t *page, XXH128_hash_t hash, struct walk *walk, struct rb_err *err)
{
	uint8_t copy[RB_PAGE_SIZE];

	walk->changed++;
	if (!walk->block)
		return 0;
	/* somebody outside of the container may write to it: the hash is that of what is sent */
	if (page && walk->frozen) {
		page = memcpy(copy, page, sizeof(copy));
		hash = rb_shared_hash(shared, page);
	}
	object->sent[i] = hash;
	return rb_block_add_copy(walk->block, object->number, (uint64_t)i * RB_PAGE_SIZE, page,
				 walk->wait, err);
}

/* @page: NULL where there is a hole now
 * @hash: of it */
static int compare_hash(struct rb_shared *shared, struct rb_shared_object *object, size_t i,
			const uint8_t *page, XXH128_hash_t hash, struct walk *walk,
			struct rb_err *err)
{
	if (page && XXH128_isEqual(hash, shared->zero)) {
		page = NULL;
		hash = (XXH128_hash_t){};
	}
	return XXH128_isEqual(hash, object->sent[i])
		       ? 0
		       : changed(shared, object, i, page, hash, walk, err);
}

static int compare(struct rb_shared *shared, struct rb_shared_object *object, size_t i,
		   const uint8_t *page, struct walk *walk, struct rb_err *err)
{
	XXH128_hash_t hash = page ? rb_shared_hash(shared, page) : (XXH128_hash_t){};

	return compare_hash(shared, object, i, page, hash, walk, err);
}

/* pages that had content, in a part where there is a hole now
 * @old: ranges that were passed already */
static int walk_hole(struct rb_shared *shared, struct rb_shared_object *object, size_t *old,
		     uint64_t from, uint64_t to, struct walk *walk, struct rb_err *err)
{
	const struct rb_ranges *content = &object->content;
	int r = 0;

	for (; r >= 0 && *old < content->n && content->list[*old].start < to; ++*old) {
		uint64_t at = content->list[*old].start, end = content->list[*old].end;

		for (at = at < from ? from : at; r >= 0 && at < end && at < to; at += RB_PAGE_SIZE)
			r = compare(shared, object, at / RB_PAGE_SIZE, NULL, walk, err);
		if (end > to)
			break;
	}
	return r;
}

/* Pages from @from on, *@len bytes of them or less; NULL when they cannot be read. What is beyond
 * the end, which may be anywhere in a page, or was just cut short, reads as zero. */
static const uint8_t *read_pages(struct rb_shared *shared, const struct rb_shared_object *object,
				 uint64_t from, size_t *len, bool frozen)
{
	ssize_t n;

	if (frozen && object->map && madvise(object->map + from, *len, MADV_POPULATE_READ) == 0)
		return object->map + from;
	if (*len > sizeof(shared->chunk))
		*len = sizeof(shared->chunk);
	n = pread(object->fd, shared->chunk, *len, (off_t)from);
	if (n < 0)
		return NULL;
	memset(shared->chunk + n, 0, *len - (size_t)n);
	return shared->chunk;
}

/* what was hashed already */
static int compare_piece(struct rb_shared *shared, struct rb_shared_object *object, uint64_t from,
			 size_t len, const XXH128_hash_t *hashes, struct walk *walk,
			 struct rb_err *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < len / RB_PAGE_SIZE; i++)
		r = compare_hash(shared, object, from / RB_PAGE_SIZE + i,
				 object->map + from + i * RB_PAGE_SIZE, hashes[i], walk, err);
	return r;
}

static int compare_pages(struct rb_shared *shared, struct rb_shared_object *object, uint64_t from,
			 size_t *len, struct walk *walk, struct rb_err *err)
{
	const uint8_t *pages = read_pages(shared, object, from, len, walk->frozen);
	int r = 0;

	if (!pages)
		return rb_err_set(err, -errno, "read shared memory");
	for (size_t i = 0; r >= 0 && i < *len / RB_PAGE_SIZE; i++)
		r = compare(shared, object, from / RB_PAGE_SIZE + i, pages + i * RB_PAGE_SIZE, walk,
			    err);
	return r;
}

static int walk_data(struct rb_shared *shared, struct rb_shared_object *object, uint64_t from,
		     uint64_t to, struct walk *walk, struct rb_err *err)
{
	int r = rb_ranges_add(&object->next, from, to);

	if (r < 0)
		return rb_err_set(err, r, "list shared memory");
	while (r >= 0 && from < to) {
		uint64_t end = from / RB_AHEAD_BYTES * RB_AHEAD_BYTES + RB_AHEAD_BYTES;
		size_t len = (size_t)((to < end ? to : end) - from);

		if (walk->ahead && from % RB_AHEAD_BYTES == 0) {
			const XXH128_hash_t *hashes =
				rb_ahead_hashes(walk->ahead, object, from / RB_AHEAD_BYTES);

			if (hashes)
				r = compare_piece(shared, object, from, len, hashes, walk, err);
			if (hashes && r >= 0)
				from += len;
			if (hashes)
				continue;
		}
		r = compare_pages(shared, object, from, &len, walk, err);
		from += len;
	}
	return r;
}

/* The next piece that is no hole, from @at on. Return: 1; 0 when there is none; negative errno */
static int next_data(const struct rb_shared_object *object, uint64_t at, uint64_t end,
		     uint64_t *ret_from, uint64_t *ret_to)
{
	const uint64_t mask = RB_PAGE_SIZE - 1;
	off_t from = lseek(object->fd, (off_t)at, SEEK_DATA), to;

	if (from < 0)
		return errno == ENXIO ? 0 : -errno;
	/* cut short meanwhile: as a whole it is looked at in the next round */
	to = lseek(object->fd, from, SEEK_HOLE);
	*ret_from = (uint64_t)from & ~mask;
	*ret_to = to < 0 ? end : ((uint64_t)to + mask) & ~mask;
	if (*ret_to > end)
		*ret_to = end;
	return *ret_from < *ret_to;
}

static int walk_object(struct rb_shared *shared, struct rb_shared_object *object, struct walk *walk,
		       struct rb_err *err)
{
	uint64_t end = (uint64_t)object->pages * RB_PAGE_SIZE, at = 0, from = 0, to = 0;
	struct rb_ranges content;
	size_t old = 0;
	int r = 0, more = 0;

	rb_ranges_clear(&object->next);
	while (r >= 0 && at < end && (more = next_data(object, at, end, &from, &to)) > 0) {
		r = walk_hole(shared, object, &old, at, from, walk, err);
		if (r >= 0)
			r = walk_data(shared, object, from, to, walk, err);
		at = to;
	}
	if (more < 0)
		r = rb_err_set(err, more, "look for shared memory");
	if (r >= 0)
		r = walk_hole(shared, object, &old, at, end, walk, err);
	if (r >= 0 && walk->block) {
		content = object->content;
		object->content = object->next;
		object->next = content;
	}
	return r;
}

/* An object grows and shrinks by ftruncate(2): then so do hashes, and what the target has. */
static int resize(struct rb_shared_object *object, uint64_t size, struct rb_err *err)
{
	XXH128_hash_t *sent;
	size_t pages;

	object->is.size = size;
	pages = (size_t)((object->is.size + RB_PAGE_SIZE - 1) / RB_PAGE_SIZE);
	if (object->sent && pages == object->pages)
		return 0;
	/* untouched memory for pages that nobody has */
	sent = calloc(pages ? pages : 1, sizeof(*sent));
	if (!sent)
		return rb_err_set(err, -ENOMEM, "look after shared memory");
	for (size_t i = 0; i < object->content.n; i++) {
		size_t from = object->content.list[i].start / RB_PAGE_SIZE;
		size_t to = object->content.list[i].end / RB_PAGE_SIZE;

		to = to > pages ? pages : to;
		to = to > object->pages ? object->pages : to;
		if (from < to)
			memcpy(sent + from, object->sent + from, (to - from) * sizeof(*sent));
	}
	free(object->sent);
	object->sent = sent;
	object->pages = pages;
	return 0;
}

/* It is not named, so the target drops what it has of it. Should it be looked at once more, all of
 * it is sent, as another object. */
static void begin_anew(struct rb_shared *shared, struct rb_shared_object *object)
{
	unmap(object);
	rb_shared_files_close(object);
	free(object->sent);
	object->sent = NULL;
	object->pages = 0;
	rb_ranges_clear(&object->content);
	object->is.known = false;
	object->number = ++shared->last_number;
}

/* A file may be gone, or there is no descriptor left to open it; one that has grown beyond measure
 * is left to CRIU. Return: 0; its descriptor is closed where it is not looked at; negative errno */
static int have(struct rb_shared *shared, struct rb_shared_object *object, struct rb_err *err)
{
	struct stat st;

	if (object->is.kind == RB_OBJECT_FILE && rb_shared_files_open(shared, object) < 0) {
		begin_anew(shared, object);
		return 0;
	}
	if (fstat(object->fd, &st) < 0)
		return rb_err_set(err, -errno, "look at shared memory");
	if (object->is.kind == RB_OBJECT_FILE && (uint64_t)st.st_size > RB_TMPFS_FILE_MAX) {
		begin_anew(shared, object);
		return 0;
	}
	if ((uint64_t)st.st_size > RB_OBJECT_SIZE_MAX)
		return rb_err_code(err, RB_E_REFUSED, -EFBIG,
				   "the container has an object of shared memory of %llu GiB",
				   (unsigned long long)st.st_size >> 30);
	return resize(object, (uint64_t)st.st_size, err);
}

/* Nothing changes any more: others may help. */
static int begin_last(struct rb_shared *shared, struct walk *walk, struct rb_err *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < shared->n; i++) {
		struct rb_shared_object *object = shared->list[i];

		r = have(shared, object, err);
		if (r >= 0 && object->fd >= 0)
			map(object);
	}
	if (r >= 0)
		walk->ahead = rb_ahead_start(shared);
	return r;
}

static int send_object(struct rb_shared *shared, struct rb_shared_object *object, struct walk *walk,
		       struct rb_err *err)
{
	int r = rb_block_add_object(walk->block, object->number, &object->is, walk->wait, err);

	object->is.known = true;
	if (r >= 0)
		r = walk_object(shared, object, walk, err);
	return r < 0 ? r : rb_block_flush_copies(walk->block, walk->wait, err);
}

int rb_shared_send(struct rb_shared *shared, struct rb_block *block, bool frozen,
		   const struct rb_wait *wait, struct rb_err *err)
{
	struct walk walk = { .block = block, .frozen = frozen, .wait = wait };
	int r = rb_shared_files_name(shared, block, wait, err);

	if (frozen && r >= 0)
		r = begin_last(shared, &walk, err);
	for (size_t i = 0; r >= 0 && i < shared->n; i++) {
		struct rb_shared_object *object = shared->list[i];

		if (!frozen)
			r = have(shared, object, err);
		if (r >= 0 && object->fd >= 0)
			r = send_object(shared, object, &walk, err);
		if (!frozen)
			rb_shared_files_close(object);
	}
	rb_ahead_end(walk.ahead);
	return r;
}

void rb_shared_thaw(struct rb_shared *shared)
{
	for (size_t i = 0; i < shared->n; i++) {
		if (shared->list[i]->is.kind != RB_OBJECT_FILE)
			continue;
		unmap(shared->list[i]);
		rb_shared_files_close(shared->list[i]);
	}
}

int rb_shared_pending(struct rb_shared *shared, uint64_t *ret_bytes, struct rb_err *err)
{
	struct walk walk = {};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < shared->n; i++) {
		struct rb_shared_object *object = shared->list[i];

		if (!object->sent ||
		    (object->is.kind == RB_OBJECT_FILE && rb_shared_files_open(shared, object) < 0))
			continue;
		r = walk_object(shared, object, &walk, err);
		rb_shared_files_close(object);
	}
	*ret_bytes = walk.changed * RB_PAGE_SIZE;
	return r < 0 ? r : 0;
}
