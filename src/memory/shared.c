// SPDX-License-Identifier: Apache-2.0
/*
 * shared.c - which objects of shared memory a container has, on the source
 *
 * An object is held open from when it is seen until no process has it, so its inode number is not
 * given to another meanwhile. (With a file of a tmpfs that would do no harm: shared_files.c; of
 * segments see shared_sysv.c.)
 * Between the last look for objects and the freeze new ones may come: these are left to CRIU. Those
 * that went are restored for nobody.
 */
#include "shared.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "shared_files.h"
#include "shared_internal.h"

#define SIZE_MIN  ((off_t)1 << 20)
#define MEMFD	  "/memfd:"
#define ANONYMOUS "/dev/zero"
#define SEGMENT	  "/SYSV"
#define DELETED	  " (deleted)"

static int find_device(dev_t *ret)
{
	_cleanup_close_ int fd = memfd_create("reberth", MFD_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	*ret = st.st_dev;
	return 0;
}

int rb_shared_new(struct rb_shared **ret, struct rb_err *err)
{
	struct rb_shared *shared = calloc(1, sizeof(*shared));
	uint64_t seed;
	int r = shared ? find_device(&shared->device) : -ENOMEM;

	if (r >= 0 && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		r = -EIO;
	if (r < 0) {
		free(shared);
		return rb_err_set(err, r, "look after shared memory");
	}
	XXH3_generateSecret_fromSeed(shared->secret, seed);
	shared->zero = rb_shared_hash(shared, shared->chunk);
	*ret = shared;
	return 0;
}

static void forget(struct rb_shared_object *object)
{
	if (object->map)
		munmap(object->map, object->map_len);
	rb_close_fd(&object->fd);
	free(object->handle);
	free(object->sent);
	rb_ranges_free(&object->content);
	rb_ranges_free(&object->next);
	free(object);
}

void rb_shared_free(struct rb_shared *shared)
{
	if (!shared)
		return;
	for (size_t i = 0; i < shared->n; i++)
		forget(shared->list[i]);
	shared->n = shared->n_files = 0;
	rb_shared_files_end(shared);
	rb_sysv_clear(&shared->sysv);
	free(shared);
}

void rb_shared_begin(struct rb_shared *shared)
{
	shared->sysv_is_new = false;
	for (size_t i = 0; i < shared->n; i++)
		shared->list[i]->seen = false;
	rb_shared_files_begin(shared);
}

void rb_shared_forget_unseen(struct rb_shared *shared, int tmpfs)
{
	size_t kept = 0, files = 0;

	for (size_t i = 0; i < shared->n; i++) {
		struct rb_shared_object *object = shared->list[i];

		if (!object->seen && (!tmpfs || object->is.tmpfs == tmpfs)) {
			forget(object);
			continue;
		}
		files += object->is.kind == RB_OBJECT_FILE;
		shared->list[kept++] = object;
	}
	shared->n = kept;
	shared->n_files = files;
}

void rb_shared_end(struct rb_shared *shared)
{
	rb_shared_settle_segments(shared);
	rb_shared_files_settle(shared);
	rb_shared_forget_unseen(shared, 0);
	rb_shared_files_end(shared);
}

struct rb_shared_object *rb_shared_find(const struct rb_shared *shared, enum rb_object_kind kind,
					dev_t device, uint64_t inode)
{
	for (size_t i = 0; i < shared->n; i++)
		if (shared->list[i]->is.kind == kind && shared->list[i]->device == device &&
		    shared->list[i]->is.inode == inode)
			return shared->list[i];
	return NULL;
}

static bool is_known(struct rb_shared *shared, uint64_t inode)
{
	struct rb_shared_object *object =
		rb_shared_find(shared, RB_OBJECT_MEMFD, shared->device, inode);

	if (object)
		object->seen = true;
	return object;
}

/* "/memfd:name (deleted)", "/dev/zero (deleted)", and others: "/SYSV00000000 (deleted)" */
static bool name_of(int fd, char *ret, size_t size)
{
	char link[64], text[PATH_MAX], *end;
	const char *name = "";
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, text, sizeof(text) - 1);
	text[len < 0 ? 0 : len] = '\0';
	if (strncmp(text, MEMFD, strlen(MEMFD)) == 0) {
		end = text + strlen(text) - strlen(DELETED);
		if (end > text && strcmp(end, DELETED) == 0)
			*end = '\0';
		name = text + strlen(MEMFD);
	} else if (strcmp(text, ANONYMOUS DELETED) != 0) {
		return false;
	}
	return (size_t)snprintf(ret, size, "%s", name) < size;
}

/* Those that may not are CRIU's, as everything was before. */
bool rb_shared_is_fit(const struct rb_shared *shared, int fd, struct stat *st)
{
	/* or it is gone */
	return fd >= 0 && fstat(fd, st) == 0 && S_ISREG(st->st_mode) &&
	       st->st_dev == shared->device && st->st_size >= SIZE_MIN &&
	       (uint64_t)st->st_size <= RB_OBJECT_SIZE_MAX &&
	       shared->n - shared->n_files < RB_SHARED_OBJECTS_MAX &&
	       st->st_ino <= UINT32_MAX; /* CRIU cuts them off */
}

int rb_shared_hold(struct rb_shared *shared, const struct stat *st, const struct rb_object *is,
		   int *fd, struct rb_shared_object **ret, struct rb_err *err)
{
	struct rb_shared_object *object = calloc(1, sizeof(*object));

	if (!object)
		return rb_err_set(err, -ENOMEM, "look after shared memory");
	object->is = *is;
	object->device = st->st_dev;
	object->number = ++shared->last_number;
	object->fd = TAKE_FD(*fd);
	object->seen = true;
	shared->list[shared->n++] = object;
	if (ret)
		*ret = object;
	return 0;
}

static int consider(struct rb_shared *shared, const char *path, struct rb_err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct rb_object is = {};
	struct stat st;

	if (!rb_shared_is_fit(shared, fd, &st) || is_known(shared, st.st_ino) ||
	    !name_of(fd, is.name, sizeof(is.name)))
		return 0;
	is.inode = st.st_ino;
	return rb_shared_hold(shared, &st, &is, &fd, NULL, err);
}

/* "7f0000000000-7f0000001000 rw-s 00000000 00:01 4711    /dev/zero (deleted)" */
static int consider_mapping(struct rb_shared *shared, pid_t pid, const char *line,
			    struct rb_err *err)
{
	unsigned long start, end, inode;
	unsigned int major, minor;
	char path[96];
	int name = 0;

	if (sscanf(line, "%lx-%lx %*s %*x %x:%x %lu %n", &start, &end, &major, &minor, &inode,
		   &name) < 5 ||
	    !name || makedev(major, minor) != shared->device)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", (int)pid, start, end);
	/* ids begin at 0 */
	if (strncmp(line + name, SEGMENT, strlen(SEGMENT)) == 0)
		return rb_shared_consider_segment(shared, pid, path, inode, err);
	return inode == 0 || is_known(shared, inode) ? 0 : consider(shared, path, err);
}

static int add_mappings(struct rb_shared *shared, pid_t pid, struct rb_err *err)
{
	_cleanup_fclose_ FILE *file = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	char path[64];
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "re");
	while (r >= 0 && file && getline(&line, &size, file) > 0)
		r = consider_mapping(shared, pid, line, err);
	return r;
}

static int add_descriptors(struct rb_shared *shared, pid_t pid, struct rb_err *err)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	char path[64];
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (r >= 0 && dir && (entry = readdir(dir))) {
		char target[sizeof(MEMFD)];
		struct stat st;

		if (readlinkat(dirfd(dir), entry->d_name, target, sizeof(target)) !=
			    (ssize_t)sizeof(target) ||
		    memcmp(target, MEMFD, strlen(MEMFD)) != 0 ||
		    fstatat(dirfd(dir), entry->d_name, &st, 0) < 0 ||
		    /* any file may have such a name, and opening some has effects */
		    !S_ISREG(st.st_mode) || st.st_dev != shared->device ||
		    is_known(shared, st.st_ino))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd/%.20s", (int)pid, entry->d_name);
		r = consider(shared, path, err);
	}
	return r;
}

/* A task that is restored into a user namespace may not open what the target's worker has. */
static bool has_other_users(pid_t pid)
{
	struct stat ours, its;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	return stat("/proc/self/ns/user", &ours) < 0 || stat(path, &its) < 0 ||
	       ours.st_ino != its.st_ino;
}

int rb_shared_add(struct rb_shared *shared, pid_t pid, struct rb_err *err)
{
	int r;

	if (has_other_users(pid))
		return 0;
	r = add_mappings(shared, pid, err);
	if (r >= 0)
		r = add_descriptors(shared, pid, err);
	return r < 0 ? r : rb_shared_files_add(shared, pid, err);
}

uint64_t rb_shared_bytes(const struct rb_shared *shared)
{
	uint64_t sum = 0;
	struct stat st;

	for (size_t i = 0; i < shared->n; i++)
		if (shared->list[i]->is.kind == RB_OBJECT_FILE)
			sum += shared->list[i]->bytes;
		else if (fstat(shared->list[i]->fd, &st) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	return sum;
}

/* Each kind has a list of its own: there may be inodes of the same numbers among the others. */
static int list(const struct rb_shared *shared, enum rb_object_kind kind, const char *dir,
		const char *name, struct rb_err *err)
{
	_cleanup_buf_ struct rb_buf out = {};
	char path[PATH_MAX];
	int r = rb_path(path, sizeof(path), "%s/%s", dir, name);

	for (size_t i = 0; r >= 0 && i < shared->n; i++) {
		struct rb_shared_object *object = shared->list[i];
		uint64_t pair[] = { object->device, object->is.inode };

		if (object->is.kind != kind)
			continue;
		/* a file that cannot be sent is not left out */
		if (kind != RB_OBJECT_FILE || rb_shared_files_open(shared, object) == 0)
			r = rb_buf_add(&out, pair, sizeof(pair));
	}
	return r < 0 ? rb_err_set(err, r, "list shared memory")
		     : rb_write_file(path, out.data, out.len, 0600, false, err);
}

int rb_shared_hide(struct rb_shared *shared, const char *dir, struct rb_err *err)
{
	int r;

	rb_shared_forget_changed(shared);
	r = list(shared, RB_OBJECT_MEMFD, dir, "shared", err);
	if (r >= 0)
		r = list(shared, RB_OBJECT_SEGMENT, dir, "sysv", err);
	return r < 0 ? r : list(shared, RB_OBJECT_FILE, dir, "tmpfs", err);
}
