// SPDX-License-Identifier: Apache-2.0
/*
 * test_overlay.c - an overlay is found, taken away, and shows its changed upper folder afterwards
 *
 * Everything happens in a mount namespace of its own, so that no mount survives the test.
 */
#include "overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"
#include "mounts.h"
#include "tap.h"
#include "tree_util.h"

#define LAYERS 120

struct stack {
	char root[PATH_MAX];
	char merged[PATH_MAX];
	struct rb_overlay overlay;
	struct rb_err err;
};

static void release(struct stack *s)
{
	rb_overlay_free(&s->overlay);
	while (umount2(s->merged, MNT_DETACH) == 0)
		;
}
#define _cleanup_stack_ __attribute__((cleanup(release)))

/* As Docker does: <root>/<id>/{merged,diff,work}, lower folders as <root>/l/<name> */
static void make_folders(struct stack *s, int layers)
{
	char name[64];

	tree_folder(s->root, "overlay");
	mkdir(at(s->root, "l"), 0755);
	mkdir(at(s->root, "my id"), 0755);
	mkdir(at(s->root, "my id/merged"), 0755);
	mkdir(at(s->root, "my id/diff"), 0755);
	mkdir(at(s->root, "my id/work"), 0755);
	for (int i = 0; i < layers; i++) {
		snprintf(name, sizeof(name), "l/LAYER-WITH-26-CHARACTERS%03d", i);
		mkdir(at(s->root, name), 0755);
		strcat(name, "/file");
		put_file(s->root, name, "lower", 0644);
	}
	strcpy(s->merged, at(s->root, "my id/merged"));
}

/* Return: 0 or errno */
static int mount_overlay(const struct stack *s, const char *prefix, int layers, const char *more)
{
	_cleanup_buf_ struct rb_buf options = {};
	char cwd[PATH_MAX];
	int r;

	rb_buf_addf(&options, "lowerdir=");
	for (int i = 0; i < layers; i++)
		rb_buf_addf(&options, "%s%sl/LAYER-WITH-26-CHARACTERS%03d", i ? ":" : "", prefix,
			    i);
	rb_buf_addf(&options, ",upperdir=%smy id/diff,workdir=%smy id/work%s", prefix, prefix,
		    more);
	if (!getcwd(cwd, sizeof(cwd)) || chdir(s->root) < 0)
		return errno;
	r = mount("overlay", s->merged, "overlay", MS_NOSUID | MS_NOATIME, options.data) < 0 ? errno
											     : 0;
	return chdir(cwd) < 0 ? errno : r;
}

static bool shows(const struct stack *s, const char *name, const char *want)
{
	_cleanup_buf_ struct rb_buf text = {};

	if (rb_read_file(at(s->merged, name), 0, &text, NULL) < 0)
		return want == NULL;
	return want && strcmp(text.data, want) == 0;
}

static bool is_mounted(const struct stack *s)
{
	_cleanup_(mount_line_release) struct mount_line line = {};

	return mounts_find("/proc/self/mountinfo", s->merged, &line) == 1;
}

static void look_up(const struct stack *s)
{
	struct stat st;

	for (int i = 0; i < 2; i++) {
		stat(at(s->merged, "file"), &st);
		stat(at(s->merged, "new"), &st);
		stat(at(s->merged, "folder/new"), &st);
		stat(at(s->merged, "gone"), &st);
	}
}

static void change_upper(const struct stack *s)
{
	put_file(s->root, "my id/diff/file", "upper", 0644);
	put_file(s->root, "my id/diff/new", "new", 0644);
	put_file(s->root, "my id/diff/folder/new", "new below", 0644);
	mknod(at(s->root, "my id/diff/gone"), S_IFCHR, 0);
	mkdir(at(s->root, "my id/diff/hides"), 0755);
	setxattr(at(s->root, "my id/diff/hides"), "trusted.overlay.opaque", "y", 1, 0);
}

static void changes_show(void)
{
	_cleanup_stack_ struct stack s = {};
	struct stat before, after;

	make_folders(&s, 1);
	put_file(s.root, "l/LAYER-WITH-26-CHARACTERS000/gone", "x", 0644);
	mkdir(at(s.root, "l/LAYER-WITH-26-CHARACTERS000/hides"), 0755);
	put_file(s.root, "l/LAYER-WITH-26-CHARACTERS000/hides/this", "x", 0644);
	mkdir(at(s.root, "my id/diff/folder"), 0755);
	CHECK_INT(mount_overlay(&s, at(s.root, ""), 1, ",index=off"), 0);
	look_up(&s);
	CHECK(shows(&s, "file", "lower") && shows(&s, "hides/this", "x"));
	CHECK_INT(stat(s.merged, &before), 0);
	CHECK_INT(rb_overlay_find(s.merged, &s.overlay, &s.err), 0);
	CHECK_INT(rb_overlay_detach(&s.overlay, &s.err), 0);
	CHECK(!is_mounted(&s));
	change_upper(&s);
	CHECK_INT(rb_overlay_attach(&s.overlay, &s.err), 0);
	CHECK(shows(&s, "file", "upper"));
	CHECK(shows(&s, "new", "new"));
	CHECK(shows(&s, "folder/new", "new below"));
	CHECK(shows(&s, "gone", NULL));
	CHECK(shows(&s, "hides/this", NULL));
	CHECK_INT(stat(s.merged, &after), 0);
	CHECK_INT(after.st_ino, before.st_ino);
	put_file(s.merged, "written", "through the overlay", 0644);
	CHECK_INT(access(at(s.root, "my id/diff/written"), F_OK), 0);
}

/* What is mounted the second time says the same about itself as the first. */
static void same_mount(void)
{
	_cleanup_(mount_line_release) struct mount_line before = {}, after = {};
	_cleanup_stack_ struct stack s = {};

	make_folders(&s, 2);
	CHECK_INT(mount_overlay(&s, at(s.root, ""), 2,
				",index=off,metacopy=off,redirect_dir=on,xino=on"),
		  0);
	CHECK_INT(mounts_find("/proc/self/mountinfo", s.merged, &before), 1);
	CHECK_INT(rb_overlay_find(s.merged, &s.overlay, &s.err), 0);
	CHECK_STR(s.overlay.upper, at(s.root, "my id/diff"));
	CHECK_STR(s.overlay.work, at(s.root, "my id/work"));
	CHECK_INT(rb_overlay_detach(&s.overlay, &s.err), 0);
	CHECK_INT(rb_overlay_attach(&s.overlay, &s.err), 0);
	CHECK_INT(mounts_find("/proc/self/mountinfo", s.merged, &after), 1);
	CHECK_STR(after.options, before.options);
	CHECK_STR(after.super_options, before.super_options);
}

/* More layers than fit into a page with absolute paths: Docker changes to the folder above. */
static void relative_layers(void)
{
	_cleanup_stack_ struct stack s = {};
	char cwd[PATH_MAX], now[PATH_MAX];

	make_folders(&s, LAYERS);
	CHECK_INT(mount_overlay(&s, "", LAYERS, ",index=off"), 0);
	CHECK(getcwd(cwd, sizeof(cwd)));
	CHECK_INT(rb_overlay_find(s.merged, &s.overlay, &s.err), 0);
	CHECK_STR(s.overlay.upper, at(s.root, "my id/diff"));
	CHECK_STR(s.overlay.base, s.root);
	CHECK_INT(rb_overlay_detach(&s.overlay, &s.err), 0);
	put_file(s.root, "my id/diff/file", "upper", 0644);
	CHECK_INT(rb_overlay_attach(&s.overlay, &s.err), 0);
	CHECK(shows(&s, "file", "upper"));
	CHECK(getcwd(now, sizeof(now)));
	CHECK_STR(now, cwd);
}

/* containerd: relative lower folders, absolute upper folder, mounted somewhere else */
static void base_around_upper(void)
{
	_cleanup_stack_ struct stack s = {};
	char options[4 * PATH_MAX], cwd[PATH_MAX];

	make_folders(&s, 1);
	tree_folder(s.merged, "elsewhere");
	snprintf(options, sizeof(options),
		 "lowerdir=l/LAYER-WITH-26-CHARACTERS000,"
		 "upperdir=%s/my id/diff,workdir=%s/my id/work",
		 s.root, s.root);
	CHECK(getcwd(cwd, sizeof(cwd)));
	CHECK_INT(chdir(s.root), 0);
	CHECK_INT(mount("overlay", s.merged, "overlay", 0, options), 0);
	CHECK_INT(chdir(cwd), 0);
	CHECK_INT(rb_overlay_find(s.merged, &s.overlay, &s.err), 0);
	CHECK_STR(s.overlay.base, s.root);
	CHECK_INT(rb_overlay_detach(&s.overlay, &s.err), 0);
	CHECK_INT(rb_overlay_attach(&s.overlay, &s.err), 0);
	CHECK(shows(&s, "file", "lower"));
}

static void not_an_overlay(void)
{
	_cleanup_stack_ struct stack s = {};

	make_folders(&s, 0);
	CHECK_INT(rb_overlay_find(s.merged, &s.overlay, &s.err), -ENOENT);
	CHECK_INT(rb_overlay_find("/nowhere", &s.overlay, &s.err), -ENOENT);
	CHECK_INT(mount("tmpfs", s.merged, "tmpfs", 0, NULL), 0);
	CHECK_INT(rb_overlay_find(s.merged, &s.overlay, &s.err), -EINVAL);
	CHECK_INT(s.err.code, RB_E_REFUSED);
	CHECK(strstr(s.err.msg, "tmpfs"));
}

static void busy(void)
{
	_cleanup_stack_ struct stack s = {};
	_cleanup_close_ int fd = -EBADF;

	make_folders(&s, 1);
	CHECK_INT(mount_overlay(&s, at(s.root, ""), 1, ""), 0);
	CHECK_INT(rb_overlay_find(s.merged, &s.overlay, &s.err), 0);
	fd = open(at(s.merged, "file"), O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_INT(rb_overlay_detach(&s.overlay, &s.err), -EBUSY);
	CHECK(shows(&s, "file", "lower"));
}

/* A copy in somebody's private namespace keeps what was looked up. */
static void mounted_elsewhere(void)
{
	_cleanup_stack_ struct stack s = {};
	struct stat before, after;
	char number[32];
	int ready[2], r;
	pid_t pid;

	make_folders(&s, 1);
	CHECK_INT(mount_overlay(&s, at(s.root, ""), 1, ""), 0);
	CHECK_INT(rb_overlay_find(s.merged, &s.overlay, &s.err), 0);
	CHECK_INT(stat(s.merged, &before), 0);
	CHECK_INT(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) == 0 &&
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		    write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	CHECK_INT(read(ready[0], number, 1), 1);
	r = rb_overlay_detach(&s.overlay, &s.err);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	CHECK_INT(r, -EBUSY);
	snprintf(number, sizeof(number), "process %d", (int)pid);
	CHECK(strstr(s.err.msg, number));
	CHECK(shows(&s, "file", "lower")); /* it is there again, and is the same */
	CHECK_INT(stat(s.merged, &after), 0);
	CHECK_INT(after.st_dev, before.st_dev);
	CHECK_INT(rb_overlay_detach(&s.overlay, &s.err), 0);
	CHECK(!is_mounted(&s));
}

int main(void)
{
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		printf("1..0 # SKIP no mount namespace: %s\n", strerror(errno));
		return 0;
	}
	TAP_RUN(changes_show);
	TAP_RUN(same_mount);
	TAP_RUN(relative_layers);
	TAP_RUN(base_around_upper);
	TAP_RUN(not_an_overlay);
	TAP_RUN(busy);
	TAP_RUN(mounted_elsewhere);
	return tap_done();
}
