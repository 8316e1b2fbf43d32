// SPDX-License-Identifier: Apache-2.0
/*
 * test_filter.c - what CRIU sees of memory with the filter before its ioctl(2)
 *
 * `test_filter LIBRARY` starts itself again with the library preloaded, and then asks as CRIU does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "tap.h"

/* of linux/fs.h */
struct page_region {
	__u64 start, end, categories;
};
struct pm_scan_arg {
	__u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	__u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN	_IOWR('f', 16, struct pm_scan_arg)
#define PRESENT (1 << 3)

enum { PAGE = 4096, PAGES = 64, REGIONS = 16 };

static uint8_t *memory; /* every page but the fifth is touched */
static char skip_dir[] = "/tmp/test_filter.XXXXXX", skip_file[64];
static struct page_region found[REGIONS];

static uint64_t page(int i)
{
	return (uint64_t)(uintptr_t)memory + (uint64_t)i * PAGE;
}

/* of pages @from to @to of ours; -1 when the kernel has no PAGEMAP_SCAN */
static long scan(int from, int to, int vec_len, uint64_t *ret_walk_end)
{
	/* another descriptor each time: the filter asks whose it is */
	_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	struct pm_scan_arg arg = { .size = sizeof(arg),
				   .start = page(from),
				   .end = page(to),
				   .vec = (uintptr_t)found,
				   .vec_len = (__u64)vec_len,
				   .category_anyof_mask = PRESENT,
				   .return_mask = PRESENT };
	long n = ioctl(fd, SCAN, &arg);

	if (ret_walk_end)
		*ret_walk_end = arg.walk_end;
	return n;
}

static void skip(const int (*ranges)[2], size_t count)
{
	struct pm_scan_arg nothing = { .size = sizeof(nothing) };
	_cleanup_close_ int other = -EBADF;
	_cleanup_fclose_ FILE *file = NULL;
	uint64_t list[REGIONS][2];

	for (size_t i = 0; i < count; i++)
		for (int k = 0; k < 2; k++)
			list[i][k] = page(ranges[i][k]);
	snprintf(skip_file, sizeof(skip_file), "%s/%d", skip_dir, (int)getpid());
	file = fopen(skip_file, "we");
	CHECK(file);
	CHECK_INT(fwrite(list, sizeof(list[0]), count, file), count);
	CHECK_INT(fclose(TAKE_PTR(file)), 0);
	/* the filter reads a process's file when it is asked about another than the last */
	other = open("/proc/1/pagemap", O_RDONLY | O_CLOEXEC);
	ioctl(other, SCAN, &nothing);
}

static void test_nothing_hidden(void)
{
	CHECK_INT(scan(0, PAGES, REGIONS, NULL), 2);
	CHECK_INT((long long)found[0].end, (long long)page(5));
	CHECK_INT((long long)found[1].start, (long long)page(6));
}

static void test_all_hidden(void)
{
	uint64_t walk_end;

	skip((const int[][2]){ { 0, PAGES } }, 1);
	CHECK_INT(scan(0, PAGES, REGIONS, &walk_end), 0);
	CHECK_INT((long long)walk_end, (long long)page(PAGES));
	CHECK_INT(scan(3, 7, REGIONS, &walk_end), 0);
	CHECK_INT((long long)walk_end, (long long)page(7));
}

/* a hole for one page, as for a thread's stack; and one that nobody touched */
static void test_holes(void)
{
	skip((const int[][2]){ { 0, 10 }, { 11, PAGES } }, 2);
	CHECK_INT(scan(0, PAGES, REGIONS, NULL), 1);
	CHECK_INT((long long)found[0].start, (long long)page(10));
	CHECK_INT((long long)found[0].end, (long long)page(11));
	skip((const int[][2]){ { 0, 5 }, { 6, PAGES } }, 2);
	CHECK_INT(scan(0, PAGES, REGIONS, NULL), 0);
}

/* more pieces than there is room for come when one asks again */
static void test_room(void)
{
	uint64_t walk_end;
	long n;

	skip((const int[][2]){ { 10, 11 }, { 20, 21 }, { 30, 31 } }, 3);
	CHECK_INT(scan(0, PAGES, REGIONS, NULL), 5);
	n = scan(6, PAGES, 2, &walk_end);
	CHECK_INT(n, 2);
	CHECK_INT((long long)found[1].end, (long long)page(20));
	CHECK_INT((long long)walk_end, (long long)page(21));
	CHECK_INT(scan((int)((walk_end - page(0)) / PAGE), PAGES, 2, NULL), 2);
	CHECK_INT((long long)found[0].start, (long long)page(21));
	CHECK_INT((long long)found[1].end, (long long)page(PAGES));
}

int main(int argc, char **argv)
{
	if (argc == 2) {
		if (!mkdtemp(skip_dir))
			return 1;
		setenv("LD_PRELOAD", argv[1], 1);
		setenv("REBERTH_SKIP", skip_dir, 1);
		execl("/proc/self/exe", argv[0], argv[1], skip_dir, NULL);
		return 1;
	}
	strcpy(skip_dir, argv[2]);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE);
	for (int i = 0; i < PAGES; i++)
		if (i != 5)
			memory[i * PAGE] = 1;
	if (scan(0, PAGES, REGIONS, NULL) < 0) {
		printf("1..0 # SKIP the kernel has no PAGEMAP_SCAN: %s\n", strerror(errno));
	} else {
		TAP_RUN(test_nothing_hidden);
		TAP_RUN(test_all_hidden);
		TAP_RUN(test_holes);
		TAP_RUN(test_room);
	}
	unlink(skip_file);
	rmdir(skip_dir);
	return tap_number ? tap_done() : 0;
}
