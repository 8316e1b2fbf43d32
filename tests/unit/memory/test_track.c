// SPDX-License-Identifier: Apache-2.0
/*
 * test_track.c - which pages a tracker reports after what a process did
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ptrace.h>

#include "err.h"
#include "tap.h"
#include "track.h"
#include "victim.h"
#include "wait.h"

enum { PAGES = 16 };

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static struct rb_err err;
static struct rb_wait wait_limit;
static struct victim victim;
static struct rb_tracker *tracker;
static struct rb_ranges dirty;
static uint64_t area;
static char fds_before[4096], fds_after[4096];

static int scan(bool rearm)
{
	rb_ranges_clear(&dirty);
	return rb_tracker_scan(tracker, rearm, &dirty, &err);
}

/* What is dirty of the area, or why it could not be asked. */
static const char *scan_map(bool rearm)
{
	int r = scan(rearm);

	return r < 0 ? strerror(-r) : page_map(&dirty, area, PAGES);
}

static const char *populated_map(void)
{
	rb_ranges_clear(&dirty);
	return rb_populated(victim.pid, &dirty, &err) < 0 ? err.msg : page_map(&dirty, area, PAGES);
}

/* A victim with an area of 16 pages, none touched, and a tracker. */
static bool begin_with(void (*prepare)(void))
{
	victim = victim_start(prepare);
	if (victim.pid < 0)
		return false;
	area = (uint64_t)DO(&victim, DO_MMAP, .len = 64 * PAGE, .arg = PROT_NONE);
	DO(&victim, DO_MUNMAP, .addr = area, .len = 64 * PAGE);
	/* by itself in the middle: it merges with nothing */
	area += 24 * PAGE;
	DO(&victim, DO_MMAP, .addr = area, .len = PAGES * PAGE, .arg = PROT_READ | PROT_WRITE);
	fd_text(victim.pid, fds_before, sizeof(fds_before));
	tracker = NULL;
	if (rb_tracker_arm(victim.pid, RB_TRACK_UFFD_WP, &tracker, &wait_limit, &err) < 0)
		printf("# %s\n", err.msg);
	return tracker != NULL;
}

static bool begin(void)
{
	return begin_with(NULL);
}

static void end(void)
{
	rb_tracker_free(tracker);
	victim_end(&victim);
}

static void writes(void)
{
	CHECK(begin());
	CHECK_STR(scan_map(true), "................");
	DO(&victim, DO_WRITE, .addr = area + PAGE, .len = 2 * PAGE, .arg = 1);
	DO(&victim, DO_WRITE, .addr = area + 15 * PAGE + 77, .len = 1, .arg = 1);
	CHECK_STR(scan_map(true), ".DD............D");
	CHECK_STR(scan_map(true), "................");
	DO(&victim, DO_WRITE, .addr = area + 2 * PAGE, .len = 1, .arg = 2);
	DO(&victim, DO_READ, .addr = area, .len = PAGES * PAGE);
	/* a look changes nothing */
	CHECK_STR(scan_map(false), "..D.............");
	CHECK_STR(scan_map(false), "..D.............");
	CHECK_STR(scan_map(true), "..D.............");
	CHECK_STR(scan_map(true), "................");
	CHECK_STR(populated_map(), ".DD............D");
	/* from a zero page */
	DO(&victim, DO_WRITE, .addr = area + 9 * PAGE, .len = 1, .arg = 2);
	CHECK_STR(scan_map(true), ".........D......");
	end();
}

static void first_scan_has_all(void)
{
	CHECK(begin());
	DO(&victim, DO_WRITE, .addr = area + 3 * PAGE, .len = PAGE, .arg = 1);
	DO(&victim, DO_READ, .addr = area + 5 * PAGE, .len = PAGE);
	/* nothing is registered before the first one that may */
	CHECK_STR(scan_map(false), "...D............");
	CHECK_INT(count_watched(victim.pid), 0);
	CHECK_STR(scan_map(true), "...D............");
	CHECK(count_watched(victim.pid) > 0);
	CHECK_STR(scan_map(true), "................");
	end();
}

static void nothing_is_left(void)
{
	CHECK(begin());
	CHECK_STR(fd_text(victim.pid, fds_after, sizeof(fds_after)), fds_before);
	DO(&victim, DO_WRITE, .addr = area, .len = 4 * PAGE, .arg = 1);
	CHECK_INT(scan(true), 0);
	CHECK(count_watched(victim.pid) > 0);
	rb_tracker_free(tracker);
	CHECK_INT(count_watched(victim.pid), 0);
	CHECK_STR(fd_text(victim.pid, fds_after, sizeof(fds_after)), fds_before);
	CHECK_INT(DO(&victim, DO_WRITE, .addr = area, .len = 4 * PAGE, .arg = 2), 0);
	/* and once more */
	CHECK_INT(rb_tracker_arm(victim.pid, RB_TRACK_AUTO, &tracker, &wait_limit, &err), 0);
	CHECK_STR(scan_map(true), "DDDD............");
	CHECK_STR(scan_map(true), "................");
	end();
}

static void mapped_and_unmapped(void)
{
	CHECK(begin());
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 1);
	CHECK_STR(scan_map(true), "DDDDDDDDDDDDDDDD");
	CHECK_INT(DO(&victim, DO_MUNMAP, .addr = area + 4 * PAGE, .len = 8 * PAGE), 0);
	CHECK_STR(scan_map(true), "................");
	CHECK_STR(populated_map(), "DDDD........DDDD");
	/* another one in its place: untouched, then written */
	CHECK_INT(DO(&victim, DO_MMAP, .addr = area + 4 * PAGE, .len = 6 * PAGE,
		     .arg = PROT_READ | PROT_WRITE),
		  (long)(area + 4 * PAGE));
	CHECK_STR(scan_map(true), "................");
	DO(&victim, DO_WRITE, .addr = area + 5 * PAGE, .len = 1, .arg = 1);
	CHECK_STR(scan_map(true), ".....D..........");
	/* mapped anew between two scans: all that it has */
	DO(&victim, DO_MMAP, .addr = area + 4 * PAGE, .len = 6 * PAGE,
	   .arg = PROT_READ | PROT_WRITE);
	DO(&victim, DO_WRITE, .addr = area + 6 * PAGE, .len = 2 * PAGE, .arg = 1);
	CHECK_STR(scan_map(false), "......DD........");
	CHECK_STR(scan_map(true), "......DD........");
	CHECK_STR(scan_map(true), "................");
	end();
}

static void dropped(void)
{
	CHECK(begin());
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 1);
	CHECK_STR(scan_map(true), "DDDDDDDDDDDDDDDD");
	DO(&victim, DO_WRITE, .addr = area + 2 * PAGE, .len = 4 * PAGE, .arg = 2);
	DO(&victim, DO_MADVISE, .addr = area + 4 * PAGE, .len = 4 * PAGE, .arg = MADV_DONTNEED);
	/* what was dropped is not there, and not listed */
	CHECK_STR(scan_map(true), "..DD............");
	CHECK_STR(populated_map(), "DDDD....DDDDDDDD");
	DO(&victim, DO_READ, .addr = area + 4 * PAGE, .len = 4 * PAGE);
	CHECK_STR(scan_map(true), "................");
	CHECK_STR(populated_map(), "DDDD....DDDDDDDD");
	DO(&victim, DO_WRITE, .addr = area + 5 * PAGE, .len = 1, .arg = 3);
	CHECK_STR(scan_map(true), ".....D..........");
	CHECK_STR(scan_map(true), "................");
	end();
}

static void moved(void)
{
	uint64_t to;

	CHECK(begin());
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 1);
	CHECK_STR(scan_map(true), "DDDDDDDDDDDDDDDD");
	/* out of the middle, to somewhere else, and back again: nothing was written, but moved */
	to = (uint64_t)DO(&victim, DO_MMAP, .len = 4 * PAGE, .arg = PROT_NONE);
	CHECK_INT(DO(&victim, DO_MREMAP, .addr = area + 4 * PAGE, .len = 4 * PAGE, .addr2 = to,
		     .arg = 4 * PAGE),
		  (long)to);
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, area, PAGES), "................");
	CHECK_STR(page_map(&dirty, to, 4), "DDDD");
	CHECK_INT(DO(&victim, DO_MREMAP, .addr = to, .len = 4 * PAGE, .addr2 = area + 4 * PAGE,
		     .arg = 4 * PAGE),
		  (long)(area + 4 * PAGE));
	/* it may merge with its neighbours, which are reported then, too */
	CHECK_INT(scan(true), 0);
	CHECK(strncmp(page_map(&dirty, area, PAGES) + 4, "DDDD", 4) == 0);
	CHECK_STR(scan_map(true), "................");
	/* written while it lost its registration: nothing may stay unseen after that */
	DO(&victim, DO_MREMAP, .addr = area + 4 * PAGE, .len = 4 * PAGE, .addr2 = to,
	   .arg = 4 * PAGE);
	DO(&victim, DO_MREMAP, .addr = to, .len = 4 * PAGE, .addr2 = area + 4 * PAGE,
	   .arg = 4 * PAGE);
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 2);
	CHECK_STR(scan_map(true), "DDDDDDDDDDDDDDDD");
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 3);
	CHECK_STR(scan_map(true), "DDDDDDDDDDDDDDDD");
	end();
}

static void grown(void)
{
	CHECK(begin());
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 1);
	CHECK_STR(scan_map(true), "DDDDDDDDDDDDDDDD");
	/* in place */
	CHECK_INT(DO(&victim, DO_MREMAP, .addr = area, .len = PAGES * PAGE, .arg = 20 * PAGE),
		  (long)area);
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, area, 20), "....................");
	DO(&victim, DO_WRITE, .addr = area + 17 * PAGE, .len = PAGE, .arg = 1);
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, area, 20), ".................D..");
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, area, 20), "....................");
	/* the same by mmap */
	DO(&victim, DO_MMAP, .addr = area + 20 * PAGE, .len = 2 * PAGE,
	   .arg = PROT_READ | PROT_WRITE);
	DO(&victim, DO_WRITE, .addr = area + 21 * PAGE, .len = 1, .arg = 1);
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, area, 22), ".....................D");
	end();
}

static void heap(void)
{
	uint64_t end_of_heap;

	CHECK(begin());
	end_of_heap = (uint64_t)DO(&victim, DO_BRK, .arg = 8 * PAGE);
	end_of_heap = (end_of_heap + PAGE - 1) / PAGE * PAGE;
	DO(&victim, DO_WRITE, .addr = end_of_heap, .len = 2 * PAGE, .arg = 1);
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, end_of_heap, 6), "DD....");
	DO(&victim, DO_BRK, .arg = 8 * PAGE);
	DO(&victim, DO_WRITE, .addr = end_of_heap + 9 * PAGE, .len = PAGE, .arg = 1);
	DO(&victim, DO_WRITE, .addr = end_of_heap + PAGE, .len = PAGE, .arg = 2);
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, end_of_heap, 12), ".D.......D..");
	DO(&victim, DO_BRK, .arg = -12 * PAGE);
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, end_of_heap, 12), "............");
	end();
}

static void protections(void)
{
	CHECK(begin());
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 1);
	CHECK_INT(DO(&victim, DO_MPROTECT, .addr = area + 2 * PAGE, .len = 4 * PAGE,
		     .arg = PROT_NONE),
		  0);
	CHECK_STR(scan_map(true), "DDDDDDDDDDDDDDDD");
	CHECK_STR(scan_map(true), "................");
	DO(&victim, DO_MPROTECT, .addr = area + 2 * PAGE, .len = 4 * PAGE,
	   .arg = PROT_READ | PROT_WRITE);
	CHECK_STR(scan_map(true), "................");
	DO(&victim, DO_WRITE, .addr = area + 3 * PAGE, .len = PAGE, .arg = 1);
	DO(&victim, DO_MPROTECT, .addr = area + 3 * PAGE, .len = PAGE, .arg = PROT_READ);
	CHECK_STR(scan_map(true), "...D............");
	CHECK_STR(populated_map(), "DDDDDDDDDDDDDDDD");
	end();
}

static void guard_pages(void)
{
	CHECK(begin());
	if (DO(&victim, DO_MADVISE, .addr = area + 2 * PAGE, .len = 2 * PAGE,
	       .arg = MADV_GUARD_INSTALL) < 0) {
		puts("# the kernel has no guard pages");
		end();
		return;
	}
	DO(&victim, DO_WRITE, .addr = area, .len = 2 * PAGE, .arg = 1);
	CHECK_STR(scan_map(true), "DD..............");
	CHECK_STR(scan_map(true), "................");
	CHECK_STR(populated_map(), "DD..............");
	end();
}

static void huge_pages(void)
{
	const size_t size = 512 * PAGE;
	uint64_t huge;

	CHECK(begin());
	huge = (uint64_t)DO(&victim, DO_MMAP, .len = 3 * size, .arg = PROT_READ | PROT_WRITE);
	huge = (huge + size - 1) / size * size;
	DO(&victim, DO_MADVISE, .addr = huge, .len = size, .arg = MADV_HUGEPAGE);
	DO(&victim, DO_WRITE, .addr = huge, .len = size, .arg = 1);
	CHECK_INT(scan(true), 0);
	CHECK(!strchr(page_map(&dirty, huge, 512), '.'));
	CHECK_INT(scan(true), 0);
	CHECK(!strchr(page_map(&dirty, huge, 512), 'D'));
	/* one page, or all of the huge page that it is in */
	DO(&victim, DO_WRITE, .addr = huge + 100 * PAGE, .len = 1, .arg = 2);
	CHECK_INT(scan(true), 0);
	CHECK_INT(page_map(&dirty, huge, 512)[100], 'D');
	CHECK_INT(scan(true), 0);
	CHECK(!strchr(page_map(&dirty, huge, 512), 'D'));
	end();
}

static void locked(void)
{
	CHECK(begin());
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 1);
	CHECK_STR(scan_map(true), "DDDDDDDDDDDDDDDD");
	/* plain mlock(2) would write to every page */
	CHECK_INT(DO(&victim, DO_SYSCALL, .arg = SYS_mlock2, .addr = area + 4 * PAGE,
		     .len = 4 * PAGE, .addr2 = MLOCK_ONFAULT),
		  0);
	DO(&victim, DO_WRITE, .addr = area + 3 * PAGE, .len = 2 * PAGE, .arg = 2);
	CHECK_STR(scan_map(true), "...D............");
	CHECK_STR(populated_map(), "DDDD....DDDDDDDD");
	/* ours again: what was said about it before does not count any more */
	CHECK_INT(DO(&victim, DO_MLOCK, .addr = area + 4 * PAGE, .len = 4 * PAGE, .arg = 0), 0);
	CHECK_STR(scan_map(true), "....DDDD........");
	CHECK_STR(scan_map(true), "................");
	end();
}

static void forked(void)
{
	struct rb_tracker *second = NULL;
	long child;

	CHECK(begin());
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 1);
	CHECK_STR(scan_map(true), "DDDDDDDDDDDDDDDD");
	child = DO(&victim, DO_FORK, .addr = area, .len = 8 * PAGE, .arg = 9);
	CHECK(child > 0);
	/* what the child writes is not the parent's */
	CHECK_STR(scan_map(true), "................");
	DO(&victim, DO_WRITE, .addr = area + 3 * PAGE, .len = PAGE, .arg = 2);
	CHECK_STR(scan_map(true), "...D............");
	CHECK_INT(count_watched((pid_t)child), 0);
	CHECK_INT(rb_tracker_arm((pid_t)child, RB_TRACK_UFFD_WP, &second, &wait_limit, &err), 0);
	rb_ranges_clear(&dirty);
	CHECK_INT(rb_tracker_scan(second, true, &dirty, &err), 0);
	CHECK_STR(page_map(&dirty, area, PAGES), "DDDDDDDDDDDDDDDD");
	rb_ranges_clear(&dirty);
	CHECK_INT(rb_tracker_scan(second, true, &dirty, &err), 0);
	CHECK_STR(page_map(&dirty, area, PAGES), "................");
	CHECK_INT(DO(&victim, DO_WAIT, .arg = child), child);
	rb_ranges_clear(&dirty);
	CHECK_INT(rb_tracker_scan(second, true, &dirty, &err), -ESRCH);
	rb_tracker_free(second);
	end();
}

static void by_threads(void)
{
	CHECK(begin());
	CHECK_STR(scan_map(true), "................");
	CHECK_INT(DO(&victim, DO_THREAD, .addr = area + 6 * PAGE, .len = PAGE, .arg = 1), 0);
	CHECK_STR(scan_map(true), "......D.........");
	CHECK_STR(scan_map(true), "................");
	end();
}

static void executed(void)
{
	uint64_t new_area;

	CHECK(begin());
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 1);
	CHECK_INT(scan(true), 0);
	CHECK_INT(DO(&victim, DO_EXEC), 0);
	new_area =
		(uint64_t)DO(&victim, DO_MMAP, .len = PAGES * PAGE, .arg = PROT_READ | PROT_WRITE);
	DO(&victim, DO_WRITE, .addr = new_area, .len = 3 * PAGE, .arg = 1);
	/* all of it is new, whether one only looks or not */
	CHECK_INT(scan(false), 0);
	CHECK_STR(page_map(&dirty, new_area, PAGES), "DDD.............");
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, new_area, PAGES), "DDD.............");
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, new_area, PAGES), "................");
	DO(&victim, DO_WRITE, .addr = new_area + PAGE, .len = PAGE, .arg = 2);
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, new_area, PAGES), ".D..............");
	CHECK(count_watched(victim.pid) > 0);
	rb_tracker_free(tracker);
	tracker = NULL;
	CHECK_INT(count_watched(victim.pid), 0);
	end();
}

/* Kills for userfaultfd, as a strict profile does. */
static void no_userfaultfd(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 4, .filter = code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(5);
}

static void another_user(void)
{
	if (setgid(65534) < 0 || setuid(65534) < 0)
		_exit(5);
	no_userfaultfd();
}

static void without_privileges(void)
{
	CHECK(begin_with(another_user));
	DO(&victim, DO_WRITE, .addr = area, .len = PAGE, .arg = 1);
	CHECK_STR(scan_map(true), "D...............");
	CHECK_STR(scan_map(true), "................");
	/* and the filter is in force */
	CHECK_INT(DO(&victim, DO_SYSCALL, .arg = SYS_userfaultfd), LONG_MIN);
	end();
}

/* Writes of the kernel on behalf of the process. */
static void by_system_calls(void)
{
	CHECK(begin());
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 1);
	CHECK_INT(scan(true), 0);
	CHECK_INT(DO(&victim, DO_SYSCALL, .arg = SYS_getcwd, .addr = area + 2 * PAGE, .len = PAGE),
		  0);
	CHECK_STR(scan_map(true), "..D.............");
	end();
}

static void while_it_is_frozen(void)
{
	struct rb_tracker *other = NULL;

	CHECK(begin());
	DO(&victim, DO_WRITE, .addr = area, .len = 4 * PAGE, .arg = 1);
	CHECK_INT(scan(true), 0);
	DO(&victim, DO_WRITE, .addr = area + PAGE, .len = PAGE, .arg = 2);
	CHECK_INT(rb_freezer_freeze(victim_freezer, &wait_limit, &err), 0);
	CHECK_STR(scan_map(false), ".D..............");
	CHECK_STR(scan_map(true), ".D..............");
	CHECK_STR(scan_map(false), "................");
	CHECK_INT(rb_tracker_arm(victim.pid, RB_TRACK_UFFD_WP, &other, &wait_limit, NULL), -EBUSY);
	rb_tracker_free(tracker);
	CHECK_INT(count_watched(victim.pid), 0);
	CHECK_INT(rb_freezer_thaw(victim_freezer, &err), 0);
	tracker = NULL;
	end();
}

static void traced_by_somebody(void)
{
	struct rb_tracker *other = NULL;
	int status;
	pid_t debugger;

	CHECK(begin());
	debugger = fork();
	if (debugger == 0) {
		ptrace(PTRACE_SEIZE, victim.pid, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(debugger, &status, WUNTRACED);
	CHECK_INT(rb_tracker_arm(victim.pid, RB_TRACK_UFFD_WP, &other, &wait_limit, NULL), -EBUSY);
	kill(debugger, SIGCONT);
	waitpid(debugger, &status, 0);
	CHECK_INT(rb_tracker_arm(victim.pid, RB_TRACK_UFFD_WP, &other, &wait_limit, &err), 0);
	rb_tracker_free(other);
	end();
}

/* All that a dead owner had goes with it. */
static void owner_is_killed(void)
{
	int ready[2];
	char byte;
	pid_t owner;

	CHECK(begin());
	rb_tracker_free(tracker);
	tracker = NULL;
	CHECK_INT(pipe(ready), 0);
	DO(&victim, DO_WRITE, .addr = area, .len = 4 * PAGE, .arg = 1);
	owner = fork();
	if (owner == 0) {
		if (rb_tracker_arm(victim.pid, RB_TRACK_UFFD_WP, &tracker, &wait_limit, &err) ==
			    0 &&
		    scan(true) == 0)
			(void)!write(ready[1], "r", 1);
		pause();
		_exit(1);
	}
	close(ready[1]);
	CHECK_INT(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	CHECK(count_watched(victim.pid) > 0);
	kill(owner, SIGKILL);
	waitpid(owner, NULL, 0);
	CHECK_INT(count_watched(victim.pid), 0);
	CHECK_STR(fd_text(victim.pid, fds_after, sizeof(fds_after)), fds_before);
	CHECK_INT(DO(&victim, DO_WRITE, .addr = area, .len = 4 * PAGE, .arg = 2), 0);
	end();
}

static long page_table_kib(pid_t pid)
{
	char path[64], line[256];
	long kib = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "VmPTE: %ld", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib;
}

/* Address space that a program reserves costs nothing. */
static void reserved(void)
{
	const uint64_t size = UINT64_C(1) << 38;
	uint64_t huge;
	long before;

	CHECK(begin());
	huge = (uint64_t)DO(&victim, DO_MMAP, .len = size, .arg = PROT_READ | PROT_WRITE,
			    .flags = MAP_NORESERVE);
	DO(&victim, DO_WRITE, .addr = huge + size / 2, .len = 1, .arg = 1);
	before = page_table_kib(victim.pid);
	for (int i = 0; i < 3; i++)
		CHECK_INT(scan(true), 0);
	CHECK(page_table_kib(victim.pid) <= before + 64);
	DO(&victim, DO_WRITE, .addr = huge + size / 4, .len = 1, .arg = 1);
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, huge + size / 4, 4), "D...");
	end();
}

/* More pieces than one call of the kernel reports. */
static void every_second_page(void)
{
	const uint64_t pages = 8000;
	uint64_t many;
	size_t n = 0;

	CHECK(begin());
	many = (uint64_t)DO(&victim, DO_MMAP, .len = pages * PAGE, .arg = PROT_READ | PROT_WRITE);
	DO(&victim, DO_WRITE, .addr = many, .len = pages * PAGE, .arg = 1);
	CHECK_INT(scan(true), 0);
	CHECK(rb_ranges_bytes(&dirty) >= pages * PAGE);
	for (uint64_t i = 0; i < pages; i += 2)
		DO(&victim, DO_WRITE, .addr = many + i * PAGE, .len = 1, .arg = 2);
	CHECK_INT(scan(true), 0);
	for (size_t i = 0; i < dirty.n; i++)
		if (dirty.list[i].start >= many && dirty.list[i].end <= many + pages * PAGE) {
			CHECK_INT(dirty.list[i].end - dirty.list[i].start, PAGE);
			CHECK_INT((dirty.list[i].start - many) % (2 * PAGE), 0);
			n++;
		}
	CHECK_INT(n, pages / 2);
	end();
}

static void other_methods(void)
{
	CHECK_STR(rb_track_method_name(RB_TRACK_UFFD_WP), "userfaultfd");
	CHECK_STR(rb_track_method_name(RB_TRACK_SOFT_DIRTY), "soft-dirty");
	CHECK_STR(rb_track_method_name(RB_TRACK_NONE), "none");
	CHECK(rb_track_supported(RB_TRACK_UFFD_WP));
	CHECK(rb_track_supported(RB_TRACK_NONE));
	CHECK(rb_track_supported(RB_TRACK_AUTO));
	CHECK(begin());
	rb_tracker_free(tracker);
	CHECK_INT(rb_tracker_arm(victim.pid, RB_TRACK_NONE, &tracker, &wait_limit, &err), 0);
	DO(&victim, DO_WRITE, .addr = area, .len = 2 * PAGE, .arg = 1);
	CHECK_STR(scan_map(true), "DD..............");
	CHECK_STR(scan_map(true), "DD..............");
	end();
}

static void soft_dirty(void)
{
	if (!rb_track_supported(RB_TRACK_SOFT_DIRTY)) {
		CHECK_INT(rb_tracker_arm(getpid(), RB_TRACK_SOFT_DIRTY, &tracker, NULL, NULL),
			  -ENOTSUP);
		puts("# this kernel has no soft-dirty bits");
		return;
	}
	CHECK(begin());
	rb_tracker_free(tracker);
	CHECK_INT(rb_tracker_arm(victim.pid, RB_TRACK_SOFT_DIRTY, &tracker, &wait_limit, &err), 0);
	DO(&victim, DO_WRITE, .addr = area, .len = 2 * PAGE, .arg = 1);
	CHECK_STR(scan_map(true), "DD..............");
	DO(&victim, DO_WRITE, .addr = area, .len = PAGE, .arg = 2);
	CHECK_STR(scan_map(true), "D...............");
	end();
}

static void gone(void)
{
	CHECK(begin());
	victim_end(&victim);
	CHECK_INT(scan(true), -ESRCH);
	CHECK_INT(scan(false), -ESRCH);
	rb_tracker_free(tracker);
	CHECK_INT(rb_tracker_arm(victim.pid, RB_TRACK_UFFD_WP, &tracker, &wait_limit, &err),
		  -ESRCH);
	CHECK_INT(rb_populated(victim.pid, &dirty, &err), -ESRCH);
}

int main(int argc, char **argv)
{
	const char *why;

	victim_main(argc, argv);
	wait_limit = rb_wait_within(NULL, 60000);
	why = victim_setup("track");
	if (!why && !rb_track_supported(RB_TRACK_UFFD_WP))
		why = "needs userfaultfd write-protection and PAGEMAP_SCAN";
	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return 0;
	}
	TAP_RUN(writes);
	TAP_RUN(first_scan_has_all);
	TAP_RUN(nothing_is_left);
	TAP_RUN(mapped_and_unmapped);
	TAP_RUN(dropped);
	TAP_RUN(moved);
	TAP_RUN(grown);
	TAP_RUN(heap);
	TAP_RUN(protections);
	TAP_RUN(guard_pages);
	TAP_RUN(huge_pages);
	TAP_RUN(locked);
	TAP_RUN(forked);
	TAP_RUN(by_threads);
	TAP_RUN(executed);
	TAP_RUN(without_privileges);
	TAP_RUN(by_system_calls);
	TAP_RUN(while_it_is_frozen);
	TAP_RUN(traced_by_somebody);
	TAP_RUN(owner_is_killed);
	TAP_RUN(reserved);
	TAP_RUN(every_second_page);
	TAP_RUN(other_methods);
	TAP_RUN(soft_dirty);
	TAP_RUN(gone);
	if (err.code != RB_OK)
		printf("# %s\n", err.msg);
	rb_ranges_free(&dirty);
	victim_teardown();
	return tap_done();
}
