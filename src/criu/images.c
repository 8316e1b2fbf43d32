// SPDX-License-Identifier: Apache-2.0
/*
 * images.c - where CRIU's images are
 *
 * CRIU makes a file for each TCP connection. On a disk whose journal is busy, or where ext4 looks
 * for an inode that was not in use lately, that was half of the time that the container stands
 * still for with a thousand of them. So the images are in memory.
 *
 * On the source the pages, which are as large as the container, go to the disk all the same:
 * symbolic links lead CRIU there (its criu/image.c opens an image by name, and makes it if need
 * be). Pages beyond those links are among the images, which is slower and right as well.
 *
 * On the target no link could lead there: tasks that are restored open images when the container's
 * root is theirs already. So it is all or nothing, and what is in memory follows to the disk when
 * there is time.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cgroup_memory.h"
#include "cleanup.h"
#include "dump.h"
#include "err.h"
#include "io.h"

#define LINKS_MAX  64 /* one for each memory */
#define COPY_BYTES (1 << 20)

bool rb_criu_has_room_in_memory(const char *dir, unsigned long long need_bytes)
{
	struct statfs fs;

	return statfs(dir, &fs) == 0 && fs.f_type == TMPFS_MAGIC &&
	       (unsigned long long)fs.f_bavail * (unsigned long long)fs.f_bsize > need_bytes &&
	       rb_cgroup_memory_left(0) > need_bytes;
}

static int link_pages(const char *images, const char *pages, struct rb_err *err)
{
	for (int i = 1; i <= LINKS_MAX; i++) {
		char name[PATH_MAX], to[PATH_MAX];

		if (rb_path(name, sizeof(name), "%s/pages-%d.img", images, i) < 0 ||
		    rb_path(to, sizeof(to), "%s/pages-%d.img", pages, i) < 0)
			return rb_err_set(err, -ENAMETOOLONG, "make room for CRIU's images");
		if (symlink(to, name) < 0)
			return rb_err_set(err, -errno, "make '%s'", name);
	}
	return 0;
}

int rb_criu_images_arrive(const char *work_dir, const char *memory_dir, struct rb_err *err)
{
	char images[PATH_MAX];
	int r;

	if (rb_path(images, sizeof(images), "%s/images", work_dir) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "make room for CRIU's images");
	r = rb_rm_rf(memory_dir, err);
	if (r >= 0)
		r = rb_rm_rf(images, err);
	if (r >= 0)
		r = rb_mkdir_p(memory_dir, 0700, err);
	if (r >= 0 && symlink(memory_dir, images) < 0)
		r = rb_err_set(err, -errno, "make '%s'", images);
	return r;
}

int rb_criu_images_to_memory(const char *work_dir, const char *memory_dir, struct rb_err *err)
{
	char pages[PATH_MAX];
	int r = rb_criu_images_arrive(work_dir, memory_dir, err);

	if (r >= 0 && rb_path(pages, sizeof(pages), "%s/pages", work_dir) < 0)
		r = rb_err_set(err, -ENAMETOOLONG, "make room for CRIU's images");
	if (r >= 0)
		r = rb_rm_rf(pages, err);
	if (r >= 0)
		r = rb_mkdir_p(pages, 0700, err);
	return r < 0 ? r : link_pages(memory_dir, pages, err);
}

static int copy_file(int from_fd, int to_fd, const char *name)
{
	_cleanup_close_ int in = -EBADF, out = -EBADF;
	ssize_t n;

	in = openat(from_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	out = openat(to_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (in < 0 || out < 0)
		return -errno;
	while ((n = sendfile(out, in, NULL, COPY_BYTES)) > 0)
		;
	return n < 0 ? -errno : 0;
}

static int copy_all(const char *from, const char *to, struct rb_err *err)
{
	_cleanup_closedir_ DIR *dir = opendir(from);
	_cleanup_close_ int to_fd = -EBADF;
	struct dirent *entry;
	int r = rb_rm_rf(to, err);

	if (r >= 0)
		r = rb_mkdir_p(to, 0700, err);
	if (r < 0)
		return r;
	to_fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!dir || to_fd < 0)
		return rb_err_set(err, -errno, "open '%s'", dir ? to : from);
	while (r >= 0 && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			r = copy_file(dirfd(dir), to_fd, entry->d_name);
	return r < 0 ? rb_err_set(err, r, "copy '%s'", from) : 0;
}

int rb_criu_images_to_disk(const char *work_dir, struct rb_err *err)
{
	char images[PATH_MAX], disk[PATH_MAX];
	struct stat st;
	int r;

	if (rb_path(images, sizeof(images), "%s/images", work_dir) < 0 ||
	    rb_path(disk, sizeof(disk), "%s/images.disk", work_dir) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "find CRIU's images");
	if (lstat(images, &st) < 0)
		return rb_err_set(err, -errno, "look at '%s'", images);
	if (!S_ISLNK(st.st_mode))
		return 0;
	r = copy_all(images, disk, err);
	if (r < 0)
		return r;
	/* at no moment is there nothing of that name: CRIU may be asked to restore once more */
	if (renameat2(AT_FDCWD, disk, AT_FDCWD, images, RENAME_EXCHANGE) < 0)
		return rb_err_set(err, -errno, "put '%s' in place", images);
	return unlink(disk) < 0 ? rb_err_set(err, -errno, "remove '%s'", disk) : 0;
}
