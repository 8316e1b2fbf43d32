// SPDX-License-Identifier: Apache-2.0
/*
 * lock.c - which process does what, on this host
 *
 * Locks of the old kind (fcntl): the kernel releases them with the process, and says who has one.
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "node.h"

static void lock_path(char ret[512], const struct rb_node *node, const char *name)
{
	rb_path(ret, 512, "%s/%s.lock", node->run_dir, name);
}

int rb_lock_take(const struct rb_node *node, const char *name, struct rb_err *err)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_close_ int fd = -EBADF;
	char path[512];

	lock_path(path, node, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return rb_err_set(err, -errno, "open '%s'", path);
	if (fcntl(fd, F_SETLK, &whole) < 0)
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY, "another process has '%s'", path);
	return TAKE_FD(fd);
}

int rb_lock_holder(const struct rb_node *node, const char *name)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_close_ int fd = -EBADF;
	char path[512];

	lock_path(path, node, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fcntl(fd, F_GETLK, &whole) < 0 || whole.l_type == F_UNLCK)
		return 0;
	return whole.l_pid;
}

void rb_lock_forget(const struct rb_node *node, const char *name)
{
	char path[512];

	lock_path(path, node, name);
	unlink(path);
}
