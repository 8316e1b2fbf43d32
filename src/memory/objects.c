// SPDX-License-Identifier: Apache-2.0
/* objects.c - shared memory of a container on the target, as it arrives */
#include "objects.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
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
#include "ranges.h"
#include "record.h"
#include "segments.h"

enum { OBJECTS_MAX = 2560, SUMS_PER_PAGE = RB_PAGE_SIZE / sizeof(uint64_t) };

int rb_objects_new(struct rb_objects **ret, struct rb_err *err)
{
	struct rb_objects *objects = calloc(1, sizeof(*objects));

	if (!objects)
		return rb_err_set(err, -ENOMEM, "receive shared memory");
	*ret = objects;
	return 0;
}

static size_t sums_bytes(size_t pages)
{
	return pages * sizeof(uint64_t) + 1;
}

static size_t parts_of(size_t pages)
{
	return (pages + SUMS_PER_PAGE - 1) / SUMS_PER_PAGE;
}

static size_t noted_bytes(size_t pages)
{
	return parts_of(pages) + 1;
}

/* What a restore has found where the segments are it looks after itself (criu_sysv.c), for there an
 * id may be that of another by now. Return: false when there was no memory for that; then it is
 * kept, and can be forgotten later */
static bool forget(struct rb_objects *objects, struct rb_objects_entry *object)
{
	if (object->is.kind == RB_OBJECT_SEGMENT && !objects->handed_over &&
	    rb_segments_remove(objects->segments, (int)object->is.inode) < 0)
		return false;
	rb_segments_let_go(object->held);
	rb_close_fd(&object->fd);
	if (object->sums)
		munmap(object->sums, sums_bytes(object->pages));
	if (object->noted)
		munmap(object->noted, noted_bytes(object->pages));
	return true;
}

void rb_objects_free(struct rb_objects *objects)
{
	if (!objects)
		return;
	/* its segments end with it */
	rb_segments_free(TAKE_PTR(objects->segments));
	objects->handed_over = true;
	for (size_t i = 0; i < objects->n; i++)
		forget(objects, &objects->list[i]);
	for (size_t i = 0; i < objects->n_places; i++)
		rb_tmpfs_free(objects->places[i].tmpfs);
	free(objects->list);
	free(objects);
}

void rb_objects_begin(struct rb_objects *objects)
{
	for (size_t i = 0; i < objects->n; i++)
		objects->list[i].named = false;
	for (size_t i = 0; i < objects->n_places; i++)
		objects->places[i].named = false;
}

static void keep_places(struct rb_objects *objects)
{
	size_t kept = 0;

	for (size_t i = 0; i < objects->n_places; i++) {
		if (objects->places[i].named)
			objects->places[kept++] = objects->places[i];
		else
			rb_tmpfs_free(objects->places[i].tmpfs);
	}
	objects->n_places = kept;
}

void rb_objects_keep(struct rb_objects *objects)
{
	size_t kept = 0;

	for (size_t i = 0; i < objects->n; i++) {
		if (objects->list[i].named || !forget(objects, &objects->list[i]))
			objects->list[kept++] = objects->list[i];
	}
	objects->n = kept;
	keep_places(objects);
}

static bool has_key(const struct rb_object *a, const struct rb_object *b)
{
	return a->segment.key != IPC_PRIVATE && a->segment.key == b->segment.key;
}

/*
 * A segment that was removed at the source may have left its key, or its place among the ids, to a
 * new one. No others are forgotten: this round may name them yet.
 * @place: bits of an id that say where it stands. Return: was there one?
 */
static bool make_way(struct rb_objects *objects, const struct rb_object *is, uint64_t place)
{
	size_t n = objects->n, kept = 0;

	for (size_t i = 0; i < n; i++) {
		struct rb_objects_entry *object = &objects->list[i];

		if (!object->named && object->is.kind == RB_OBJECT_SEGMENT &&
		    ((object->is.inode & place) == (is->inode & place) ||
		     has_key(&object->is, is)) &&
		    forget(objects, object))
			continue;
		objects->list[kept++] = *object;
	}
	objects->n = kept;
	return kept < n;
}

/* How many bits a place has is for the kernel to know: more with ipcmni_extend. */
static int make_segment(struct rb_objects *objects, const struct rb_object *is, void **ret_held,
			struct rb_err *err)
{
	static const uint64_t places[] = { UINT64_MAX, 0xffffff, 0x7fff };
	int r = objects->segments ? 0 : rb_segments_new(&objects->segments, err);

	if (r < 0)
		return r;
	r = -EEXIST;
	make_way(objects, is, places[0]);
	for (size_t i = 0; r == -EEXIST && i < ARRAY_SIZE(places); i++)
		if (i == 0 || make_way(objects, is, places[i]))
			r = rb_segments_make(objects->segments, is, ret_held, err);
	return r;
}

static struct rb_objects_place *find_place(struct rb_objects *objects, int number)
{
	for (size_t i = 0; i < objects->n_places; i++)
		if (objects->places[i].number == number)
			return &objects->places[i];
	return NULL;
}

static int name_place(struct rb_objects *objects, const struct rb_record *record,
		      struct rb_err *err)
{
	struct rb_objects_place *place = find_place(objects, record->task);
	struct rb_tmpfs_record is;
	int r;

	rb_record_tmpfs(record, &is);
	if (place) {
		const struct rb_tmpfs_record *was = rb_tmpfs_is(place->tmpfs);

		if (was->device != is.device || strcmp(was->options, is.options) != 0)
			return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "a tmpfs became another");
		place->named = true;
		return 0;
	}
	if (objects->n_places == RB_OBJECTS_TMPFS_MAX)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "there are too many tmpfs");
	place = &objects->places[objects->n_places];
	*place = (struct rb_objects_place){ .number = record->task, .named = true };
	r = rb_tmpfs_new(&is, &place->tmpfs, err);
	if (r >= 0)
		objects->n_places++;
	return r;
}

static int make_file(struct rb_objects *objects, const struct rb_object *is, struct rb_err *err)
{
	const struct rb_objects_place *place = find_place(objects, is->tmpfs);

	return place && place->named ? rb_tmpfs_add_file(place->tmpfs, err)
				     : rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
						   "a file of a tmpfs came before that");
}

/* It may be sealed later: CRIU's filter seals it as CRIU would have made it. */
static int make_memfd(const struct rb_object *is, struct rb_err *err)
{
	int fd = memfd_create(is->name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return fd < 0 ? rb_err_set(err, -errno, "make shared memory") : fd;
}

static int make(struct rb_objects *objects, const struct rb_object *is, void **ret_held,
		struct rb_err *err)
{
	switch (is->kind) {
	case RB_OBJECT_MEMFD:
		return make_memfd(is, err);
	case RB_OBJECT_SEGMENT:
		return make_segment(objects, is, ret_held, err);
	case RB_OBJECT_FILE:
		return make_file(objects, is, err);
	default:
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "shared memory is of a kind that makes no sense");
	}
}

static struct rb_objects_entry *find(const struct rb_objects *objects, int number)
{
	for (size_t i = 0; i < objects->n; i++)
		if (objects->list[i].number == number)
			return &objects->list[i];
	return NULL;
}

static int add(struct rb_objects *objects, int number, const struct rb_object *is,
	       struct rb_objects_entry **ret, struct rb_err *err)
{
	struct rb_objects_entry *list, *object;
	void *held = NULL;
	int fd;

	if (objects->n >= OBJECTS_MAX)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "there is too much of shared memory");
	list = realloc(objects->list, (objects->n + 1) * sizeof(*list));
	if (!list)
		return rb_err_set(err, -ENOMEM, "receive shared memory");
	objects->list = list;
	fd = make(objects, is, &held, err);
	if (fd < 0)
		return fd;
	object = &list[objects->n++];
	*object = (struct rb_objects_entry){ .number = number, .fd = fd, .held = held, .is = *is };
	*ret = object;
	return 0;
}

static void measure(struct rb_objects_entry *object)
{
	struct stat st;

	if (fstat(object->fd, &st) == 0)
		object->used = (uint64_t)st.st_blocks * 512 / RB_PAGE_SIZE;
}

static void note_sum(struct rb_objects_entry *object, size_t page, uint64_t sum)
{
	uint8_t *noted = &object->noted[page / SUMS_PER_PAGE];

	object->sums[page] = sum;
	object->n_noted += !*noted;
	*noted = 1;
}

/* What a peer says of sizes costs nothing: no page is there before it is written. */
static void *resize_map(void *old, size_t old_bytes, size_t bytes)
{
	return old ? mremap(old, old_bytes, bytes, MREMAP_MAYMOVE)
		   : mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* Content of an array that is made longer is zero but for the rest of its last page. */
static int resize_sums(struct rb_objects_entry *object, size_t pages)
{
	size_t before = object->pages, parts = parts_of(pages);
	uint64_t *sums;
	uint8_t *noted;

	for (size_t i = parts; object->noted && i < parts_of(before); i++) {
		object->n_noted -= object->noted[i];
		if (object->noted[i])
			object->noted[i] = 0;
	}
	for (size_t i = pages; object->sums && i < before && i % SUMS_PER_PAGE; i++)
		if (object->sums[i])
			object->sums[i] = 0;
	noted = resize_map(object->noted, noted_bytes(before), noted_bytes(pages));
	if (noted == MAP_FAILED)
		return -ENOMEM;
	object->noted = noted;
	sums = resize_map(object->sums, sums_bytes(before), sums_bytes(pages));
	if (sums == MAP_FAILED)
		return -ENOMEM;
	object->sums = sums;
	object->pages = pages;
	return 0;
}

static int resize(struct rb_objects_entry *object, uint64_t size, struct rb_err *err)
{
	size_t pages = (size_t)((size + RB_PAGE_SIZE - 1) / RB_PAGE_SIZE);

	if (object->sums && object->is.size == size)
		return 0;
	if (ftruncate(object->fd, (off_t)size) < 0)
		return rb_err_set(err, -errno, "make shared memory");
	if (resize_sums(object, pages) < 0)
		return rb_err_set(err, -ENOMEM, "receive shared memory");
	object->is.size = size;
	measure(object);
	return 0;
}

static bool is_same(const struct rb_object *a, const struct rb_object *b)
{
	if (a->kind != b->kind || a->inode != b->inode)
		return false;
	switch (a->kind) {
	case RB_OBJECT_MEMFD:
		return strcmp(a->name, b->name) == 0;
	case RB_OBJECT_SEGMENT:
		return a->size == b->size &&
		       memcmp(&a->segment, &b->segment, sizeof(a->segment)) == 0;
	case RB_OBJECT_FILE:
		return a->tmpfs == b->tmpfs;
	default:
		return false;
	}
}

/* It comes over each connection (send.h). */
static bool is_repeated(const struct rb_object *was, const struct rb_object *is)
{
	return is_same(was, is) && was->size == is->size && was->known == is->known;
}

static int name(struct rb_objects *objects, const struct rb_record *record, struct rb_err *err)
{
	struct rb_objects_entry *object = find(objects, record->task);
	struct rb_object is;
	int r = 0;

	rb_record_object(record, &is);
	if (object && object->named)
		return is_repeated(&object->is, &is)
			       ? 0
			       : rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
					     "shared memory became another within a round");
	/* differences to what is not here would be taken for the whole */
	if (is.known != (object != NULL))
		r = rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				"it is not agreed which shared memory is here already");
	else if (!object)
		r = add(objects, record->task, &is, &object, err);
	else if (!is_same(&object->is, &is))
		r = rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "shared memory changed its name");
	if (r < 0)
		return r;
	object->named = true;
	object->is.known = is.known;
	return resize(object, is.size, err);
}

/* The last page may be one in part only; what is behind the end belongs to it nevertheless, for who
 * has it mapped. */
static int put_last(const struct rb_objects_entry *object, const uint8_t *page)
{
	off_t at = (off_t)(object->pages - 1) * RB_PAGE_SIZE;
	void *map = mmap(NULL, RB_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, object->fd, at);

	if (map == MAP_FAILED)
		return -errno;
	/* reports a lack of memory, other than a write to the mapping */
	if (madvise(map, RB_PAGE_SIZE, MADV_POPULATE_WRITE) < 0) {
		int r = -errno;

		munmap(map, RB_PAGE_SIZE);
		return r;
	}
	memcpy(map, page, RB_PAGE_SIZE);
	munmap(map, RB_PAGE_SIZE);
	return 0;
}

static int put(struct rb_objects_entry *object, const struct rb_record *record, struct rb_err *err)
{
	uint64_t left = object->is.size - record->addr;
	bool cut = record->len > left;
	size_t len = cut ? record->len - RB_PAGE_SIZE : record->len;
	int r = rb_pwrite_all(object->fd, record->payload, len, (off_t)record->addr);

	if (r >= 0 && cut)
		r = put_last(object, record->payload + len);
	if (r < 0)
		return rb_err_set(err, r, "keep shared memory");
	for (uint32_t i = 0; i < record->count; i++) {
		uint64_t sum =
			XXH3_64bits(record->payload + (size_t)i * RB_PAGE_SIZE, RB_PAGE_SIZE);

		note_sum(object, record->addr / RB_PAGE_SIZE + i, sum ? sum : 1);
	}
	return 0;
}

static int clear(struct rb_objects_entry *object, const struct rb_record *record,
		 struct rb_err *err)
{
	if (fallocate(object->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)record->addr,
		      (off_t)record->count * RB_PAGE_SIZE) < 0)
		return rb_err_set(err, -errno, "drop shared memory");
	for (size_t i = 0, at = record->addr / RB_PAGE_SIZE; i < record->count; i++)
		if (object->sums[at + i])
			object->sums[at + i] = 0;
	return 0;
}

int rb_objects_take(struct rb_objects *objects, const struct rb_record *record, struct rb_err *err)
{
	struct rb_objects_entry *object;
	int r;

	if (record->kind == RB_RECORD_TMPFS)
		return name_place(objects, record, err);
	if (record->kind == RB_RECORD_OBJECT)
		return name(objects, record, err);
	object = find(objects, record->task);
	if (!object || !object->named || record->addr / RB_PAGE_SIZE >= object->pages ||
	    record->count > object->pages - record->addr / RB_PAGE_SIZE)
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "pages of shared memory make no sense");
	r = record->kind == RB_RECORD_DATA ? put(object, record, err) : clear(object, record, err);
	measure(object);
	return r;
}

uint64_t rb_objects_pages(const struct rb_objects *objects)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < objects->n; i++)
		sum += objects->list[i].used + objects->list[i].n_noted;
	return sum;
}

int rb_objects_count(const struct rb_objects *objects)
{
	return (int)objects->n;
}
