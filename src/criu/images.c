// SPDX-License-Identifier: Apache-2.0
/*
 * images.c - where CRIU's images are on the source
 *
 * CRIU makes a file for each TCP connection. On a disk whose journal is busy, as the source's is at
 * this moment, that was half of the time that the container stands still for with a thousand of
 * them. So the images are made in memory; only the pages, which are as large as the container, go
 * to the disk: symbolic links lead CRIU there (its criu/image.c opens an image by name, and makes
 * it if need be). Pages beyond those links are among the images, which is slower and right as well.
 */
#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "dump.h"
#include "err.h"
#include "io.h"

#define LINKS_MAX 64 /* one for each memory */

bool rb_criu_has_room_in_memory(const char *dir, unsigned long long need_bytes)
{
	struct statfs fs;

	return statfs(dir, &fs) == 0 && fs.f_type == TMPFS_MAGIC &&
	       (unsigned long long)fs.f_bavail * (unsigned long long)fs.f_bsize > need_bytes;
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

int rb_criu_images_to_memory(const char *work_dir, const char *memory_dir, struct rb_err *err)
{
	char images[PATH_MAX], pages[PATH_MAX];
	int r;

	if (rb_path(images, sizeof(images), "%s/images", work_dir) < 0 ||
	    rb_path(pages, sizeof(pages), "%s/pages", work_dir) < 0)
		return rb_err_set(err, -ENAMETOOLONG, "make room for CRIU's images");
	r = rb_rm_rf(memory_dir, err);
	if (r >= 0)
		r = rb_rm_rf(images, err);
	if (r >= 0)
		r = rb_rm_rf(pages, err);
	if (r >= 0)
		r = rb_mkdir_p(memory_dir, 0700, err);
	if (r >= 0)
		r = rb_mkdir_p(pages, 0700, err);
	if (r >= 0 && symlink(memory_dir, images) < 0)
		r = rb_err_set(err, -errno, "make '%s'", images);
	return r < 0 ? r : link_pages(memory_dir, pages, err);
}
