// SPDX-License-Identifier: Apache-2.0
/*
 * test_writers.c - who may write to a file unseen is found while he changes what can be found of
 * him
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "tap.h"
#include "tree_util.h"
#include "writers.h"

#define PAGES 16
#define LOOKS 300

static char top[256];
static size_t page;

struct splitter {
	char *map;
	atomic_bool stop;
};

static void *split_all_the_time(void *arg)
{
	struct splitter *s = arg;

	while (!s->stop)
		for (size_t i = 1; i < PAGES - 1; i++) {
			mprotect(s->map + i * page, page, PROT_READ);
			mprotect(s->map + i * page, page, PROT_READ | PROT_WRITE);
		}
	return NULL;
}

struct found {
	ino_t wanted;
	int n, unknown;
};

static int note(const struct writer *writer, void *arg)
{
	struct found *found = arg;

	found->unknown += writer->unknown;
	found->n += !writer->unknown && writer->unseen && writer->st.st_ino == found->wanted;
	return 0;
}

static int look(struct found *found, struct rb_err *err)
{
	pid_t self = getpid();

	found->n = found->unknown = 0;
	return writers_each(&self, 1, note, found, err);
}

/* Either it is there, or it is said that this cannot be told. */
static void a_mapping_is_found_while_it_is_split(void)
{
	struct splitter s = {};
	struct rb_err err = {};
	struct found found;
	pthread_t thread;
	int missed = 0, unknown = 0;
	struct stat st;
	int fd;

	put_file(top, "mapped", "", 0644);
	fd = open(at(top, "mapped"), O_RDWR | O_CLOEXEC);
	CHECK_INT(ftruncate(fd, (off_t)(PAGES * page)), 0);
	CHECK_INT(fstat(fd, &st), 0);
	s.map = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(s.map != MAP_FAILED);
	close(fd);
	found.wanted = st.st_ino;
	CHECK_INT(look(&found, &err), 0);
	CHECK_INT(found.n, 1);
	CHECK_INT(found.unknown, 0);
	CHECK_INT(pthread_create(&thread, NULL, split_all_the_time, &s), 0);
	for (int i = 0; i < LOOKS; i++) {
		int r = look(&found, &err);

		if (r < 0)
			printf("# %s\n", err.msg);
		missed += r < 0 || (!found.n && !found.unknown);
		unknown += found.unknown;
	}
	s.stop = true;
	pthread_join(thread, NULL);
	printf("# %d of %d looks did not come to an end\n", unknown, LOOKS);
	CHECK_INT(missed, 0);
	munmap(s.map, PAGES * page);
	CHECK_INT(look(&found, &err), 0);
	CHECK_INT(found.n, 0);
}

/* And not that of what was mapped in the same place before. */
static void the_mode_of_its_descriptor_counts(void)
{
	struct rb_err err = {};
	struct found found;
	struct stat st;
	char *map;
	int fd;

	put_file(top, "read", "12345678", 0644);
	fd = open(at(top, "read"), O_RDONLY | O_CLOEXEC);
	CHECK_INT(fstat(fd, &st), 0);
	found.wanted = st.st_ino;
	map = mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	CHECK_INT(look(&found, &err), 0);
	CHECK_INT(found.n, 0);
	close(fd);
	fd = open(at(top, "read"), O_RDWR | O_CLOEXEC);
	CHECK(mmap(map, 8, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == map);
	close(fd);
	CHECK_INT(look(&found, &err), 0);
	CHECK_INT(found.n, 1);
	munmap(map, 8);
}

/* --- which overlay a file is of */

struct overlay {
	char folder[300], merged[320];
};

static int make_overlay(struct overlay *o, const char *name, bool lower_elsewhere)
{
	char options[1200], lower[320];

	snprintf(o->folder, sizeof(o->folder), "%s/%s", top, name);
	snprintf(o->merged, sizeof(o->merged), "%s/m", o->folder);
	snprintf(lower, sizeof(lower), "%s/l", o->folder);
	mkdir(o->folder, 0755);
	for (size_t i = 0; i < 4; i++)
		mkdir(at(o->folder, ((const char *[]){ "l", "u", "w", "m" })[i]), 0755);
	if (lower_elsewhere && mount("tmpfs", lower, "tmpfs", 0, NULL) < 0)
		return -errno;
	snprintf(options, sizeof(options), "xino=off,lowerdir=%s/l,upperdir=%s/u,workdir=%s/w",
		 o->folder, o->folder, o->folder);
	return mount("overlay", o->merged, "overlay", 0, options) < 0 ? -errno : 0;
}

static void overlay_end(struct overlay *o)
{
	umount2(o->merged, MNT_DETACH);
	umount2(at(o->folder, "l"), MNT_DETACH);
}

struct devices {
	ino_t wanted;
	dev_t file, mount;
};

static int note_devices(const struct writer *writer, void *arg)
{
	struct devices *devices = arg;

	if (writer->overlay && writer->st.st_ino == devices->wanted) {
		devices->file = writer->st.st_dev;
		devices->mount = writer->mount_dev;
	}
	return 0;
}

static void each_overlay_has_its_device(void)
{
	_cleanup_(overlay_end) struct overlay one = {}, two = {};
	struct overlay *overlays[] = { &one, &two };
	pid_t self = getpid();
	struct rb_err err = {};

	CHECK_INT(make_overlay(&one, "one", false), 0);
	CHECK_INT(make_overlay(&two, "two", true), 0);
	for (size_t i = 0; i < 2; i++) {
		_cleanup_close_ int fd = -EBADF;
		struct devices devices = {};
		struct stat st, folder;

		put_file(overlays[i]->merged, "file", "1", 0644);
		fd = open(at(overlays[i]->merged, "file"), O_RDWR | O_CLOEXEC);
		CHECK_INT(fstat(fd, &st), 0);
		CHECK_INT(stat(overlays[i]->merged, &folder), 0);
		devices.wanted = st.st_ino;
		CHECK_INT(writers_each(&self, 1, note_devices, &devices, &err), 0);
		CHECK_INT(devices.file, st.st_dev);
		CHECK_INT(devices.mount, folder.st_dev);
		/* which a file need not have */
		CHECK_INT(st.st_dev == folder.st_dev, i == 0);
	}
}

int main(void)
{
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	page = (size_t)sysconf(_SC_PAGESIZE);
	tree_folder(top, "writers");
	TAP_RUN(a_mapping_is_found_while_it_is_split);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 99;
	TAP_RUN(each_overlay_has_its_device);
	TAP_RUN(the_mode_of_its_descriptor_counts);
	return tap_done();
}
