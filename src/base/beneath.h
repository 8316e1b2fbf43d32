/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beneath.h - open paths inside of a folder that somebody else may write to
 *
 * A container can swap a folder for a symbolic link between any two of our system calls.
 * openat2(2) resolves below a descriptor without following links, leaving by ".." or entering
 * another mount, whatever happens meanwhile.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BENEATH_TRIES 128

/** FD_PATH_SIZE, fd_path - "/proc/self/fd/N": what an O_PATH descriptor stands for, as a path */
#define FD_PATH_SIZE sizeof("/proc/self/fd/-2147483648")

static inline const char *fd_path(int fd, char buf[FD_PATH_SIZE])
{
	snprintf(buf, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
	return buf;
}

/** open_beneath - openat2(2); "" is @root_fd itself, which may be a file then. Return: descriptor
 * or negative errno. */
static inline int open_beneath(int root_fd, const char *path, int flags)
{
	struct open_how how = { .flags = (unsigned int)flags | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
					   RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };
	char buf[FD_PATH_SIZE];
	int tries = 0, fd;

	/* EAGAIN: a rename somewhere in the system made the kernel unsure; nothing is wrong */
	do
		fd = (int)syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || (errno == EAGAIN && ++tries < BENEATH_TRIES)));
	/* a file has no "." in it */
	if (fd < 0 && errno == ENOTDIR && !*path && !(flags & O_DIRECTORY))
		fd = open(fd_path(root_fd, buf), (flags & ~O_NOFOLLOW) | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
