// SPDX-License-Identifier: Apache-2.0
/*
 * test_cgroup_memory.c - what limits leave, of folders like those of version 1 and 2, and of the
 * kernel's own
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "cgroup_memory.h"
#include "freezer.h"
#include "io.h"
#include "tap.h"

#define MIB	    ((uint64_t)1 << 20)
#define NO_LIMIT_V1 "9223372036854771712\n" /* what the kernel says */

static char top[] = "/tmp/rb-cgroup-memory-XXXXXX";

static void put(const char *name, const char *text)
{
	char path[256], *slash;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	slash = strrchr(path, '/');
	*slash = '\0';
	CHECK_INT(rb_mkdir_p(path, 0700, NULL), 0);
	*slash = '/';
	CHECK_INT(rb_write_file(path, text, strlen(text), 0600, false, NULL), 0);
}

static uint64_t left_in(const char *folder)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", top, folder);
	return rb_cgroup_memory_left_in(path);
}

static void version_2(const char *folder, const char *max, const char *high, const char *current,
		      const char *stat)
{
	static const char *const names[] = { "cgroup.procs", "memory.max", "memory.high",
					     "memory.current", "memory.stat" };
	const char *const texts[] = { "", max, high, current, stat };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char name[128];

		snprintf(name, sizeof(name), "%s/%s", folder, names[i]);
		if (texts[i])
			put(name, texts[i]);
	}
}

static void the_least_of_all_above_counts(void)
{
	/* the root has none of these files */
	put("two/cgroup.procs", "");
	version_2("two/a", "1000\n", "max\n", "700\n", "anon 650\n");
	version_2("two/a/b", "max\n", "max\n", "600\n", "");
	version_2("two/a/b/c", "900\n", "max\n", "500\n", "");
	version_2("two/free", "max\n", "max\n", "500\n", "");
	CHECK_INT((int64_t)left_in("two/a/b/c"), 300);
	CHECK_INT((int64_t)left_in("two/a/b"), 300);
	CHECK(left_in("two/free") == UINT64_MAX);
	CHECK(left_in("two") == UINT64_MAX);
	/* not a cgroup */
	CHECK(left_in("nowhere") == UINT64_MAX);
	CHECK_INT((int64_t)left_in("two/a"), 300);
	version_2("two/a/b/c", "900\n", "max\n", "850\n", "");
	CHECK_INT((int64_t)left_in("two/a/b/c"), 50);
}

static void the_upper_limit_is_one_as_well(void)
{
	version_2("two/high", "1000\n", "600\n", "500\n", "");
	CHECK_INT((int64_t)left_in("two/high"), 100);
	version_2("two/high", "max\n", "400\n", "500\n", "");
	CHECK_INT((int64_t)left_in("two/high"), 0);
}

static void what_can_be_taken_back_is_not_in_the_way(void)
{
	version_2("two/files", "1000\n", "max\n", "900\n",
		  "anon 100\nfile 780\nshmem 80\ninactive_anon 180\nactive_anon 0\n"
		  "inactive_file 400\nactive_file 300\nslab_reclaimable 20\n"
		  "slab_unreclaimable 7\n");
	CHECK_INT((int64_t)left_in("two/files"), 820);
	/* more than is used: the file was read a moment later */
	version_2("two/files", "1000\n", "max\n", "300\n", "inactive_file 400\n");
	CHECK_INT((int64_t)left_in("two/files"), 1000);
}

static void version_1(void)
{
	put("one/cgroup.procs", "");
	put("one/memory.limit_in_bytes", NO_LIMIT_V1);
	put("one/memory.usage_in_bytes", "99999\n");
	put("one/a/cgroup.procs", "");
	put("one/a/memory.limit_in_bytes", "5000\n");
	put("one/a/memory.usage_in_bytes", "4000\n");
	/* of its own, and with those below it, which is what the limit is about */
	put("one/a/memory.stat", "inactive_file 7\nactive_file 7\ntotal_inactive_file 1000\n"
				 "total_active_file 500\n");
	put("one/a/b/cgroup.procs", "");
	put("one/a/b/memory.limit_in_bytes", NO_LIMIT_V1);
	put("one/a/b/memory.usage_in_bytes", "3000\n");
	CHECK(left_in("one") == UINT64_MAX);
	CHECK_INT((int64_t)left_in("one/a"), 2500);
	CHECK_INT((int64_t)left_in("one/a/b"), 2500);
}

enum { LIMIT_MIB = 64, TAKEN_MIB = 24 };

static const char *set_limit(const char *cgroup)
{
	static const char *const knobs[] = { "memory.limit_in_bytes", "memory.max" };
	struct rb_cgroup_mount mounts[RB_CGROUP_MAX];
	int count = rb_cgroup_mounts(mounts, NULL);

	for (int i = 0; i < count; i++)
		for (size_t k = 0; k < 2; k++) {
			char path[512];

			snprintf(path, sizeof(path), "%s%s/%s", mounts[i].point, cgroup, knobs[k]);
			if (access(path, W_OK) == 0 && rb_write_knob(path, "64M", NULL) == 0)
				return knobs[k];
		}
	return NULL;
}

/* In a cgroup of its own: what it takes is not there any more. Return: as exit(3), 2 without
 * limits */
static int take_some(const char *cgroup)
{
	uint64_t before, after;
	void *memory;

	if (rb_cgroup_move(getpid(), cgroup, true, true, NULL) < 0 || !set_limit(cgroup))
		return 2;
	before = rb_cgroup_memory_left(0);
	memory = mmap(NULL, TAKEN_MIB * MIB, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	after = rb_cgroup_memory_left(0);
	printf("# %" PRIu64 " KiB left, then %" PRIu64 "\n", before >> 10, after >> 10);
	fflush(stdout);
	return before > LIMIT_MIB * MIB || before < (LIMIT_MIB - 8) * MIB ||
	       before - after < (TAKEN_MIB - 2) * MIB || before - after > (TAKEN_MIB + 2) * MIB;
}

static int in_a_child(void)
{
	char cgroup[64];
	int status = -1;
	pid_t pid;

	snprintf(cgroup, sizeof(cgroup), "/rb-memory-%d", (int)getpid());
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(take_some(cgroup));
	waitpid(pid, &status, 0);
	rb_cgroup_remove(cgroup);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int kernel_status;

static void the_kernels_own(void)
{
	CHECK_INT(kernel_status, 0);
}

int main(void)
{
	if (!mkdtemp(top))
		return 1;
	TAP_RUN(the_least_of_all_above_counts);
	TAP_RUN(the_upper_limit_is_one_as_well);
	TAP_RUN(what_can_be_taken_back_is_not_in_the_way);
	TAP_RUN(version_1);
	kernel_status = geteuid() == 0 ? in_a_child() : 2;
	if (kernel_status != 2)
		TAP_RUN(the_kernels_own);
	else
		TAP_SKIP(the_kernels_own, "needs root and the memory controller");
	rb_rm_rf(top, NULL);
	return tap_done();
}
