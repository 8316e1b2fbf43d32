// SPDX-License-Identifier: Apache-2.0
/*
 * sync.c - have a tree reach the disk
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "tree.h"

static int sync_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	_cleanup_close_ int fd = -EBADF;

	(void)ftw;
	if (flag != FTW_DP && !S_ISREG(st->st_mode))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return 0;
	return fd < 0 || fsync(fd) < 0 ? -1 : 0;
}

int rb_tree_sync_files(const char *root, struct rb_err *err)
{
	if (nftw(root, sync_entry, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0)
		return rb_err_set(err, -errno, "sync '%s'", root);
	return 0;
}
