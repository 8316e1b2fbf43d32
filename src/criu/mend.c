// SPDX-License-Identifier: Apache-2.0
/*
 * mend.c - end a dump that nobody waits for any more
 *
 * The dump server cures the tasks when CRIU dies (cure.h) and ends when its worker does, so all
 * there is to do is to have it stop and to wait for its end. When somebody killed it too, its CRIU
 * is left to be killed here, and the tasks run on as it left them.
 */
#include "dump.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "wait.h"
#include "workdir.h"

/* The server holds this lock as long as it lives. */
static int wait_for_server(const char *work_dir, const struct rb_wait *wait, struct rb_err *err)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = -EBADF;
	int r = rb_path(path, sizeof(path), "%s/dump.lock", work_dir);

	if (r < 0)
		return rb_err_set(err, r, "wait for the dump server");
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : rb_err_set(err, -errno, "open '%s'", path);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		r = rb_wait_ms(2, wait, err);
		if (r < 0)
			return rb_err_wrap(err, r, "the dump server does not end");
	}
	return 0;
}

static void stop_server(const char *work_dir)
{
	_cleanup_close_ int fd = rb_criu_connect_at(work_dir, "dump.sock", NULL);

	if (fd >= 0)
		(void)!write(fd, "stop\n", 5);
}

/* Pid of the process that traces @pid, 0 when there is none. */
static int tracer_of(int pid)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[64];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (rb_read_file(path, 0, &text, NULL) < 0)
		return 0;
	at = strstr(text.data, "\nTracerPid:");
	return at ? atoi(at + strlen("\nTracerPid:")) : 0;
}

static bool is_criu(int pid)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	if (rb_read_file(path, 0, &text, NULL) < 0)
		return false;
	for (size_t at = 0; at < text.len; at += strlen(text.data + at) + 1)
		if (strcmp(text.data + at, "swrk") == 0)
			return true;
	return false;
}

int rb_criu_mend(const struct rb_dump *dump, const struct rb_wait *wait, struct rb_err *err)
{
	int r, tracer;

	stop_server(dump->work_dir);
	r = wait_for_server(dump->work_dir, wait, err);
	if (r < 0)
		return r;
	while ((tracer = tracer_of(dump->init_pid)) > 0) {
		if (is_criu(tracer))
			kill(tracer, SIGKILL);
		r = rb_wait_ms(2, wait, err);
		if (r < 0)
			return rb_err_wrap(
				err, r, "process %d traces the container and does not end", tracer);
	}
	return 0;
}
