// SPDX-License-Identifier: Apache-2.0
/*
 * criu_smaps.c - of the library that CRIU gets: the moment at which it looks at a process for the
 * first time
 *
 * CRIU reads /proc/PID/smaps before it changes anything in that process, and before it looks at any
 * memory. Up to there it goes on while the worker still makes its list of what was written last
 * (rb_criu_dump_hold()). Here it waits for that; and before it is told which pages there are
 * (criu_filter.c), should it have come by another way:
 *
 *	$REBERTH_SKIP/lock	locked by the worker as long as lists are not complete; without this
 *				file nobody has to be waited for
 *	$REBERTH_SKIP/complete	they are. A lock that is gone without this is that of a worker that
 *				failed or was killed, and the dump fails
 *
 * Then it reads what the dump server has put together, which is the same as the kernel's (smaps.h),
 *
 *	$REBERTH_SKIP/PID.smaps
 */
#include "criu_smaps.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_S = 60, STEP_US = 200 };

static bool path_of(char *ret, size_t size, const char *name)
{
	const char *dir = getenv("REBERTH_SKIP");

	return dir && snprintf(ret, size, "%s/%s", dir, name) < (int)size;
}

/* Return: 0, -EAGAIN while it is locked, another negative errno */
static int try_lock(int fd)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

/* Closing it would give the lock back, but nobody wants it. Return: 0 or negative errno. */
static int wait_for(const char *lock)
{
	const struct timespec step = { .tv_nsec = STEP_US * 1000L };
	struct timespec began, now;
	int fd = open(lock, O_RDONLY | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	clock_gettime(CLOCK_MONOTONIC, &began);
	while ((r = try_lock(fd)) == -EAGAIN) {
		nanosleep(&step, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - began.tv_sec > LIMIT_S) {
			r = -ETIMEDOUT;
			break;
		}
	}
	close(fd);
	return r;
}

int smaps_await_lists(void)
{
	static bool complete;
	char lock[PATH_MAX], mark[PATH_MAX];
	int r;

	if (complete || !path_of(lock, sizeof(lock), "lock") ||
	    !path_of(mark, sizeof(mark), "complete"))
		return 0;
	r = access(lock, F_OK) == 0 ? wait_for(lock) : errno == ENOENT ? -ENOENT : -errno;
	if (r == -ENOENT)
		return 0;
	if (r == 0 && access(mark, F_OK) < 0)
		r = -ECANCELED;
	complete = r == 0;
	return r;
}

/* "/proc/4711" */
static int pid_of(int dir)
{
	char link[64], path[64];
	ssize_t len;
	int pid = 0, end = 0;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	len = readlink(link, path, sizeof(path) - 1);
	path[len < 0 ? 0 : len] = '\0';
	return sscanf(path, "/proc/%d%n", &pid, &end) == 1 && !path[end] ? pid : 0;
}

int smaps_open(int dir)
{
	int pid = pid_of(dir), r = smaps_await_lists(), fd;
	char name[32], path[PATH_MAX];

	if (r < 0) {
		errno = -r;
		return -1;
	}
	snprintf(name, sizeof(name), "%d.smaps", pid);
	if (pid <= 0 || !path_of(path, sizeof(path), name))
		return SMAPS_OF_THE_KERNEL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? SMAPS_OF_THE_KERNEL : fd;
}
