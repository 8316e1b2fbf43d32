// SPDX-License-Identifier: Apache-2.0
/*
 * criu_filter.c - a library preloaded into the CRIU that dumps: it does not see memory that travels
 * without it
 *
 * CRIU asks PAGEMAP_SCAN which pages of a mapping have content, and copies those (its
 * criu/pagemap-cache.c). Pages that we have sent, or are about to send, are taken out of the
 * answer: then CRIU neither reads nor writes them, and the dump takes as long as that of an empty
 * process. Which pages those are stands in a file for each process,
 *
 *	$REBERTH_SKIP/<pid>	pairs of 64-bit addresses, start and end (exclusive), in order, in
 *				the host's byte order
 *
 * Without such a file CRIU sees everything.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "criu_smaps.h"

/* of linux/fs.h, which older headers do not have */
struct page_region {
	__u64 start, end, categories;
};

struct pm_scan_arg {
	__u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	__u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN  _IOWR('f', 16, struct pm_scan_arg)
#define GUARD (1 << 8) /* PAGE_IS_GUARD */

struct range {
	uint64_t start, end;
};

/* of the process that was asked about last: CRIU dumps one after the other */
static struct {
	int pid;
	const struct range *list;
	size_t n;
} skip;

static void load(int pid)
{
	const char *dir = getenv("REBERTH_SKIP");
	char path[4096];
	struct stat st;
	void *data;
	int fd;

	if (skip.list)
		munmap((void *)skip.list, skip.n * sizeof(struct range));
	skip.pid = pid;
	skip.list = NULL;
	skip.n = 0;
	if (!dir || snprintf(path, sizeof(path), "%s/%d", dir, pid) >= (int)sizeof(path))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof(struct range)) {
		data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (data != MAP_FAILED) {
			skip.list = data;
			skip.n = (size_t)st.st_size / sizeof(struct range);
		}
	}
	close(fd);
}

/* "/proc/4711/pagemap" */
static int pid_of(int fd)
{
	char link[64], path[128];
	ssize_t len;
	int pid = 0;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	path[len < 0 ? 0 : len] = '\0';
	return sscanf(path, "/proc/%d/pagemap", &pid) == 1 ? pid : 0;
}

/* the first skipped range that ends beyond @addr */
static size_t find(uint64_t addr)
{
	size_t low = 0, high = skip.n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (skip.list[middle].end <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* What is left of the regions outside of the skipped ranges. A region may fall into more pieces
 * than there is room for: then CRIU is told that the walk ended before the first that is missing,
 * and asks again. */
static long take_out(struct pm_scan_arg *scan, const struct page_region *found, long count)
{
	struct page_region *out = (struct page_region *)(uintptr_t)scan->vec;
	long n = 0;

	for (long i = 0; i < count; i++) {
		uint64_t at = found[i].start;

		for (size_t k = find(at); at < found[i].end; k++) {
			uint64_t stop = k < skip.n && skip.list[k].start < found[i].end
						? skip.list[k].start
						: found[i].end;

			if (stop > at) {
				if (n == (long)scan->vec_len) {
					scan->walk_end = at;
					return n;
				}
				out[n++] = (struct page_region){ at, stop, found[i].categories };
			}
			at = k < skip.n && stop < found[i].end ? skip.list[k].end : found[i].end;
		}
	}
	return n;
}

static long filter(int (*real)(int, unsigned long, ...), int fd, struct pm_scan_arg *scan)
{
	struct pm_scan_arg whole = *scan;
	struct page_region *found;
	size_t k = find(scan->start);
	long n;

	if (k < skip.n && skip.list[k].start <= scan->start && skip.list[k].end >= scan->end) {
		scan->walk_end = scan->end;
		return 0;
	}
	found = malloc((size_t)scan->vec_len * sizeof(*found));
	if (!found)
		return real(fd, SCAN, scan);
	whole.vec = (uintptr_t)found;
	n = real(fd, SCAN, &whole);
	scan->walk_end = whole.walk_end;
	if (n > 0)
		n = take_out(scan, found, n);
	free(found);
	return n;
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...)
{
	static int (*real)(int, unsigned long, ...);
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "ioctl");
	/* where there are guard regions (MADV_GUARD_INSTALL) it asks of all memory at once */
	if (request == SCAN && !(((struct pm_scan_arg *)arg)->category_mask & GUARD)) {
		int pid = pid_of(fd);

		int r = pid != skip.pid ? smaps_await_lists() : 0;

		if (r < 0) {
			errno = -r;
			return -1;
		}
		if (pid != skip.pid)
			load(pid);
		if (skip.n > 0)
			return (int)filter(real, fd, arg);
	}
	return real(fd, request, arg);
}
