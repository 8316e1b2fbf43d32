// SPDX-License-Identifier: Apache-2.0
/*
 * test_hold.c - where CRIU waits for the lists of what it need not see, and what it then reads of
 * mappings
 *
 * `test_hold LIBRARY` starts itself again with the library preloaded, and opens smaps as CRIU does.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "dump.h"
#include "folder.h"
#include "io.h"
#include "tap.h"
#include "wait.h"

enum { DELAY_MS = 400 };

static struct rb_dump dump = { .work_dir = top };

/* In a process of its own: the library remembers. Return: errno of the opening, 0 for the kernel's
 * file, -1 for ours; @ret_ms: how long it waited */
static int open_smaps(int64_t *ret_ms)
{
	int64_t began_us = rb_now_us();
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		_cleanup_close_ int proc = -EBADF, fd = -EBADF;
		char name[32], text[8] = "";

		snprintf(name, sizeof(name), "/proc/%d", (int)getppid());
		proc = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		fd = openat(proc, "smaps", O_RDONLY);
		if (fd < 0)
			_exit(errno);
		_exit(read(fd, text, 4) == 4 && strcmp(text, "ours") == 0 ? 255 : 0);
	}
	waitpid(pid, &status, 0);
	if (ret_ms)
		*ret_ms = (rb_now_us() - began_us) / 1000;
	return WIFEXITED(status) ? (signed char)WEXITSTATUS(status) : -2;
}

/* A worker that holds CRIU for a while and then lets it go on, or does not, or is killed. */
static pid_t start_worker(char how)
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		int fd = rb_criu_dump_hold(&dump, NULL);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (fd < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		rb_wait_ms(DELAY_MS, NULL, NULL);
		if (how == 'k')
			raise(SIGKILL);
		if (rb_criu_dump_let_go(&dump, fd, how == 'g', NULL) < 0)
			_exit(1);
		pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		pid = -1;
	close(ready[0]);
	return pid;
}

static void end_worker(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(in("skip/lock"));
	unlink(in("skip/complete"));
}

static void nobody_holds(void)
{
	CHECK_INT(open_smaps(NULL), 0);
}

static void put_together(void)
{
	char name[32];

	snprintf(name, sizeof(name), "skip/%d.smaps", (int)getpid());
	CHECK_INT(rb_write_file(in(name), "ours", 4, 0600, false, NULL), 0);
	CHECK_INT(open_smaps(NULL), -1);
	unlink(in(name));
}

static void waits(void)
{
	pid_t worker = start_worker('g');
	int64_t ms = 0;

	CHECK(worker > 0);
	CHECK_INT(open_smaps(&ms), 0);
	CHECK(ms >= DELAY_MS / 2);
	/* once more, the worker lives on */
	CHECK_INT(open_smaps(&ms), 0);
	CHECK(ms < DELAY_MS / 2);
	end_worker(worker);
}

/* Which pages there are is not told either. Return: errno */
static int scan(void)
{
	uint64_t nothing[12] = { sizeof(nothing) };
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

		_exit(ioctl(fd, _IOWR('f', 16, nothing), nothing) < 0 ? errno : 0);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void given_up(void)
{
	pid_t worker = start_worker('f');

	CHECK(worker > 0);
	CHECK_INT(open_smaps(NULL), ECANCELED);
	CHECK_INT(scan(), ECANCELED);
	end_worker(worker);
}

static void killed(void)
{
	pid_t worker = start_worker('k');

	CHECK(worker > 0);
	CHECK_INT(open_smaps(NULL), ECANCELED);
	end_worker(worker);
}

int main(int argc, char **argv)
{
	if (argc == 2) {
		if (!mkdtemp(top))
			return 1;
		mkdir(in("skip"), 0700);
		setenv("LD_PRELOAD", argv[1], 1);
		setenv("REBERTH_SKIP", in("skip"), 1);
		execl("/proc/self/exe", argv[0], argv[1], top, NULL);
		return 1;
	}
	strcpy(top, argv[2]);
	TAP_RUN(nobody_holds);
	TAP_RUN(put_together);
	TAP_RUN(waits);
	TAP_RUN(given_up);
	TAP_RUN(killed);
	rb_rm_rf(top, NULL);
	return tap_done();
}
