// SPDX-License-Identifier: Apache-2.0
/*
 * test_tar.c - the process that CRIU forks for tar does simple things by itself, and becomes tar
 * for the rest; and no folder is made for what it shall see
 *
 * `test_tar LIBRARY` starts itself again with the library preloaded. No tar can be found by name
 * but one that only says that it was started.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "folder.h"
#include "tap.h"

enum { IS_TAR = 42 };

static char archive[64];

/* as CRIU does it. Return: exit status */
static int tar(const char *what, const char *folder)
{
	bool create = strcmp(what, "--create") == 0;
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int root = open(folder, O_RDONLY | O_DIRECTORY);
		int file = open(archive, create ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0600);

		dup2(create ? root : file, STDIN_FILENO);
		dup2(create ? file : STDERR_FILENO, STDOUT_FILENO);
		execvp("tar", (char *const *)(const char *[]){ "tar", what, "--gzip", "--directory",
							       create ? "/proc/self/fd/0" : folder,
							       create ? "." : NULL, NULL });
		_exit(99);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool make(const char *name)
{
	return mkdir(in(name), 0755) == 0;
}

static void round_trip(void)
{
	const struct timespec times[2] = { { 1, 0 }, { 1000000000, 123456789 } };
	char target[64] = "";
	struct stat st;

	CHECK(make("from") && make("from/sub") && make("from/sub/empty") && make("to"));
	CHECK_INT(symlink("somewhere/else", in("from/sub/link")), 0);
	CHECK_INT(chmod(in("from/sub"), 01711), 0);
	CHECK_INT(utimensat(AT_FDCWD, in("from/sub"), times, 0), 0);
	CHECK_INT(tar("--create", in("from")), 0);
	CHECK_INT(tar("--extract", in("to")), 0);
	CHECK_INT(stat(in("to/sub"), &st), 0);
	CHECK_INT(st.st_mode & 07777, 01711);
	CHECK_INT(st.st_mtim.tv_sec, 1000000000);
	CHECK_INT(st.st_mtim.tv_nsec, 123456789);
	CHECK(readlink(in("to/sub/link"), target, sizeof(target) - 1) > 0);
	CHECK_STR(target, "somewhere/else");
	CHECK_INT(access(in("to/sub/empty"), F_OK), 0);
}

/* with a file in it it is tar's, and nothing is written before that */
static void file(void)
{
	struct stat st;
	int fd;

	CHECK(make("files"));
	fd = open(in("files/one"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	close(fd);
	CHECK_INT(tar("--create", in("files")), IS_TAR);
	CHECK_INT(stat(archive, &st), 0);
	CHECK_INT(st.st_size, 0);
}

/* somebody else's archive is tar's, which reads it from its beginning */
static void others_archive(void)
{
	static const char text[] = "no such archive, but long enough to be one";
	int fd = open(archive, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK_INT(write(fd, text, sizeof(text)), sizeof(text));
	close(fd);
	CHECK_INT(tar("--extract", in("to")), IS_TAR);
}

/* one that is cut off is refused */
static void malformed(void)
{
	struct stat st;

	CHECK_INT(tar("--create", in("from")), 0);
	CHECK_INT(stat(archive, &st), 0);
	CHECK_INT(truncate(archive, st.st_size - 1), 0);
	CHECK_INT(tar("--extract", in("to")), 1);
}

/* a dump is given one that there is already, and its removal is left out; others get their own */
static void place(void)
{
	char wanted[] = "/tmp/cr-tmpfs.XXXXXX", other[] = "/tmp/test_tar.XXXXXX";

	setenv("REBERTH_SKIP", top, 1);
	CHECK_STR(mkdtemp(wanted), "/proc");
	CHECK_INT(rmdir(wanted), 0);
	CHECK(mkdtemp(other) != NULL);
	CHECK_INT(access(other, F_OK), 0);
	CHECK_INT(rmdir(other), 0);
	CHECK(access(other, F_OK) < 0);
	unsetenv("REBERTH_SKIP");
	snprintf(wanted, sizeof(wanted), "/tmp/cr-tmpfs.XXXXXX");
	CHECK(mkdtemp(wanted) && strncmp(wanted, "/tmp/cr-tmpfs.", 14) == 0);
	CHECK_INT(rmdir(wanted), 0);
}

int main(int argc, char **argv)
{
	char command[128];
	FILE *script;

	if (argc == 2) {
		setenv("LD_PRELOAD", argv[1], 1);
		execl("/proc/self/exe", argv[0], argv[1], "again", NULL);
		return 1;
	}
	unsetenv("LD_PRELOAD");
	if (!mkdtemp(top))
		return 1;
	snprintf(archive, sizeof(archive), "%s/archive", top);
	/* standard input has not been read from */
	script = fopen(in("tar"), "we");
	if (!script)
		return 1;
	fprintf(script, "#!/bin/sh\nread -r line\ncase $line in ''|no\\ such*) exit %d ;; esac\n",
		IS_TAR);
	fclose(script);
	chmod(in("tar"), 0755);
	setenv("PATH", top, 1);
	TAP_RUN(round_trip);
	TAP_RUN(file);
	TAP_RUN(others_archive);
	TAP_RUN(malformed);
	TAP_RUN(place);
	snprintf(command, sizeof(command), "/bin/rm -rf %s", top);
	return system(command) == 0 ? tap_done() : 1;
}
