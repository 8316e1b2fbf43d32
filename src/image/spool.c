// SPDX-License-Identifier: Apache-2.0
/*
 * spool.c - where an image's files wait until all of them are there
 *
 * Whoever receives an image holds the folder's lock, with others, so that idle work can see it.
 * Whoever works on a file holds its lock (flock), which ends with him. One that was removed between
 * our open and our lock has no name any more; then it is opened again. A second transfer of the
 * same layer works on a file without a name, so there is nothing to clean up after it. But a
 * transfer that is taken up again at once may meet the worker of the one that was cut, who ends
 * soon: it waits for him a little, in all once, or everything would be sent again.
 */
#include "spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "image.h"
#include "io.h"
#include "wait.h"

#define OPEN_TRIES    8
#define PATIENCE_MS   8000 /* a worker notices within 6 s that its link was cut */
#define BUSY_EVERY_MS 50
#define RECENT_S      3600
#define SHARE	      4 /* of the disk, for what was left */

/* what all of them take, and since when the oldest was not written to */
static uint64_t bytes_of_all(struct rb_spool *spool, int64_t *ret_oldest_s)
{
	_cleanup_closedir_ DIR *dir = NULL;
	int fd = openat(spool->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t bytes = 0;
	struct dirent *entry;
	struct stat st;

	*ret_oldest_s = 0;
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir && fd >= 0)
		close(fd);
	while (dir && (entry = readdir(dir)) != NULL) {
		int64_t age_s;

		if (fstatat(spool->dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		bytes += (uint64_t)st.st_blocks * 512;
		age_s = time(NULL) - st.st_mtime;
		if (age_s > *ret_oldest_s)
			*ret_oldest_s = age_s;
	}
	return bytes;
}

/* A folder that holds more than its share loses the oldest, but nothing that somebody may be about
 * to go on with. */
static void keep_small(struct rb_spool *spool)
{
	int64_t oldest_s, before_s = INT64_MAX;
	struct statvfs fs;

	if (fstatvfs(spool->dir_fd, &fs) < 0)
		return;
	while (bytes_of_all(spool, &oldest_s) > (uint64_t)fs.f_blocks * fs.f_frsize / SHARE &&
	       oldest_s > RECENT_S && oldest_s < before_s) {
		rb_spool_sweep(spool, oldest_s);
		before_s = oldest_s;
	}
}

void rb_spool_tidy(struct rb_spool *spool)
{
	rb_spool_sweep(spool, RB_SPOOL_KEEP_S);
	keep_small(spool);
}

static bool is_same_disk(const struct rb_spool *spool)
{
	struct stat ours, dockers;

	return fstat(spool->dir_fd, &ours) == 0 && fstat(spool->docker_fd, &dockers) == 0 &&
	       ours.st_dev == dockers.st_dev;
}

/* on one disk with Docker, and one whose files can have holes made in them */
static bool can_give(struct rb_spool *spool)
{
	_cleanup_close_ int fd = -EBADF;

	if (spool->docker_fd < 0 || !is_same_disk(spool))
		return false;
	fd = rb_spool_nameless(spool, NULL);
	return fd >= 0 && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0;
}

int rb_spool_open(struct rb_spool *spool, const char *state_dir, const char *docker_root,
		  struct rb_err *err)
{
	int r;

	*spool = (struct rb_spool){ .dir_fd = -EBADF,
				    .docker_fd = -EBADF,
				    .patience_ms = PATIENCE_MS };
	r = rb_path(spool->path, sizeof(spool->path), "%s/images/spool", state_dir);
	if (r < 0)
		return rb_err_set(err, r, "the folder '%s/images/spool'", state_dir);
	r = rb_mkdir_p(spool->path, 0700, err);
	if (r < 0)
		return r;
	spool->dir_fd = open(spool->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (spool->dir_fd < 0)
		return rb_err_set(err, -errno, "open '%s'", spool->path);
	if (!docker_root)
		return 0;
	/* nobody has that for himself for long */
	if (flock(spool->dir_fd, LOCK_SH) < 0)
		return rb_err_set(err, -errno, "lock '%s'", spool->path);
	spool->docker_fd = open(docker_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	spool->gives = can_give(spool);
	return 0;
}

void rb_spool_close(struct rb_spool *spool)
{
	rb_close_fd(&spool->docker_fd);
	rb_close_fd(&spool->dir_fd);
}

bool rb_spool_is_receiving(struct rb_spool *spool)
{
	if (flock(spool->dir_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK;
	flock(spool->dir_fd, LOCK_UN);
	return false;
}

int rb_spool_nameless(struct rb_spool *spool, struct rb_err *err)
{
	int fd = openat(spool->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char name[64];

	if (fd >= 0)
		return fd;
	/* not all file systems can; one that is killed here leaves a name to be swept */
	snprintf(name, sizeof(name), "nameless-%d-%lld", (int)gettid(), (long long)rb_now_us());
	fd = openat(spool->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return rb_err_set(err, -errno, "make a file in '%s'", spool->path);
	unlinkat(spool->dir_fd, name, 0);
	return fd;
}

/* Return: descriptor, -EBUSY when somebody else has it, or another negative errno */
static int open_locked(struct rb_spool *spool, const char *name)
{
	for (int i = 0; i < OPEN_TRIES; i++) {
		_cleanup_close_ int fd =
			openat(spool->dir_fd, name,
			       O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
		struct stat st;

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0)
			return errno == EWOULDBLOCK ? -EBUSY : -errno;
		if (fstat(fd, &st) < 0)
			return -errno;
		if (!S_ISREG(st.st_mode))
			return -EINVAL;
		if (st.st_nlink)
			return TAKE_FD(fd);
	}
	return -EBUSY;
}

/* what others than root find, as everywhere: the rest is not ours to fill */
static uint64_t room_of(int fd)
{
	struct statvfs fs;

	return fstatvfs(fd, &fs) < 0 ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* What loading takes of the disk that we are on, too, or of Docker's own: on ours it gets what it
 * has taken of the archive. */
static uint64_t bytes_to_load(const struct rb_spool *spool, uint64_t loaded)
{
	return (RB_IMAGE_LOAD_TIMES - spool->gives) * loaded;
}

/* @spooled: that are yet to be written here, @loaded: that Docker will have to unpack */
static bool has_room(const struct rb_spool *spool, uint64_t spooled, uint64_t loaded)
{
	uint64_t here = spooled + RB_SPOOL_RESERVE_BYTES;
	uint64_t there = bytes_to_load(spool, loaded) + RB_SPOOL_RESERVE_BYTES;

	if (spool->docker_fd >= 0 && is_same_disk(spool))
		here += bytes_to_load(spool, loaded);
	else if (spool->docker_fd >= 0 && room_of(spool->docker_fd) < there)
		return false;
	return room_of(spool->dir_fd) >= here;
}

bool rb_spool_must_give(const struct rb_spool *spool)
{
	return spool->gives && room_of(spool->dir_fd) < RB_IMAGE_LOAD_TIMES * spool->announced +
								RB_SPOOL_RESERVE_BYTES;
}

void rb_spool_give(int fd, uint64_t bytes)
{
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes);
}

static int check_room(struct rb_spool *spool, uint64_t spooled, uint64_t loaded, struct rb_err *err)
{
	if (has_room(spool, spooled, loaded))
		return 0;
	/* what others have left may help; what came lately, perhaps of this very image, is last */
	rb_spool_sweep(spool, RECENT_S);
	if (has_room(spool, spooled, loaded))
		return 0;
	rb_spool_sweep(spool, 0);
	if (has_room(spool, spooled, loaded))
		return 0;
	return rb_err_code(err, RB_E_NO_SPACE, -ENOSPC,
			   "there is too little disk space for the image: %llu MiB more needed in "
			   "'%s', and %llu MiB where Docker keeps its data; make room there",
			   (unsigned long long)((spooled + RB_SPOOL_RESERVE_BYTES) >> 20),
			   spool->path, (unsigned long long)(bytes_to_load(spool, loaded) >> 20));
}

int rb_spool_has_room(struct rb_spool *spool, struct rb_err *err)
{
	return check_room(spool, 0, 0, err);
}

void rb_spool_await(struct rb_spool *spool, const uint8_t key[RB_DIGEST_BYTES],
		    bool (*stop)(void *arg), void *arg)
{
	char name[RB_DIGEST_DIGITS + 1];

	rb_hex_encode(key, name);
	while (spool->patience_ms > 0 && !stop(arg)) {
		_cleanup_close_ int fd =
			openat(spool->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
			return;
		rb_wait_ms(BUSY_EVERY_MS, NULL, NULL);
		spool->patience_ms -= BUSY_EVERY_MS;
	}
}

int rb_spool_object(struct rb_spool *spool, const uint8_t key[RB_DIGEST_BYTES], uint64_t size,
		    bool fresh, uint64_t *ret_had, struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char name[RB_DIGEST_DIGITS + 1];
	struct stat st;
	uint64_t has;
	int r;

	rb_hex_encode(key, name);
	fd = open_locked(spool, name);
	if (fd == -EBUSY)
		fd = rb_spool_nameless(spool, err);
	else if (fd < 0)
		return rb_err_set(err, fd, "open '%s/%s'", spool->path, name);
	if (fd < 0)
		return fd;
	if (fresh && ftruncate(fd, 0) < 0)
		return rb_err_set(err, -errno, "empty '%s/%s'", spool->path, name);
	if (fstat(fd, &st) < 0)
		return rb_err_set(err, -errno, "look at '%s/%s'", spool->path, name);
	has = (uint64_t)st.st_blocks * 512;
	spool->announced += size;
	r = check_room(spool, size > has ? size - has : 0, spool->announced, err);
	if (r < 0)
		return r;
	if ((uint64_t)st.st_size > size && ftruncate(fd, (off_t)size) < 0)
		return rb_err_set(err, -errno, "shorten '%s/%s'", spool->path, name);
	*ret_had = (uint64_t)st.st_size < size ? (uint64_t)st.st_size : size;
	return TAKE_FD(fd);
}

void rb_spool_forget(struct rb_spool *spool, const uint8_t key[RB_DIGEST_BYTES], int fd)
{
	char name[RB_DIGEST_DIGITS + 1];
	struct stat ours, named;

	rb_hex_encode(key, name);
	/* not one that another transfer works on */
	if (fstat(fd, &ours) == 0 &&
	    fstatat(spool->dir_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	    ours.st_ino == named.st_ino && ours.st_dev == named.st_dev)
		unlinkat(spool->dir_fd, name, 0);
}

void rb_spool_sweep(struct rb_spool *spool, int64_t age_s)
{
	_cleanup_closedir_ DIR *dir = NULL;
	int fd = openat(spool->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir && fd >= 0)
		close(fd);
	while (dir && (entry = readdir(dir)) != NULL) {
		_cleanup_close_ int object = -EBADF;
		struct stat st, named;

		if (entry->d_name[0] == '.')
			continue;
		object = openat(spool->dir_fd, entry->d_name,
				O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (object < 0 || flock(object, LOCK_EX | LOCK_NB) < 0 || fstat(object, &st) < 0)
			continue;
		/* it may have been forgotten, and made anew, before it was locked */
		if (st.st_mtime + age_s <= time(NULL) &&
		    fstatat(spool->dir_fd, entry->d_name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
		    named.st_ino == st.st_ino)
			unlinkat(spool->dir_fd, entry->d_name, 0);
	}
}
