// SPDX-License-Identifier: Apache-2.0
/*
 * guard.c - ends the container when its placeholder is killed
 *
 * Docker sees the placeholder's end as the container's. A container that ran on behind its back
 * would run twice as soon as Docker starts it again. So a second process holds the reading end of
 * a pipe whose writing end only the placeholder has: a byte means that all is well, an end without
 * one that the placeholder was killed. Then everything in the container's cgroup is killed: init
 * and its children, or the tasks of a half-done restore with CRIU and all.
 *
 * Memory that is still to come is the business of a pager and its guard (memory/pager.h), each of
 * which kills the container when the other fails. They hold the lock of a file, which they remove
 * when all is in place. Should both be killed at once, the kernel lets the lock go and the file is
 * still there: from that moment on missing pages read as zero, and a third process here kills.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroup.h"
#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "placeholder.h"
#include "wait.h"
#include "workdir.h"

enum { KILL_MS = 30000 };

void placeholder_kill_container(const char *cgroup, const struct rb_wait *wait)
{
	char path[PATH_MAX];

	if (*cgroup && rb_freezer_path(cgroup, path, sizeof(path), NULL) == 0)
		rb_freezer_kill(path, wait, NULL);
}

/* @fd becomes 3, and nothing else is kept: the container's pipes would never end if we did */
static void settle(const char *name, int fd)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_NAME, name);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	setsid();
	for (int i = 0; i <= 2; i++)
		dup2(null_fd, i);
	dup2(fd, 3);
	syscall(SYS_close_range, 4U, ~0U, 0U);
}

_Noreturn static void watch(const struct placeholder *p, int fd)
{
	struct rb_wait wait;
	ssize_t n;
	char c;

	settle("reberth-guard", fd);
	while ((n = read(3, &c, 1)) < 0 && errno == EINTR)
		;
	if (n != 1) {
		wait = rb_wait_within(NULL, KILL_MS);
		placeholder_kill_container(p->note.cgroup, &wait);
	}
	_exit(0);
}

int placeholder_guard(const struct placeholder *p, struct rb_err *err)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return rb_err_set(err, -errno, "start the guard");
	pid = fork();
	if (pid < 0)
		return rb_err_set(err, -errno, "start the guard");
	if (pid == 0)
		watch(p, fds[0]);
	close(fds[0]);
	return fds[1];
}

_Noreturn static void watch_pager(const struct placeholder *p, const char *path, int fd)
{
	struct rb_wait wait;
	struct stat st;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	settle("reberth-pwatch", fd);
	while (flock(3, LOCK_EX) < 0 && errno == EINTR)
		;
	if (fstat(3, &st) == 0 && st.st_nlink > 0) {
		wait = rb_wait_within(NULL, KILL_MS);
		placeholder_kill_container(p->note.cgroup, &wait);
		unlink(path);
	}
	_exit(0);
}

void placeholder_watch_pager(const struct placeholder *p)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = -EBADF;

	if (rb_path(path, sizeof(path), "%s/pagers/%s", rb_criu_run_dir(), p->note.id) < 0)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && fork() == 0)
		watch_pager(p, path, fd);
}
