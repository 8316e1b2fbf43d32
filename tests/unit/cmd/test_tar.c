// SPDX-License-Identifier: Apache-2.0
/*
 * test_tar.c - the process that CRIU forks for tar does what it can by itself, and becomes tar for
 * the rest; and no folder is made for what it shall see
 *
 * `test_tar LIBRARY` starts itself again with the library preloaded. No tar can be found by name
 * but one that only says that it was started.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"
#include "folder.h"
#include "tap.h"
#include "tmpfs_format.h"

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

static bool write_at(const char *name, off_t at, const char *text, size_t len)
{
	int fd = open(in(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	bool done = fd >= 0 && pwrite(fd, text, len, at) == (ssize_t)len;

	if (fd >= 0)
		close(fd);
	return done;
}

static bool has_at(const char *name, off_t at, const char *text, size_t len)
{
	char got[64] = "";
	int fd = open(in(name), O_RDONLY | O_CLOEXEC);
	bool same = fd >= 0 && len <= sizeof(got) && pread(fd, got, len, at) == (ssize_t)len &&
		    memcmp(got, text, len) == 0;

	if (fd >= 0)
		close(fd);
	return same;
}

/* content and holes, names, owners, bits, times and attributes */
static void files(void)
{
	const struct timespec times[2] = { { 1, 0 }, { 1000000000, 123456789 } };
	struct stat st, other;
	char value[8] = "";

	CHECK(make("files") && make("files/sub") && make("copies"));
	CHECK(write_at("files/sub/one", 0, "begin", 5));
	CHECK(write_at("files/sub/one", (off_t)1 << 30, "end", 3));
	CHECK(write_at("files/empty", 0, "", 0));
	CHECK_INT(link(in("files/sub/one"), in("files/two")), 0);
	CHECK_INT(mkfifo(in("files/fifo"), 0640), 0);
	CHECK_INT(chown(in("files/two"), 11, 12), 0);
	CHECK_INT(chmod(in("files/two"), 06751), 0);
	CHECK_INT(setxattr(in("files/two"), "trusted.test", "value", 5, 0), 0);
	CHECK_INT(utimensat(AT_FDCWD, in("files/two"), times, 0), 0);
	CHECK_INT(utimensat(AT_FDCWD, in("files/sub"), times, 0), 0);
	CHECK_INT(tar("--create", in("files")), 0);
	CHECK_INT(stat(archive, &st), 0);
	CHECK(st.st_size < 65536);
	CHECK_INT(tar("--extract", in("copies")), 0);
	CHECK(has_at("copies/sub/one", 0, "begin", 5));
	CHECK(has_at("copies/two", (off_t)1 << 30, "end", 3));
	CHECK_INT(stat(in("copies/two"), &st), 0);
	CHECK_INT(stat(in("copies/sub/one"), &other), 0);
	CHECK_INT(st.st_ino, other.st_ino);
	CHECK_INT(st.st_size, ((off_t)1 << 30) + 3);
	CHECK(st.st_blocks < 2048);
	CHECK_INT(st.st_uid, 11);
	CHECK_INT(st.st_gid, 12);
	CHECK_INT(st.st_mode & 07777, 06751);
	CHECK_INT(st.st_mtim.tv_nsec, 123456789);
	CHECK_INT(getxattr(in("copies/two"), "trusted.test", value, sizeof(value)), 5);
	CHECK_STR(value, "value");
	CHECK_INT(stat(in("copies/sub"), &st), 0);
	CHECK_INT(st.st_mtim.tv_nsec, 123456789);
	CHECK(stat(in("copies/fifo"), &st) == 0 && S_ISFIFO(st.st_mode));
	CHECK(stat(in("copies/empty"), &st) == 0 && st.st_size == 0);
}

/* too much of it is tar's, and nothing is written before that */
static void too_much(void)
{
	static char much[1 << 20];
	struct stat st;

	memset(much, 'x', sizeof(much));
	CHECK(make("much"));
	for (int i = 0; i <= 16; i++)
		CHECK(write_at("much/one", (off_t)i << 20, much, sizeof(much)));
	CHECK_INT(tar("--create", in("much")), IS_TAR);
	CHECK_INT(stat(archive, &st), 0);
	CHECK_INT(st.st_size, 0);
}

static void skip(const char *name)
{
	uint64_t pair[2];
	struct stat st;

	CHECK_INT(stat(in(name), &st), 0);
	pair[0] = st.st_dev;
	pair[1] = st.st_ino;
	CHECK(write_at("skip/tmpfs", 0, (const char *)pair, sizeof(pair)));
	setenv("REBERTH_SKIP", in("skip"), 1);
}

/* but not where something has travelled, which tar would have to pack as well */
static void much_is_late(void)
{
	struct stat st;

	CHECK(make("skip"));
	CHECK(write_at("much/two", 0, "travelled", 9));
	skip("much/two");
	CHECK_INT(tar("--create", in("much")), 0);
	unsetenv("REBERTH_SKIP");
	CHECK_INT(stat(archive, &st), 0);
	CHECK(st.st_size > 17 << 20);
	CHECK_INT(unlink(in("much/one")), 0);
	CHECK_INT(unlink(in("much/two")), 0);
}

/* What has travelled in another way is not written; and without it nothing is made of it. */
static void travelled(void)
{
	struct stat st;

	CHECK(make("travelled") && make("arrived"));
	CHECK(write_at("travelled/one", 0, "secret", 6));
	skip("travelled/one");
	CHECK_INT(tar("--create", in("travelled")), 0);
	unsetenv("REBERTH_SKIP");
	CHECK_INT(stat(archive, &st), 0);
	CHECK(st.st_size > 0 && st.st_size < 4096);
	CHECK_INT(tar("--extract", in("arrived")), 1);
	setenv("REBERTH_TMPFS", in("skip"), 1);
	CHECK_INT(tar("--extract", in("arrived")), 1);
	unsetenv("REBERTH_TMPFS");
	CHECK(access(in("arrived/one"), F_OK) < 0);
}

static void add(int fd, const void *data, size_t len)
{
	CHECK_INT(write(fd, data, len), (ssize_t)len);
}

static void add_entry(int fd, enum tmpfs_form form, mode_t mode, const char *name,
		      const char *target)
{
	const struct tmpfs_run end = {};
	const struct tmpfs_entry entry = { .form = form,
					   .mode = mode,
					   .name_len = (uint16_t)strlen(name),
					   .target_len = (uint16_t)strlen(target) };

	add(fd, &entry, sizeof(entry));
	add(fd, name, strlen(name));
	add(fd, target, strlen(target));
	if (form == TMPFS_CONTENT)
		add(fd, &end, sizeof(end));
}

/* A name may lead through a link that came before it, but not out of the folder. */
static void hostile(void)
{
	int fd = open(archive, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct tmpfs_header header = {};

	CHECK(make("hostile") && make("outside"));
	memcpy(header.magic, TMPFS_MAGIC_TEXT, sizeof(header.magic));
	add(fd, &header, sizeof(header));
	add_entry(fd, TMPFS_NODE, S_IFDIR | 0755, ".", "");
	add_entry(fd, TMPFS_NODE, S_IFLNK | 0777, "./up", "../outside");
	add_entry(fd, TMPFS_NODE, S_IFLNK | 0777, "./link", in("outside"));
	add_entry(fd, TMPFS_CONTENT, S_IFREG | 0600, "./link/one", "");
	close(fd);
	CHECK_INT(tar("--extract", in("hostile")), 1);
	CHECK(access(in("outside/one"), F_OK) < 0);
	fd = open(archive, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	add(fd, &header, sizeof(header));
	add_entry(fd, TMPFS_CONTENT, S_IFREG | 0600, "./up/two", "");
	close(fd);
	CHECK_INT(tar("--extract", in("hostile")), 1);
	CHECK(access(in("outside/two"), F_OK) < 0);
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
	TAP_RUN(files);
	TAP_RUN(too_much);
	TAP_RUN(much_is_late);
	TAP_RUN(travelled);
	TAP_RUN(hostile);
	TAP_RUN(others_archive);
	TAP_RUN(malformed);
	TAP_RUN(place);
	snprintf(command, sizeof(command), "/bin/rm -rf %s", top);
	return system(command) == 0 ? tap_done() : 1;
}
