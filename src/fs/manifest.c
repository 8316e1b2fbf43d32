// SPDX-License-Identifier: Apache-2.0
/*
 * manifest.c - what a tree looked like, and what differs since
 *
 * A scan reads one folder after the other; the array of entries is the queue of folders still to
 * be read, so that neither depth nor open descriptors grow. Each entry is taken by statx(2) before
 * anybody reads the file.
 *
 * Timestamps tell two changes apart only when a tick of the clock lies between them (4 ms, less on
 * kernels with multigrain timestamps, 1 s on file systems without nanoseconds). An entry whose
 * ctime is that close to the scan may change once more without a trace: it is marked `again` and
 * equals nothing (git calls such entries "racily clean").
 */
#include "manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "beneath.h"
#include "cleanup.h"
#include "err.h"
#include "wait.h"

#define TICK_NS	       50000000 /* several ticks of the coarsest kernel clock (100 Hz) */
#define COARSE_TICK_S  2	/* file systems that keep whole seconds, or pairs of them (FAT) */
#define NS_PER_S       1000000000
#define CANCEL_ENTRIES 1024 /* look for a cancel this often */

struct scan {
	struct rb_manifest *m;
	int root_fd;
	const char *root;
	struct timespec start;
	const struct rb_wait *wait;
	struct rb_err *err;
};

void rb_manifest_free(struct rb_manifest *manifest)
{
	if (!manifest)
		return;
	rb_buf_free(&manifest->paths);
	free(manifest->entries);
	free(manifest);
}

static void free_manifest(struct rb_manifest **m)
{
	rb_manifest_free(*m);
}

static bool changed_just_now(const struct statx *st, const struct timespec *start)
{
	int64_t s = start->tv_sec, ns = start->tv_nsec - TICK_NS;

	if (st->stx_ctime.tv_nsec == 0)
		return st->stx_ctime.tv_sec >= s - COARSE_TICK_S;
	if (ns < 0) {
		s--;
		ns += NS_PER_S;
	}
	return st->stx_ctime.tv_sec > s ||
	       (st->stx_ctime.tv_sec == s && (int64_t)st->stx_ctime.tv_nsec >= ns);
}

static int add_entry(struct scan *scan, const char *path, const struct statx *st)
{
	struct rb_manifest *m = scan->m;

	if (m->n == m->size) {
		size_t size = m->size ? m->size * 2 : 256;
		struct manifest_entry *entries = reallocarray(m->entries, size, sizeof(*entries));

		if (!entries)
			return rb_err_set(scan->err, -ENOMEM, "remember what is in '%s'",
					  scan->root);
		m->entries = entries;
		m->size = size;
	}
	m->entries[m->n] = (struct manifest_entry){
		.path = m->paths.len,
		.dev = makedev(st->stx_dev_major, st->stx_dev_minor),
		.ino = st->stx_ino,
		.size = st->stx_size,
		.rdev = makedev(st->stx_rdev_major, st->stx_rdev_minor),
		.blocks = st->stx_blocks,
		.ctime_s = st->stx_ctime.tv_sec,
		.ctime_ns = st->stx_ctime.tv_nsec,
		.mtime_s = st->stx_mtime.tv_sec,
		.mtime_ns = st->stx_mtime.tv_nsec,
		.mode = st->stx_mode,
		.nlink = st->stx_nlink,
		.again = changed_just_now(st, &scan->start),
	};
	if (rb_buf_add(&m->paths, path, strlen(path) + 1) < 0)
		return rb_err_set(scan->err, -ENOMEM, "remember what is in '%s'", scan->root);
	m->n++;
	return m->n % CANCEL_ENTRIES == 0 ? rb_wait_ms(0, scan->wait, scan->err) : 0;
}

/* While CRIU dumps a container's mounts it has an empty folder there, "/tmp/cr-tmpfs.XXXXXX" or
 * "/cr-tmpfs.XXXXXX" (its criu/mount.c): nothing of the container. */
static bool is_scratch_of_criu(const char *path, const struct statx *st)
{
	static const char name[] = "cr-tmpfs.";

	if (!S_ISDIR(st->stx_mode))
		return false;
	if (strncmp(path, "tmp/", 4) == 0)
		path += 4;
	return strncmp(path, name, strlen(name)) == 0 &&
	       strspn(path + strlen(name), "abcdefghijklmnopqrstuvwxyz"
					   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == 6 &&
	       strlen(path) == strlen(name) + 6;
}

static int add_child(struct scan *scan, int dir_fd, const char *folder, const char *name)
{
	char path[PATH_MAX];
	struct statx st;
	int r;

	r = *folder ? rb_path(path, sizeof(path), "%s/%s", folder, name)
		    : rb_path(path, sizeof(path), "%s", name);
	if (r < 0)
		return rb_err_code(scan->err, RB_E_REFUSED, r,
				   "the path of '%s' in '%s/%s' is too long to be carried over",
				   name, scan->root, folder);
	if (statx(dir_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &st) < 0)
		return errno == ENOENT
			       ? 0
			       : rb_err_set(scan->err, -errno, "look at '%s/%s'", scan->root, path);
	if (st.stx_attributes & STATX_ATTR_MOUNT_ROOT)
		return rb_err_code(scan->err, RB_E_REFUSED, -EXDEV,
				   "'%s/%s' is a file system of its own, mounted inside of what "
				   "has to move; unmount it, or make it a volume of the container",
				   scan->root, path);
	return is_scratch_of_criu(path, &st) ? 0 : add_entry(scan, path, &st);
}

static int read_folder(struct scan *scan, size_t index)
{
	/* a copy, since the arena moves while children are added */
	_cleanup_free_ char *folder = strdup(manifest_path(scan->m, &scan->m->entries[index]));
	_cleanup_closedir_ DIR *dir = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct dirent *d;
	int r = 0;

	if (!folder)
		return rb_err_set(scan->err, -ENOMEM, "remember what is in '%s'", scan->root);
	fd = open_beneath(scan->root_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0; /* replaced or removed meanwhile: the next scan sees it */
	if (fd < 0)
		return rb_err_set(scan->err, fd, "open folder '%s/%s'", scan->root, folder);
	dir = fdopendir(fd);
	if (!dir)
		return rb_err_set(scan->err, -errno, "open folder '%s/%s'", scan->root, folder);
	TAKE_FD(fd);
	while (r == 0) {
		errno = 0;
		d = readdir(dir);
		if (!d && errno)
			return rb_err_set(scan->err, -errno, "read folder '%s/%s'", scan->root,
					  folder);
		if (!d)
			break;
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			r = add_child(scan, dirfd(dir), folder, d->d_name);
	}
	return r;
}

static int compare_paths(const void *a, const void *b, void *arg)
{
	const struct rb_manifest *m = arg;

	return strcmp(manifest_path(m, a), manifest_path(m, b));
}

int manifest_scan(int root_fd, const char *root, struct rb_manifest **ret,
		  const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_(free_manifest) struct rb_manifest *m = calloc(1, sizeof(*m));
	struct scan scan = { .m = m, .root_fd = root_fd, .root = root, .wait = wait, .err = err };
	struct statx st;
	int r;

	if (!m)
		return rb_err_set(err, -ENOMEM, "remember what is in '%s'", root);
	clock_gettime(CLOCK_REALTIME, &scan.start);
	if (statx(root_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) < 0)
		return rb_err_set(err, -errno, "look at '%s'", root);
	r = add_entry(&scan, "", &st);
	for (size_t i = 0; r == 0 && i < m->n; i++)
		if (S_ISDIR(m->entries[i].mode))
			r = read_folder(&scan, i);
	if (r < 0)
		return r;
	qsort_r(m->entries, m->n, sizeof(*m->entries), compare_paths, m);
	*ret = TAKE_PTR(m);
	return 0;
}

struct manifest_entry *manifest_find(const struct rb_manifest *m, const char *path)
{
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = strcmp(path, manifest_path(m, &m->entries[middle]));

		if (c == 0)
			return &m->entries[middle];
		if (c < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static bool is_whiteout(const struct manifest_entry *e)
{
	return S_ISCHR(e->mode) && e->rdev == 0;
}

static bool is_same(const struct manifest_entry *base, const struct manifest_entry *now)
{
	if (base->again)
		return false;
	/* overlayfs makes whiteouts as names of one inode, whose ctime moves with each of them */
	if (is_whiteout(base) && is_whiteout(now))
		return base->mode == now->mode && base->mtime_s == now->mtime_s &&
		       base->mtime_ns == now->mtime_ns;
	return base->ino == now->ino && base->mode == now->mode && base->size == now->size &&
	       base->rdev == now->rdev && base->ctime_s == now->ctime_s &&
	       base->ctime_ns == now->ctime_ns && base->mtime_s == now->mtime_s &&
	       base->mtime_ns == now->mtime_ns;
}

static int compare_inodes(const void *a, const void *b)
{
	const struct manifest_entry *x = *(struct manifest_entry *const *)a;
	const struct manifest_entry *y = *(struct manifest_entry *const *)b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->path < y->path ? -1 : x->path > y->path;
}

/* Number the inodes with several names, and mark all names of an inode when one is marked. */
static int group_links(struct rb_manifest *now)
{
	_cleanup_free_ struct manifest_entry **links = NULL;
	size_t n = 0;

	links = reallocarray(NULL, now->n + 1, sizeof(*links));
	if (!links)
		return -ENOMEM;
	for (size_t i = 0; i < now->n; i++) {
		struct manifest_entry *e = &now->entries[i];

		if (e->nlink > 1 && !S_ISDIR(e->mode) && !is_whiteout(e))
			links[n++] = e;
	}
	qsort(links, n, sizeof(*links), compare_inodes);
	for (size_t first = 0, end; first < n; first = end) {
		bool send = false;

		for (end = first; end < n && links[end]->dev == links[first]->dev &&
				  links[end]->ino == links[first]->ino;
		     end++)
			send |= links[end]->send;
		now->groups++;
		for (size_t i = first; i < end; i++) {
			links[i]->group = now->groups;
			links[i]->send = send;
		}
	}
	return 0;
}

static struct manifest_entry *folder_of(const struct rb_manifest *m, const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	struct manifest_entry *e;

	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 0, path);
	e = manifest_find(m, folder);
	return e && S_ISDIR(e->mode) ? e : NULL;
}

/* Have @path removed by the receiver, unless that happens with its folder. */
static int add_gone(struct rb_manifest *now, const char *path, struct rb_buf *gone, uint64_t *n)
{
	struct manifest_entry *folder = folder_of(now, path);

	if (!folder)
		return 0;
	folder->send = true;
	(*n)++;
	return rb_buf_add(gone, path, strlen(path) + 1);
}

/* Walk both sorted lists at once. */
static int compare_with(struct rb_manifest *now, const struct rb_manifest *base,
			struct rb_buf *gone, uint64_t *ret_n_gone)
{
	size_t i = 0;
	int r = 0;

	for (size_t b = 0; r == 0 && b < base->n; b++) {
		const struct manifest_entry *old = &base->entries[b];
		const char *path = manifest_path(base, old);
		int c = 1;

		while (i < now->n && (c = strcmp(manifest_path(now, &now->entries[i]), path)) < 0)
			i++;
		if (i < now->n && c == 0) {
			now->entries[i].send = !is_same(old, &now->entries[i]);
			if (old->unknown && S_ISDIR(now->entries[i].mode))
				r = add_gone(now, path, gone, ret_n_gone);
			i++;
		} else {
			r = add_gone(now, path, gone, ret_n_gone);
		}
	}
	return r;
}

static bool is_below_unknown(const struct rb_manifest *base, const char *of)
{
	char path[PATH_MAX];
	char *slash;

	strcpy(path, of);
	while (base->n_unknown && (slash = strrchr(path, '/'))) {
		const struct manifest_entry *folder;

		*slash = '\0';
		folder = manifest_find(base, path);
		if (folder && folder->unknown)
			return true;
	}
	return false;
}

/* Mark what is below a path that was unknown: the receiver has removed it. */
static void mark_below_unknown(struct rb_manifest *now, const struct rb_manifest *base)
{
	for (size_t i = 0; base->n_unknown && i < now->n; i++)
		if (!now->entries[i].send)
			now->entries[i].send =
				is_below_unknown(base, manifest_path(now, &now->entries[i]));
}

int manifest_diff(struct rb_manifest *now, const struct rb_manifest *base, struct rb_buf *ret_gone,
		  uint64_t *ret_n_gone)
{
	int r = 0;

	for (size_t i = 0; i < now->n; i++)
		now->entries[i].send = true;
	*ret_n_gone = 0;
	if (base) {
		r = compare_with(now, base, ret_gone, ret_n_gone);
		mark_below_unknown(now, base);
	}
	if (r == 0)
		r = group_links(now);
	if (r < 0)
		return r;
	for (size_t i = 0; base && i < now->n; i++) {
		const struct manifest_entry *e = &now->entries[i];
		struct manifest_entry *folder = NULL;

		if (e->send && !S_ISDIR(e->mode))
			folder = folder_of(now, manifest_path(now, e));
		if (folder)
			folder->send = true;
	}
	return 0;
}

void manifest_mark_held(struct rb_manifest *now, const struct rb_manifest *base)
{
	for (size_t i = 0; base && i < now->n; i++) {
		struct manifest_entry *e = &now->entries[i];
		const char *path = manifest_path(now, e);
		const struct manifest_entry *old = manifest_find(base, path);

		e->held = old && !old->unknown && old->dev == e->dev && old->ino == e->ino &&
			  (old->mode & S_IFMT) == (e->mode & S_IFMT) &&
			  !is_below_unknown(base, path);
	}
}

uint64_t manifest_bytes(const struct rb_manifest *m)
{
	uint64_t bytes = 0;

	/* each name has its share; the remainder of the division is less than a block a name */
	for (size_t i = 0; i < m->n; i++) {
		const struct manifest_entry *e = &m->entries[i];

		bytes += S_ISDIR(e->mode) || e->nlink < 2 ? e->blocks * 512
							  : e->blocks * 512 / e->nlink;
	}
	return bytes;
}
