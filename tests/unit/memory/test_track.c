// SPDX-License-Identifier: Apache-2.0
/*
 * test_track.c - which pages a tracker reports after what a process did to its memory
 */
#include "track_fixture.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* Linux 6.11 */
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

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

/* The kernel makes one mapping of two that lie side by side and have the same registration, and
 * then lets go of it, for it was moved: also of the half that was not. */
static void joined(void)
{
	uint64_t other, new;

	CHECK(begin());
	other = (uint64_t)DO(&victim, DO_MMAP, .addr = area + 20 * PAGE, .len = 4 * PAGE,
			     .arg = PROT_READ | PROT_WRITE);
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 1);
	CHECK_STR(scan_map(true), "DDDDDDDDDDDDDDDD");
	CHECK_STR(scan_map(true), "................");
	CHECK_INT(DO(&victim, DO_MREMAP, .addr = other, .len = 4 * PAGE, .arg = 4 * PAGE,
		     .addr2 = area + PAGES * PAGE),
		  (long)(area + PAGES * PAGE));
	DO(&victim, DO_WRITE, .addr = area + 3 * PAGE, .len = PAGE, .arg = 2);
	/* which is looked at first, and followed */
	new = area - 8 * PAGE;
	DO(&victim, DO_MMAP, .addr = new, .len = PAGE, .arg = PROT_READ | PROT_WRITE);
	DO(&victim, DO_WRITE, .addr = new, .len = PAGE, .arg = 2);
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, new, 1), "D");
	CHECK(page_map(&dirty, area, PAGES)[3] == 'D');
	CHECK_INT(scan(true), 0);
	DO(&victim, DO_WRITE, .addr = area + 5 * PAGE, .len = PAGE, .arg = 3);
	CHECK_STR(scan_map(true), ".....D..........");
	end();
}

/* A mapping that the kernel does not register is in nobody's way; glibc has one for getrandom(3).
 */
static void droppable(void)
{
	uint64_t addr, new;

	CHECK(begin());
	addr = area + 20 * PAGE;
	if (DO(&victim, DO_MMAP, .addr = addr, .len = PAGE, .arg = PROT_READ | PROT_WRITE,
	       .flags = MAP_DROPPABLE) < 0) {
		puts("# this kernel has no MAP_DROPPABLE");
		end();
		return;
	}
	DO(&victim, DO_WRITE, .addr = addr, .len = PAGE, .arg = 1);
	DO(&victim, DO_WRITE, .addr = area, .len = PAGES * PAGE, .arg = 1);
	CHECK_STR(scan_map(true), "DDDDDDDDDDDDDDDD");
	CHECK_STR(scan_map(true), "................");
	/* beside it */
	new = addr + PAGE;
	DO(&victim, DO_MMAP, .addr = new, .len = 3 * PAGE, .arg = PROT_READ | PROT_WRITE);
	DO(&victim, DO_WRITE, .addr = new, .len = 3 * PAGE, .arg = 1);
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, new, 3), "DDD");
	DO(&victim, DO_WRITE, .addr = new + PAGE, .len = PAGE, .arg = 2);
	CHECK_INT(scan(true), 0);
	CHECK_STR(page_map(&dirty, new, 3), ".D.");
	CHECK_STR(page_map(&dirty, area, PAGES), "................");
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

int main(void)
{
	const char *why;

	why = setup("track");
	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return 0;
	}
	TAP_RUN(writes);
	TAP_RUN(first_scan_has_all);
	TAP_RUN(mapped_and_unmapped);
	TAP_RUN(dropped);
	TAP_RUN(moved);
	TAP_RUN(joined);
	TAP_RUN(droppable);
	TAP_RUN(grown);
	TAP_RUN(heap);
	TAP_RUN(protections);
	TAP_RUN(guard_pages);
	TAP_RUN(huge_pages);
	TAP_RUN(locked);
	TAP_RUN(by_system_calls);
	TAP_RUN(reserved);
	TAP_RUN(every_second_page);
	return teardown();
}
