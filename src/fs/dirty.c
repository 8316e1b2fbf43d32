// SPDX-License-Identifier: Apache-2.0
/*
 * dirty.c - which blocks of a file were changed since the last look, without reading it
 *
 * A look says "these blocks, and no others", or "unknown". The answer may hold too many blocks,
 *never too few. Content changes in these ways, each of which is caught (tests/unit/fs/test_dirty.c
 *has a program for each, Linux 6.18):
 *
 *   write(2) and its kin, stores through a shared mapping, process_vm_writev(2), page pinning
 *	Make the folio in the page cache dirty, after the copy or before the page may be written
 *	through a mapping. A clean folio that becomes dirty is told by writeback_dirty_folio
 *	(mm/page-writeback.c, folio_account_dirtied()), one that *is* dirty is not told again.
 *	So what may be dirty at a look counts for the next look too: the blocks told before, or,
 *when the file was written out (sync_file_range(2), all three flags: WB_SYNC_ALL), only those told
 *	since that began. Writing a folio out makes it clean and write-protects its mappings first,
 *	so a store during the write is told. cachestat(2) must not count more dirty pages than were
 *	told, as a cross-check.
 *	The event has the folio's first page, not its size (1 page to 2 MiB, on xfs since 5.18, ext4
 *	since 6.16). A folio is aligned to its size, which a page's number thus bounds.
 *   O_DIRECT, also by io_uring and AIO
 *	Passes the page cache by. ext4 and xfs write through fs/iomap, which tells the beginning
 *	and the end (since 6.6). Both count: a write that was on its way during a look ends after
 *it. Direct reads cannot be told from writes, and count as such. fallocate(2) of all kinds,
 *truncate(2), FICLONERANGE, EXT4_IOC_MOVE_EXT, SWAP_BOOT, XFS's exchange Move, remove or add
 *blocks; parts of pages are zeroed in the page cache, which is told. The map of the file (FIEMAP)
 *is compared with that of the last look. FALLOC_FL_WRITE_ZEROES (6.17) may leave the map as it was:
 *ext4_zero_range tells.
 *
 * Not seen is one thing: blocks that leave the file, get another content as part of *another* file,
 *and come back by reflink or EXT4_IOC_MOVE_EXT to the very same places of both, all between two
 *looks. No program does that by chance; one that does it on purpose spoils the copy of its own
 *file.
 *
 * "Unknown" is said: on another file system than ext4, with data=journal or for a file with
 *attribute j (its pages are marked by the journal), for DAX (there is no page cache), without
 *tracepoints, when a ring was full, when a CPU came or went, when the map has too many pieces. xfs
 *would do as well, but nobody has tried each of the above there.
 */
#include "dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "extents.h"
#include "io.h"
#include "trace.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

#define BUCKETS 1024
#define MAX_WATCHED                                                                   \
	256 /* each costs the host some nanoseconds a dirtied page; the largest files \
	     */
#define MAX_GONE (MAX_WATCHED / 4)
#define FOLIO_MAX                                                                                \
	((uint64_t)2048) /* pages, as no folio has more (MAX_XAS_ORDER), where nothing better is \
			    known */
#define WRITE_OUT (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)

struct dirty_file {
	struct dirty_file *next;     /* in its bucket */
	struct dirty_file *next_new; /* not watched yet */
	uint64_t ino, block, size;
	bool watched, deaf; /* deaf: nothing will ever be told; neither: there was no room */

	struct bits told;  /* since the last look */
	struct bits fresh; /* since the last time that the file began to be written out */
	struct bits carry; /* may have been dirty at the last look */
	bool told_all, fresh_all, carry_all;
	struct extents map; /* at the last look */
	bool mapped;
};

struct dirty {
	struct trace *trace;
	const char *why;
	uint64_t page, folio_max; /* bytes; pages */
	struct dirty_file *buckets[BUCKETS], *new;
	size_t n_watched; /* by filters, which cannot be changed */
	size_t n_gone;	  /* of these: files that are known no more */
};

/* MAX_PAGECACHE_ORDER of include/linux/pagemap.h: that of a huge page */
static uint64_t largest_folio(uint64_t page)
{
	_cleanup_buf_ struct rb_buf text = {};
	uint64_t pages = 0;

	if (rb_read_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", 64, &text, NULL) ==
	    0)
		pages = strtoull(text.data, NULL, 10) / page;
	return pages > 0 ? pages : FOLIO_MAX;
}

int dirty_open(struct dirty **ret)
{
	struct dirty *dirty = calloc(1, sizeof(*dirty));

	if (!dirty)
		return -ENOMEM;
	dirty->page = (uint64_t)sysconf(_SC_PAGESIZE);
	dirty->folio_max = largest_folio(dirty->page);
	if (trace_open(&dirty->trace, &dirty->why) == 0)
		dirty->why = NULL;
	*ret = dirty;
	return 0;
}

void dirty_close(struct dirty *dirty)
{
	if (!dirty)
		return;
	trace_close(dirty->trace);
	free(dirty);
}

const char *dirty_why(const struct dirty *dirty)
{
	return dirty->why;
}

/* The mode may be a default in the superblock, which /proc/mounts does not show. */
static bool journals_data(const struct stat *st)
{
	char link[64], target[PATH_MAX], path[PATH_MAX];
	_cleanup_buf_ struct rb_buf options = {};
	const char *name;
	ssize_t n;

	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(st->st_dev), minor(st->st_dev));
	n = readlink(link, target, sizeof(target) - 1);
	if (n <= 0)
		return true;
	target[n] = '\0';
	name = strrchr(target, '/');
	if (rb_path(path, sizeof(path), "/proc/fs/ext4/%s/options", name ? name + 1 : target) < 0 ||
	    rb_read_file(path, 1 << 16, &options, NULL) < 0)
		return true;
	return options.len == 0 || strstr(options.data, "data=journal");
}

static bool is_told_of(int fd, const struct stat *st)
{
	struct statfs fs;
	struct statx stx;
	int flags = 0;

	if (fstatfs(fd, &fs) < 0 || fs.f_type != EXT4_SUPER_MAGIC || journals_data(st))
		return false;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) < 0 ||
	    stx.stx_attributes & STATX_ATTR_DAX)
		return false;
	return ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && !(flags & FS_JOURNAL_DATA_FL) &&
	       flags & FS_EXTENT_FL;
}

int dirty_file_new(struct dirty *dirty, int fd, uint64_t block, struct dirty_file **ret)
{
	struct dirty_file *file, **bucket;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	*file = (struct dirty_file){ .ino = st.st_ino, .block = block, .carry_all = true };
	file->size = (uint64_t)st.st_size;
	file->deaf = !dirty->trace || !is_told_of(fd, &st);
	bucket = &dirty->buckets[file->ino % BUCKETS];
	file->next = *bucket;
	*bucket = file;
	if (!file->deaf) {
		file->next_new = dirty->new;
		dirty->new = file;
	}
	*ret = file;
	return 0;
}

static void forget(struct dirty_file *file)
{
	bits_free(&file->told);
	bits_free(&file->fresh);
	bits_free(&file->carry);
	extents_free(&file->map);
}

void dirty_file_free(struct dirty *dirty, struct dirty_file *file)
{
	struct dirty_file **at;

	if (!file)
		return;
	dirty->n_gone += file->watched;
	at = &dirty->buckets[file->ino % BUCKETS];
	while (*at != file)
		at = &(*at)->next;
	*at = file->next;
	for (at = &dirty->new; *at; at = &(*at)->next_new)
		if (*at == file) {
			*at = file->next_new;
			break;
		}
	forget(file);
	free(file);
}

static int larger_first(const void *a, const void *b)
{
	const struct dirty_file *x = *(struct dirty_file *const *)a;
	const struct dirty_file *y = *(struct dirty_file *const *)b;

	return x->size < y->size ? 1 : -(x->size > y->size);
}

static void watch_files(struct dirty *dirty, struct dirty_file **files, size_t n)
{
	for (size_t first = 0, end; first < n; first = end) {
		uint64_t inos[TRACE_INOS];
		bool ok;

		for (end = first; end < n && end - first < TRACE_INOS; end++)
			inos[end - first] = files[end]->ino;
		ok = dirty->n_watched + (end - first) <= MAX_WATCHED &&
		     trace_watch(dirty->trace, inos, end - first) == 0;
		for (size_t i = first; i < end; i++)
			files[i]->watched = ok;
		dirty->n_watched += ok ? end - first : 0;
	}
}

static void watch_new(struct dirty *dirty)
{
	_cleanup_free_ struct dirty_file **files = NULL;
	size_t n = 0;

	for (struct dirty_file *f = dirty->new; f; f = f->next_new)
		n++;
	if (n == 0)
		return;
	files = reallocarray(NULL, n, sizeof(struct dirty_file *));
	n = 0;
	for (struct dirty_file *f = dirty->new, *next; f; f = next) {
		next = f->next_new;
		f->next_new = NULL;
		if (files)
			files[n++] = f;
		else
			f->deaf = true;
	}
	dirty->new = NULL;
	if (!files)
		return;
	qsort(files, n, sizeof(struct dirty_file *), larger_first);
	watch_files(dirty, files, n);
}

/* @offset and @end in bytes */
static void tell(struct dirty_file *file, uint64_t offset, uint64_t end)
{
	uint64_t first = offset / file->block;
	uint64_t last = end > UINT64_MAX - file->block ? UINT64_MAX
						       : (end + file->block - 1) / file->block;

	bits_add(&file->told, first, last);
	bits_add(&file->fresh, first, last);
}

static void take_event(void *arg, const struct trace_event *event)
{
	struct dirty *dirty = arg;
	uint64_t offset = event->offset, len = event->len;

	if (event->kind == TRACE_FOLIO) {
		uint64_t pages = offset ? offset & -offset : dirty->folio_max;

		len = (pages < dirty->folio_max ? pages : dirty->folio_max) * dirty->page;
		offset *= dirty->page;
	}
	for (struct dirty_file *f = dirty->buckets[event->ino % BUCKETS]; f; f = f->next) {
		if (f->ino != event->ino || f->deaf)
			continue;
		if (event->kind == TRACE_DIO_END && len == 0)
			f->told_all = f->fresh_all = true;
		else
			tell(f, offset, len > UINT64_MAX - offset ? UINT64_MAX : offset + len);
	}
}

void dirty_drain(struct dirty *dirty)
{
	if (dirty->trace)
		trace_drain(dirty->trace, take_event, dirty);
}

/* More dirty pages than we know of? Ask before what was recorded is taken. */
static uint64_t dirty_pages(int fd)
{
	struct {
		uint64_t off, len;
	} range = {};
	struct {
		uint64_t nr_cache, nr_dirty, nr_writeback, nr_evicted, nr_recently_evicted;
	} counts;

	return syscall(SYS_cachestat, fd, &range, &counts, 0) < 0 ? 0 : counts.nr_dirty;
}

/*
 * What may be dirty from now on: what is told from now on, and what cannot be written out.
 * Return: is that all?
 */
static bool write_out(struct dirty *dirty, struct dirty_file *file, int fd)
{
	uint64_t pages;

	bits_clear(&file->fresh);
	file->fresh_all = false;
	if (sync_file_range(fd, 0, 0, WRITE_OUT) < 0)
		return false;
	pages = dirty_pages(fd);
	dirty_drain(dirty);
	return pages <= bits_count(&file->fresh) * (file->block / dirty->page) &&
	       trace_complete(dirty->trace);
}

static int resize(struct dirty_file *file, uint64_t size)
{
	size_t before = file->told.n, n = (size_t)((size + file->block - 1) / file->block);

	if (bits_resize(&file->told, n) < 0 || bits_resize(&file->fresh, n) < 0 ||
	    bits_resize(&file->carry, n) < 0)
		return -ENOMEM;
	/* what was told of new blocks was not noted; the last one has more or less in it */
	if (size != file->size) {
		tell(file, size < file->size ? size : file->size, (uint64_t)n * file->block);
		tell(file, (uint64_t)before * file->block, (uint64_t)n * file->block);
	}
	file->size = size;
	return 0;
}

/* Something is lost: begin anew. */
static void restart(struct dirty *dirty)
{
	trace_close(dirty->trace);
	dirty->trace = NULL;
	if (trace_open(&dirty->trace, &dirty->why) == 0)
		dirty->why = NULL;
	dirty->new = NULL;
	dirty->n_watched = dirty->n_gone = 0;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct dirty_file *f = dirty->buckets[i]; f; f = f->next) {
			f->deaf |= !dirty->trace;
			f->watched = false;
			f->told_all = f->fresh_all = f->carry_all = true;
			if (f->deaf)
				continue;
			f->next_new = dirty->new;
			dirty->new = f;
		}
	watch_new(dirty);
}

/* Is somebody left out for files that are gone? It costs all others a look at all of them, so not
 * for a few. */
static bool is_wasteful(const struct dirty *dirty)
{
	size_t n = 0;

	if (dirty->n_gone < MAX_GONE)
		return false;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct dirty_file *f = dirty->buckets[i]; f; f = f->next)
			n += !f->deaf && !f->watched;
	return n > 0 && dirty->n_watched + n > MAX_WATCHED;
}

void dirty_watch(struct dirty *dirty, bool again)
{
	if (again && is_wasteful(dirty))
		restart(dirty);
	else
		watch_new(dirty);
}

int dirty_look(struct dirty *dirty, struct dirty_file *file, int fd, uint64_t size, bool settle,
	       struct bits *ret)
{
	struct extents map = {};
	bool known, settled;
	int r;

	if (file->deaf || !file->watched)
		return 0;
	r = resize(file, size);
	if (r == 0)
		r = bits_resize(ret, file->told.n);
	if (r < 0)
		return r;
	dirty_drain(dirty);
	if (settle && !trace_complete(dirty->trace))
		restart(dirty);
	if (file->deaf)
		return 0;
	settled = settle && write_out(dirty, file, fd);
	r = extents_read(fd, &map);
	if (r < 0) {
		file->deaf = true; /* no map, or too many pieces */
		forget(file);
		return 0;
	}
	if (!trace_complete(dirty->trace))
		file->told_all = file->fresh_all = true;
	known = !file->told_all && !file->carry_all && file->mapped;
	bits_clear(ret);
	if (known)
		extents_differ(&file->map, &map, file->block, ret);
	bits_or(ret, &file->told);
	bits_or(ret, &file->carry);
	/* what may be dirty now counts for the next look too */
	if (settled) {
		bits_clear(&file->carry);
		bits_or(&file->carry, &file->fresh);
		file->carry_all = file->fresh_all;
	} else {
		bits_or(&file->carry, &file->told);
		file->carry_all |= file->told_all;
	}
	bits_clear(&file->told);
	file->told_all = false;
	extents_free(&file->map);
	file->map = map;
	file->mapped = true;
	return known;
}
