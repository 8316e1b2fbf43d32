// SPDX-License-Identifier: Apache-2.0
/*
 * manifest.c - what a tree looked like
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
#include "watch.h"

#define TICK_NS	       50000000 /* several ticks of the coarsest kernel clock (100 Hz) */
#define COARSE_TICK_S  2	/* file systems that keep whole seconds, or pairs of them (FAT) */
#define NS_PER_S       1000000000
#define CANCEL_ENTRIES 1024 /* look for a cancel this often */

void rb_manifest_free(struct rb_manifest *manifest)
{
	if (!manifest)
		return;
	rb_buf_free(&manifest->paths);
	free(manifest->entries);
	free(manifest);
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

static int add_entry(struct manifest_scan *scan, const char *path, const struct statx *st)
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
 * "/cr-tmpfs.XXXXXX" (its criu/mount.c): nothing of the container.
 * Return: length of that path, when @path is it or below it; otherwise 0 */
static size_t scratch_of_criu(const char *path)
{
	static const char name[] = "cr-tmpfs.";
	size_t len = strncmp(path, "tmp/", 4) == 0 ? 4 : 0;

	if (strncmp(path + len, name, strlen(name)) != 0)
		return 0;
	len += strlen(name);
	if (strspn(path + len, "abcdefghijklmnopqrstuvwxyz"
			       "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") < 6)
		return 0;
	len += 6;
	return path[len] == '\0' || path[len] == '/' ? len : 0;
}

static int refuse_mount(struct manifest_scan *scan, const char *path)
{
	return rb_err_code(scan->err, RB_E_REFUSED, -EXDEV,
			   "'%s/%s' is a file system of its own, mounted inside of what "
			   "has to move; unmount it, or make it a volume of the container",
			   scan->root, path);
}

/* Return: 1; 0 when there is nothing, or nothing of the container's */
static int add_child(struct manifest_scan *scan, int dir_fd, const char *name, const char *path)
{
	struct statx st;
	int r;

	if (statx(dir_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH),
		  STATX_BASIC_STATS, &st) < 0)
		return errno == ENOENT
			       ? 0
			       : rb_err_set(scan->err, -errno, "look at '%s/%s'", scan->root, path);
	if (*path && (st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return refuse_mount(scan, path);
	if (S_ISDIR(st.stx_mode) && scratch_of_criu(path) && !path[scratch_of_criu(path)])
		return 0;
	r = add_entry(scan, path, &st);
	return r < 0 ? r : 1;
}

static int add_named(struct manifest_scan *scan, int dir_fd, const char *folder, const char *name)
{
	char path[PATH_MAX];
	int r;

	r = *folder ? rb_path(path, sizeof(path), "%s/%s", folder, name)
		    : rb_path(path, sizeof(path), "%s", name);
	if (r < 0)
		return rb_err_code(scan->err, RB_E_REFUSED, r,
				   "the path of '%s' in '%s/%s' is too long to be carried over",
				   name, scan->root, folder);
	r = add_child(scan, dir_fd, name, path);
	return r < 0 ? r : 0;
}

static int read_folder(struct manifest_scan *scan, size_t index)
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
	watched_folder(scan->watched, fd, folder);
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
			r = add_named(scan, dirfd(dir), folder, d->d_name);
	}
	return r;
}

int manifest_scan_begin(struct manifest_scan *scan)
{
	scan->m = calloc(1, sizeof(*scan->m));
	if (!scan->m)
		return rb_err_set(scan->err, -ENOMEM, "remember what is in '%s'", scan->root);
	clock_gettime(CLOCK_REALTIME, &scan->start);
	return 0;
}

int manifest_scan_path(struct manifest_scan *scan, const char *path, bool deep)
{
	const char *slash = strrchr(path, '/');
	_cleanup_close_ int dir_fd = -EBADF;
	size_t first = scan->m->n, scratch = scratch_of_criu(path);
	char folder[PATH_MAX];
	int r;

	if (scratch && path[scratch])
		return 0;
	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 0, path);
	/* the root itself may be a file */
	dir_fd = open_beneath(scan->root_fd, folder,
			      O_PATH | O_NOFOLLOW | (*path ? O_DIRECTORY : 0));
	if (dir_fd == -ENOENT || dir_fd == -ENOTDIR || dir_fd == -ELOOP)
		return 0;
	if (dir_fd == -EXDEV)
		return refuse_mount(scan, folder);
	if (dir_fd < 0)
		return rb_err_set(scan->err, dir_fd, "open folder '%s/%s'", scan->root, folder);
	r = add_child(scan, dir_fd, slash ? slash + 1 : path, path);
	for (size_t i = first; r > 0 && deep && i < scan->m->n; i++)
		if (S_ISDIR(scan->m->entries[i].mode)) {
			int r2 = read_folder(scan, i);

			r = r2 < 0 ? r2 : r;
		}
	return r;
}

static int compare_paths(const void *a, const void *b, void *arg)
{
	const struct rb_manifest *m = arg;

	return strcmp(manifest_path(m, a), manifest_path(m, b));
}

void manifest_sort(struct rb_manifest *m)
{
	size_t n = 0;

	if (m->n)
		qsort_r(m->entries, m->n, sizeof(*m->entries), compare_paths, m);
	for (size_t i = 0; i < m->n; i++) {
		struct manifest_entry *e = &m->entries[i];

		if (n && compare_paths(&m->entries[n - 1], e, m) == 0)
			m->entries[n - 1].again |= e->again;
		else
			m->entries[n++] = *e;
	}
	m->n = n;
}

struct rb_manifest *manifest_scan_end(struct manifest_scan *scan)
{
	manifest_sort(scan->m);
	return TAKE_PTR(scan->m);
}

int manifest_scan(int root_fd, const char *root, struct watched *watched, struct rb_manifest **ret,
		  const struct rb_wait *wait, struct rb_err *err)
{
	struct manifest_scan scan = {
		.root_fd = root_fd, .root = root, .watched = watched, .wait = wait, .err = err
	};
	int r = manifest_scan_begin(&scan);

	if (r == 0)
		r = manifest_scan_path(&scan, "", true);
	if (r < 0)
		rb_manifest_free(scan.m);
	else
		*ret = manifest_scan_end(&scan);
	return r < 0 ? r : 0;
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
