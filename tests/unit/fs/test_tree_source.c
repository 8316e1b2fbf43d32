// SPDX-License-Identifier: Apache-2.0
/*
 * test_tree_source.c - after each round the target's tree is the source's, and no round but the
 * first has looked at all of it
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "fake_conn.h"
#include "others.h"
#include "tap.h"
#include "tree.h"
#include "tree_source.h"
#include "tree_source_internal.h"
#include "tree_util.h"
#include "wait.h"
#include "watch.h"

#define OTHERS 300

static bool is_overlay;

struct set {
	char top[256], seen[300], from[300], to[300];
	struct rb_watch *watch;
	struct rb_tree_source *source;
	struct rb_tree_stats sent;
	struct rb_err err;
};

static int make_folders(struct set *s)
{
	char options[1200];

	tree_folder(s->top, "rounds");
	snprintf(s->from, sizeof(s->from), "%s/from", s->top);
	snprintf(s->to, sizeof(s->to), "%s/to", s->top);
	snprintf(s->seen, sizeof(s->seen), "%s/seen", s->top);
	for (size_t i = 0; i < 5; i++)
		mkdir(at(s->top, ((const char *[]){ "from", "to", "seen", "lower", "work" })[i]),
		      0755);
	mkdir(at(s->top, "lower/image"), 0755);
	put_file(s->top, "lower/image/file", "of the image", 0644);
	put_file(s->top, "lower/doomed", "of the image", 0644);
	if (!is_overlay)
		return mount(s->from, s->seen, NULL, MS_BIND, NULL);
	snprintf(options, sizeof(options), "lowerdir=%s/lower,upperdir=%s,workdir=%s/work", s->top,
		 s->from, s->top);
	return mount("overlay", s->seen, "overlay", 0, options);
}

static int begin(struct set *s, const struct rb_watch_limits *limits)
{
	int r = rb_watch_open(limits, &s->watch, &s->err);

	return r < 0 ? r
		     : rb_tree_source_open(s->from, is_overlay ? s->seen : NULL, s->watch,
					   &s->source, &s->err);
}

static void set_close(struct set *s)
{
	rb_tree_source_free(s->source);
	rb_watch_close(s->watch);
	umount2(s->seen, MNT_DETACH);
}

#define _cleanup_set_ _cleanup_(set_close)

static int look(struct set *s)
{
	pid_t self = getpid();

	return rb_tree_sources_look(&s->source, 1, &self, 1, NULL, &s->err);
}

static int one_round(struct set *s)
{
	int r = look(s);

	if (r >= 0)
		r = tree_round(s->source, s->to, &s->sent, &s->err);
	if (r >= 0)
		rb_tree_source_arrived(s->source);
	return r;
}

/* All that was just made may change without a trace, and is sent once more: not what is tested
 * here. */
static int first_rounds(struct set *s)
{
	int r = one_round(s);

	let_clock_tick();
	if (r >= 0)
		r = one_round(s);
	return r < 0 ? r : one_round(s);
}

#define CHECK_SAME(s)                                                                    \
	do {                                                                             \
		const char *_d = tree_difference((s).from, (s).to);                      \
		if (_d) {                                                                \
			printf("# %s:%d: trees differ\n# %s\n", __FILE__, __LINE__, _d); \
			tap_ok = false;                                                  \
			return;                                                          \
		}                                                                        \
	} while (0)

/* Others may do so much on the same file system that more happens than is remembered. */
static bool walked_unasked;

#define CHECK_NOT_WALKED(s)                        \
	do {                                       \
		walked_unasked = (s).sent.walked;  \
		CHECK_INT((s).sent.walked, false); \
	} while (0)

#define RUN(fn)                                                                    \
	do {                                                                       \
		for (int _n = 0; _n < 5; _n++) {                                   \
			walked_unasked = false;                                    \
			tap_ok = true;                                             \
			fn();                                                      \
			if (tap_ok || !walked_unasked)                             \
				break;                                             \
		}                                                                  \
		printf("%sok %d - %s\n", tap_ok ? "" : "not ", ++tap_number, #fn); \
		fflush(stdout);                                                    \
		tap_failures += !tap_ok;                                           \
	} while (0)

/* Is what the source remembers all that there is, and no more? Whiteouts share an inode, whose
 * times move with each of them. */
static bool remembers_all(struct set *s)
{
	char seen[RB_STAMP_SIZE] = "", now[RB_STAMP_SIZE] = "";
	int r = is_overlay ? -EAGAIN : rb_tree_source_stamp(s->source, seen, NULL);

	return r == -EAGAIN ||
	       (r == 0 && rb_tree_stamp(s->from, now, NULL, NULL) == 0 && strcmp(seen, now) == 0);
}

/* a round that looks at a part, and has the trees the same */
#define CHECK_ROUND(s)                                 \
	do {                                           \
		int _r = one_round(&(s));              \
		if (_r < 0)                            \
			printf("# %s\n", (s).err.msg); \
		CHECK_INT(_r, 0);                      \
		CHECK_NOT_WALKED(s);                   \
		CHECK_SAME(s);                         \
		CHECK(remembers_all(&(s)));            \
	} while (0)

#define CHECK_BEGIN(s)                            \
	do {                                      \
		CHECK_INT(begin(&(s), NULL), 0);  \
		CHECK_INT(first_rounds(&(s)), 0); \
		CHECK_INT((s).sent.files, 0);     \
		CHECK_NOT_WALKED(s);              \
		CHECK_SAME(s);                    \
	} while (0)

static int open_seen(const struct set *s, const char *name, int flags)
{
	return open(at(s->seen, name), flags | O_CLOEXEC, 0644);
}

static void everyday(void)
{
	_cleanup_set_ struct set s = {};
	char name[32];
	int fd;

	CHECK_INT(make_folders(&s), 0);
	mkdir(at(s.seen, "d"), 0755);
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "d/%d", i);
		put_file(s.seen, name, name, 0644);
	}
	CHECK_BEGIN(s);
	put_file(s.seen, "d/7", "changed", 0644);
	CHECK_ROUND(s);
	CHECK_INT(s.sent.files, 2); /* and its folder */
	CHECK_ROUND(s);
	CHECK_INT(chmod(at(s.seen, "d/8"), 0600), 0);
	CHECK_INT(setxattr(at(s.seen, "d/9"), "trusted.x", "y", 1, 0), 0);
	CHECK_INT(truncate(at(s.seen, "d/10"), 0), 0);
	CHECK_INT(unlink(at(s.seen, "d/11")), 0);
	CHECK_INT(chmod(at(s.seen, "d"), 0700), 0);
	CHECK_INT(setxattr(at(s.seen, "d"), "trusted.z", "y", 1, 0), 0);
	CHECK_ROUND(s);
	CHECK_INT(s.sent.removed, is_overlay ? 1 : 1);
	CHECK_INT(mknod(at(s.seen, "d/node"), S_IFCHR | 0600, makedev(1, 3)), 0);
	CHECK_INT(symlink("7", at(s.seen, "d/soft")), 0);
	CHECK_INT(mkfifo(at(s.seen, "d/fifo"), 0600), 0);
	fd = open_seen(&s, "d/sparse", O_RDWR | O_CREAT);
	CHECK_INT(ftruncate(fd, 100 << 20), 0);
	CHECK_INT(pwrite(fd, "x", 1, 50 << 20), 1);
	close(fd);
	CHECK_ROUND(s);
	/* what was sent just now is compared once more, and that is all */
	let_clock_tick();
	CHECK_ROUND(s);
	CHECK_ROUND(s);
	CHECK_INT(s.sent.files, 0);
}

static void folders(void)
{
	_cleanup_set_ struct set s = {};

	CHECK_INT(make_folders(&s), 0);
	mkdir(at(s.seen, "a"), 0755);
	mkdir(at(s.seen, "a/b"), 0755);
	mkdir(at(s.seen, "a/b/c"), 0755);
	mkdir(at(s.seen, "a-b"), 0755); /* sorts between a and a/b */
	put_file(s.seen, "a/b/c/file", "1", 0644);
	put_file(s.seen, "a-b/file", "1", 0644);
	CHECK_BEGIN(s);
	CHECK_INT(rename(at(s.seen, "a"), at(s.seen, "x")), 0);
	CHECK_ROUND(s);
	put_file(s.seen, "x/b/c/file", "22", 0644);
	put_file(s.seen, "x/b/c/more", "22", 0644);
	CHECK_ROUND(s);
	/* moved, and changed below, between two rounds */
	CHECK_INT(rename(at(s.seen, "x/b"), at(s.seen, "y")), 0);
	put_file(s.seen, "y/c/file", "333", 0644);
	mkdir(at(s.seen, "y/c/new"), 0755);
	put_file(s.seen, "y/c/new/file", "333", 0644);
	CHECK_ROUND(s);
	put_file(s.seen, "y/c/new/file", "4444", 0644);
	CHECK_ROUND(s);
	/* another folder of the same name */
	mkdir(at(s.seen, "z"), 0755);
	put_file(s.seen, "z/other", "1", 0644);
	CHECK_INT(rename(at(s.seen, "y"), at(s.seen, "old")), 0);
	CHECK_INT(rename(at(s.seen, "z"), at(s.seen, "y")), 0);
	CHECK_ROUND(s);
	/* a file in its place, and back */
	CHECK_INT(rename(at(s.seen, "y"), at(s.seen, "w")), 0);
	put_file(s.seen, "y", "a file", 0644);
	CHECK_ROUND(s);
	CHECK_INT(unlink(at(s.seen, "y")), 0);
	CHECK_INT(rename(at(s.seen, "w"), at(s.seen, "y")), 0);
	CHECK_ROUND(s);
	put_file(s.seen, "y/other", "2", 0644);
	CHECK_ROUND(s);
	/* two that change places */
	CHECK_INT(
		renameat2(AT_FDCWD, at(s.seen, "y"), AT_FDCWD, at(s.seen, "old"), RENAME_EXCHANGE),
		0);
	put_file(s.seen, "y/c/file", "after", 0644);
	CHECK_ROUND(s);
	CHECK_INT(rb_rm_rf(at(s.seen, "y"), NULL), 0);
	CHECK_ROUND(s);
}

static void hard_links(void)
{
	_cleanup_set_ struct set s = {};

	CHECK_INT(make_folders(&s), 0);
	mkdir(at(s.seen, "d"), 0755);
	put_file(s.seen, "one", "1", 0644);
	put_file(s.seen, "single", "1", 0644);
	CHECK_INT(link(at(s.seen, "one"), at(s.seen, "d/two")), 0);
	CHECK_BEGIN(s);
	CHECK_INT(link(at(s.seen, "one"), at(s.seen, "d/three")), 0);
	CHECK_ROUND(s);
	CHECK_INT(link(at(s.seen, "single"), at(s.seen, "d/not single")), 0);
	CHECK_ROUND(s);
	put_file(s.seen, "d/three", "through one name", 0644);
	CHECK_ROUND(s);
	CHECK_INT(chmod(at(s.seen, "one"), 0600), 0);
	CHECK_INT(unlink(at(s.seen, "d/two")), 0);
	CHECK_ROUND(s);
	CHECK_INT(rename(at(s.seen, "single"), at(s.seen, "d/three")), 0);
	CHECK_ROUND(s);
	put_file(s.seen, "d/not single", "the other name of what was moved", 0644);
	CHECK_ROUND(s);
	CHECK_INT(unlink(at(s.seen, "d/three")), 0);
	CHECK_ROUND(s);
}

/* No event tells that a file has got one more name here when that comes with its folder. */
static void linked_outside(void)
{
	_cleanup_set_ struct set s = {};

	CHECK_INT(make_folders(&s), 0);
	put_file(s.seen, "inside", "1", 0644);
	mkdir(at(s.top, "outside"), 0755);
	CHECK_INT(link(at(s.from, "inside"), at(s.top, "outside/linked")), 0);
	put_file(s.top, "outside/other", "1", 0644);
	CHECK_BEGIN(s);
	CHECK_INT(rename(at(s.top, "outside"), at(s.from, "d")), 0);
	CHECK_ROUND(s);
	CHECK_INT(rename(at(s.from, "d"), at(s.top, "outside")), 0);
	CHECK_ROUND(s);
	CHECK_INT(rename(at(s.top, "outside/linked"), at(s.from, "back")), 0);
	CHECK_ROUND(s);
	put_file(s.seen, "back", "22", 0644);
	CHECK_ROUND(s);
}

#define NUMBERS 1000 /* of inodes, until one is used again */

/* A new folder with the name and the number of one that is gone: what was made in it before it was
 * known has no event. */
static void made_anew_with_its_number(void)
{
	_cleanup_set_ struct set s = {};
	struct stat before, now = {};
	bool again = false;

	CHECK_INT(make_folders(&s), 0);
	mkdir(at(s.seen, "d"), 0755);
	put_file(s.seen, "d/old", "1", 0644);
	CHECK_BEGIN(s);
	CHECK_INT(stat(at(s.from, "d"), &before), 0);
	CHECK_INT(rb_rm_rf(at(s.seen, "d"), NULL), 0);
	for (int i = 0; i < NUMBERS && !again; i++) {
		CHECK_INT(mkdir(at(s.seen, "d"), 0755), 0);
		CHECK_INT(stat(at(s.from, "d"), &now), 0);
		again = now.st_ino == before.st_ino;
		if (!again)
			rmdir(at(s.seen, "d"));
	}
	if (!again) {
		printf("# this file system does not use numbers again\n");
		CHECK_INT(mkdir(at(s.seen, "d"), 0755), 0);
	}
	mkdir(at(s.seen, "d/e"), 0755);
	put_file(s.seen, "d/e/new", "1", 0644);
	CHECK_ROUND(s);
	/* and an empty one */
	CHECK_INT(rb_rm_rf(at(s.seen, "d"), NULL), 0);
	CHECK_INT(mkdir(at(s.seen, "d"), 0755), 0);
	CHECK_ROUND(s);
}

/* An inode with a great many names costs what they are, not their square. */
static void many_links(void)
{
	_cleanup_set_ struct set s = {};
	char name[32];

	CHECK_INT(make_folders(&s), 0);
	put_file(s.seen, "first", "1", 0644);
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		CHECK_INT(link(at(s.seen, "first"), at(s.seen, name)), 0);
	}
	CHECK_INT(begin(&s, NULL), 0);
	CHECK_INT(one_round(&s), 0);
	let_clock_tick();
	put_file(s.seen, "l77", "2", 0644);
	CHECK_INT(one_round(&s), 0);
	CHECK_NOT_WALKED(s);
	CHECK_INT(s.sent.files, 5002);
}

static int self_fd_link(int fd, const char *to)
{
	char from[64];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW);
}

static void names_that_lie(void)
{
	_cleanup_set_ struct set s = {};
	_cleanup_close_ int fd = -EBADF, nameless = -EBADF;

	CHECK_INT(make_folders(&s), 0);
	fd = open_seen(&s, "a", O_RDWR | O_CREAT);
	CHECK_INT(link(at(s.seen, "a"), at(s.seen, "b")), 0);
	CHECK_INT(unlink(at(s.seen, "a")), 0);
	put_file(s.seen, "a", "another", 0644);
	nameless = open(s.seen, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	CHECK_BEGIN(s);
	CHECK_INT(write(fd, "x", 1), 1);
	CHECK_ROUND(s);
	CHECK_INT(self_fd_link(nameless, at(s.seen, "named")), 0);
	CHECK_ROUND(s);
	CHECK_INT(write(nameless, "x", 1), 1);
	CHECK_ROUND(s);
}

/* --- writers that no event tells of */

static void mapped_elsewhere(void)
{
	_cleanup_set_ struct set s = {};
	char elsewhere[PATH_MAX];
	char *map;
	int fd;

	CHECK_INT(make_folders(&s), 0);
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", s.top);
	mkdir(elsewhere, 0755);
	mkdir(at(s.seen, "d"), 0755);
	put_file(s.seen, "d/mapped", "0000", 0644);
	put_file(s.seen, "mapped", "0000", 0644); /* which the path below looks like */
	CHECK_INT(mount(at(s.seen, "d"), elsewhere, NULL, MS_BIND, NULL), 0);
	fd = open(at(elsewhere, "mapped"), O_RDWR | O_CLOEXEC);
	map = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	close(fd);
	map[0] = '1';
	CHECK_INT(begin(&s, NULL), 0);
	CHECK_INT(first_rounds(&s), 0);
	map[0] = '2';
	CHECK_ROUND(s);
	/* a mapping that was made read-only keeps its dirty pages */
	map[0] = '3';
	mprotect(map, 4, PROT_READ);
	CHECK_ROUND(s);
	/* it goes between two looks */
	mprotect(map, 4, PROT_READ | PROT_WRITE);
	map[0] = '4';
	munmap(map, 4);
	CHECK_ROUND(s);
	CHECK_ROUND(s);
	let_clock_tick();
	CHECK_ROUND(s);
	CHECK_INT(look(&s), 0);
	CHECK_ROUND(s);
	CHECK_INT(s.sent.files, 0);
	umount2(elsewhere, MNT_DETACH);
}

/* it was copied up: the overlay shows the number of the image's file */
static void mapped_copied_up(void)
{
	_cleanup_set_ struct set s = {};
	char *map;
	int fd;

	CHECK_INT(make_folders(&s), 0);
	fd = open_seen(&s, "image/file", O_RDWR);
	map = mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	close(fd);
	map[0] = '1';
	CHECK_INT(begin(&s, NULL), 0);
	CHECK_INT(first_rounds(&s), 0);
	map[0] = '2';
	CHECK_INT(look(&s), 1);
	CHECK_ROUND(s);
	munmap(map, 5);
}

#define EQUALS 1000

/* All files of its size are asked for a descriptor of which nothing else is known: of this overlay
 * only, since there may be many, and not beyond a cancel. */
static void of_another_overlay(void)
{
	_cleanup_set_ struct set s = {}, other = {};
	_cleanup_close_ int fd = -EBADF;
	char elsewhere[PATH_MAX], name[32];
	struct rb_wait over = { .cancel_fd = -EBADF, .deadline_ms = 1 };
	pid_t self = getpid();

	CHECK_INT(make_folders(&s), 0);
	CHECK_INT(make_folders(&other), 0);
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", s.top);
	mkdir(elsewhere, 0755);
	for (int i = 0; i < EQUALS; i++) {
		snprintf(name, sizeof(name), "equal%d", i);
		put_file(s.seen, name, "of the image", 0644);
	}
	fd = open_seen(&s, "image/file", O_RDWR); /* copies it up */
	close(fd);
	CHECK_BEGIN(s);
	fd = open_seen(&other, "image/file", O_RDWR);
	CHECK_INT(rb_tree_sources_look(&s.source, 1, &self, 1, &over, &s.err), 0);
	close(fd);
	CHECK_INT(mount(at(s.seen, "image"), elsewhere, NULL, MS_BIND, NULL), 0);
	fd = open(at(elsewhere, "file"), O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_INT(rb_tree_sources_look(&s.source, 1, &self, 1, NULL, &s.err), 1);
	CHECK_INT(rb_tree_sources_look(&s.source, 1, &self, 1, &over, &s.err), -ETIMEDOUT);
	umount2(elsewhere, MNT_DETACH);
}

static void submitted(void)
{
	static char block[4096] __attribute__((aligned(4096)));
	_cleanup_set_ struct set s = {};
	aio_context_t context = 0;
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PWRITE,
			   .aio_buf = (uintptr_t)block,
			   .aio_nbytes = sizeof(block) };
	struct iocb *cbs[] = { &cb };
	struct io_event done;
	struct timespec before[2];
	struct stat st;
	int fd;

	CHECK_INT(make_folders(&s), 0);
	fd = open_seen(&s, "submitted", O_RDWR | O_CREAT);
	CHECK_INT(write(fd, block, sizeof(block)), sizeof(block));
	CHECK_INT(syscall(SYS_io_setup, 1, &context), 0);
	CHECK_INT(begin(&s, NULL), 0);
	CHECK_INT(first_rounds(&s), 0);
	(void)before;
	memset(block, 'x', sizeof(block));
	cb.aio_fildes = (uint32_t)fd;
	CHECK_INT(syscall(SYS_io_submit, context, 1, cbs), 1);
	CHECK_INT(syscall(SYS_io_getevents, context, 1, 1, &done, NULL), 1);
	fstat(fd, &st);
	CHECK_ROUND(s);
	syscall(SYS_io_destroy, context);
	close(fd);
}

static void spliced(void)
{
	_cleanup_set_ struct set s = {};
	int pipes[2], fd;

	CHECK_INT(make_folders(&s), 0);
	fd = open_seen(&s, "spliced", O_RDWR | O_CREAT);
	CHECK_INT(write(fd, "old", 3), 3);
	CHECK_BEGIN(s);
	CHECK_INT(pipe(pipes), 0);
	CHECK_INT(write(pipes[1], "new", 3), 3);
	CHECK_INT(splice(pipes[0], NULL, fd, &(loff_t){ 0 }, 3, 0), 3);
	CHECK_ROUND(s);
	CHECK_INT(write(pipes[1], "end", 3), 3);
	CHECK_INT(splice(pipes[0], NULL, fd, &(loff_t){ 0 }, 3, 0), 3);
	close(fd);
	CHECK_ROUND(s);
	close(pipes[0]);
	close(pipes[1]);
}

/* --- what must not be passed over in silence */

static pid_t fork_idle(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	return pid;
}

/* As the first process of a PID namespace. Return: how many of its children are not found, or
 * negative errno */
static int look_for_children(struct set *s)
{
	_cleanup_(rb_others_free) struct rb_others others = {};
	int r, missing = OTHERS;

	if (mount("proc", "/proc", "proc", 0, NULL) < 0)
		return -errno;
	for (int i = 0; i < OTHERS; i++)
		fork_idle();
	r = rb_others_find(&others, &s->source, 1, NULL, &s->err);
	if (r < 0) {
		printf("# %s\n", s->err.msg);
		return r;
	}
	for (size_t i = 0; i < others.n; i++)
		missing -= others.pids[i] > 1;
	return missing;
}

/* Writers that do not move, more than a few: each is found. */
static void many_others(void)
{
	_cleanup_set_ struct set s = {};
	int *missing = mmap(NULL, sizeof(*missing), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t helper, child;
	int fd;

	CHECK_INT(make_folders(&s), 0);
	put_file(s.seen, "common", "1", 0644);
	CHECK_BEGIN(s);
	fd = open_seen(&s, "common", O_RDWR);
	*missing = -1;
	fflush(stdout);
	helper = fork();
	if (helper == 0) {
		if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
			_exit(1);
		child = fork();
		if (child == 0) {
			*missing = look_for_children(&s);
			fflush(stdout);
			_exit(0);
		}
		waitpid(child, NULL, 0);
		_exit(0);
	}
	waitpid(helper, NULL, 0);
	close(fd);
	CHECK_INT(*missing, 0);
	munmap(missing, sizeof(*missing));
}

static void mounted_late(void)
{
	_cleanup_set_ struct set s = {};

	CHECK_INT(make_folders(&s), 0);
	mkdir(at(s.seen, "d"), 0755);
	mkdir(at(s.seen, "d/e"), 0755);
	CHECK_BEGIN(s);
	CHECK_INT(mount("tmpfs", at(s.from, "d/e"), "tmpfs", 0, NULL), 0);
	CHECK_INT(one_round(&s), -EXDEV);
	CHECK_INT(s.err.code, RB_E_REFUSED);
	umount2(at(s.from, "d/e"), MNT_DETACH);
	put_file(s.seen, "d/e/f", "1", 0644);
	CHECK_ROUND(s);
}

static void path_too_long(void)
{
	_cleanup_set_ struct set s = {};
	char name[256];
	int fd, last = -1;

	CHECK_INT(make_folders(&s), 0);
	CHECK_BEGIN(s);
	memset(name, 'd', 250);
	name[250] = '\0';
	fd = open(s.from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 17; i++) {
		int below;

		CHECK_INT(mkdirat(fd, name, 0755), 0);
		below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (last >= 0)
			close(last);
		last = fd;
		fd = below;
		if (i < 15)
			CHECK_ROUND(s);
	}
	CHECK_INT(one_round(&s), -ENAMETOOLONG);
	CHECK_INT(s.err.code, RB_E_REFUSED);
	/* until it is gone */
	CHECK_INT(unlinkat(last, name, AT_REMOVEDIR), 0);
	close(fd);
	close(last);
	CHECK_INT(one_round(&s), 0);
	CHECK_SAME(s);
	rb_rm_rf(at(s.from, name), NULL);
	rb_rm_rf(at(s.to, name), NULL);
}

static void lost(void)
{
	const struct rb_watch_limits limits = { .change_bytes = 16384 };
	_cleanup_set_ struct set s = {};
	char name[32];

	CHECK_INT(make_folders(&s), 0);
	CHECK_INT(begin(&s, &limits), 0);
	CHECK_INT(first_rounds(&s), 0);
	for (int i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "%d", i);
		put_file(s.seen, name, name, 0644);
	}
	CHECK_INT(one_round(&s), 0);
	CHECK_INT(s.sent.walked, true);
	CHECK_SAME(s);
	/* what the target writes to the same file system counts, too */
	let_clock_tick();
	for (int i = 0; i < 3; i++)
		CHECK_INT(one_round(&s), 0);
	put_file(s.seen, "5", "after", 0644);
	CHECK_ROUND(s);
}

static void without_watch(void)
{
	_cleanup_set_ struct set s = {};

	CHECK_INT(make_folders(&s), 0);
	put_file(s.seen, "a", "1", 0644);
	CHECK_INT(rb_tree_source_open(s.from, is_overlay ? s.seen : NULL, NULL, &s.source, &s.err),
		  0);
	CHECK_INT(first_rounds(&s), 0);
	CHECK_INT(s.sent.walked, true);
	CHECK_SAME(s);
	put_file(s.seen, "a", "2", 0644);
	CHECK_INT(one_round(&s), 0);
	CHECK_SAME(s);
}

/* Through a mapping to a page that is dirty already, after the file was read; nobody looks for
 * writers before the mapping is gone. */
static void stored_without_watch(void)
{
	_cleanup_set_ struct set s = {};
	char *map;
	int fd;

	CHECK_INT(make_folders(&s), 0);
	put_file(s.seen, "a", "12345678", 0644);
	CHECK_INT(rb_tree_source_open(s.from, is_overlay ? s.seen : NULL, NULL, &s.source, &s.err),
		  0);
	fd = open_seen(&s, "a", O_RDWR);
	map = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	close(fd);
	map[0] = 'x';
	let_clock_tick();
	CHECK_INT(tree_round(s.source, s.to, &s.sent, &s.err), 0);
	rb_tree_source_arrived(s.source);
	map[1] = 'y';
	munmap(map, 8);
	CHECK_INT(tree_round(s.source, s.to, &s.sent, &s.err), 0);
	CHECK_SAME(s);
}

/* The last look was before the round, as in a freeze that is tried again; and the page had been
 * dirty for longer than times are doubted. */
static void stored_after_the_last_look(struct set *s)
{
	char *map;
	int fd;

	put_file(s->seen, "a", "12345678", 0644);
	fd = open_seen(s, "a", O_RDWR);
	map = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	close(fd);
	CHECK_INT(one_round(s), 0);
	map[0] = 'x';
	let_clock_tick();
	CHECK_INT(one_round(s), 0);
	s->source->sent_at_s += 1000;
	map[1] = 'y';
	munmap(map, 8);
}

static void stored_after_the_last_look_without_watch(void)
{
	_cleanup_set_ struct set s = {};

	CHECK_INT(make_folders(&s), 0);
	CHECK_INT(rb_tree_source_open(s.from, is_overlay ? s.seen : NULL, NULL, &s.source, &s.err),
		  0);
	stored_after_the_last_look(&s);
	CHECK_INT(tree_round(s.source, s.to, &s.sent, &s.err), 0);
	CHECK_SAME(s);
	rb_tree_source_arrived(s.source);
	/* and that is all */
	let_clock_tick();
	CHECK_INT(one_round(&s), 0);
	s.source->sent_at_s += 1000;
	CHECK_INT(one_round(&s), 0);
	CHECK_INT(s.sent.files, 0);
}

/* More than is remembered happens after the last round, and with it the end of the mapping. */
static void lose_all_events(struct set *s)
{
	char name[32];

	for (int i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "%d", i);
		put_file(s->seen, name, name, 0644);
	}
}

static void stored_after_the_last_look_and_lost(void)
{
	const struct rb_watch_limits limits = { .change_bytes = 16384 };
	_cleanup_set_ struct set s = {};

	CHECK_INT(make_folders(&s), 0);
	CHECK_INT(begin(&s, &limits), 0);
	stored_after_the_last_look(&s);
	lose_all_events(&s);
	CHECK_INT(tree_round(s.source, s.to, &s.sent, &s.err), 0);
	CHECK_INT(s.sent.walked, true);
	CHECK_SAME(s);
}

/* It was opened after the look, and this tree's turn came much later than that. */
static void stored_between_look_and_round(void)
{
	_cleanup_set_ struct set s = {};
	char *map;
	int fd;

	CHECK_INT(make_folders(&s), 0);
	put_file(s.seen, "a", "12345678", 0644);
	CHECK_INT(rb_tree_source_open(s.from, is_overlay ? s.seen : NULL, NULL, &s.source, &s.err),
		  0);
	CHECK_INT(one_round(&s), 0);
	CHECK_INT(look(&s), 0);
	s.source->looked_at_s -= 1000;
	fd = open_seen(&s, "a", O_RDWR);
	map = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	close(fd);
	map[0] = 'x';
	let_clock_tick();
	CHECK_INT(tree_round(s.source, s.to, &s.sent, &s.err), 0);
	rb_tree_source_arrived(s.source);
	CHECK_INT(s.source->sent_at_s, s.source->looked_at_s);
	map[1] = 'y';
	munmap(map, 8);
	CHECK_INT(tree_round(s.source, s.to, &s.sent, &s.err), 0);
	CHECK_SAME(s);
}

/* What a failed round has brought, or not, does not count as sent. */
static void a_round_fails(void)
{
	_cleanup_set_ struct set s = {};
	struct rb_conn *nowhere = fake_conn_new(open("/dev/null", O_WRONLY | O_CLOEXEC));

	CHECK_INT(make_folders(&s), 0);
	mkdir(at(s.seen, "d"), 0755);
	mkdir(at(s.seen, "d/stays"), 0755);
	put_file(s.seen, "d/stays/f", "1", 0644);
	put_file(s.seen, "d/f", "1", 0644);
	put_file(s.seen, "d/g", "1", 0644);
	CHECK_BEGIN(s);
	/* nothing of it arrives */
	put_file(s.seen, "d/f", "22", 0644);
	CHECK_INT(unlink(at(s.seen, "d/g")), 0);
	CHECK_INT(rb_tree_source_send(nowhere, s.source, NULL, NULL, NULL, &s.err), 0);
	let_clock_tick();
	CHECK_ROUND(s);
	/* all of it arrives, and nobody knows; then some of it is taken back */
	put_file(s.seen, "d/f", "333", 0644);
	put_file(s.seen, "d/short", "1", 0644);
	mkdir(at(s.seen, "d/new"), 0755);
	put_file(s.seen, "d/new/f", "1", 0644);
	put_file(s.seen, "d/new/g", "1", 0644);
	CHECK_INT(tree_round(s.source, s.to, &s.sent, &s.err), 0);
	CHECK_INT(unlink(at(s.seen, "d/short")), 0);
	CHECK_INT(unlink(at(s.seen, "d/new/g")), 0);
	CHECK_ROUND(s);
	CHECK_INT(rb_rm_rf(at(s.seen, "d/new"), NULL), 0);
	CHECK_INT(tree_round(s.source, s.to, &s.sent, &s.err), 0);
	mkdir(at(s.seen, "d/new"), 0755);
	put_file(s.seen, "d/new/h", "1", 0644);
	CHECK_ROUND(s);
	/* the first one, too */
	rb_tree_source_free(s.source);
	CHECK_INT(rb_rm_rf(s.to, NULL), 0);
	mkdir(s.to, 0755);
	CHECK_INT(
		rb_tree_source_open(s.from, is_overlay ? s.seen : NULL, s.watch, &s.source, &s.err),
		0);
	CHECK_INT(tree_round(s.source, s.to, &s.sent, &s.err), 0);
	CHECK_INT(unlink(at(s.seen, "d/f")), 0);
	CHECK_INT(rb_rm_rf(at(s.seen, "d/new"), NULL), 0);
	CHECK_ROUND(s);
	fake_conn_free(nowhere);
}

static void of_the_image(void)
{
	_cleanup_set_ struct set s = {};

	CHECK_INT(make_folders(&s), 0);
	CHECK_BEGIN(s);
	CHECK_INT(chmod(at(s.seen, "image/file"), 0600), 0);
	CHECK_INT(unlink(at(s.seen, "doomed")), 0);
	CHECK_ROUND(s);
	CHECK_INT(rb_rm_rf(at(s.seen, "image"), NULL), 0);
	CHECK_ROUND(s);
	CHECK_INT(mkdir(at(s.seen, "image"), 0755), 0); /* opaque */
	put_file(s.seen, "image/mine", "1", 0644);
	CHECK_ROUND(s);
}

/* --- anything, all the time */

static void random_path(unsigned int *seed, char *ret, size_t size)
{
	size_t len = 0;
	int depth = rand_r(seed) % 3;

	for (int i = 0; i < depth; i++)
		len += (size_t)snprintf(ret + len, size - len, "d%d/", rand_r(seed) % 3);
	snprintf(ret + len, size - len, "%c%d", rand_r(seed) % 3 ? 'f' : 'd', rand_r(seed) % 6);
}

static void random_act(const struct set *s, unsigned int *seed)
{
	char x[64], y[64], a[PATH_MAX], b[PATH_MAX], data[3000];
	int fd;

	random_path(seed, x, sizeof(x));
	random_path(seed, y, sizeof(y));
	snprintf(a, sizeof(a), "%s/%s", s->seen, x);
	snprintf(b, sizeof(b), "%s/%s", s->seen, y);
	switch (rand_r(seed) % 12) {
	case 0:
	case 1:
		mkdir(a, 0755);
		break;
	case 2:
	case 3:
	case 4:
		fd = open(a, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
		if (fd < 0)
			break;
		memset(data, 'a' + rand_r(seed) % 26, sizeof(data));
		if (pwrite(fd, data, (size_t)(rand_r(seed) % (int)sizeof(data)),
			   rand_r(seed) % 5000) < 0)
			perror("pwrite");
		close(fd);
		break;
	case 5:
		unlink(a);
		break;
	case 6:
		if (rename(a, b) < 0 && errno == ENOTEMPTY)
			rb_rm_rf(b, NULL);
		break;
	case 7:
		if (link(a, b) < 0)
			symlink("x", b);
		break;
	case 8:
		chmod(a, (mode_t)(0600 + rand_r(seed) % 64));
		break;
	case 9:
		rb_rm_rf(a, NULL);
		break;
	case 10:
		renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
		break;
	default:
		if (truncate(a, rand_r(seed) % 6000) < 0)
			mknod(a, S_IFIFO | 0600, 0);
	}
}

static void anything(void)
{
	_cleanup_set_ struct set s = {};
	unsigned int seed = (unsigned int)getpid();

	printf("# seed %u\n", seed);
	CHECK_INT(make_folders(&s), 0);
	CHECK_BEGIN(s);
	for (int round = 0; round < 50; round++) {
		for (int i = rand_r(&seed) % 30; i >= 0; i--)
			random_act(&s, &seed);
		CHECK_ROUND(s);
	}
}

/* The same while rounds go on; the last one is when it has stopped. */
static void anything_meanwhile(void)
{
	_cleanup_set_ struct set s = {};
	unsigned int seed = (unsigned int)getpid();
	int *stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK_INT(make_folders(&s), 0);
	CHECK_BEGIN(s);
	for (int k = 0; k < 8; k++) {
		int r = 0;
		pid_t pid;

		*stop = 0;
		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			for (seed += (unsigned int)k; !*(volatile int *)stop;)
				random_act(&s, &seed);
			_exit(0);
		}
		for (int i = 0; r == 0 && i < 5; i++)
			r = one_round(&s);
		*stop = 1;
		waitpid(pid, NULL, 0);
		if (r < 0)
			printf("# %s\n", s.err.msg);
		CHECK_INT(r, 0);
		CHECK_ROUND(s);
	}
	munmap(stop, 4096);
}

/* What anybody does after the last round is in no stamp of it. */
static void the_stamp_is_of_the_last_round(void)
{
	_cleanup_set_ struct set s = {};
	char seen[RB_STAMP_SIZE] = "", now[RB_STAMP_SIZE] = "";

	CHECK_INT(make_folders(&s), 0);
	put_file(s.from, "file", "before", 0644);
	CHECK_INT(begin(&s, NULL), 0);
	CHECK_INT(first_rounds(&s), 0);
	put_file(s.from, "other", "before", 0644);
	let_clock_tick();
	CHECK_INT(one_round(&s), 0);
	CHECK_INT(rb_tree_source_stamp(s.source, seen, NULL), 0);
	CHECK_INT(rb_tree_stamp(s.from, now, NULL, NULL), 0);
	CHECK_STR(seen, now);
	let_clock_tick();
	put_file(s.from, "file", "behind", 0644);
	CHECK_INT(rb_tree_source_stamp(s.source, seen, NULL), 0);
	CHECK_STR(seen, now);
	CHECK_INT(rb_tree_stamp(s.from, now, NULL, NULL), 0);
	CHECK(strcmp(seen, now) != 0);
}

int main(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	if (!watch_sees_overlay()) {
		printf("1..0 # SKIP this kernel does not report what happens below an overlay\n");
		return 0;
	}
	for (int i = 0; i < 2; i++) {
		is_overlay = i == 0;
		RUN(everyday);
		RUN(folders);
		RUN(hard_links);
		if (!is_overlay)
			RUN(many_links);
		if (!is_overlay)
			RUN(linked_outside);
		RUN(made_anew_with_its_number);
		RUN(names_that_lie);
		RUN(mapped_elsewhere);
		RUN(submitted);
		RUN(spliced);
		RUN(many_others);
		RUN(mounted_late);
		RUN(path_too_long);
		RUN(lost);
		RUN(without_watch);
		RUN(stored_without_watch);
		RUN(stored_after_the_last_look_without_watch);
		RUN(stored_after_the_last_look_and_lost);
		RUN(stored_between_look_and_round);
		RUN(a_round_fails);
		RUN(the_stamp_is_of_the_last_round);
		if (is_overlay)
			RUN(mapped_copied_up);
		if (is_overlay)
			RUN(of_another_overlay);
		if (is_overlay)
			RUN(of_the_image);
		RUN(anything);
		RUN(anything_meanwhile);
	}
	return tap_done();
}
