// SPDX-License-Identifier: Apache-2.0
/*
 * test_plain.c - a folder of plain files arrives, and nothing outside of it is touched
 */
#include "plain.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "fake_conn.h"
#include "tap.h"
#include "tree_util.h"

static char from[PATH_MAX], to[PATH_MAX];

/* Return: what the receiver says; the sender is a child */
static int move(void)
{
	struct rb_err err = {};
	struct rb_conn *conn;
	int status, r;
	pid_t pid;

	pid = fake_conn_fork(&conn);
	if (pid == 0) {
		_exit(rb_plain_send(conn, from, NULL, NULL) < 0);
	}
	r = rb_plain_receive(conn, to, NULL, &err);
	fake_conn_free(conn);
	if (waitpid(pid, &status, 0) != pid || status)
		abort();
	return r;
}

static bool is_same(const char *name)
{
	_cleanup_buf_ struct rb_buf a = {}, b = {};
	struct stat st;

	return rb_read_file(at(from, name), 0, &a, NULL) == 0 &&
	       rb_read_file(at(to, name), 0, &b, NULL) == 0 && a.len == b.len &&
	       memcmp(a.data, b.data, a.len) == 0 && lstat(at(to, name), &st) == 0 &&
	       st.st_mode == (S_IFREG | 0600);
}

/* around the size of what is sent at once, and of what is read at once */
static const size_t sizes[] = { 0, 1, 4095, (256 << 10) - 30, 256 << 10, (256 << 10) + 1, 3 << 20 };

static void put(const char *name, size_t size)
{
	static char block[4096];
	int fd = open(at(from, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (char)rand();
	for (size_t done = 0; done < size;) {
		size_t n = size - done < sizeof(block) ? size - done : sizeof(block);

		if (rb_write_all(fd, block, n) < 0)
			abort();
		done += n;
		block[done % sizeof(block)]++;
	}
	close(fd);
}

static void arrives(void)
{
	char name[32];
	uint64_t bytes, sum = 0;

	for (size_t i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "file-%zu.img", i);
		put(name, i < ARRAY_SIZE(sizes) ? sizes[i] : i * 7);
		sum += i < ARRAY_SIZE(sizes) ? sizes[i] : i * 7;
	}
	CHECK_INT(rb_plain_size(from, &bytes, NULL), 0);
	CHECK_INT(bytes, sum);
	CHECK_INT(move(), 0);
	for (size_t i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "file-%zu.img", i);
		CHECK(is_same(name));
	}
}

static void replaces(void)
{
	_cleanup_buf_ struct rb_buf text = {};

	put_file(to, "outside", "untouched", 0600);
	CHECK(unlink(at(to, "file-1.img")) == 0);
	CHECK(symlink("outside", at(to, "file-1.img")) == 0);
	put_file(to, "file-2.img", "longer than what comes? no, but something else", 0644);
	CHECK_INT(move(), 0);
	CHECK(is_same("file-1.img"));
	CHECK(is_same("file-2.img"));
	CHECK_INT(rb_read_file(at(to, "outside"), 0, &text, NULL), 0);
	CHECK_STR(text.data, "untouched");
}

static void not_plain(void)
{
	char other[PATH_MAX];
	uint64_t bytes;

	tree_folder(other, "other");
	CHECK(mkdir(at(other, "folder"), 0700) == 0);
	CHECK_INT(rb_plain_size(other, &bytes, NULL), -EINVAL);
	CHECK_INT(rb_plain_send(NULL, other, NULL, NULL), -EINVAL);
	CHECK(rmdir(at(other, "folder")) == 0);
	CHECK(symlink("file-1.img", at(other, "link")) == 0);
	CHECK(rb_plain_send(NULL, other, NULL, NULL) < 0);
}

static int feed(const void *data, size_t len)
{
	struct rb_conn *conn = fake_conn_memory(data, len, 3);
	int r = rb_plain_receive(conn, to, NULL, NULL);

	fake_conn_free(conn);
	return r;
}

static void hostile(void)
{
	CHECK_INT(feed("", 0), 0);
	CHECK_INT(feed("\0", 1), -EPROTO);
	CHECK_INT(feed("\0\0\0\0\0\0\0\0\0", 9), -EPROTO);
	CHECK_INT(feed("\1a", 2), -EPROTO);
	CHECK_INT(feed("\1a\0\0\0\0\0\0\0", 9), -EPROTO);
	CHECK_INT(feed("\1a\0\0\0\0\0\0\0\2x", 11), -EPROTO);
	CHECK_INT(feed("\1.\0\0\0\0\0\0\0\0", 10), -EPROTO);
	CHECK_INT(feed("\2..\0\0\0\0\0\0\0\0", 11), -EPROTO);
	CHECK_INT(feed("\3../\0\0\0\0\0\0\0\0", 12), -EPROTO);
	CHECK_INT(feed("\3a/b\0\0\0\0\0\0\0\1x", 13), -EPROTO);
	CHECK_INT(feed("\3a\0b\0\0\0\0\0\0\0\1x", 13), -EPROTO);
	CHECK_INT(feed("\1b\xff\xff\xff\xff\xff\xff\xff\xffx", 11), -EPROTO);
	CHECK_INT(feed("\1b\0\0\0\0\0\0\0\1x", 11), 0);
}

int main(void)
{
	tree_folder(from, "source");
	tree_folder(to, "target");
	TAP_RUN(arrives);
	TAP_RUN(replaces);
	TAP_RUN(not_plain);
	TAP_RUN(hostile);
	return tap_done();
}
