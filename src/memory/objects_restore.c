// SPDX-License-Identifier: Apache-2.0
/*
 * objects_restore.c - shared memory of a container on the target, for a restore, or one more
 *
 * The sum of each page is kept: what a restore has had once may only be used again when nobody
 * wrote to it.
 */
#include "objects.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "objects_internal.h"
#include "objects_tmpfs.h"
#include "proc.h"
#include "segments.h"

static int publish_fd(int fd, const char *path, struct rb_err *err)
{
	char text[128], self[16] = "";
	struct stat st;

	/* as /proc of this host has it */
	if (readlink("/proc/self", self, sizeof(self) - 1) < 0 || fstat(fd, &st) < 0)
		return rb_err_set(err, -errno, "look at shared memory");
	snprintf(text, sizeof(text), "%s %d %llu\n", self, fd, (unsigned long long)st.st_ino);
	return rb_write_file(path, text, strlen(text), 0600, false, err);
}

static int publish(const struct rb_objects_entry *object, const char *dir, struct rb_err *err)
{
	char path[PATH_MAX];
	int r = rb_path(path, sizeof(path), "%s/%llu", dir, (unsigned long long)object->is.inode);

	return r < 0 ? rb_err_set(err, r, "hand over shared memory")
		     : publish_fd(object->fd, path, err);
}

int rb_objects_publish_segments(struct rb_objects *objects, const char *path, struct rb_err *err)
{
	if (!objects->segments)
		return unlink(path) < 0 && errno != ENOENT
			       ? rb_err_set(err, -errno, "remove '%s'", path)
			       : 0;
	objects->handed_over = true;
	return publish_fd(rb_segments_fd(objects->segments), path, err);
}

void rb_objects_let_go(struct rb_objects *objects)
{
	for (size_t i = 0; i < objects->n; i++)
		rb_segments_let_go(TAKE_PTR(objects->list[i].held));
}

int rb_objects_publish(const struct rb_objects *objects, const char *dir, struct rb_err *err)
{
	int r = rb_rm_rf(dir, err);

	if (r >= 0)
		r = rb_mkdir_p(dir, 0700, err);
	for (size_t i = 0; r >= 0 && i < objects->n; i++)
		if (objects->list[i].is.kind == RB_OBJECT_MEMFD)
			r = publish(&objects->list[i], dir, err);
	return r;
}

static int offer(const struct rb_objects *objects, const struct rb_objects_place *place,
		 const char *dir, struct rb_err *err)
{
	int r = rb_tmpfs_begin_offer(place->tmpfs, err);

	for (size_t i = 0; r >= 0 && i < objects->n; i++) {
		const struct rb_objects_entry *object = &objects->list[i];

		if (object->is.tmpfs == place->number)
			r = rb_tmpfs_offer_file(place->tmpfs, object->fd, object->is.inode, err);
	}
	return r < 0 ? r : rb_tmpfs_offer(place->tmpfs, dir, err);
}

int rb_objects_offer(const struct rb_objects *objects, const char *dir, struct rb_err *err)
{
	int r = rb_rm_rf(dir, err);

	if (r >= 0 && objects->n_places)
		r = rb_mkdir_p(dir, 0700, err);
	for (size_t i = 0; r >= 0 && i < objects->n_places; i++)
		r = offer(objects, &objects->places[i], dir, err);
	return r;
}

static bool is_as_it_came(const struct rb_objects_entry *object, size_t i)
{
	const uint8_t *map = mmap(NULL, RB_PAGE_SIZE, PROT_READ, MAP_SHARED, object->fd,
				  (off_t)i * RB_PAGE_SIZE);
	uint8_t page[RB_PAGE_SIZE];
	uint64_t sum;

	if (map == MAP_FAILED)
		return false;
	memcpy(page, map, sizeof(page));
	munmap((void *)map, RB_PAGE_SIZE);
	if (page[0] == 0 && memcmp(page, page + 1, sizeof(page) - 1) == 0)
		return object->sums[i] == 0;
	sum = XXH3_64bits(page, sizeof(page));
	return object->sums[i] == (sum ? sum : 1);
}

/* Holes are not read: where there is one there must have been none of the pages that came. */
static bool all_as_it_came(const struct rb_objects_entry *object)
{
	size_t i = 0;
	off_t from, to;

	while (i < object->pages) {
		from = lseek(object->fd, (off_t)i * RB_PAGE_SIZE, SEEK_DATA);
		to = from < 0 ? -1 : lseek(object->fd, from, SEEK_HOLE);
		for (; i < object->pages && (from < 0 || i < (size_t)from / RB_PAGE_SIZE); i++)
			if (object->sums[i])
				return false;
		for (; i < object->pages && (off_t)i * RB_PAGE_SIZE < to; i++)
			if (!is_as_it_came(object, i))
				return false;
	}
	return true;
}

int rb_objects_check(const struct rb_objects *objects, struct rb_err *err)
{
	for (size_t k = 0; k < objects->n; k++) {
		struct stat st;

		if (fstat(objects->list[k].fd, &st) < 0)
			return rb_err_set(err, -errno, "look at shared memory");
		/* a file that nobody referred to */
		if (objects->list[k].is.kind == RB_OBJECT_FILE && st.st_nlink == 0)
			continue;
		if ((uint64_t)st.st_size != objects->list[k].is.size ||
		    !all_as_it_came(&objects->list[k]))
			return rb_err_code(err, RB_E_INTERNAL, -ESTALE,
					   "shared memory was changed by what was restored");
	}
	return 0;
}
