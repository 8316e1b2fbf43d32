// SPDX-License-Identifier: Apache-2.0
/*
 * test_single.c - trees that are a single file, and stamps of trees
 *
 * The receiver is a process that stays over the rounds, as a worker does.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "blocks.h"
#include "cleanup.h"
#include "fake_conn.h"
#include "received.h"
#include "tap.h"
#include "tree_util.h"
#include "verify.h"
#include "wait.h"
#include "watch.h"

#define MIB ((size_t)1 << 20)

static char root[PATH_MAX];

/* "from" here, "to" there, which is made before anything comes */
struct pair {
	struct rb_watch *watch;
	struct rb_tree_source *source;
	struct rb_blocks *blocks;
	struct rb_conn *conn;
	pid_t receiver;
	int ask, from_fd;
	struct stat to; /* before */
	struct rb_wait *wait;
	struct rb_tree_stats sent;
	struct rb_err err;
};

struct answer {
	int r;
	struct rb_err err;
};

/* 't': a file; 'v': compare */
static void serve(struct rb_conn *conn, int fd)
{
	int to_fd = open(at(root, "to"), O_RDWR | O_CLOEXEC);
	struct rb_verify_stats stats;
	struct rb_received *received;
	char what;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (to_fd < 0 || rb_received_new(&received, NULL) < 0)
		_exit(1);
	while (rb_read_all(fd, &what, 1) == 1) {
		struct answer answer = {};

		answer.r = what == 't' ? rb_tree_receive_file(conn, to_fd, "to", true, received,
							      NULL, NULL, &answer.err)
				       : rb_verify_receive(conn, to_fd, "to", &stats, NULL,
							   &answer.err);
		if (rb_write_all(fd, &answer, sizeof(answer)) < 0)
			break;
	}
	_exit(0);
}

static void begin(struct pair *p)
{
	static size_t promised;
	int fds[2];

	*p = (struct pair){ .from_fd = open(at(root, "from"), O_RDONLY | O_CLOEXEC) };
	put_file(root, "to", "something that was there", 0600);
	if (p->from_fd < 0 || stat(at(root, "to"), &p->to) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ||
	    rb_watch_open(NULL, &p->watch, NULL) < 0 ||
	    rb_tree_source_open_fd(dup(p->from_fd), "from", NULL, p->watch, &p->source, NULL) < 0 ||
	    rb_blocks_new(&promised, &p->blocks, NULL) < 0)
		abort();
	p->receiver = fake_conn_fork(&p->conn);
	if (p->receiver == 0) {
		close(fds[0]);
		serve(p->conn, fds[1]);
	}
	close(fds[1]);
	p->ask = fds[0];
}

static void finish(struct pair *p)
{
	close(p->ask);
	close(p->from_fd);
	fake_conn_free(p->conn);
	waitpid(p->receiver, NULL, 0);
	rb_tree_source_free(p->source);
	rb_watch_close(p->watch);
	rb_blocks_free(p->blocks);
	unlink(at(root, "from"));
	unlink(at(root, "to"));
}
#define _cleanup_pair_ __attribute__((cleanup(finish)))

static int ask(struct pair *p, char what)
{
	struct answer answer;
	int r;

	if (rb_write_all(p->ask, &what, 1) < 0)
		return -EPIPE;
	r = what == 't'
		    ? rb_tree_source_send(p->conn, p->source, p->blocks, &p->sent, p->wait, &p->err)
		    : rb_verify_send(p->conn, p->from_fd, "from", NULL, &p->err);
	if (r < 0)
		return r;
	if (rb_read_all(p->ask, &answer, sizeof(answer)) != sizeof(answer))
		return -EPIPE;
	if (answer.r < 0)
		printf("# %s\n", answer.err.msg);
	return answer.r;
}

static int one_round(struct pair *p)
{
	pid_t self = getpid();
	int r = rb_tree_sources_look(&p->source, 1, &self, 1, NULL, &p->err);

	if (r >= 0)
		r = ask(p, 't');
	if (r >= 0) {
		rb_tree_source_arrived(p->source);
		rb_blocks_commit(p->blocks);
	}
	return r;
}

/* It is the same now, in the inode that it was. */
#define CHECK_ARRIVED(p)                                   \
	do {                                               \
		struct stat _now;                          \
		CHECK_INT(ask(p, 'v'), 0);                 \
		CHECK_INT(stat(at(root, "to"), &_now), 0); \
		CHECK_INT(_now.st_ino, (p)->to.st_ino);    \
	} while (0)

static void fill(size_t len)
{
	_cleanup_close_ int fd =
		open(at(root, "from"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	unsigned int seed = 1;

	for (size_t i = 0; i < len; i += sizeof(seed)) {
		seed = seed * 1103515245 + 12345;
		if (pwrite(fd, &seed, sizeof(seed), (off_t)i) != sizeof(seed))
			abort();
	}
}

static void write_at(const char *name, off_t offset, const char *text)
{
	_cleanup_close_ int fd = open(at(root, name), O_WRONLY | O_CLOEXEC);

	if (pwrite(fd, text, strlen(text), offset) != (ssize_t)strlen(text))
		abort();
}

static void a_file_arrives_as_it_was_in_the_inode_that_is_there(void)
{
	_cleanup_pair_ struct pair p;
	struct stat from, after;
	char value[8] = "";

	put_file(root, "from", "content", 0640);
	CHECK_INT(chown(at(root, "from"), 1000, 2000), 0);
	CHECK_INT(chmod(at(root, "from"), 06751), 0);
	CHECK_INT(setxattr(at(root, "from"), "user.a", "b", 1, 0), 0);
	CHECK_INT(utimensat(AT_FDCWD, at(root, "from"), (struct timespec[]){ { 7, 8 }, { 9, 10 } },
			    0),
		  0);
	begin(&p);
	CHECK_INT(setxattr(at(root, "to"), "user.other", "c", 1, 0), 0);
	CHECK_INT(one_round(&p), 0);
	CHECK_ARRIVED(&p);
	CHECK_INT(stat(at(root, "from"), &from), 0);
	CHECK_INT(stat(at(root, "to"), &after), 0);
	CHECK_INT(after.st_size, 7);
	CHECK_INT(after.st_mode, from.st_mode);
	CHECK_INT(after.st_uid, 1000);
	CHECK_INT(after.st_gid, 2000);
	CHECK_INT(after.st_mtim.tv_sec, 9);
	CHECK_INT(after.st_mtim.tv_nsec, 10);
	CHECK_INT(getxattr(at(root, "to"), "user.a", value, sizeof(value)), 1);
	CHECK_INT(getxattr(at(root, "to"), "user.other", value, sizeof(value)), -1);
	/* and small ones are replaced, whatever was in them */
	put_file(root, "from", "less", 0600);
	CHECK_INT(one_round(&p), 0);
	CHECK_ARRIVED(&p);
}

static void holes_stay_holes(void)
{
	_cleanup_pair_ struct pair p;
	struct stat st;

	put_file(root, "from", "", 0600);
	CHECK_INT(truncate(at(root, "from"), 64 * MIB), 0);
	write_at("from", 32 * MIB, "x");
	begin(&p);
	CHECK_INT(one_round(&p), 0);
	CHECK_ARRIVED(&p);
	CHECK_INT(stat(at(root, "to"), &st), 0);
	CHECK_INT(st.st_size, 64 * MIB);
	CHECK(st.st_blocks < 1024);
}

static void of_a_large_one_what_changed_travels(void)
{
	_cleanup_pair_ struct pair p;

	fill(8 * MIB);
	begin(&p);
	CHECK_INT(one_round(&p), 0);
	CHECK_INT(p.sent.bytes, 8 * MIB);
	let_clock_tick();
	CHECK_INT(one_round(&p), 0);
	CHECK_ARRIVED(&p);
	/* it is heard of, unless others do so much on the same disk that more happens than is
	 * remembered */
	for (int i = 1; i < 4 || (p.sent.walked && i < 30); i++) {
		write_at("from", 234567 * i, "changed");
		let_clock_tick();
		CHECK_INT(one_round(&p), 0);
		CHECK(p.sent.bytes > 0 && p.sent.bytes <= 2 * 4096);
		CHECK_ARRIVED(&p);
	}
	CHECK_INT(p.sent.walked, false);
	CHECK_INT(truncate(at(root, "from"), 5 * MIB + 3), 0);
	CHECK_INT(chmod(at(root, "from"), 0604), 0);
	CHECK_INT(one_round(&p), 0);
	CHECK(p.sent.bytes <= 2 * 4096);
	CHECK_ARRIVED(&p);
}

/* A store to a page that is dirty already moves no time, and has no event. */
static void stores_through_a_mapping_travel(void)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_pair_ struct pair p;
	char *map;

	fill(8 * MIB);
	begin(&p);
	fd = open(at(root, "from"), O_RDWR | O_CLOEXEC);
	map = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	map[5 * MIB] ^= 1;
	CHECK_INT(one_round(&p), 0);
	let_clock_tick();
	CHECK_INT(one_round(&p), 0);
	map[5 * MIB] ^= 2;
	CHECK_INT(one_round(&p), 0);
	CHECK(p.sent.bytes <= 16 * 4096);
	CHECK_ARRIVED(&p);
	munmap(map, 8 * MIB);
}

/* As an editor does it, or somebody who wants another file of the host. */
static void what_has_its_path_later_does_not_travel(void)
{
	_cleanup_buf_ struct rb_buf text = {};
	_cleanup_pair_ struct pair p;

	put_file(root, "from", "the container's", 0600);
	begin(&p);
	put_file(root, "other", "of the host", 0600);
	CHECK_INT(rename(at(root, "from"), at(root, "aside")), 0);
	CHECK_INT(rename(at(root, "other"), at(root, "from")), 0);
	CHECK_INT(one_round(&p), 0);
	put_file(root, "aside", "the container's, changed", 0600);
	CHECK_INT(one_round(&p), 0);
	CHECK_ARRIVED(&p);
	CHECK_INT(rb_read_file(at(root, "to"), 0, &text, NULL), 0);
	CHECK_STR(text.data, "the container's, changed");
	CHECK_INT(unlink(at(root, "aside")), 0);
	CHECK_INT(one_round(&p), -ENOENT);
	CHECK_STR(p.err.msg, "'from' was removed while it was being sent");
}

static void it_can_be_called_off(void)
{
	struct rb_wait wait = { .cancel_fd = eventfd(1, EFD_CLOEXEC) };
	_cleanup_pair_ struct pair p;

	fill(8 * MIB);
	begin(&p);
	CHECK_INT(one_round(&p), 0);
	write_at("from", 0, "changed");
	p.wait = &wait;
	CHECK_INT(one_round(&p), -ECANCELED);
	close(wait.cancel_fd);
}

/* What a hostile peer sends in the place of a file. */
static int receive_tree(const char *from, struct rb_err *err)
{
	_cleanup_close_ int fd = open(at(root, "mine"), O_RDWR | O_CLOEXEC);
	struct rb_conn *conn;
	pid_t pid = fake_conn_fork(&conn);
	int r;

	if (pid == 0)
		_exit(rb_tree_send(conn, from, NULL, NULL, NULL, NULL, NULL, NULL) < 0);
	r = rb_tree_receive_file(conn, fd, "mine", false, NULL, NULL, NULL, err);
	fake_conn_free(conn);
	waitpid(pid, NULL, 0);
	return r;
}

static void nothing_but_a_file_may_come(void)
{
	_cleanup_buf_ struct rb_buf text = {};
	struct rb_err err = {};

	put_file(root, "mine", "mine", 0600);
	CHECK_INT(mkdir(at(root, "hostile"), 0700), 0);
	CHECK_INT(receive_tree(at(root, "hostile"), &err), -EPROTO);
	CHECK_STR(err.msg, "refused './' from the peer: one file is to come");
	CHECK_INT(rb_read_file(at(root, "mine"), 0, &text, NULL), 0);
	CHECK_STR(text.data, "mine");
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
	struct stat st;

	mkdir(at(root, "tree"), 0755);
	mkdir(at(root, "tree/sub"), 0755);
	put_file(root, "tree/sub/file", "aaa", 0600);
	utimensat(AT_FDCWD, at(root, "tree/sub/file"), times, 0);
	CHECK_INT(rb_tree_stamp(at(root, "tree"), stamp, NULL, NULL), 0);
	CHECK(!differs(at(root, "tree"), stamp));
	/* put aside, and back: that moves the time of the folder, and is all that it does */
	let_clock_tick();
	CHECK_INT(rename(at(root, "tree"), at(root, "tree.aside")), 0);
	CHECK_INT(rename(at(root, "tree.aside"), at(root, "tree")), 0);
	CHECK_INT(stat(at(root, "tree"), &st), 0);
	CHECK(!rb_stamp_has_ctime(stamp, &st));
	rb_stamp_renamed(stamp, &st);
	CHECK(rb_stamp_has_ctime(stamp, &st));
	CHECK(!differs(at(root, "tree"), stamp));
	let_clock_tick();
	/* its own attributes */
	CHECK_INT(setxattr(at(root, "tree"), "trusted.x", "1", 1, 0), 0);
	CHECK(differs(at(root, "tree"), stamp));
	CHECK_INT(rb_tree_stamp(at(root, "tree"), stamp, NULL, NULL), 0);
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
	struct stat st;

	put_file(root, "alone", "aaa", 0600);
	CHECK_INT(rb_tree_stamp(at(root, "alone"), stamp, NULL, NULL), 0);
	CHECK(!differs(at(root, "alone"), stamp));
	put_file(root, "alone", "aaaa", 0600);
	CHECK(differs(at(root, "alone"), stamp));
	/* of the same size, and with the time that it had */
	CHECK_INT(rb_tree_stamp(at(root, "alone"), stamp, NULL, NULL), 0);
	CHECK_INT(stat(at(root, "alone"), &st), 0);
	let_clock_tick();
	put_file(root, "alone", "bbbb", 0600);
	CHECK_INT(utimensat(AT_FDCWD, at(root, "alone"),
			    (struct timespec[]){ st.st_atim, st.st_mtim }, 0),
		  0);
	CHECK(differs(at(root, "alone"), stamp));
	CHECK_INT(rb_tree_stamp(at(root, "nothing"), none, NULL, NULL), -ENOENT);
}

int main(void)
{
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	tree_folder(root, "single");
	TAP_RUN(a_file_arrives_as_it_was_in_the_inode_that_is_there);
	TAP_RUN(holes_stay_holes);
	TAP_RUN(of_a_large_one_what_changed_travels);
	TAP_RUN(stores_through_a_mapping_travel);
	TAP_RUN(what_has_its_path_later_does_not_travel);
	TAP_RUN(it_can_be_called_off);
	TAP_RUN(nothing_but_a_file_may_come);
	TAP_RUN(a_stamp_tells_any_change);
	TAP_RUN(a_single_file_has_one_too);
	return tap_done();
}
