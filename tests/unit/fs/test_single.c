// SPDX-License-Identifier: Apache-2.0
/*
 * test_single.c - single files on their way in and out of a folder, and stamps of trees
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"
#include "single.h"
#include "tap.h"
#include "tree_util.h"

static char root[PATH_MAX];

static int take(const char *name, const char *folder, bool again, struct rb_err *err)
{
	_cleanup_close_ int fd = open(at(root, name), O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	return rb_single_take(fd, name, at(root, folder), again, err);
}

static int put(const char *folder, const char *name, struct rb_err *err)
{
	_cleanup_close_ int fd = open(at(root, name), O_WRONLY | O_CLOEXEC);

	return rb_single_put(at(root, folder), fd, name, true, err);
}

static void a_file_arrives_as_it_was_in_the_inode_that_is_there(void)
{
	struct stat from, before, after;
	struct rb_buf text = {};
	char value[8] = "";

	put_file(root, "from", "content", 0640);
	CHECK_INT(chown(at(root, "from"), 1000, 2000), 0);
	CHECK_INT(chmod(at(root, "from"), 06751), 0);
	CHECK_INT(setxattr(at(root, "from"), "user.a", "b", 1, 0), 0);
	CHECK_INT(utimensat(AT_FDCWD, at(root, "from"), (struct timespec[]){ { 7, 8 }, { 9, 10 } },
			    0),
		  0);
	put_file(root, "to", "something longer", 0600);
	CHECK_INT(setxattr(at(root, "to"), "user.other", "c", 1, 0), 0);
	CHECK_INT(stat(at(root, "to"), &before), 0);
	CHECK_INT(take("from", "one", false, NULL), 0);
	CHECK_INT(put("one", "to", NULL), 0);
	CHECK_INT(stat(at(root, "from"), &from), 0);
	CHECK_INT(stat(at(root, "to"), &after), 0);
	CHECK_INT(after.st_ino, before.st_ino);
	CHECK_INT(after.st_mode, from.st_mode);
	CHECK_INT(after.st_uid, 1000);
	CHECK_INT(after.st_gid, 2000);
	CHECK_INT(after.st_mtim.tv_sec, 9);
	CHECK_INT(after.st_mtim.tv_nsec, 10);
	CHECK_INT(getxattr(at(root, "to"), "user.a", value, sizeof(value)), 1);
	CHECK_INT(getxattr(at(root, "to"), "user.other", value, sizeof(value)), -1);
	CHECK_INT(rb_read_file(at(root, "to"), 0, &text, NULL), 0);
	CHECK_STR(text.data, "content");
	rb_buf_free(&text);
}

static void holes_stay_holes(void)
{
	struct stat st;
	int fd = open(at(root, "sparse"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	CHECK_INT(ftruncate(fd, 64 << 20), 0);
	CHECK_INT(pwrite(fd, "x", 1, 32 << 20), 1);
	close(fd);
	put_file(root, "full", "y", 0600);
	CHECK_INT(take("sparse", "two", false, NULL), 0);
	CHECK_INT(put("two", "full", NULL), 0);
	CHECK_INT(stat(at(root, "full"), &st), 0);
	CHECK_INT(st.st_size, 64 << 20);
	CHECK(st.st_blocks < 1024);
	fd = open(at(root, "full"), O_RDONLY | O_CLOEXEC);
	char byte = 0;
	CHECK_INT(pread(fd, &byte, 1, 32 << 20), 1);
	CHECK_INT(byte, 'x');
	CHECK_INT(pread(fd, &byte, 1, 0), 1);
	CHECK_INT(byte, 0);
	close(fd);
}

/* A store through a mapping that is not written back yet moves no time. */
static void what_looks_the_same_is_taken_again_only_if_asked_for(void)
{
	struct timespec times[] = { { 1, 0 }, { 2, 0 } };
	struct rb_buf text = {};

	put_file(root, "same", "old", 0600);
	CHECK_INT(utimensat(AT_FDCWD, at(root, "same"), times, 0), 0);
	CHECK_INT(take("same", "three", false, NULL), 0);
	put_file(root, "same", "new", 0600);
	CHECK_INT(utimensat(AT_FDCWD, at(root, "same"), times, 0), 0);
	CHECK_INT(take("same", "three", false, NULL), 0);
	CHECK_INT(rb_read_file(at(root, "three/" RB_SINGLE_NAME), 0, &text, NULL), 0);
	CHECK_STR(text.data, "old");
	rb_buf_free(&text);
	CHECK_INT(take("same", "three", true, NULL), 0);
	CHECK_INT(rb_read_file(at(root, "three/" RB_SINGLE_NAME), 0, &text, NULL), 0);
	CHECK_STR(text.data, "new");
	rb_buf_free(&text);
}

static void what_is_no_file_is_not_taken(void)
{
	struct rb_err err = {};

	CHECK_INT(mkfifo(at(root, "pipe"), 0600), 0);
	CHECK_INT(take("pipe", "four", false, &err), -ESTALE);
	CHECK_STR(err.msg, "'pipe' is no regular file any more");
	/* what a hostile peer sends in its place */
	CHECK_INT(mkdir(at(root, "five"), 0700), 0);
	CHECK_INT(symlink("/etc/passwd", at(root, "five/" RB_SINGLE_NAME)), 0);
	put_file(root, "mine", "mine", 0600);
	CHECK_INT(put("five", "mine", NULL), -ELOOP);
	CHECK_INT(unlink(at(root, "five/" RB_SINGLE_NAME)), 0);
	CHECK_INT(mkfifo(at(root, "five/" RB_SINGLE_NAME), 0600), 0);
	CHECK_INT(put("five", "mine", &err), -EPROTO);
}

/* --- stamps --- */

static bool differs(const char *path, char stamp[RB_STAMP_SIZE])
{
	char now[RB_STAMP_SIZE] = "";

	rb_tree_stamp(path, now, NULL, NULL);
	return strcmp(stamp, now) != 0;
}

static void a_stamp_tells_any_change(void)
{
	struct timespec times[] = { { 1, 0 }, { 2, 0 } };
	char stamp[RB_STAMP_SIZE];

	mkdir(at(root, "tree"), 0755);
	mkdir(at(root, "tree/sub"), 0755);
	put_file(root, "tree/sub/file", "aaa", 0600);
	utimensat(AT_FDCWD, at(root, "tree/sub/file"), times, 0);
	CHECK_INT(rb_tree_stamp(at(root, "tree"), stamp, NULL, NULL), 0);
	CHECK(!differs(at(root, "tree"), stamp));
	/* put aside, and back */
	CHECK_INT(rename(at(root, "tree"), at(root, "tree.aside")), 0);
	CHECK_INT(rename(at(root, "tree.aside"), at(root, "tree")), 0);
	CHECK(!differs(at(root, "tree"), stamp));
	let_clock_tick();
	/* of the same size, and with the time that it had */
	put_file(root, "tree/sub/file", "bbb", 0600);
	utimensat(AT_FDCWD, at(root, "tree/sub/file"), times, 0);
	CHECK(differs(at(root, "tree"), stamp));
	CHECK_INT(rb_tree_stamp(at(root, "tree"), stamp, NULL, NULL), 0);
	CHECK_INT(chmod(at(root, "tree/sub"), 0700), 0);
	CHECK(differs(at(root, "tree"), stamp));
	CHECK_INT(rb_tree_stamp(at(root, "tree"), stamp, NULL, NULL), 0);
	put_file(root, "tree/new", "", 0600);
	CHECK(differs(at(root, "tree"), stamp));
}

static void a_single_file_has_one_too(void)
{
	char stamp[RB_STAMP_SIZE], none[RB_STAMP_SIZE];

	put_file(root, "alone", "aaa", 0600);
	CHECK_INT(rb_tree_stamp(at(root, "alone"), stamp, NULL, NULL), 0);
	CHECK(!differs(at(root, "alone"), stamp));
	put_file(root, "alone", "aaaa", 0600);
	CHECK(differs(at(root, "alone"), stamp));
	CHECK_INT(rb_tree_stamp(at(root, "nothing"), none, NULL, NULL), -ENOENT);
}

int main(void)
{
	tree_folder(root, "single");
	TAP_RUN(a_file_arrives_as_it_was_in_the_inode_that_is_there);
	TAP_RUN(holes_stay_holes);
	TAP_RUN(what_looks_the_same_is_taken_again_only_if_asked_for);
	TAP_RUN(what_is_no_file_is_not_taken);
	TAP_RUN(a_stamp_tells_any_change);
	TAP_RUN(a_single_file_has_one_too);
	return tap_done();
}
