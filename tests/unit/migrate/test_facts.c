// SPDX-License-Identifier: Apache-2.0
/*
 * test_facts.c - how much memory a container has, and what becomes of it
 */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "facts.h"
#include "freezer.h"
#include "tap.h"

#define MIB ((uint64_t)1 << 20)

static void what_is_shared_since_a_fork_would_grow(void)
{
	static const struct {
		uint64_t private_mib, once_mib;
		bool would;
	} cases[] = {
		{ 0, 0, false },	 { 1000, 1000, false }, { 1000, 0, false },
		{ 900, 1000, false },	 { 300, 50, false },	{ 256 + 100, 100, false },
		{ 359, 100, true },	 { 1500, 1000, false }, { 1503, 1000, true },
		{ 99000, 90000, false }, { 99000, 3000, true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rb_memory_size size = { .private = cases[i].private_mib * MIB,
					       .once = cases[i].once_mib * MIB };

		printf("# %llu, once %llu\n", (unsigned long long)cases[i].private_mib,
		       (unsigned long long)cases[i].once_mib);
		CHECK_INT(rb_memory_would_grow(&size), cases[i].would);
	}
}

static void available(void)
{
	CHECK(rb_memory_available() > MIB);
}

enum { PRIVATE_MIB = 150, SHARED_MIB = 20, CHILDREN = 2 };

/* A server that has loaded something, and its workers. */
_Noreturn static void serve(const char *cgroup, int ready_fd)
{
	uint8_t *private, *shared;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (rb_cgroup_move(getpid(), cgroup, true, false, NULL) < 0)
		_exit(1);
	private = mmap(NULL, PRIVATE_MIB * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	shared = mmap(NULL, SHARED_MIB * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	memset(private, 1, PRIVATE_MIB * MIB);
	memset(shared, 1, SHARED_MIB * MIB);
	for (int i = 0; i < CHILDREN; i++)
		if (fork() == 0)
			break;
	/* pages of a shared mapping are not copied by fork(2) */
	for (uint64_t at = 0; at < SHARED_MIB * MIB; at += 4096)
		((volatile uint8_t *)shared)[at];
	(void)!write(ready_fd, "", 1);
	for (;;)
		pause();
}

static bool near(uint64_t bytes, uint64_t mib)
{
	printf("# %llu MiB, about %llu\n", (unsigned long long)(bytes / MIB),
	       (unsigned long long)mib);
	return bytes >= mib * MIB && bytes < (mib + 20) * MIB;
}

static void a_server_with_workers(void)
{
	struct rb_memory_size size = {};
	char cgroup[64], freezer[512], byte;
	int fds[2];
	pid_t pid;

	CHECK(pipe(fds) == 0);
	snprintf(cgroup, sizeof(cgroup), "/rb-facts-%d", (int)getpid());
	pid = fork();
	if (pid == 0)
		serve(cgroup, fds[1]);
	close(fds[1]);
	for (int i = 0; i <= CHILDREN; i++)
		CHECK(read(fds[0], &byte, 1) == 1);
	CHECK(rb_freezer_find(pid, freezer, sizeof(freezer), NULL) == 0);
	rb_memory_measure(freezer, &size);
	rb_freezer_kill(freezer, NULL, NULL);
	waitpid(pid, NULL, 0);
	while (rb_freezer_pids(freezer, NULL, 0, NULL) > 0)
		usleep(1000);
	rb_cgroup_remove(cgroup);
	close(fds[0]);
	CHECK(near(size.private, PRIVATE_MIB * (1 + CHILDREN)));
	CHECK(near(size.once, PRIVATE_MIB));
	CHECK(near(size.shared, SHARED_MIB));
	CHECK_INT(size.locked, 0);
	CHECK(size.resident > size.private);
	CHECK(rb_memory_would_grow(&size));
}

int main(void)
{
	TAP_RUN(what_is_shared_since_a_fork_would_grow);
	TAP_RUN(available);
	if (geteuid() == 0)
		TAP_RUN(a_server_with_workers);
	else
		TAP_SKIP(a_server_with_workers, "needs root: a cgroup");
	return tap_done();
}
