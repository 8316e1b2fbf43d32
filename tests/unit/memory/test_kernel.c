// SPDX-License-Identifier: Apache-2.0
/*
 * test_kernel.c - what the tracker relies on of the kernel, tried on this process
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"
#include "uapi.h"

enum { PAGE = 4096, PAGES = 8, FEATURES = UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC };

static int uffd, pagemap;
static volatile char *area;

static bool begin(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	/* holes on both sides */
	area = mmap(NULL, 3 * PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap((void *)area, 3 * PAGES * PAGE);
	area = mmap((void *)(area + PAGES * PAGE), PAGES * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	return uffd >= 0 && pagemap >= 0 && ioctl(uffd, UFFDIO_API, &api) == 0;
}

static void end(void)
{
	close(uffd);
	close(pagemap);
	munmap((void *)area, PAGES * PAGE);
}

static int watch(int first, int pages)
{
	struct uffdio_register reg = { .range = { (uint64_t)(uintptr_t)(area + first * PAGE),
						  (uint64_t)pages * PAGE },
				       .mode = UFFDIO_REGISTER_MODE_WP };

	return ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

/* Written pages with content, as letters; protected when @rearm. */
static const char *scan(bool rearm)
{
	static char text[PAGES + 1];
	struct page_region regions[PAGES];
	uint64_t start = (uint64_t)(uintptr_t)area;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_CHECK_WPASYNC | (rearm ? PM_SCAN_WP_MATCHING : 0),
		.start = start,
		.end = start + PAGES * PAGE,
		.vec = (uint64_t)(uintptr_t)regions,
		.vec_len = PAGES,
		.category_inverted = PAGE_IS_PFNZERO,
		.category_mask = PAGE_IS_PFNZERO | PAGE_IS_WRITTEN,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int n = ioctl(pagemap, PAGEMAP_SCAN, &arg);

	if (n < 0)
		return errno == EPERM ? "EPERM" : strerror(errno);
	memset(text, '.', PAGES);
	for (int i = 0; i < n; i++)
		for (uint64_t at = regions[i].start; at < regions[i].end; at += PAGE)
			text[(at - start) / PAGE] = 'W';
	return text;
}

static void write_page(int page)
{
	area[page * PAGE]++;
}

static void only_pages_with_content(void)
{
	CHECK(begin());
	write_page(1);
	(void)area[2 * PAGE];
	CHECK_STR(scan(true), "EPERM");
	CHECK_INT(watch(0, PAGES), 0);
	CHECK_STR(scan(true), ".W......");
	CHECK_STR(scan(true), "........");
	write_page(1);
	write_page(2);
	write_page(3);
	CHECK_STR(scan(true), ".WWW....");
	madvise((void *)(area + PAGE), PAGE, MADV_DONTNEED);
	CHECK_STR(scan(true), "........");
	write_page(1);
	CHECK_STR(scan(true), ".W......");
	end();
}

/* So a scan that fails may not be believed, and its range is unprotected before the next one. */
static void failed_scan_has_protected(void)
{
	CHECK(begin());
	for (int i = 0; i < PAGES; i++)
		write_page(i);
	CHECK_INT(watch(0, PAGES), 0);
	mmap((void *)(area + 6 * PAGE), PAGE, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK_STR(scan(true), "EPERM");
	CHECK_INT(watch(6, 1), 0);
	CHECK_STR(scan(false), ".......W");
	struct uffdio_writeprotect off = { .range = { (uint64_t)(uintptr_t)area, PAGES * PAGE } };
	CHECK_INT(ioctl(uffd, UFFDIO_WRITEPROTECT, &off), 0);
	CHECK_STR(scan(true), "WWWWWW.W");
	end();
}

static void moving_ends_watching(void)
{
	void *to = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(begin());
	write_page(0);
	write_page(1);
	CHECK_INT(watch(0, PAGES), 0);
	CHECK_STR(scan(true), "WW......");
	CHECK(mremap((void *)area, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	CHECK(mremap(to, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)area) == area);
	CHECK_STR(scan(true), "EPERM");
	end();
}

static void closing_ends_protection(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };

	CHECK(begin());
	write_page(0);
	CHECK_INT(watch(0, PAGES), 0);
	CHECK_STR(scan(true), "W.......");
	close(uffd);
	CHECK_STR(scan(true), "EPERM");
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	CHECK_INT(ioctl(uffd, UFFDIO_API, &api), 0);
	CHECK_INT(watch(0, PAGES), 0);
	CHECK_STR(scan(false), "W.......");
	end();
}

static void child_is_not_watched(void)
{
	int status;
	pid_t pid;

	CHECK(begin());
	write_page(0);
	CHECK_INT(watch(0, PAGES), 0);
	CHECK_STR(scan(true), "W.......");
	pid = fork();
	if (pid == 0) {
		pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		_exit(strcmp(scan(false), "EPERM") == 0 ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	CHECK_INT(status, 0);
	CHECK_STR(scan(true), "........");
	end();
}

int main(void)
{
	if (!begin()) {
		puts("1..0 # SKIP needs userfaultfd write-protection (Linux 6.7, and root)");
		return 0;
	}
	end();
	TAP_RUN(only_pages_with_content);
	TAP_RUN(failed_scan_has_protected);
	TAP_RUN(moving_ends_watching);
	TAP_RUN(closing_ends_protection);
	TAP_RUN(child_is_not_watched);
	return tap_done();
}
