// SPDX-License-Identifier: Apache-2.0
/* test_images.c - images go to memory, pages to the disk */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dump.h"
#include "err.h"
#include "io.h"
#include "tap.h"

static char top[] = "/tmp/test_images.XXXXXX";

static void put(const char *name)
{
	char path[128];
	struct rb_err err = {};

	snprintf(path, sizeof(path), "%s/%s", top, name);
	CHECK_INT(rb_write_file(path, "x", 1, 0600, false, &err), 0);
}

static bool is_there(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", top, name);
	return access(path, F_OK) == 0;
}

/* as CRIU opens them: in place, through what is there */
static void open_and_write(const char *name)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	file = fopen(path, "we");
	CHECK(file);
	if (file) {
		fputs("pages", file);
		fclose(file);
	}
}

static void test_links(void)
{
	char work[64], memory[64];
	struct rb_err err = {};

	snprintf(work, sizeof(work), "%s/work", top);
	snprintf(memory, sizeof(memory), "%s/memory", top);
	CHECK_INT(rb_mkdir_p(work, 0700, &err), 0);
	CHECK_INT(rb_criu_images_to_memory(work, memory, &err), 0);
	put("work/images/core-1.img");
	CHECK(is_there("memory/core-1.img"));
	open_and_write("work/images/pages-1.img");
	CHECK(is_there("work/pages/pages-1.img"));
	/* once more, after a dump that was given up */
	CHECK_INT(rb_criu_images_to_memory(work, memory, &err), 0);
	CHECK(!is_there("memory/core-1.img"));
	CHECK(!is_there("work/pages/pages-1.img"));
	open_and_write("work/images/pages-64.img");
	CHECK(is_there("work/pages/pages-64.img"));
}

static void test_room(void)
{
	CHECK(!rb_criu_has_room_in_memory("/proc", 0));
	CHECK(!rb_criu_has_room_in_memory("/nowhere", 0));
	if (rb_criu_has_room_in_memory("/dev/shm", 1))
		CHECK(!rb_criu_has_room_in_memory("/dev/shm", 1ULL << 60));
}

int main(void)
{
	if (!mkdtemp(top))
		return 1;
	TAP_RUN(test_links);
	TAP_RUN(test_room);
	rb_rm_rf(top, NULL);
	return tap_done();
}
