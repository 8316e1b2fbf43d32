// SPDX-License-Identifier: Apache-2.0
/*
 * test_tmpfs_arrived.c - large files of a tmpfs travel in rounds, and are where they were: written
 * down by the one side's tar, and mounted by the other's
 *
 * `test_tmpfs_arrived TAR`, in a mount namespace of its own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "mounts.h"
#include "objects.h"
#include "tap.h"
#include "tmpfs_rig.h"

#define FULL "size=8192k,nr_inodes=3,mode=1777" /* with two files */

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
	const struct timespec times[2] = { { 1000, 0 }, { .tv_nsec = UTIME_OMIT } };
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
	CHECK_INT(utimensat(AT_FDCWD, there("one"), times, 0), 0);
	CHECK_INT(utimensat(AT_FDCWD, there("small"), times, 0), 0);
	CHECK_INT(utimensat(AT_FDCWD, there("sub"), times, 0), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, 1);
	CHECK_INT(dump(), 0);
	/* looking at them leaves no traces */
	CHECK_INT(stat(there("one"), &st) < 0 ? -1 : st.st_atim.tv_sec, 1000);
	CHECK_INT(stat(there("small"), &st) < 0 ? -1 : st.st_atim.tv_sec, 1000);
	CHECK_INT(stat(there("sub"), &st) < 0 ? -1 : st.st_atim.tv_sec, 1000);
	CHECK_INT(stat(in("archive"), &st), 0);
	CHECK(st.st_size < 8192);
	CHECK_INT(restore(OPTIONS), 0);
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

/* over several connections: that there is a tmpfs, and a file in it, is said more than once */
static void shuffle_with(unsigned int seed)
{
	CHECK(begin(OPTIONS));
	shuffled = seed;
	CHECK(fill(there("one"), 0, PAGES, 1));
	CHECK(fill(there("two"), 100, 200, 7));
	CHECK_INT(send_round(false), 0);
	CHECK(fill(there("one"), 50, 500, 3));
	CHECK(fill(there("three"), 0, 300, 9));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, 800);
	CHECK(fill(there("two"), 150, 5, 4));
	CHECK_INT(dump(), 0);
	shuffled = 0;
	CHECK_INT(sent_pages, 5);
	CHECK_INT(restore(OPTIONS), 0);
	CHECK(is_same(in("mnt/one"), there("one")));
	CHECK(is_same(in("mnt/two"), there("two")));
	CHECK(is_same(in("mnt/three"), there("three")));
	end();
}

static void test_shuffled(void)
{
	for (unsigned int seed = 1; seed < 6; seed++)
		shuffle_with(seed);
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
	CHECK(mount_as_criu(OPTIONS));
	CHECK_INT(tar("--extract", in("mnt")), 1);
	CHECK_INT(unlink(there("one")), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 0);
	CHECK_INT(restore(OPTIONS), 1);
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
		CHECK_INT(restore(OPTIONS), 0);
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
	CHECK_INT(hide(), 0);
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

/* A file that could not be opened in one round is there as a whole after the next. */
static void test_no_descriptors(void)
{
	struct rlimit before, none;
	int r;

	CHECK(begin(OPTIONS));
	CHECK(fill(there("one"), 0, PAGES, 1));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(look(), 0);
	CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ 3, before.rlim_max };
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), 0);
	r = send_all(false);
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
	CHECK_INT(r, 0);
	CHECK_INT(objects(), 0);
	CHECK(fill(there("one"), 7, 1, 99));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, PAGES);
	CHECK_INT(dump(), 0);
	CHECK_INT(restore(OPTIONS), 0);
	CHECK(is_same(in("mnt/one"), there("one")));
	end();
}

/* Limits that are just enough hold after each restore, and do not hinder the next. */
static void test_limits(void)
{
	struct statfs fs;

	CHECK(begin(FULL));
	CHECK(fill(there("one"), 0, PAGES, 1));
	CHECK(fill(there("two"), 0, PAGES, 2));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(dump(), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(restore(FULL), 0);
		CHECK_INT(statfs(in("mnt"), &fs), 0);
		CHECK_INT(fs.f_files, 3);
		CHECK_INT(fs.f_ffree, 0);
		CHECK_INT(fs.f_blocks * (uint64_t)fs.f_bsize, 2 * SIZE);
		CHECK(is_same(in("mnt/two"), there("two")));
	}
	/* where there are none, either */
	for (int i = 0; i < 2; i++) {
		CHECK_INT(restore("size=0,nr_inodes=0,mode=1777"), 0);
		CHECK_INT(statfs(in("mnt"), &fs), 0);
		CHECK_INT(fs.f_files, 0);
	}
	end();
}

int main(int argc, char **argv)
{
	int r = argc == 2 ? rig_new(argv[1]) : -1;

	if (r < 0)
		return 1;
	if (r == 0) {
		TAP_SKIP(all, "needs root");
		return tap_done();
	}
	TAP_RUN(test_there_and_here);
	TAP_RUN(test_shuffled);
	TAP_RUN(test_missing);
	TAP_RUN(test_once_more);
	TAP_RUN(test_full);
	TAP_RUN(test_no_descriptors);
	TAP_RUN(test_limits);
	rig_free();
	return tap_done();
}
