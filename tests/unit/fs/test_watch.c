// SPDX-License-Identifier: Apache-2.0
/*
 * test_watch.c - whatever happens to a file, through whichever mount, its tree hears of it
 *
 * Each test that changes something asks whether the change is among what was taken; a walk instead
 * is no answer, but where it is the one that is asked for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "tap.h"
#include "tree_util.h"
#include "watch.h"

static char top[256];	   /* of everything */
static char seen[300];	   /* what the container sees: an overlay, or a bind mount of the tree */
static char tree_dir[300]; /* what is watched */
static bool is_overlay;

struct set {
	struct rb_watch *watch;
	struct watched *tree;
	struct watch_changes got;
	int root_fd;
};

static void set_close(struct set *s)
{
	watch_changes_release(&s->got);
	watch_forget(s->tree);
	rb_watch_close(s->watch);
	rb_close_fd(&s->root_fd);
}

#define _cleanup_set_ _cleanup_(set_close)

static void walk(struct watched *tree, int dir_fd, const char *path)
{
	DIR *dir = fdopendir(dir_fd);
	struct dirent *d;

	watched_folder(tree, dir_fd, path);
	while ((d = readdir(dir))) {
		char child[PATH_MAX];
		int fd;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		snprintf(child, sizeof(child), "%s%s%s", path, *path ? "/" : "", d->d_name);
		fd = openat(dir_fd, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0)
			walk(tree, fd, child);
	}
	closedir(dir);
}

/* a copy would be at its end */
static int again(int dir_fd)
{
	return openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int begin_with(struct set *s, const char *dir, const struct rb_watch_limits *limits)
{
	int r = rb_watch_open(limits, &s->watch, NULL);

	s->root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r == 0)
		r = watch_tree(s->watch, s->root_fd, &s->tree);
	if (r == 0) {
		watched_restart(s->tree);
		walk(s->tree, again(s->root_fd), "");
	}
	return r;
}

/* what was taken before is forgotten */
static int take(struct set *s)
{
	watch_changes_release(&s->got);
	return watched_take(s->tree, &s->got);
}

static bool has_path(const struct set *s, const char *path, uint32_t flags)
{
	const struct path_item *item = path_set_find(&s->got.paths, path);

	return item && (item->flags & flags) == flags;
}

static bool has_inode(const struct set *s, const char *path)
{
	struct stat st;

	if (lstat(at(tree_dir, path), &st) < 0)
		abort();
	for (size_t i = 0; i < s->got.inodes.n; i++)
		if (s->got.inodes.numbers[i] == st.st_ino)
			return true;
	return false;
}

static int make_overlay(void)
{
	char options[1200];

	snprintf(tree_dir, sizeof(tree_dir), "%s/upper", top);
	snprintf(seen, sizeof(seen), "%s/merged", top);
	for (size_t i = 0; i < 4; i++)
		mkdir(at(top, ((const char *[]){ "lower", "upper", "work", "merged" })[i]), 0755);
	mkdir(at(top, "lower/folder"), 0755);
	put_file(top, "lower/folder/image", "of the image", 0644);
	put_file(top, "lower/image", "of the image", 0644);
	put_file(top, "lower/doomed", "of the image", 0644);
	snprintf(options, sizeof(options), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work",
		 top, top, top);
	return mount("overlay", seen, "overlay", 0, options) < 0 ? -errno : 0;
}

static int make_volume(void)
{
	snprintf(tree_dir, sizeof(tree_dir), "%s/volume", top);
	snprintf(seen, sizeof(seen), "%s/bound", top);
	mkdir(tree_dir, 0755);
	mkdir(seen, 0755);
	return mount(tree_dir, seen, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

static int open_seen(const char *name, int flags)
{
	return open(at(seen, name), flags | O_CLOEXEC, 0644);
}

static int self_fd_link(int fd, const char *to)
{
	char from[64];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW);
}

static void content_of_a_file(void)
{
	_cleanup_set_ struct set s = { .root_fd = -EBADF };
	_cleanup_close_ int fd = -EBADF, in = -EBADF;
	int pipes[2];

	put_file(seen, "source", "0123456789", 0644);
	fd = open_seen("content", O_RDWR | O_CREAT);
	in = open_seen("source", O_RDONLY);
	CHECK_INT(begin_with(&s, tree_dir, NULL), 0);
	CHECK_STR(rb_watch_why(s.watch), "");
	CHECK_INT(take(&s), 1);
	CHECK_INT(s.got.paths.n, 0);
#define SEEN(what)                               \
	do {                                     \
		CHECK(what);                     \
		CHECK_INT(take(&s), 1);          \
		CHECK(has_inode(&s, "content")); \
	} while (0)
	SEEN(write(fd, "abc", 3) == 3);
	SEEN(pwrite(fd, "abc", 3, 10) == 3);
	SEEN(ftruncate(fd, 5) == 0);
	SEEN(truncate(at(seen, "content"), 2) == 0);
	SEEN(fallocate(fd, 0, 0, 8192) == 0);
	SEEN(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0);
	SEEN(copy_file_range(in, &(off_t){ 0 }, fd, &(off_t){ 0 }, 10, 0) == 10);
	/* through an overlay it is not: see writers.h */
	CHECK_INT(pipe(pipes), 0);
	CHECK_INT(write(pipes[1], "q", 1), 1);
	if (!is_overlay)
		SEEN(splice(pipes[0], NULL, fd, NULL, 1, 0) == 1);
	close(pipes[0]);
	close(pipes[1]);
	SEEN(fchmod(fd, 0600) == 0);
	SEEN(fchown(fd, 1, 2) == 0);
	SEEN(futimens(fd, (struct timespec[2]){ { 1, 2 }, { 3, 4 } }) == 0);
	SEEN(fsetxattr(fd, "trusted.x", "y", 1, 0) == 0);
#undef SEEN
	CHECK_INT(take(&s), 1);
	CHECK(!has_inode(&s, "content"));
}

static void names(void)
{
	_cleanup_set_ struct set s = { .root_fd = -EBADF };

	put_file(seen, "one", "1", 0644);
	put_file(seen, "victim", "1", 0644);
	mkdir(at(seen, "from"), 0755);
	mkdir(at(seen, "from/deep"), 0755);
	CHECK_INT(begin_with(&s, tree_dir, NULL), 0);
	CHECK_INT(link(at(seen, "one"), at(seen, "from/two")), 0);
	CHECK_INT(take(&s), 1);
	CHECK(has_path(&s, "from/two", WATCH_LOOK | WATCH_SEND));
	CHECK_INT(rename(at(seen, "from/two"), at(seen, "victim")), 0);
	CHECK_INT(take(&s), 1);
	/* rename(2) of one inode to another name of its own does nothing; here they are two */
	CHECK(has_path(&s, "from/two", WATCH_LOOK));
	CHECK(has_path(&s, "victim", WATCH_LOOK | WATCH_SEND));
	CHECK_INT(unlink(at(seen, "one")), 0);
	CHECK_INT(mknod(at(seen, "node"), S_IFCHR | 0600, makedev(1, 3)), 0);
	CHECK_INT(symlink("victim", at(seen, "soft")), 0);
	CHECK_INT(mkfifo(at(seen, "fifo"), 0600), 0);
	CHECK_INT(mkdir(at(seen, "new"), 0755), 0);
	CHECK_INT(chmod(at(seen, "from"), 0700), 0);
	CHECK_INT(setxattr(at(seen, "from/deep"), "trusted.y", "z", 1, 0), 0);
	CHECK_INT(take(&s), 1);
	CHECK(has_path(&s, "one", WATCH_LOOK));
	CHECK(has_path(&s, "node", WATCH_LOOK));
	CHECK(has_path(&s, "soft", WATCH_LOOK));
	CHECK(has_path(&s, "fifo", WATCH_LOOK));
	CHECK(has_path(&s, "new", WATCH_LOOK | WATCH_DEEP));
	CHECK(has_path(&s, "from", WATCH_LOOK | WATCH_SEND));
	CHECK(has_path(&s, "from/deep", WATCH_LOOK | WATCH_SEND));
	CHECK_INT(rename(at(seen, "from"), at(seen, "to")), 0);
	CHECK_INT(take(&s), 1);
	CHECK(has_path(&s, "from", WATCH_LOOK));
	CHECK(has_path(&s, "to", WATCH_LOOK | WATCH_DEEP));
	/* a walk of what is new there tells where the folders are now */
	walk(s.tree, open(at(tree_dir, "to"), O_RDONLY | O_CLOEXEC), "to");
	put_file(seen, "to/deep/file", "1", 0644);
	CHECK_INT(take(&s), 1);
	CHECK(has_path(&s, "to/deep/file", WATCH_LOOK));
	CHECK_INT(unlink(at(seen, "to/deep/file")), 0);
	CHECK_INT(rmdir(at(seen, "to/deep")), 0);
	CHECK_INT(take(&s), 1);
	CHECK(has_path(&s, "to/deep", WATCH_LOOK));
}

/* What is written through a descriptor whose name is gone, or another file's by now. */
static void names_that_lie(void)
{
	_cleanup_set_ struct set s = { .root_fd = -EBADF };
	_cleanup_close_ int fd = open_seen("a", O_RDWR | O_CREAT), nameless = -EBADF,
			    foreign = -EBADF;
	char outside[PATH_MAX];

	nameless = open(seen, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	CHECK(nameless >= 0);
	CHECK_INT(link(at(seen, "a"), at(seen, "b")), 0);
	CHECK_INT(unlink(at(seen, "a")), 0);
	put_file(seen, "a", "another", 0644);
	CHECK_INT(self_fd_link(nameless, at(seen, "named")), 0);
	CHECK_INT(begin_with(&s, tree_dir, NULL), 0);
	CHECK_INT(write(fd, "x", 1), 1);
	CHECK_INT(take(&s), 1);
	CHECK(has_inode(&s, "b"));
	CHECK(!has_inode(&s, "a"));
	CHECK_INT(write(nameless, "x", 1), 1);
	CHECK_INT(take(&s), 1);
	CHECK(has_inode(&s, "named"));
	/* opened outside of the tree */
	snprintf(outside, sizeof(outside), "%s/outside", top);
	foreign = open(outside, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_INT(link(outside, at(tree_dir, "inside")), 0);
	CHECK_INT(unlink(outside), 0);
	CHECK_INT(take(&s), 1);
	CHECK(has_path(&s, "inside", WATCH_LOOK | WATCH_SEND));
	CHECK_INT(write(foreign, "x", 1), 1);
	CHECK_INT(take(&s), 1);
	CHECK(has_inode(&s, "inside"));
	unlink(at(tree_dir, "inside"));
}

/* Stores are not seen; the end of the last mapping is, whoever had it. */
static void mappings(void)
{
	_cleanup_set_ struct set s = { .root_fd = -EBADF };
	int fd = open_seen("mapped", O_RDWR | O_CREAT);
	char *p;

	CHECK_INT(ftruncate(fd, 4096), 0);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	CHECK_INT(begin_with(&s, tree_dir, NULL), 0);
	*p = 'x';
	close(fd);
	CHECK_INT(take(&s), 1);
	CHECK(!has_inode(&s, "mapped"));
	*p = 'y';
	munmap(p, 4096);
	CHECK_INT(take(&s), 1);
	CHECK(has_inode(&s, "mapped"));
}

static void other_ways_in(void)
{
	_cleanup_set_ struct set s = { .root_fd = -EBADF };
	char elsewhere[PATH_MAX];
	pid_t pid;

	mkdir(at(seen, "sub"), 0755);
	put_file(seen, "sub/f", "1", 0644);
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", top);
	mkdir(elsewhere, 0755);
	CHECK_INT(mount(at(seen, "sub"), elsewhere, NULL, MS_BIND, NULL), 0);
	CHECK_INT(begin_with(&s, tree_dir, NULL), 0);
	/* a bind mount of a part of it; by another container: in a mount namespace of its own */
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0)
			_exit(1);
		put_file(elsewhere, "f", "22", 0644);
		put_file(elsewhere, "g", "22", 0644);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	umount2(elsewhere, MNT_DETACH);
	CHECK_INT(take(&s), 1);
	CHECK(has_inode(&s, "sub/f"));
	CHECK(has_path(&s, "sub/g", WATCH_LOOK));
	/* by somebody on the host */
	put_file(tree_dir, "sub/f", "333", 0644);
	CHECK_INT(take(&s), 1);
	CHECK(has_inode(&s, "sub/f"));
}

static void copied_up(void)
{
	_cleanup_set_ struct set s = { .root_fd = -EBADF };
	_cleanup_close_ int fd = -EBADF;

	CHECK_INT(begin_with(&s, tree_dir, NULL), 0);
	fd = open_seen("image", O_RDWR);
	CHECK_INT(take(&s), 1);
	CHECK(has_path(&s, "image", WATCH_LOOK | WATCH_SEND));
	CHECK_INT(write(fd, "x", 1), 1);
	CHECK_INT(take(&s), 1);
	CHECK(has_inode(&s, "image"));
	CHECK_INT(chmod(at(seen, "folder/image"), 0600), 0);
	CHECK_INT(unlink(at(seen, "doomed")), 0);
	CHECK_INT(take(&s), 1);
	CHECK(has_path(&s, "folder", WATCH_LOOK | WATCH_DEEP));
	CHECK(has_path(&s, "doomed", WATCH_LOOK));
}

/* The kernel's queue, our limits: what is lost is said to be lost, and found again by a walk. */
static void too_much(void)
{
	const struct rb_watch_limits few_changes = { .change_bytes = 8192 },
				     few_folders = { .folder_bytes = 8192 };

	for (int i = 0; i < 2; i++) {
		_cleanup_set_ struct set s = { .root_fd = -EBADF };
		char name[32];

		CHECK_INT(begin_with(&s, tree_dir, i ? &few_folders : &few_changes), 0);
		mkdir(at(seen, "many"), 0755);
		for (int k = 0; k < 300; k++) {
			snprintf(name, sizeof(name), "many%d", k);
			i ? mkdir(at(seen, name), 0755) : mknod(at(seen, name), S_IFREG | 0600, 0);
		}
		if (i) {
			watched_restart(s.tree);
			walk(s.tree, again(s.root_fd), "");
		}
		CHECK_INT(take(&s), 0);
		for (int k = 0; k < 300; k++) {
			snprintf(name, sizeof(name), "many%d", k);
			remove(at(seen, name));
		}
		CHECK_INT(take(&s), 0);
		watched_restart(s.tree);
		walk(s.tree, again(s.root_fd), "");
		CHECK_INT(take(&s), 1);
		rmdir(at(seen, "many"));
	}
}

static int set_queue(int events)
{
	FILE *f = fopen("/proc/sys/fs/fanotify/max_queued_events", "r+e");
	int before = 0;

	if (!f || fscanf(f, "%d", &before) != 1)
		abort();
	rewind(f);
	fprintf(f, "%d", events);
	fclose(f);
	return before;
}

static void queue_overflows(void)
{
	_cleanup_set_ struct set s = { .root_fd = -EBADF };
	int before = set_queue(16);
	char name[64];
	int taken;

	CHECK_INT(begin_with(&s, tree_dir, NULL), 0);
	set_queue(before);
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		mknod(at(tree_dir, name), S_IFREG | 0600, 0);
	}
	taken = take(&s);
	/* should the thread have kept up with it, nothing is missing */
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		CHECK(taken == 0 || has_path(&s, name, WATCH_LOOK));
		unlink(at(tree_dir, name));
	}
}

/* A table that only grows would end every watch some day. */
static void dead_folders_leave(void)
{
	const struct rb_watch_limits small = { .folder_bytes = 40000 };
	_cleanup_set_ struct set s = { .root_fd = -EBADF };

	CHECK_INT(begin_with(&s, tree_dir, &small), 0);
	for (int i = 0; i < 2000; i++) {
		_cleanup_close_ int fd = -EBADF;

		CHECK_INT(mkdir(at(seen, "short"), 0755), 0);
		fd = open(at(tree_dir, "short"), O_RDONLY | O_CLOEXEC);
		watched_folder(s.tree, fd, "short");
		rb_close_fd(&fd);
		CHECK_INT(rmdir(at(seen, "short")), 0);
		if (i % 50 == 0)
			CHECK_INT(take(&s), 1);
	}
	CHECK_INT(take(&s), 1);
}

static void path_too_long(void)
{
	_cleanup_set_ struct set s = { .root_fd = -EBADF };
	char name[256], path[PATH_MAX];
	int fd = open(tree_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	memset(name, 'd', 250);
	name[250] = '\0';
	CHECK_INT(begin_with(&s, tree_dir, NULL), 0);
	*path = '\0';
	for (int i = 0; i < 16; i++) {
		int below;

		mkdirat(fd, name, 0755);
		below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		snprintf(path + strlen(path), sizeof(path) - strlen(path), "%s%s", i ? "/" : "",
			 name);
		watched_folder(s.tree, below, path);
		close(fd);
		fd = below;
	}
	CHECK_INT(take(&s), 1);
	CHECK_INT(mknodat(fd, name, S_IFREG | 0600, 0), 0);
	CHECK_INT(take(&s), 0);
	close(fd);
	snprintf(path, sizeof(path), "%s/%s", tree_dir, name);
	rb_rm_rf(path, NULL);
}

/* Nested trees, and a folder that goes from one to the other. */
static void two_trees(void)
{
	_cleanup_set_ struct set s = { .root_fd = -EBADF };
	_cleanup_close_ int fd = -EBADF;
	struct watched *inner = NULL;
	struct watch_changes got = {};

	mkdir(at(tree_dir, "inner"), 0755);
	CHECK_INT(begin_with(&s, tree_dir, NULL), 0);
	fd = open(at(tree_dir, "inner"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_INT(watch_tree(s.watch, fd, &inner), 0);
	CHECK_INT(watched_take(inner, &got), 0);
	watched_restart(inner);
	walk(inner, again(fd), "");
	put_file(tree_dir, "inner/f", "1", 0644);
	CHECK_INT(take(&s), 1);
	CHECK(has_path(&s, "inner/f", WATCH_LOOK));
	CHECK_INT(watched_take(inner, &got), 1);
	CHECK(path_set_find(&got.paths, "f") != NULL);
	watch_changes_release(&got);
	watch_forget(inner);
	put_file(tree_dir, "inner/g", "1", 0644);
	CHECK_INT(take(&s), 1);
	CHECK(has_path(&s, "inner/g", WATCH_LOOK));
}

/* One that others write to over a network, or has several numbers, is walked through. */
static void refused_system(void)
{
	_cleanup_set_ struct set s = { .root_fd = -EBADF };

	CHECK_INT(begin_with(&s, "/proc/self", NULL), 0);
	CHECK_INT(take(&s), 0);
	CHECK(*rb_watch_why(s.watch) != '\0');
	watched_restart(s.tree);
	CHECK_INT(take(&s), 0);
}

static void number_sets(void)
{
	struct number_set set = {};

	for (uint64_t i = 0; i < 100000; i++)
		CHECK_INT(number_set_add(&set, i * 7 % 1000), 0);
	CHECK(set.size <= 4096);
	number_set_sort(&set);
	CHECK_INT(set.n, 1000);
	CHECK_INT(set.numbers[999], 999);
	number_set_free(&set);
}

int main(void)
{
	tree_folder(top, "watch");
	TAP_RUN(number_sets);
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		TAP_SKIP(names, "needs root");
		return tap_done();
	}
	for (int i = 0; i < 3; i++) {
		int r;

		/* on tmpfs inodes have to be asked for by their handles */
		if (i == 2) {
			setenv("TMPDIR", "/dev/shm", 1);
			tree_folder(top, "watch");
		}
		r = i ? make_volume() : make_overlay();
		is_overlay = i == 0;

		if (r < 0 || !watch_sees_overlay()) {
			TAP_SKIP(names,
				 "this kernel does not report what happens below an overlay");
			continue;
		}
		TAP_RUN(content_of_a_file);
		TAP_RUN(names);
		TAP_RUN(names_that_lie);
		TAP_RUN(mappings);
		TAP_RUN(other_ways_in);
		if (i == 0)
			TAP_RUN(copied_up);
		TAP_RUN(too_much);
		TAP_RUN(dead_folders_leave);
		TAP_RUN(queue_overflows);
		TAP_RUN(path_too_long);
		TAP_RUN(two_trees);
		umount2(seen, MNT_DETACH);
	}
	TAP_RUN(refused_system);
	return tap_done();
}
