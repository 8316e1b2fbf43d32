// SPDX-License-Identifier: Apache-2.0
/* criu_handed.c - of the library that CRIU gets: descriptors that the worker has for it */
#include "criu_handed.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "criu_hold.h"

int criu_open_handed(openat_fn *openat, int images, const char *path, int flags)
{
	char name[PATH_MAX], text[128];
	unsigned long long inode;
	int pid, number, fd;
	struct stat st;
	ssize_t len;

	if (snprintf(name, sizeof(name), CRIU_HOST "%s", path) >= (int)sizeof(name))
		return -ENODATA;
	fd = openat(images, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ENODATA;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[len < 0 ? 0 : len] = '\0';
	if (sscanf(text, "%d %d %llu", &pid, &number, &inode) != 3)
		return -ENODATA;
	snprintf(name, sizeof(name), CRIU_HOST "proc/%d/fd/%d", pid, number);
	fd = openat(images, name, flags | O_CLOEXEC);
	if (fd < 0)
		return -ENODATA;
	if (fstat(fd, &st) == 0 && st.st_ino == inode)
		return fd;
	close(fd);
	return -ESTALE;
}
