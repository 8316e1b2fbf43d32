// SPDX-License-Identifier: Apache-2.0
/*
 * sync.c - have a tree, or a file system, reach the disk
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "proc.h"
#include "tree.h"
#include "wait.h"

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

/* of coreutils, 8.24 or newer */
static int start_sync(int fd, const char *path, struct rb_child *ret, struct rb_err *err)
{
	const char *const argv[] = { "sync", "-f", fd < 0 ? path : "/proc/self/fd/0", NULL };
	struct rb_spawn spec = { .argv = argv, .stdin_fd = fd < 0 ? 0 : fd };

	return rb_spawn(&spec, ret, err);
}

int rb_sync_system(int fd, const char *path, const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_child child;
	int r = start_sync(fd, path, &child, err);

	if (r < 0)
		return r;
	r = rb_wait_fd(child.pidfd, POLLIN, wait, err);
	if (r < 0) {
		/* it ends when the server lets it, or when we do: it is not waited for */
		kill(child.pid, SIGKILL);
		rb_close_fd(&child.pidfd);
		return r;
	}
	r = rb_child_wait(&child, NULL, err);
	if (r > 0)
		return rb_err_code(err, RB_E_INTERNAL, -EIO,
				   "write what '%s' has to its disk: sync failed", path);
	return r;
}
