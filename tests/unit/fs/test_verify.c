// SPDX-License-Identifier: Apache-2.0
/*
 * test_verify.c - two trees are told apart by any difference that a move must not make
 */
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"
#include "fake_conn.h"
#include "tap.h"
#include "tree_util.h"

static char a[PATH_MAX], b[PATH_MAX];

/* @a is described by a child */
static int verify(struct rb_verify_stats *stats, struct rb_err *err)
{
	_cleanup_close_ int fd = open(b, O_PATH | O_CLOEXEC);
	struct rb_conn *conn;
	int status, r;
	pid_t pid;

	pid = fake_conn_fork(&conn);
	if (pid == 0) {
		_exit(rb_verify_send(conn, open(a, O_PATH | O_CLOEXEC), a, NULL, NULL) < 0);
	}
	r = rb_verify_receive(conn, fd, b, stats, NULL, err);
	fake_conn_free(conn);
	if (waitpid(pid, &status, 0) != pid || status)
		abort();
	return r;
}

static void make(const char *root)
{
	const struct timespec times[2] = { { 1, 2 }, { 3, 4 } };
	static const char *const names[] = {
		"",    "dir",  "dir/deep", "dir/file", "file", "one",
		"two", "gone", "soft",	   "sparse",   "pipe", "null"
	};

	put_file(root, "file", "some text", 0644);
	put_file(root, "one", "a name of two", 0600);
	put_file(root, "gone", "there", 0600);
	put_file(root, "sparse", "", 0600);
	if (truncate(at(root, "sparse"), 1 << 20) < 0 || mkdir(at(root, "dir"), 0755) < 0 ||
	    mkdir(at(root, "dir/deep"), 0700) < 0 || link(at(root, "one"), at(root, "two")) < 0 ||
	    symlink("/nowhere", at(root, "soft")) < 0 || mkfifo(at(root, "pipe"), 0600) < 0 ||
	    mknod(at(root, "null"), S_IFCHR | 0666, makedev(1, 3)) < 0 ||
	    setxattr(at(root, "file"), "user.colour", "green", 5, 0) < 0 ||
	    setxattr(at(root, "file"), "user.size", "large", 5, 0) < 0 ||
	    setxattr(at(root, "file"), "trusted.overlay.origin", root, strlen(root), 0) < 0)
		abort();
	put_file(root, "dir/file", "more", 0644);
	for (int i = ARRAY_SIZE(names) - 1; i >= 0; i--)
		if (utimensat(AT_FDCWD, at(root, names[i]), times, AT_SYMLINK_NOFOLLOW) < 0)
			abort();
}

static void keep_times(const char *name)
{
	const struct timespec times[2] = { { 1, 2 }, { 3, 4 } };

	if (utimensat(AT_FDCWD, at(b, name), times, AT_SYMLINK_NOFOLLOW) < 0)
		abort();
}

static void same(void)
{
	struct rb_verify_stats stats = {};
	struct rb_err err = {};

	CHECK_INT(verify(&stats, &err), 0);
	CHECK_INT(stats.files, 12);
	CHECK_INT(stats.bytes, (1 << 20) + 9 + 2 * 13 + 5 + 4);
}

static void differs(const char *what)
{
	struct rb_verify_stats stats = {};
	struct rb_err err = {};

	CHECK_INT(verify(&stats, &err), -EUCLEAN);
	if (!strstr(err.msg, what))
		printf("# '%s' is not in: %s\n", what, err.msg);
	CHECK(strstr(err.msg, what));
}

static void put_back(const char *name, const char *text)
{
	put_file(b, name, text, 0644);
	keep_times(name);
	keep_times("");
}

static void content(void)
{
	put_file(b, "dir/file", "mare", 0644);
	keep_times("dir/file");
	differs("'dir/file' has another content");
	put_back("dir/file", "more");
	CHECK(truncate(at(b, "sparse"), (1 << 20) + 1) == 0);
	keep_times("sparse");
	differs("'sparse' has another content");
	CHECK(truncate(at(b, "sparse"), 1 << 20) == 0);
	keep_times("sparse");
	CHECK(unlink(at(b, "soft")) == 0 && symlink("/nowherf", at(b, "soft")) == 0);
	keep_times("soft");
	keep_times("");
	differs("'soft' has another content");
	CHECK(unlink(at(b, "soft")) == 0 && symlink("/nowhere", at(b, "soft")) == 0);
	keep_times("soft");
	keep_times("");
}

static void shape(void)
{
	static const char shape[] = "has another owner, mode, time or attribute";
	const struct timespec times[2] = { { 1, 2 }, { 3, 5 } };

	CHECK(chmod(at(b, "dir/deep"), 0701) == 0);
	differs(shape);
	CHECK(chmod(at(b, "dir/deep"), 0700) == 0);
	CHECK(lchown(at(b, "soft"), 0, 7) == 0);
	differs(shape);
	CHECK(lchown(at(b, "soft"), 0, 0) == 0);
	CHECK(utimensat(AT_FDCWD, at(b, "pipe"), times, 0) == 0);
	differs(shape);
	keep_times("pipe");
	CHECK(setxattr(at(b, "file"), "user.size", "smell", 5, 0) == 0);
	differs(shape);
	CHECK(removexattr(at(b, "file"), "user.size") == 0);
	differs(shape);
	CHECK(setxattr(at(b, "file"), "user.size", "large", 5, 0) == 0);
	CHECK(unlink(at(b, "null")) == 0);
	CHECK(mknod(at(b, "null"), S_IFCHR | 0666, makedev(1, 5)) == 0);
	keep_times("null");
	keep_times("");
	differs(shape);
	CHECK(unlink(at(b, "null")) == 0);
	CHECK(mknod(at(b, "null"), S_IFCHR | 0666, makedev(1, 3)) == 0);
	keep_times("null");
	CHECK(unlink(at(b, "two")) == 0);
	put_file(b, "two", "a name of two", 0600);
	keep_times("two");
	keep_times("");
	differs("'two' has another owner");
	CHECK(unlink(at(b, "two")) == 0 && link(at(b, "one"), at(b, "two")) == 0);
	keep_times("");
}

static void names(void)
{
	put_back("dir/file", "more");
	CHECK(unlink(at(b, "gone")) == 0);
	keep_times("");
	differs("'gone' is missing");
	put_file(b, "gone", "there", 0600);
	keep_times("gone");
	put_file(b, "zz", "too many", 0600);
	keep_times("");
	differs("'zz' is not on the source");
	CHECK(unlink(at(b, "zz")) == 0);
	keep_times("");
	put_file(b, "dir/aa", "too many", 0600);
	keep_times("dir");
	differs("'dir/aa' is not on the source");
	CHECK(unlink(at(b, "dir/aa")) == 0);
	keep_times("dir");
	keep_times("");
}

/* all that was changed is as it was: none of the tests above found what another one had left */
static void same_again(void)
{
	struct rb_verify_stats stats = {};
	struct rb_err err = {};

	CHECK_INT(verify(&stats, &err), 0);
	if (*err.msg)
		printf("# %s\n", err.msg);
}

static int feed(const void *data, size_t len)
{
	_cleanup_close_ int fd = open(b, O_PATH | O_CLOEXEC);
	struct rb_conn *conn = fake_conn_memory(data, len, 5);
	struct rb_verify_stats stats;
	struct rb_err err = {};
	int r = rb_verify_receive(conn, fd, b, &stats, NULL, &err);

	fake_conn_free(conn);
	return r;
}

static void hostile(void)
{
	static const char digests[32];
	char text[3 * 40] = "", *p = text;

	CHECK_INT(feed("", 0), -EUCLEAN);
	CHECK_INT(feed("\0", 1), -EPROTO);
	CHECK_INT(feed("\0\4", 2), -EPROTO);
	CHECK_INT(feed("\0\4fil", 5), -EPROTO);
	CHECK_INT(feed("\xff\xff", 2), -EPROTO);
	CHECK_INT(feed("\x10\0", 2), -EPROTO); /* PATH_MAX */
	/* twice the same, a NUL within, not in order, leaving */
	for (int i = 0; i < 2; i++, p += 2 + 4 + 32)
		memcpy(p, "\0\4file", 6);
	CHECK_INT(feed(text, (size_t)(p - text)), -EPROTO);
	memcpy(text, "\0\4fi\0e", 6);
	CHECK_INT(feed(text, 38), -EPROTO);
	memcpy(text, "\0\4../x", 6);
	memcpy(text + 6, digests, 32);
	CHECK_INT(feed(text, 38), -EUCLEAN);
}

int main(void)
{
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	tree_folder(a, "source");
	tree_folder(b, "target");
	make(a);
	make(b);
	TAP_RUN(same);
	TAP_RUN(content);
	TAP_RUN(shape);
	TAP_RUN(names);
	TAP_RUN(same_again);
	TAP_RUN(hostile);
	return tap_done();
}
