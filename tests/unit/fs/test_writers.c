// SPDX-License-Identifier: Apache-2.0
/*
 * test_writers.c - who may write to a file unseen is found while he changes what can be found of
 * him
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
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

int main(void)
{
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	page = (size_t)sysconf(_SC_PAGESIZE);
	tree_folder(top, "writers");
	TAP_RUN(a_mapping_is_found_while_it_is_split);
	TAP_RUN(the_mode_of_its_descriptor_counts);
	return tap_done();
}
