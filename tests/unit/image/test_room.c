// SPDX-License-Identifier: Apache-2.0
/*
 * test_room.c - the spool on a disk of 200 MiB, which is Docker's too, and of which 64 MiB are left
 * to others: where three copies of an image have no room two have
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "err.h"
#include "spool.h"
#include "tap.h"

#define MIB ((uint64_t)1 << 20)

static char dir[] = "/tmp/reberth-test-room.XXXXXX";

static uint64_t mib_free(void)
{
	struct statvfs fs;

	return statvfs(dir, &fs) < 0 ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize / MIB;
}

static void what_fits_twice_fits(void)
{
	uint8_t key[RB_DIGEST_BYTES] = { 1 };
	struct rb_spool spool;
	struct rb_err err = {};
	uint64_t had;
	int fd;

	CHECK_INT(rb_spool_open(&spool, dir, dir, &err), 0);
	CHECK(spool.gives);
	fd = rb_spool_object(&spool, key, 60 * MIB, false, &had, &err);
	CHECK_STR(err.msg, "");
	CHECK_INT(posix_fallocate(fd, 0, 60 * MIB), 0);
	/* 140 MiB are free, of which loading takes 120 */
	CHECK(rb_spool_must_give(&spool));
	CHECK(mib_free() <= 140);
	rb_spool_give(fd, 50 * MIB);
	CHECK(mib_free() >= 189);
	rb_spool_forget(&spool, key, fd);
	close(fd);
	rb_spool_close(&spool);
}

static void what_fits_three_times_is_kept(void)
{
	uint8_t key[RB_DIGEST_BYTES] = { 2 };
	struct rb_spool spool;
	struct rb_err err = {};
	uint64_t had;
	int fd;

	CHECK_INT(rb_spool_open(&spool, dir, dir, &err), 0);
	fd = rb_spool_object(&spool, key, 40 * MIB, false, &had, &err);
	CHECK_STR(err.msg, "");
	CHECK_INT(posix_fallocate(fd, 0, 40 * MIB), 0);
	CHECK(!rb_spool_must_give(&spool));
	rb_spool_forget(&spool, key, fd);
	close(fd);
	rb_spool_close(&spool);
}

static void what_does_not_fit_twice_is_refused(void)
{
	uint8_t key[RB_DIGEST_BYTES] = { 3 };
	struct rb_spool spool;
	struct rb_err err = {};
	uint64_t had;

	CHECK_INT(rb_spool_open(&spool, dir, dir, &err), 0);
	CHECK_INT(rb_spool_object(&spool, key, 80 * MIB, false, &had, &err), -ENOSPC);
	CHECK_INT(err.code, RB_E_NO_SPACE);
	rb_spool_close(&spool);
}

int main(void)
{
	int result;

	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	if (!mkdtemp(dir) || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", dir, "tmpfs", 0, "size=200m") < 0)
		return 99;
	TAP_RUN(what_fits_twice_fits);
	TAP_RUN(what_fits_three_times_is_kept);
	TAP_RUN(what_does_not_fit_twice_is_refused);
	result = tap_done();
	umount(dir);
	rmdir(dir);
	return result;
}
