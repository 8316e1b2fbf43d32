// SPDX-License-Identifier: Apache-2.0
/*
 * test_await_images.c - a CRIU that was started before there are images waits for them
 * (criu_hold.c), and for pages that it wants before it makes tasks
 *
 * `test_await_images LIBRARY` starts itself again with the library preloaded, and opens an image
 * then.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

enum { OPENED = 10, NOT_FOUND = 11, FAILED = 12, PLAYED_CRIU = 3, PATIENCE_MS = 5000 };

static char dir[] = "/tmp/rb-test-await-XXXXXX";
static const char *self, *library;

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void make(const char *name)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	close(fd);
}

/* what the preloaded one does: ends with what it found */
static int play_criu(const char *image)
{
	int fd = openat(AT_FDCWD, image, O_RDONLY | O_CLOEXEC);

	return fd >= 0 ? OPENED : errno == ENOENT ? NOT_FOUND : FAILED;
}

/* Return: its pid; it opens @image, which is there */
static pid_t start(const char *image)
{
	pid_t pid;

	make(image);
	pid = fork();
	if (pid == 0) {
		setenv("LD_PRELOAD", library, 1);
		setenv("REBERTH_IMAGES", in_dir("arrival/images"), 1);
		execl(self, self, library, in_dir(image), NULL);
		_exit(2);
	}
	return pid;
}

/* Return: with what it ended within some ms; 0: it still waits */
static int ended(pid_t pid, int ms)
{
	int status;

	for (int i = 0; i <= ms; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		usleep(1000);
	}
	return 0;
}

static void begin(void)
{
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	CHECK(mkdtemp(dir));
	CHECK_INT(mkdir(in_dir("arrival"), 0700), 0);
}

static void end(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	CHECK_INT(system(command), 0);
}

static void waits_for_images(void)
{
	pid_t pid;

	begin();
	pid = start("inventory.img");
	CHECK_INT(ended(pid, 100), 0);
	make("arrival/images");
	CHECK_INT(ended(pid, PATIENCE_MS), OPENED);
	end();
}

static void images_are_there_already(void)
{
	begin();
	make("arrival/images");
	CHECK_INT(ended(start("inventory.img"), PATIENCE_MS), OPENED);
	end();
}

static void other_files_are_nobodys_business(void)
{
	begin();
	CHECK_INT(ended(start("core-1.img"), PATIENCE_MS), OPENED);
	end();
}

/* Those of a segment of System V are wanted early. Which they are, other images say. */
static void waits_for_pages(void)
{
	pid_t pid;

	begin();
	CHECK_INT(ended(start("pagemap-shmem-7.img"), PATIENCE_MS), OPENED);
	pid = start("pages-7.img");
	CHECK_INT(ended(pid, 100), 0);
	make("arrival/pages");
	CHECK_INT(ended(pid, PATIENCE_MS), OPENED);
	end();
}

/* CRIU would take what is not found for no pages, so it is told something else. */
static void pages_are_called_off(void)
{
	pid_t pid;

	begin();
	pid = start("pages-7.img");
	CHECK_INT(ended(pid, 50), 0);
	make("arrival/abort");
	CHECK_INT(ended(pid, PATIENCE_MS), FAILED);
	end();
}

static void called_off(void)
{
	pid_t pid;

	begin();
	pid = start("inventory.img");
	CHECK_INT(ended(pid, 50), 0);
	make("arrival/abort");
	CHECK_INT(ended(pid, PATIENCE_MS), NOT_FOUND);
	end();
}

static void arrival_is_forgotten(void)
{
	pid_t pid;

	begin();
	pid = start("inventory.img");
	CHECK_INT(ended(pid, 50), 0);
	CHECK_INT(rmdir(in_dir("arrival")), 0);
	CHECK_INT(ended(pid, PATIENCE_MS), NOT_FOUND);
	end();
}

/* runc is killed: nobody waits for this CRIU any more */
static void parent_is_gone(void)
{
	int fds[2], status = 0;
	pid_t parent, pid = 0;
	char c;

	begin();
	CHECK_INT(pipe(fds), 0);
	parent = fork();
	if (parent == 0) {
		close(fds[0]);
		pid = start("inventory.img");
		(void)!write(fds[1], &pid, sizeof(pid));
		pause();
	}
	close(fds[1]);
	CHECK_INT(read(fds[0], &pid, sizeof(pid)), sizeof(pid));
	usleep(50000);
	CHECK_INT(kill(pid, 0), 0);
	kill(parent, SIGKILL);
	waitpid(parent, &status, 0);
	/* it has the other end of the pipe open as long as it lives */
	alarm(PATIENCE_MS / 1000);
	CHECK_INT(read(fds[0], &c, 1), 0);
	alarm(0);
	close(fds[0]);
	end();
}

int main(int argc, char **argv)
{
	if (argc == PLAYED_CRIU) {
		/* CRIU opens images by name, in a folder */
		char *slash = strrchr(argv[2], '/');

		*slash = '\0';
		return chdir(argv[2]) < 0 ? 1 : play_criu(slash + 1);
	}
	self = argv[0];
	library = argv[1];
	TAP_RUN(waits_for_images);
	TAP_RUN(images_are_there_already);
	TAP_RUN(other_files_are_nobodys_business);
	TAP_RUN(waits_for_pages);
	TAP_RUN(pages_are_called_off);
	TAP_RUN(called_off);
	TAP_RUN(arrival_is_forgotten);
	TAP_RUN(parent_is_gone);
	return tap_done();
}
