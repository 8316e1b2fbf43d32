// SPDX-License-Identifier: Apache-2.0
/* fds.c - the sockets that a process has open, as our own descriptors */
#include "fds.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"

struct walk {
	int pidfd;
	DIR *dir;
	int (*fn)(int fd, int number, void *arg, struct rb_err *err);
	void *arg;
};

static int visit(const struct walk *walk, const char *number, struct rb_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	char target[64];
	ssize_t len = readlinkat(dirfd(walk->dir), number, target, sizeof(target) - 1);

	if (len < 0)
		return 0;
	target[len] = '\0';
	if (strncmp(target, "socket:", 7) != 0)
		return 0;
	fd = (int)syscall(SYS_pidfd_getfd, walk->pidfd, atoi(number), 0);
	if (fd < 0 && errno == EBADF)
		return 0; /* closed meanwhile: the process is not frozen */
	if (fd < 0)
		return rb_err_set(err, -errno, "get socket %s", number);
	return walk->fn(fd, atoi(number), walk->arg, err);
}

int rb_each_socket(int pid, int (*fn)(int fd, int number, void *arg, struct rb_err *err), void *arg,
		   struct rb_err *err)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	_cleanup_closedir_ DIR *dir = NULL;
	struct walk walk = { pidfd, NULL, fn, arg };
	const struct dirent *entry;
	char path[64];
	int sum = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	if (pidfd < 0 || !(dir = opendir(path)))
		return rb_err_set(err, -errno, "examine the sockets of process %d", pid);
	walk.dir = dir;
	while ((entry = readdir(dir))) {
		int r = entry->d_name[0] == '.' ? 0 : visit(&walk, entry->d_name, err);

		if (r < 0)
			return r;
		sum += r;
	}
	return sum;
}

bool rb_is_tcp(int fd)
{
	int value = 0;
	socklen_t len = sizeof(value);

	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &len) < 0 || value != IPPROTO_TCP)
		return false;
	len = sizeof(value);
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &len) == 0 &&
	       (value == AF_INET || value == AF_INET6);
}
