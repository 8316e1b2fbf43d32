// SPDX-License-Identifier: Apache-2.0
/*
 * test_tmpfs_looks.c - which files of a tmpfs travel in rounds, and that looking for them is in
 * nobody's way
 *
 * `test_tmpfs_looks TAR`, in a mount namespace of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io.h"
#include "tap.h"
#include "tmpfs_rig.h"

/* What could not be written down quickly, or is not the container's own, is left to CRIU. */
static void test_left_to_criu(void)
{
	static char bytes[60 << 10];

	CHECK(begin("size=1g"));
	CHECK(fill(there("one"), 0, PAGES, 1));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 1);
	memset(bytes, 'x', sizeof(bytes));
	for (int i = 0; i < 300; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%d", i);
		CHECK_INT(rb_write_file(there(name), bytes, sizeof(bytes), 0600, false, &err), 0);
	}
	rb_shared_begin(shared);
	CHECK_INT(rb_shared_add(shared, container, &err), 0);
	CHECK_INT(rb_shared_bytes(shared), 0);
	rb_shared_end(shared);
	CHECK_INT(send_all(false), 0);
	CHECK_INT(objects(), 0);
	end();
	/* in pieces that are huge */
	if (begin("size=1g,huge=within_size")) {
		CHECK(fill(there("one"), 0, PAGES, 1));
		CHECK_INT(send_round(false), 0);
		CHECK_INT(objects(), 0);
	}
	end();
	/* of the host, which the container sees as well */
	CHECK_INT(mount("shm", in("container"), "tmpfs", 0, "size=1g"), 0);
	CHECK(fill(in("container/one"), 0, PAGES, 1));
	CHECK(begin(NULL));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 0);
	end();
	umount2(in("container"), MNT_DETACH);
}

static int unmount(void)
{
	return umount2(in("container"), 0) < 0 ? errno : 0;
}

/* What the container deletes when it runs again is gone, and what it unmounts. */
static void test_thaw(void)
{
	struct statfs before, after;

	CHECK(begin(OPTIONS));
	CHECK_INT(statfs(container_path, &before), 0);
	CHECK(fill(there("one"), 0, PAGES, 1));
	CHECK(fill(there("two"), 0, PAGES, 1));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(hide(), 0);
	CHECK_INT(unlink(there("two")), 0);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(objects(), 1); /* its descriptor alone does not make it one */
	rb_shared_thaw(shared);
	CHECK_INT(unlink(there("one")), 0);
	CHECK_INT(statfs(container_path, &after), 0);
	CHECK_INT(after.f_bfree, before.f_bfree);
	CHECK_INT(in_container(unmount), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 0);
	end();
}

/* What could become too large is left to CRIU, at the latest when it does. Holes take nothing. */
static void test_sparse(void)
{
	const off_t most = (off_t)RB_TMPFS_FILE_MAX;

	CHECK(begin(OPTIONS));
	CHECK(fill(there("one"), 0, 100, 1));
	CHECK(fill(there("two"), 0, 100, 1));
	CHECK_INT(truncate(there("one"), most), 0);
	CHECK_INT(truncate(there("two"), most + 1), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 1);
	CHECK_INT(rb_receiver_pages(receiver), 100 + 1);
	CHECK_INT(look(), 0);
	CHECK_INT(truncate(there("one"), (off_t)1 << 41), 0);
	CHECK_INT(send_all(false), 0);
	CHECK_INT(objects(), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 0);
	CHECK_INT(rb_shared_bytes(shared), 0);
	end();
}

/* Neither takes the place of the other. */
static void test_many(void)
{
	static char bytes[64 << 10];
	const size_t size = 2 << 20;
	uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(begin("size=1g"));
	memset(bytes, 'x', sizeof(bytes));
	for (int i = 0; i < 520; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%d", i);
		CHECK_INT(rb_write_file(there(name), bytes, sizeof(bytes), 0600, false, &err), 0);
	}
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 512 + 1);
	end();
	munmap(at, size);
}

/* A file that goes from folder to folder is missed by who reads them one after the other. */
static void test_renamed(void)
{
	int missed = 0;
	pid_t pid;

	CHECK(begin(OPTIONS));
	CHECK(mkdir(there("a"), 0700) == 0 && mkdir(there("b"), 0700) == 0);
	CHECK(fill(there("a/one"), 0, PAGES, 1));
	CHECK_INT(send_round(false), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (rename(there("a/one"), there("b/one")) == 0 &&
		       rename(there("b/one"), there("a/one")) == 0)
			;
		_exit(1);
	}
	for (int i = 0; i < 300; i++) {
		CHECK_INT(look(), 0);
		missed += rb_shared_bytes(shared) != SIZE;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_INT(missed, 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, 0);
	end();
}

static int mount_inside(void)
{
	return mount("inner", in("container/sub"), "tmpfs", 0, OPTIONS) < 0 ? errno : 0;
}

/* What is mounted inside is one of its own, and covers nothing. */
static void test_mounted_inside(void)
{
	CHECK(begin(OPTIONS));
	CHECK_INT(mkdir(there("sub"), 0700), 0);
	CHECK(fill(there("sub/one"), 0, PAGES, 1));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(in_container(mount_inside), 0);
	CHECK(fill(there("sub/two"), 0, 100, 2));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(objects(), 2);
	CHECK_INT(sent_pages, 100);
	end();
}

/* A process that sees less of the mounts than the others, and is looked at before them. */
static void test_chroot(void)
{
	int pipes[2];
	pid_t first;
	char byte;

	CHECK(begin(OPTIONS));
	CHECK(fill(there("one"), 0, PAGES, 1));
	CHECK_INT(pipe2(pipes, O_CLOEXEC), 0);
	first = fork();
	if (first == 0) {
		char path[64];
		int ns;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)container);
		ns = open(path, O_RDONLY | O_CLOEXEC);
		if (ns < 0 || setns(ns, CLONE_NEWNS) < 0 || chroot(in("mnt")) < 0)
			_exit(1);
		(void)!write(pipes[1], "x", 1);
		for (;;)
			pause();
	}
	close(pipes[1]);
	CHECK_INT(read(pipes[0], &byte, 1), 1);
	close(pipes[0]);
	rb_shared_begin(shared);
	CHECK_INT(rb_shared_add(shared, first, &err), 0);
	CHECK_INT(rb_shared_add(shared, container, &err), 0);
	rb_shared_end(shared);
	CHECK_INT(rb_shared_bytes(shared), SIZE);
	kill(first, SIGKILL);
	waitpid(first, NULL, 0);
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
	TAP_RUN(test_left_to_criu);
	TAP_RUN(test_thaw);
	TAP_RUN(test_sparse);
	TAP_RUN(test_many);
	TAP_RUN(test_renamed);
	TAP_RUN(test_mounted_inside);
	TAP_RUN(test_chroot);
	rig_free();
	return tap_done();
}
