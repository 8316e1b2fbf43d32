// SPDX-License-Identifier: Apache-2.0
/*
 * test_patch.c - large files that are changed in place travel as the blocks that differ
 *
 * The receiver is a process that stays over the rounds, as a worker does. Each test runs twice: on
 * an ext4 where the kernel tells what was written, and in memory, where it does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "blocks.h"
#include "cleanup.h"
#include "conn.h"
#include "ext4_util.h"
#include "fake_conn.h"
#include "received.h"
#include "tap.h"
#include "tree.h"
#include "tree_util.h"
#include "verify.h"
#include "wait.h"

#define MIB  ((size_t)1 << 20)
#define SIZE (8 * MIB)

#define ROTATIONS 54

static char base[PATH_MAX]; /* where trees are made */
static size_t promised;

struct pair {
	char from[PATH_MAX], to[PATH_MAX];
	struct rb_blocks *blocks;
	struct rb_manifest *last;
	struct rb_conn *conn;
	pid_t receiver;
	int ask;
	struct rb_tree_stats sent;
	struct rb_err err;
};

struct answer {
	int r;
	struct rb_err err;
};

/* 't': a tree; 'v': compare */
static void serve(struct rb_conn *conn, int fd, const char *to)
{
	int to_fd = open(to, O_PATH | O_CLOEXEC);
	struct rb_received *received;
	char what;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (rb_received_new(&received, NULL) < 0)
		_exit(1);
	while (rb_read_all(fd, &what, 1) == 1) {
		struct rb_verify_stats stats;
		struct answer answer = {};

		answer.r = what == 't'
				   ? rb_tree_receive(conn, to, false, received, NULL, NULL,
						     &answer.err)
				   : rb_verify_receive(conn, to_fd, to, &stats, NULL, &answer.err);
		if (rb_write_all(fd, &answer, sizeof(answer)) < 0)
			break;
	}
	rb_received_free(received);
	fake_conn_free(conn);
	_exit(0);
}

static void begin(struct pair *p)
{
	static int count;
	char name[32];
	int fds[2];

	*p = (struct pair){};
	promised = 0;

	snprintf(name, sizeof(name), "from%d", count);
	strcpy(p->from, at(base, name));
	snprintf(name, sizeof(name), "to%d", count++);
	strcpy(p->to, at(base, name));
	if (mkdir(p->from, 0700) < 0 || mkdir(p->to, 0700) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ||
	    rb_blocks_new(&promised, &p->blocks, NULL) < 0)
		abort();
	p->receiver = fake_conn_fork(&p->conn);
	if (p->receiver == 0) {
		close(fds[0]);
		serve(p->conn, fds[1], p->to);
	}
	close(fds[1]);
	p->ask = fds[0];
}

static void finish(struct pair *p)
{
	close(p->ask);
	fake_conn_free(p->conn);
	waitpid(p->receiver, NULL, 0);
	rb_blocks_free(p->blocks);
	rb_manifest_free(p->last);
	rb_rm_rf(p->from, NULL);
	rb_rm_rf(p->to, NULL);
}
#define _cleanup_pair_ __attribute__((cleanup(finish)))

static int ask(struct pair *p, char what, int (*send)(struct pair *p))
{
	struct answer answer;
	int r;

	if (rb_write_all(p->ask, &what, 1) < 0)
		return -EPIPE;
	r = send(p);
	if (rb_read_all(p->ask, &answer, sizeof(answer)) != sizeof(answer))
		return -EPIPE;
	if (r == 0 && answer.r < 0)
		p->err = answer.err;
	r = r < 0 ? r : answer.r;
	if (r < 0)
		printf("# %s\n", p->err.msg);
	return r;
}

static int send_tree(struct pair *p)
{
	struct rb_manifest *now = NULL;
	int r = rb_tree_send(p->conn, p->from, p->last, p->blocks, &now, &p->sent, NULL, &p->err);

	if (r < 0)
		return r;
	rb_manifest_free(p->last);
	p->last = now;
	return 0;
}

static int send_digests(struct pair *p)
{
	_cleanup_close_ int fd = open(p->from, O_PATH | O_CLOEXEC);

	return rb_verify_send(p->conn, fd, p->from, NULL, &p->err);
}

static int move(struct pair *p)
{
	int r = ask(p, 't', send_tree);

	if (r == 0)
		rb_blocks_commit(p->blocks);
	return r;
}

static int verify(struct pair *p)
{
	return ask(p, 'v', send_digests);
}

static void fill(uint8_t *data, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		data[i] = (uint8_t)(seed >> 16);
	}
}

static void write_at(const char *root, const char *name, off_t at_byte, size_t len)
{
	static unsigned int seed;
	_cleanup_close_ int fd = open(at(root, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
	_cleanup_free_ uint8_t *data = malloc(len);

	fill(data, len, ++seed);
	if (fd < 0 || rb_pwrite_all(fd, data, len, at_byte) < 0)
		abort();
}

/* Inode numbers are used again, but not within a nanosecond. */
static long inode(const char *root, const char *name)
{
	struct statx st;

	return statx(AT_FDCWD, at(root, name), AT_SYMLINK_NOFOLLOW, STATX_ALL, &st) < 0
		       ? 0
		       : (long)st.stx_ino * 1000000007 + st.stx_btime.tv_nsec;
}

/* a round in which at most @max bytes travel, and big stays the same inode on the target or does
 * not */
#define CHECK_MOVE(p, max, in_place)                                   \
	do {                                                           \
		long _before = inode((p)->to, "big");                  \
		CHECK_INT(move(p), 0);                                 \
		CHECK((p)->sent.bytes <= (max));                       \
		CHECK_INT(inode((p)->to, "big") == _before, in_place); \
	} while (0)
#define CHECK_ROUND(p, max, in_place)         \
	do {                                  \
		CHECK_MOVE(p, max, in_place); \
		CHECK_INT(verify(p), 0);      \
	} while (0)

static void changed_in_place(void)
{
	_cleanup_pair_ struct pair p;

	begin(&p);
	write_at(p.from, "big", 0, SIZE + 1234);
	write_at(p.from, "small", 0, 50000);
	CHECK_ROUND(&p, 2 * SIZE, false);
	CHECK_INT(p.sent.bytes, SIZE + 1234 + 50000);
	let_clock_tick();
	CHECK_ROUND(&p, SIZE, true); /* settles what was doubtful */
	for (int i = 0; i < 4; i++) {
		write_at(p.from, "big", 1234567 * (i + 1), 10);
		write_at(p.from, "big", 999 * i, 5000);
		let_clock_tick();
		CHECK_ROUND(&p, 8 * 4096, true);
		CHECK(p.sent.bytes > 5000);
	}
	write_at(p.from, "small", 7, 1);
	CHECK_ROUND(&p, 50000 + 8 * 4096, true);
}

static void nothing_but_its_owner(void)
{
	_cleanup_pair_ struct pair p;

	begin(&p);
	write_at(p.from, "big", 0, SIZE);
	CHECK_INT(setxattr(at(p.from, "big"), "trusted.old", "1", 1, 0), 0);
	CHECK_ROUND(&p, SIZE, false);
	CHECK_INT(chmod(at(p.from, "big"), 04711), 0);
	CHECK_INT(chown(at(p.from, "big"), 12, 34), 0);
	CHECK_INT(chmod(at(p.from, "big"), 04711), 0);
	CHECK_INT(removexattr(at(p.from, "big"), "trusted.old"), 0);
	CHECK_INT(setxattr(at(p.from, "big"), "trusted.new", "2", 1, 0), 0);
	CHECK_ROUND(&p, 0, true);
	CHECK(getxattr(at(p.to, "big"), "trusted.old", NULL, 0) < 0);
	CHECK(getxattr(at(p.to, "big"), "reberth.patched", NULL, 0) < 0);
}

static void longer_and_shorter(void)
{
	_cleanup_pair_ struct pair p;
	struct stat st;

	begin(&p);
	write_at(p.from, "big", 0, SIZE);
	CHECK_ROUND(&p, SIZE, false);
	write_at(p.from, "big", SIZE + 3 * MIB + 5, 100); /* behind a hole */
	CHECK_ROUND(&p, 8 * 4096, true);
	CHECK_INT(truncate(at(p.from, "big"), 5000001), 0);
	CHECK_ROUND(&p, 2 * 4096, true);
	CHECK_INT(truncate(at(p.from, "big"), 5000100), 0);
	CHECK_ROUND(&p, 2 * 4096, true);
	/* short, and long again, in one round: zeros */
	CHECK_INT(truncate(at(p.from, "big"), 2000001), 0);
	CHECK_INT(truncate(at(p.from, "big"), SIZE), 0);
	CHECK_ROUND(&p, 2 * 4096, true);
	CHECK_INT(stat(at(p.to, "big"), &st), 0);
	CHECK(st.st_blocks < 3 * 2048 * 2); /* what was cut holds no blocks */
	CHECK_INT(truncate(at(p.from, "big"), 1000), 0);
	CHECK_ROUND(&p, 1000, false); /* no large file any more */
	write_at(p.from, "big", 0, SIZE);
	CHECK_ROUND(&p, SIZE, false);
	write_at(p.from, "big", 0, 1);
	CHECK_ROUND(&p, 4096, true);
}

static void holes(void)
{
	_cleanup_pair_ struct pair p;
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	begin(&p);
	write_at(p.from, "big", 0, SIZE);
	CHECK_ROUND(&p, SIZE, false);
	fd = open(at(p.from, "big"), O_RDWR | O_CLOEXEC);
	CHECK_INT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000000, 6 * MIB), 0);
	CHECK_ROUND(&p, 2 * 4096, true);
	CHECK_INT(stat(at(p.to, "big"), &st), 0);
	CHECK(st.st_blocks < 3 * 2048 * 2);
	write_at(p.from, "big", 4 * MIB, 4096);
	CHECK_ROUND(&p, 2 * 4096, true);
	if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 64 << 10, 128 << 10) == 0)
		CHECK_ROUND(&p, 3 * MIB, true);
}

static bool same_at(const struct pair *p, off_t at_byte, size_t len)
{
	_cleanup_close_ int from = open(at(p->from, "big"), O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int to = open(at(p->to, "big"), O_RDONLY | O_CLOEXEC);
	uint8_t a[4 * 4096], b[4 * 4096];

	return pread(from, a, len, at_byte) == (ssize_t)len &&
	       pread(to, b, len, at_byte) == (ssize_t)len && memcmp(a, b, len) == 0;
}

/* A file of a TiB costs what is in it. */
static void huge_and_sparse(void)
{
	_cleanup_pair_ struct pair p;

	begin(&p);
	write_at(p.from, "big", 0, 1);
	CHECK_INT(truncate(at(p.from, "big"), (off_t)1 << 40), 0);
	write_at(p.from, "big", (off_t)1 << 39, 10000);
	CHECK_MOVE(&p, MIB, false);
	write_at(p.from, "big", ((off_t)1 << 39) + ((off_t)1 << 38), 10);
	CHECK_MOVE(&p, 8 * MIB, true);
	CHECK(same_at(&p, 0, 4096));
	CHECK(same_at(&p, (off_t)1 << 39, 3 * 4096));
	CHECK(same_at(&p, ((off_t)1 << 39) + ((off_t)1 << 38), 4096));
}

/* What did not arrive, or is not known to have, is not built upon. */
static void not_committed(void)
{
	_cleanup_pair_ struct pair p;

	begin(&p);
	write_at(p.from, "big", 0, SIZE);
	CHECK_ROUND(&p, SIZE, false);
	write_at(p.from, "big", 5, 10);
	CHECK_INT(ask(&p, 't', send_tree), 0);
	CHECK_INT(p.sent.bytes, 4096);
	write_at(p.from, "big", 5, 10);
	CHECK_ROUND(&p, SIZE, false);
	CHECK_INT(p.sent.bytes, SIZE);
	write_at(p.from, "big", 5, 10);
	CHECK_ROUND(&p, 4096, true);
}

/* What comes and goes under another name each time takes no room. */
static void rotated(void)
{
	_cleanup_pair_ struct pair p;
	int fds[ROTATIONS]; /* or their numbers are used again, and tell that they are gone */
	char name[32];

	begin(&p);
	mkdir(at(p.from, "d"), 0755);
	for (int i = 0; i < ROTATIONS; i++) {
		/* each of them would take a sixteenth of all */
		snprintf(name, sizeof(name), "d/%d", i);
		write_at(p.from, name, 0, 1);
		CHECK_INT(truncate(at(p.from, name), ((off_t)1 << 30) - 1), 0);
		fds[i] = open(at(p.from, name), O_RDONLY | O_CLOEXEC);
		CHECK_INT(move(&p), 0);
		if (i % 3 == 0) {
			/* not large any more */
			unlink(at(p.from, name));
			put_file(p.from, name, "small", 0644);
		} else if (i % 3 == 1) {
			unlink(at(p.from, name));
		} else {
			CHECK_INT(rb_rm_rf(at(p.from, "d"), NULL), 0);
			CHECK_INT(move(&p), 0);
			mkdir(at(p.from, "d"), 0755);
		}
	}
	write_at(p.from, "big", 0, SIZE);
	CHECK_MOVE(&p, SIZE + 100, false);
	write_at(p.from, "big", 5, 10);
	CHECK_ROUND(&p, 4096, true);
	for (int i = 0; i < ROTATIONS; i++)
		close(fds[i]);
}

/* What the receiver keeps in mind is bounded, over all trees: then files travel whole. */
static void no_more_promises(void)
{
	_cleanup_pair_ struct pair p;

	begin(&p);
	promised = RB_BLOCKS_PROMISES - 1; /* as if by other trees */
	write_at(p.from, "big", 0, SIZE);
	write_at(p.from, "large", 0, SIZE);
	let_clock_tick();
	CHECK_MOVE(&p, 2 * SIZE, false);
	CHECK_INT(promised, RB_BLOCKS_PROMISES);
	write_at(p.from, "big", 5, 10);
	let_clock_tick();
	CHECK_ROUND(&p, 4096, true);
	write_at(p.from, "large", 5, 10);
	let_clock_tick();
	CHECK_ROUND(&p, SIZE + 4096, true);
	CHECK(p.sent.bytes >= SIZE);
	CHECK_INT(promised, RB_BLOCKS_PROMISES);
	/* in its place another one: no promise is left for it */
	CHECK_INT(unlink(at(p.from, "big")), 0);
	write_at(p.from, "big", 0, SIZE);
	CHECK_ROUND(&p, 2 * SIZE, false);
	write_at(p.from, "big", 5, 10);
	CHECK_ROUND(&p, 2 * SIZE, false);
	CHECK_INT(promised, RB_BLOCKS_PROMISES);
}

static void other_names(void)
{
	_cleanup_pair_ struct pair p;

	begin(&p);
	write_at(p.from, "big", 0, SIZE);
	CHECK_ROUND(&p, SIZE, false);
	/* moved away, out, and back */
	CHECK_INT(rename(at(p.from, "big"), at(p.from, "other")), 0);
	CHECK_ROUND(&p, SIZE, false);
	CHECK_INT(rename(at(p.from, "other"), at(base, "outside")), 0);
	CHECK_ROUND(&p, 0, true);
	CHECK_INT(rename(at(base, "outside"), at(p.from, "big")), 0);
	write_at(p.from, "big", 5, 10);
	CHECK_ROUND(&p, SIZE, false);
	write_at(p.from, "big", 5, 10);
	CHECK_ROUND(&p, 4096, true);
	/* a second name comes and goes */
	CHECK_INT(link(at(p.from, "big"), at(p.from, "second")), 0);
	write_at(p.from, "big", 5, 10);
	CHECK_ROUND(&p, SIZE, false);
	write_at(p.from, "second", 9999, 10);
	CHECK_ROUND(&p, SIZE, false);
	CHECK_INT(unlink(at(p.from, "second")), 0);
	write_at(p.from, "big", 5, 10);
	CHECK_ROUND(&p, SIZE, false);
	write_at(p.from, "big", 5, 10);
	CHECK_ROUND(&p, 4096, true);
}

static void other_inodes(void)
{
	_cleanup_pair_ struct pair p;

	begin(&p);
	CHECK_INT(mkdir(at(p.from, "d"), 0755), 0);
	write_at(p.from, "big", 0, SIZE);
	write_at(p.from, "d/f", 0, SIZE);
	CHECK_ROUND(&p, 2 * SIZE, false);
	/* two change places */
	CHECK_INT(renameat2(AT_FDCWD, at(p.from, "big"), AT_FDCWD, at(p.from, "d/f"),
			    RENAME_EXCHANGE),
		  0);
	CHECK_ROUND(&p, 2 * SIZE, false);
	/* and back */
	CHECK_INT(renameat2(AT_FDCWD, at(p.from, "big"), AT_FDCWD, at(p.from, "d/f"),
			    RENAME_EXCHANGE),
		  0);
	write_at(p.from, "big", 77, 10);
	CHECK_ROUND(&p, 2 * SIZE, false);
	/* new files under old names, of the same inode number perhaps */
	for (int i = 0; i < 3; i++) {
		CHECK_INT(unlink(at(p.from, "big")), 0);
		write_at(p.from, "big", 0, SIZE);
		CHECK_ROUND(&p, SIZE, false);
	}
	/* no file at all */
	CHECK_INT(unlink(at(p.from, "big")), 0);
	CHECK_INT(symlink("d/f", at(p.from, "big")), 0);
	write_at(p.from, "d/f", 123, 10);
	CHECK_ROUND(&p, 4096, false);
	CHECK_INT(rename(at(p.from, "d"), at(p.from, "e")), 0);
	CHECK_INT(mkdir(at(p.from, "d"), 0755), 0);
	CHECK_INT(rename(at(p.from, "e/f"), at(p.from, "d/f")), 0);
	write_at(p.from, "d/f", 123, 10);
	CHECK_ROUND(&p, 4096, false);
}

/* The stream of one changed block, as tree.h describes it. */
static void golden(void)
{
	static const uint8_t head[] = "RBTREE2\n\0\0\0\0\0\0\0\0"
				      "\0\3big\0\0\0\0\0\x80\0\0"
				      "\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x10\0";
	static const uint8_t ends[16 + 2];
	_cleanup_pair_ struct pair p;
	_cleanup_buf_ struct rb_buf stream = {};
	_cleanup_free_ uint8_t *block = malloc(4096);
	_cleanup_close_ int fd = -EBADF;
	struct rb_conn *conn;
	uint32_t len;
	int fds[2];

	begin(&p);
	write_at(p.from, "big", 0, SIZE);
	CHECK_ROUND(&p, SIZE, false);
	write_at(p.from, "big", 5000, 8);
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	conn = fake_conn_new(fds[0]);
	CHECK_INT(rb_tree_send(conn, p.from, p.last, p.blocks, NULL, NULL, NULL, &p.err), 0);
	fake_conn_free(conn);
	while (rb_read_all(fds[1], &len, sizeof(len)) == sizeof(len) && len) {
		char data[70000];

		CHECK_INT(rb_read_all(fds[1], data, len), len);
		rb_buf_add(&stream, data, len);
	}
	close(fds[1]);
	fd = open(at(p.from, "big"), O_RDONLY | O_CLOEXEC);
	CHECK_INT(pread(fd, block, 4096, 4096), 4096);
	CHECK(stream.len > sizeof(head) - 1 + 4096 + sizeof(ends));
	CHECK_INT(memcmp(stream.data, head, sizeof(head) - 1), 0);
	CHECK_INT(memcmp(stream.data + sizeof(head) - 1, block, 4096), 0);
	CHECK_INT(memcmp(stream.data + sizeof(head) - 1 + 4096, ends, sizeof(ends)), 0);
	CHECK(memmem(stream.data, stream.len, "LIBARCHIVE.xattr.reberth.patched=", 33));
}

/* --- while it is written --- */

static void change_big(const char *root)
{
	_cleanup_close_ int fd = open(at(root, "big"), O_RDWR | O_CLOEXEC);
	uint8_t *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	srand((unsigned int)getpid());
	for (;;) {
		uint8_t data[5000];
		off_t at_byte = rand() % (int)(SIZE - sizeof(data));

		fill(data, sizeof(data), (unsigned int)rand());
		if (rand() % 3 == 0)
			map[at_byte] ^= 0x5a;
		else if (rand() % 20 == 0)
			fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at_byte, 5000);
		else
			pwrite(fd, data, sizeof(data), at_byte);
		rb_wait_ms(rand() % 3, NULL, NULL);
	}
}

static void written_meanwhile(void)
{
	_cleanup_pair_ struct pair p;
	pid_t pid;

	begin(&p);
	write_at(p.from, "big", 0, SIZE);
	CHECK_INT(move(&p), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		change_big(p.from);
	}
	for (int i = 0; i < 12; i++) {
		rb_wait_ms(30, NULL, NULL);
		CHECK_INT(move(&p), 0);
		CHECK(p.sent.bytes <= SIZE);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	rb_blocks_frozen(p.blocks, true);
	/* stores through a mapping need not move the times; the caller sees to it (mapped.c) */
	CHECK_INT(chmod(at(p.from, "big"), 0600), 0);
	CHECK_ROUND(&p, SIZE / 2, true);
}

static void run_all(const char *where)
{
	snprintf(base, sizeof(base), "%s", where);
	printf("# in %s\n", base);
	TAP_RUN(changed_in_place);
	TAP_RUN(nothing_but_its_owner);
	TAP_RUN(longer_and_shorter);
	TAP_RUN(holes);
	TAP_RUN(huge_and_sparse);
	TAP_RUN(not_committed);
	TAP_RUN(rotated);
	TAP_RUN(no_more_promises);
	TAP_RUN(other_names);
	TAP_RUN(other_inodes);
	TAP_RUN(golden);
	TAP_RUN(written_meanwhile);
}

int main(void)
{
	char ext4[PATH_MAX], memory[] = "/dev/shm/rbpatch-XXXXXX";
	const char *why;

	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	why = ext4_mount("", ext4);
	if (why)
		TAP_SKIP(written_meanwhile, why);
	else
		run_all(ext4);
	if (!mkdtemp(memory))
		abort();
	run_all(memory);
	rb_rm_rf(memory, NULL);
	return tap_done();
}
