// SPDX-License-Identifier: Apache-2.0
/*
 * test_tree.c - trees arrive as they were, whole and as differences
 */
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"
#include "tap.h"
#include "tree_util.h"
#include "wait.h"

static void free_manifest(struct rb_manifest **m)
{
	rb_manifest_free(*m);
}
#define _cleanup_manifest_ _cleanup_(free_manifest)

#define CHECK_MOVE(from, to, base, ret_now, stats)                         \
	do {                                                               \
		struct rb_err _err = {};                                   \
		int _r = tree_move(from, to, base, ret_now, stats, &_err); \
		if (_r < 0)                                                \
			printf("# %s\n", _err.msg);                        \
		CHECK_INT(_r, 0);                                          \
	} while (0)

#define CHECK_SAME(a, b)                                \
	do {                                            \
		const char *_d = tree_difference(a, b); \
		if (_d)                                 \
			printf("# %s\n", _d);           \
		CHECK(!_d);                             \
	} while (0)

/* user::rwx, user:1234:r-x, group::r-x, mask::r-x, other::--- as the kernel keeps it */
static const unsigned char acl[] = { 2,	  0,   0,   0,	 1,   0,    7,	0,   255, 255, 255,
				     255, 2,   0,   5,	 0,   0xd2, 4,	0,   0,	  4,   0,
				     5,	  0,   255, 255, 255, 255,  16, 0,   5,	  0,   255,
				     255, 255, 255, 32,	 0,   0,    0,	255, 255, 255, 255 };

static void set_times(const char *path, time_t atime, time_t mtime, long ns)
{
	const struct timespec times[2] = { { atime, 5 }, { mtime, ns } };

	if (utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) < 0)
		abort();
}

static void put_sparse(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || pwrite(fd, "begin", 5, 1 << 20) != 5 || pwrite(fd, "end", 3, 9 << 20) != 3 ||
	    ftruncate(fd, (1LL << 33) + 77) < 0)
		abort();
	close(fd);
}

static void put_socket(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		abort();
	close(fd);
}

/* One of everything. */
static void plant(const char *root)
{
	static char big[300000];
	char name[NAME_MAX + 1];

	memset(big, 'x', sizeof(big) - 1);
	mkdir(at(root, "folder"), 0750);
	mkdir(at(root, "folder/deeper"), 0000);
	mkdir(at(root, "folder/sticky"), 01777);
	put_file(root, "folder/plain", "hello\n", 0644);
	put_file(root, "folder/empty", "", 0400);
	put_file(root, "folder/setuid", "#!\n", 04755);
	put_file(root, "folder/deeper/big", big, 0600);
	put_file(root, "folder/._mac", "not a resource fork", 0644);
	put_file(root, "folder/\xff\xfe bytes = 'odd'\n\\", "odd", 0644);
	put_file(root, "folder/umlaut-\xc3\xa4", "utf8", 0644);
	memset(name, 'n', NAME_MAX);
	name[NAME_MAX] = '\0';
	put_file(root, name, "long name", 0644);
	put_sparse(at(root, "sparse"));
	truncate(at(root, "folder/empty"), 3 << 20); /* nothing but a hole */
	symlink("folder/plain", at(root, "link"));
	symlink("/nowhere/\xff", at(root, "dangling"));
	link(at(root, "folder/plain"), at(root, "hard"));
	link(at(root, "folder/plain"), at(root, "folder/deeper/hard"));
	link(at(root, "link"), at(root, "hard-link-to-link"));
	mkfifo(at(root, "fifo"), 0620);
	put_socket(at(root, "socket"));
	mknod(at(root, "null"), S_IFCHR | 0666, makedev(1, 3));
	mknod(at(root, "block"), S_IFBLK | 0660, makedev(259, 100000));
	mknod(at(root, "whiteout"), S_IFCHR, makedev(0, 0));
	link(at(root, "whiteout"), at(root, "whiteout2"));
	chown(at(root, "folder/plain"), 1000, 4000000000u);
	chown(at(root, "folder/setuid"), 1000, 1000);
	chmod(at(root, "folder/setuid"), 06755);
	lchown(at(root, "link"), 7, 8);
	chown(at(root, "folder/sticky"), 33, 33);
	set_times(at(root, "folder/plain"), 1000000000, 1234567890, 123456789);
	set_times(at(root, "folder/setuid"), -5, -2, 500000000);
	set_times(at(root, "link"), 77, 88, 99);
	set_times(at(root, "null"), 1, 2, 3);
	set_times(at(root, "folder/deeper"), 1, 2, 3);
	set_times(root, 1, 1111111111, 1);
	chmod(root, 01711);
	chown(root, 12, 34);
}

static void plant_xattrs(const char *root)
{
	static const unsigned char caps[20] = { 1, 0, 0, 2, 0, 4 };
	unsigned char dflt[sizeof(acl)];

	memcpy(dflt, acl, sizeof(acl));
	mkdir(at(root, "acl"), 0755);
	setxattr(at(root, "acl"), "system.posix_acl_access", acl, sizeof(acl), 0);
	setxattr(at(root, "acl"), "system.posix_acl_default", dflt, sizeof(dflt), 0);
	put_file(root, "acl/inherits", "x", 0640);
	put_file(root, "acl/none", "x", 0640);
	mkdir(at(root, "acl/below"), 0755);
	removexattr(at(root, "acl/none"), "system.posix_acl_access");
	chmod(at(root, "acl/none"), 0604);
	setxattr(at(root, "acl/none"), "user.empty", "", 0, 0);
	setxattr(at(root, "acl/none"), "user.a=b % \xc3\xa4", "\0\n=\xff", 4, 0);
	setxattr(at(root, "acl/none"), "security.capability", caps, sizeof(caps), 0);
	setxattr(at(root, "acl/none"), "trusted.overlay.origin", "host", 4, 0);
	setxattr(at(root, "acl"), "trusted.overlay.opaque", "y", 1, 0);
	setxattr(at(root, "acl/below"), "trusted.overlay.redirect", "/else/where", 11, 0);
	setxattr(at(root, "acl/below"), "trusted.overlay.impure", "y", 1, 0);
	symlink("x", at(root, "acl/link"));
	lsetxattr(at(root, "acl/link"), "trusted.on-link", "z", 1, 0);
	setxattr(root, "trusted.on-root", "r", 1, 0);
	mkfifo(at(root, "acl/fifo"), 0600);
	lsetxattr(at(root, "acl/fifo"), "trusted.on-fifo", "f", 1, 0);
}

static void whole_tree(void)
{
	char a[PATH_MAX], b[PATH_MAX], value[8];
	struct rb_tree_stats stats;

	tree_folder(a, "whole-a");
	tree_folder(b, "whole-b");
	plant(a);
	plant_xattrs(a);
	CHECK_MOVE(a, b, NULL, NULL, &stats);
	CHECK_SAME(a, b);
	CHECK(getxattr(at(a, "acl/none"), "trusted.overlay.origin", value, sizeof(value)) == 4);
	CHECK(getxattr(at(b, "acl/none"), "trusted.overlay.origin", value, sizeof(value)) < 0);
	/* over what is there: nothing is left of the first time */
	setxattr(at(b, "acl"), "user.old", "1", 1, 0);
	CHECK_MOVE(a, b, NULL, NULL, &stats);
	CHECK_SAME(a, b);
}

static void nothing_new(void)
{
	char a[PATH_MAX], b[PATH_MAX];
	_cleanup_manifest_ struct rb_manifest *m1 = NULL, *m2 = NULL;
	struct rb_tree_stats stats;

	tree_folder(a, "same-a");
	tree_folder(b, "same-b");
	plant(a);
	let_clock_tick();
	CHECK_MOVE(a, b, NULL, &m1, &stats);
	CHECK_MOVE(a, b, m1, &m2, &stats);
	CHECK_INT(stats.files, 0);
	CHECK_INT(stats.bytes, 0);
	CHECK_INT(stats.removed, 0);
	CHECK_SAME(a, b);
}

static void change(const char *a)
{
	put_file(a, "folder/plain", "HELLO\n", 0644); /* same size, and has two other names */
	put_file(a, "new", "new", 0600);
	link(at(a, "folder/setuid"), at(a, "folder/sticky/new-link"));
	unlink(at(a, "link"));
	unlink(at(a, "hard"));
	rb_rm_rf(at(a, "folder/deeper"), NULL);
	chmod(at(a, "fifo"), 0600);
	setxattr(at(a, "folder"), "user.new", "1", 1, 0);
	/* file to folder, folder to file, file to link */
	unlink(at(a, "sparse"));
	mkdir(at(a, "sparse"), 0700);
	put_file(a, "sparse/now-a-folder", "1", 0600);
	rb_rm_rf(at(a, "gone"), NULL);
	put_file(a, "gone", "was a folder", 0600);
	unlink(at(a, "null"));
	symlink("socket", at(a, "null"));
	/* replaced by rename, same size and mtime as before */
	put_file(a, "tmp", "long NAME", 0644);
	rename(at(a, "tmp"), at(a, "folder/._mac"));
	unlink(at(a, "whiteout2"));
	put_file(a, "folder/a", "", 0600);
	put_file(a, "folder-b", "", 0600); /* sorts between folder and folder/a */
}

static void differences(void)
{
	char a[PATH_MAX], b[PATH_MAX];
	_cleanup_manifest_ struct rb_manifest *m1 = NULL, *m2 = NULL, *m3 = NULL;
	struct rb_tree_stats stats;

	tree_folder(a, "diff-a");
	tree_folder(b, "diff-b");
	plant(a);
	mkdir(at(a, "gone"), 0700);
	mkdir(at(a, "gone/below"), 0700);
	put_file(a, "gone/below/file", "x", 0600);
	CHECK_MOVE(a, b, NULL, &m1, &stats);
	change(a);
	CHECK_MOVE(a, b, m1, &m2, &stats);
	CHECK_SAME(a, b);
	rb_rm_rf(at(a, "folder"), NULL);
	CHECK_MOVE(a, b, m2, &m3, &stats);
	CHECK_INT(stats.removed, 1); /* its content goes with it */
	CHECK_SAME(a, b);
}

/* what CRIU has there for a moment is nothing of the container; what only looks like it is */
static void scratch_of_criu(void)
{
	char a[PATH_MAX], b[PATH_MAX];
	struct rb_tree_stats stats;

	tree_folder(a, "scratch-a");
	tree_folder(b, "scratch-b");
	mkdir(at(a, "tmp"), 0700);
	mkdir(at(a, "tmp/cr-tmpfs.yHUbg7"), 0700);
	mkdir(at(a, "cr-tmpfs.a1B2c3"), 0700);
	mkdir(at(a, "tmp/cr-tmpfs.yHUbg78"), 0700);
	put_file(a, "tmp/cr-tmpfs.abcdef", "a file", 0600);
	CHECK_MOVE(a, b, NULL, NULL, &stats);
	CHECK(access(at(b, "tmp/cr-tmpfs.yHUbg7"), F_OK) < 0);
	CHECK(access(at(b, "cr-tmpfs.a1B2c3"), F_OK) < 0);
	CHECK(access(at(b, "tmp/cr-tmpfs.yHUbg78"), F_OK) == 0);
	CHECK(access(at(b, "tmp/cr-tmpfs.abcdef"), F_OK) == 0);
}

/* Writing a file in place does not move its folder's times; receiving it must not either. */
static void folder_times(void)
{
	char a[PATH_MAX], b[PATH_MAX];
	_cleanup_manifest_ struct rb_manifest *m1 = NULL;
	struct rb_tree_stats stats;

	tree_folder(a, "times-a");
	tree_folder(b, "times-b");
	mkdir(at(a, "d"), 0700);
	put_file(a, "d/file", "1", 0600);
	set_times(at(a, "d"), 5, 6, 7);
	let_clock_tick();
	CHECK_MOVE(a, b, NULL, &m1, &stats);
	put_file(a, "d/file", "2", 0600);
	CHECK_MOVE(a, b, m1, NULL, &stats);
	CHECK_INT(stats.files, 2);
	CHECK_SAME(a, b);
}

/* Three names; only one of them differs for the manifest, all three must stay one file. */
static void links_in_differences(void)
{
	char a[PATH_MAX], b[PATH_MAX];
	_cleanup_manifest_ struct rb_manifest *m1 = NULL, *m2 = NULL;
	struct rb_tree_stats stats;
	struct stat x, y;

	tree_folder(a, "links-a");
	tree_folder(b, "links-b");
	put_file(a, "1", "one", 0600);
	link(at(a, "1"), at(a, "2"));
	CHECK_MOVE(a, b, NULL, &m1, &stats);
	link(at(a, "1"), at(a, "0"));
	CHECK_MOVE(a, b, m1, &m2, &stats);
	CHECK_SAME(a, b);
	CHECK(stat(at(b, "0"), &x) == 0 && stat(at(b, "2"), &y) == 0);
	CHECK_INT(x.st_ino, y.st_ino);
	CHECK_INT(x.st_nlink, 3);
}

static void many_holes(void)
{
	char a[PATH_MAX], b[PATH_MAX];
	struct rb_tree_stats stats;
	int fd;

	tree_folder(a, "holes-a");
	tree_folder(b, "holes-b");
	fd = open(at(a, "file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	for (off_t i = 0; i < 4000; i++)
		CHECK(pwrite(fd, "x", 1, i * 65536) == 1);
	close(fd);
	CHECK_MOVE(a, b, NULL, NULL, &stats);
	CHECK_INT(stats.bytes, 4000ll * 4096 - 4095);
	CHECK_SAME(a, b);
}

static void mount_inside(void)
{
	char a[PATH_MAX], b[PATH_MAX];
	struct rb_tree_stats stats;
	struct rb_err err = {};
	int r;

	tree_folder(a, "mount-a");
	tree_folder(b, "mount-b");
	mkdir(at(a, "m"), 0700);
	if (mount("rbtest", at(a, "m"), "tmpfs", 0, NULL) < 0) {
		printf("# cannot mount: %s\n", strerror(errno));
		tap_ok = false;
		return;
	}
	r = tree_move(a, b, NULL, NULL, &stats, &err);
	umount(at(a, "m"));
	CHECK_INT(r, -EXDEV);
	CHECK_INT(err.code, RB_E_REFUSED);
	CHECK(strstr(err.msg, "/m'"));
}

static void size_on_disk(void)
{
	_cleanup_close_ int fd = -EBADF;
	char a[PATH_MAX];
	uint64_t bytes, more;

	tree_folder(a, "size");
	fd = open(a, O_RDONLY | O_CLOEXEC);
	CHECK_INT(rb_tree_size(fd, a, &bytes, NULL, NULL), 0);
	put_file(a, "file", "1", 0600);
	link(at(a, "file"), at(a, "link"));
	CHECK_INT(rb_sync_system(-EBADF, a, NULL, NULL), 0);
	CHECK_INT(rb_tree_size(fd, a, &more, NULL, NULL), 0);
	CHECK_INT(more - bytes, 4096);
}

/* What waits for a server that is gone cannot be ended: nobody waits for it in his turn. */
static void a_sync_can_be_given_up(void)
{
	struct rb_wait wait = { .cancel_fd = eventfd(1, EFD_CLOEXEC) };
	_cleanup_close_ int fd = -EBADF;
	struct rb_err err = {};
	char a[PATH_MAX];

	tree_folder(a, "sync");
	fd = open(a, O_RDONLY | O_CLOEXEC);
	CHECK_INT(rb_sync_system(fd, a, NULL, &err), 0);
	CHECK_INT(rb_sync_system(fd, a, &wait, &err), -ECANCELED);
	CHECK_INT(rb_sync_system(-EBADF, at(a, "nothing"), NULL, &err), -EIO);
	CHECK(strstr(err.msg, "/nothing' has to its disk"));
	close(wait.cancel_fd);
}

int main(void)
{
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	umask(0);
	TAP_RUN(whole_tree);
	TAP_RUN(nothing_new);
	TAP_RUN(differences);
	TAP_RUN(scratch_of_criu);
	TAP_RUN(folder_times);
	TAP_RUN(links_in_differences);
	TAP_RUN(many_holes);
	TAP_RUN(mount_inside);
	TAP_RUN(size_on_disk);
	TAP_RUN(a_sync_can_be_given_up);
	return tap_done();
}
