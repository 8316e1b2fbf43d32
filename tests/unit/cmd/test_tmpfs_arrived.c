// SPDX-License-Identifier: Apache-2.0
/*
 * test_tmpfs_arrived.c - large files of a tmpfs travel in rounds, and are where they were: written
 * down by the one side's tar, and mounted by the other's
 *
 * `test_tmpfs_arrived TAR`, in a mount namespace of its own. The container is a process with a
 * tmpfs in another one. What CRIU would mount is mounted here, with its options.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block.h"
#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "mounts.h"
#include "objects.h"
#include "pack.h"
#include "receive.h"
#include "record.h"
#include "shared.h"
#include "tap.h"

enum { SIZE = 4 << 20, PAGES = SIZE / RB_PAGE_SIZE };

#define OPTIONS "size=65536k,mode=1777,uid=7"

static const char *tar_path;
static char dir[] = "/tmp/test_arrived.XXXXXX", container_path[64];
static pid_t container;
static struct rb_shared *shared;
static struct rb_receiver *receiver;
static struct rb_err err;
static uint64_t sent_pages; /* with content, in the last round */

static const char *in(const char *name)
{
	static char paths[4][PATH_MAX];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", dir, name);
	return path;
}

/* the same in the container's tmpfs */
static const char *there(const char *name)
{
	static char paths[4][PATH_MAX];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", container_path, name);
	return path;
}

static int take(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		struct rb_err *why)
{
	(void)arg;
	(void)wait;
	return rb_receiver_take(receiver, block, len, why);
}

/* @last: the container stands still */
static int send_round(bool last)
{
	struct rb_memory_sink sink = { take, NULL };
	static struct rb_packer *packer;
	_cleanup_block_ struct rb_block *block = NULL;
	int r = packer ? 0 : rb_packer_new(&packer, &err);

	if (r >= 0)
		r = rb_block_new(&sink, packer, &block, &err);
	rb_receiver_begin(receiver, last);
	if (r >= 0 && !last) {
		rb_shared_begin(shared);
		r = rb_shared_add(shared, container, &err);
		rb_shared_end(shared);
	}
	if (r >= 0)
		r = rb_shared_send(shared, block, last, NULL, &err);
	if (r >= 0)
		r = rb_block_flush(block, NULL, &err);
	sent_pages = r < 0 ? 0 : rb_block_stats(block)->pages;
	return r < 0 ? r : rb_receiver_end(receiver, &err);
}

static int objects(void)
{
	return rb_objects_count(rb_receiver_objects(receiver));
}

/* @options: of its tmpfs; NULL: it sees what we see */
static bool begin(const char *options)
{
	int pipes[2];
	char byte;

	rb_err_clear(&err);
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return false;
	container = fork();
	if (container == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!options ||
		    (unshare(CLONE_NEWNS) == 0 &&
		     mount("shm", in("container"), "tmpfs", MS_NOSUID | MS_NODEV, options) == 0))
			(void)!write(pipes[1], "x", 1);
		close(pipes[1]);
		for (;;)
			pause();
	}
	close(pipes[1]);
	snprintf(container_path, sizeof(container_path), "/proc/%d/root%s", (int)container,
		 in("container"));
	if (read(pipes[0], &byte, 1) != 1)
		return false;
	close(pipes[0]);
	return rb_shared_new(&shared, &err) >= 0 && rb_receiver_new(&receiver, &err) >= 0;
}

static void end(void)
{
	umount2(in("mnt"), MNT_DETACH);
	kill(container, SIGKILL);
	waitpid(container, NULL, 0);
	rb_shared_free(shared);
	rb_receiver_free(receiver);
	shared = NULL;
	receiver = NULL;
}

/* Page i has the number i + @with in it. */
static bool fill(const char *path, size_t from, size_t count, uint64_t with)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	uint64_t *at;

	if (fd < 0 || ftruncate(fd, SIZE) < 0)
		return false;
	/* not by write(2): nothing but the page itself is another afterwards */
	at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return false;
	for (size_t i = from; i < from + count; i++)
		at[i * RB_PAGE_SIZE / sizeof(*at)] = i + with;
	munmap(at, SIZE);
	return true;
}

static bool is_same(const char *path, const char *other)
{
	_cleanup_buf_ struct rb_buf a = {}, b = {};

	return rb_read_file(path, 0, &a, NULL) == 0 && rb_read_file(other, 0, &b, NULL) == 0 &&
	       a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* Return: exit status */
static int tar(const char *what, const char *folder)
{
	bool create = strcmp(what, "--create") == 0;
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int file =
			open(in("archive"), create ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0600);

		dup2(file, create ? STDOUT_FILENO : STDIN_FILENO);
		setenv("REBERTH_SKIP", in("skip"), 1);
		setenv("REBERTH_TMPFS", in("tmpfs"), 1);
		execl(tar_path, "tar", what, "--gzip", "--directory", folder, NULL);
		_exit(99);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int dump(void)
{
	int r = send_round(true);

	if (r >= 0)
		r = rb_mkdir_p(in("skip"), 0700, &err);
	if (r >= 0)
		r = rb_shared_hide(shared, in("skip"), &err);
	return r < 0 ? r : tar("--create", container_path);
}

static bool mount_as_criu(void)
{
	umount2(in("mnt"), MNT_DETACH);
	return mount("shm", in("mnt"), "tmpfs", MS_NOSUID | MS_NODEV, OPTIONS) == 0;
}

static bool add_line(const struct mount_line *line, char *ret, size_t size)
{
	return (size_t)snprintf(ret, size, "%s|%s|%s|%s", line->root, line->options, line->source,
				line->super_options) < size;
}

static bool has_line(const char *mountinfo, const char *point, char *ret, size_t size)
{
	_cleanup_(mount_line_release) struct mount_line line = {};

	return mounts_find(mountinfo, point, &line) == 1 && add_line(&line, ret, size);
}

static int names_in(const char *path)
{
	DIR *at = opendir(path);
	int n = -2;

	while (at && readdir(at))
		n++;
	if (at)
		closedir(at);
	return n;
}

static void test_there_and_here(void)
{
	char before[256], after[256], path[64];
	struct stat st, source;

	CHECK(begin(OPTIONS));
	CHECK(fill(there("one"), 0, PAGES, 1));
	CHECK_INT(mkdir(there("sub"), 0711), 0);
	CHECK(fill(there("sub/two"), 100, 200, 7));
	CHECK_INT(link(there("sub/two"), there("again")), 0);
	CHECK_INT(rb_write_file(there("small"), "small", 5, 0600, false, &err), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 2);
	CHECK_INT(sent_pages, PAGES + 200);
	CHECK_INT(rb_shared_bytes(shared), (PAGES + 200) * RB_PAGE_SIZE);
	CHECK(fill(there("one"), 33, 1, 12345));
	CHECK_INT(chown(there("one"), 5, 6), 0);
	CHECK_INT(dump(), 0);
	CHECK_INT(sent_pages, 1);
	CHECK_INT(stat(in("archive"), &st), 0);
	CHECK(st.st_size < 8192);
	CHECK(mount_as_criu());
	CHECK_INT(rb_objects_offer(rb_receiver_objects(receiver), in("tmpfs"), &err), 0);
	CHECK_INT(tar("--extract", in("mnt")), 0);
	CHECK(is_same(in("mnt/one"), there("one")));
	CHECK(is_same(in("mnt/sub/two"), there("sub/two")));
	CHECK(is_same(in("mnt/small"), there("small")));
	CHECK(stat(in("mnt/one"), &st) == 0 && stat(there("one"), &source) == 0);
	CHECK_INT(st.st_uid, 5);
	CHECK_INT(st.st_mode, source.st_mode);
	CHECK_INT(st.st_mtim.tv_nsec, source.st_mtim.tv_nsec);
	CHECK(stat(in("mnt/again"), &st) == 0 && stat(in("mnt/sub/two"), &source) == 0);
	CHECK_INT(st.st_ino, source.st_ino);
	CHECK(stat(in("mnt"), &st) == 0 && stat(container_path, &source) == 0);
	CHECK_INT(st.st_mode, source.st_mode);
	CHECK_INT(st.st_mtim.tv_nsec, source.st_mtim.tv_nsec);
	CHECK_INT(names_in(in("mnt")), 4);
	/* it looks the same from outside, too */
	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)container);
	CHECK(has_line(path, in("container"), before, sizeof(before)));
	CHECK(has_line("/proc/self/mountinfo", in("mnt"), after, sizeof(after)));
	CHECK_STR(after, before);
	end();
}

/* An object that is missing, or of another size, is never made up for. */
static void test_missing(void)
{
	CHECK(begin(OPTIONS));
	CHECK(fill(there("one"), 0, PAGES, 1));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(dump(), 0);
	CHECK_INT(rb_objects_offer(rb_receiver_objects(receiver), in("tmpfs"), &err), 0);
	CHECK_INT(truncate(there("one"), SIZE - 1), 0);
	CHECK_INT(send_round(true), 0);
	CHECK(mount_as_criu());
	CHECK_INT(tar("--extract", in("mnt")), 1);
	CHECK_INT(unlink(there("one")), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 0);
	CHECK_INT(rb_objects_offer(rb_receiver_objects(receiver), in("tmpfs"), &err), 0);
	CHECK(mount_as_criu());
	CHECK_INT(tar("--extract", in("mnt")), 1);
	end();
}

/* as often as one wants, whatever became of the one before */
static void test_once_more(void)
{
	struct rb_objects *all;

	CHECK(begin(OPTIONS));
	CHECK(fill(there("one"), 0, PAGES, 1));
	CHECK(fill(there("two"), 0, PAGES, 2));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(dump(), 0);
	all = rb_receiver_objects(receiver);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(rb_objects_offer(all, in("tmpfs"), &err), 0);
		CHECK(mount_as_criu());
		CHECK_INT(tar("--extract", in("mnt")), 0);
		CHECK(is_same(in("mnt/one"), there("one")));
		CHECK(is_same(in("mnt/two"), there("two")));
		CHECK_INT(names_in(in("mnt")), 2);
		CHECK_INT(rb_objects_check(all, &err), 0);
		CHECK_INT(rb_write_file(in("mnt/more"), "", 0, 0600, false, &err), 0);
	}
	CHECK(fill(in("mnt/one"), 7, 1, 99));
	CHECK_INT(rb_objects_check(all, &err), -ESTALE);
	end();
}

/* What was deleted is not held on either side, and what the images do not refer to is no part of
 * the limits here. */
static void test_full(void)
{
	struct statfs fs;

	CHECK(begin("size=8192k,mode=1777,uid=7"));
	CHECK(fill(there("one"), 0, PAGES, 1));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(unlink(there("one")), 0);
	CHECK(fill(there("two"), 0, PAGES, 2));
	CHECK(fill(there("unused"), 0, PAGES, 3));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(objects(), 2);
	CHECK_INT(rb_mkdir_p(in("skip"), 0700, &err), 0);
	CHECK_INT(rb_shared_hide(shared, in("skip"), &err), 0);
	CHECK_INT(unlink(there("unused")), 0);
	CHECK_INT(tar("--create", container_path), 0);
	umount2(in("mnt"), MNT_DETACH);
	CHECK_INT(mount("shm", in("mnt"), "tmpfs", 0, "size=4096k,mode=1777"), 0);
	CHECK_INT(rb_objects_offer(rb_receiver_objects(receiver), in("tmpfs"), &err), 0);
	CHECK_INT(tar("--extract", in("mnt")), 0);
	CHECK(is_same(in("mnt/two"), there("two")));
	CHECK_INT(names_in(in("mnt")), 1);
	CHECK_INT(statfs(in("mnt"), &fs), 0);
	CHECK_INT(fs.f_blocks * (uint64_t)fs.f_bsize, SIZE);
	CHECK_INT(fs.f_bfree, 0);
	CHECK_INT(rb_objects_check(rb_receiver_objects(receiver), &err), 0);
	end();
}

/* What could not be written down quickly, or is not the container's own, is left to CRIU. */
static void test_left_to_criu(void)
{
	static char bytes[60 << 10];

	CHECK(begin("size=1g"));
	CHECK(fill(there("one"), 0, PAGES, 1));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 1);
	memset(bytes, 'x', sizeof(bytes));
	for (int i = 0; i < 300; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%d", i);
		CHECK_INT(rb_write_file(there(name), bytes, sizeof(bytes), 0600, false, &err), 0);
	}
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 0);
	end();
	/* of the host, which the container sees as well */
	CHECK_INT(mount("shm", in("container"), "tmpfs", 0, "size=1g"), 0);
	CHECK(fill(in("container/one"), 0, PAGES, 1));
	CHECK(begin(NULL));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 0);
	end();
	umount2(in("container"), MNT_DETACH);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	tar_path = argv[1];
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		TAP_SKIP(all, "needs root");
		return tap_done();
	}
	if (!mkdtemp(dir) || mkdir(in("container"), 0700) < 0 || mkdir(in("mnt"), 0700) < 0)
		return 1;
	TAP_RUN(test_there_and_here);
	TAP_RUN(test_missing);
	TAP_RUN(test_once_more);
	TAP_RUN(test_full);
	TAP_RUN(test_left_to_criu);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
