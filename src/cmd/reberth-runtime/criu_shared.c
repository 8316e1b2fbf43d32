// SPDX-License-Identifier: Apache-2.0
/*
 * criu_shared.c - of the library that CRIU gets: shared memory that travels without it
 *
 * CRIU knows an object of shared memory (MAP_SHARED | MAP_ANONYMOUS, a memfd) by its inode number,
 * and its pages by an image with that number, pagemap-shmem-<number>.img. That name is what both
 * sides go by:
 *
 * Dump: for an object that travels without CRIU, openat(2) makes shared-<number>.img instead, and
 * lseek(2), by which CRIU looks for pages (SEEK_DATA), finds none. These objects stand in
 *
 *	$REBERTH_SKIP/shared	    device and inode, 64 bits each, in the host's byte order
 *
 * Restore: CRIU makes a memfd, maps it, and opens the image to fill it. Where it has the other
 * name, openat(2) first puts the object that has arrived in place of that memfd and that mapping.
 * It is a memfd of the process that took the pages, named in
 *
 *	$REBERTH_SHARED/<number>    "<pid> <descriptor> <inode>\n"
 *
 * What must always hold: an object whose pages CRIU has not dumped is never restored as zeros. A
 * CRIU without this library does not find its image, and with it, without the object, none either;
 * both fail. A CRIU that looks for pages in another way has them all in the image, and reads them
 * on top of what has arrived, which is the same.
 *
 * A task that is being restored may see another root already. But CRIU's images are open as a
 * folder of the host's, and from there upwards is the host.
 *
 * Segments of System V have images of such names, too: criu_sysv.c.
 */
/* or openat() were another name for openat64(), and not a function of its own */
#undef _FILE_OFFSET_BITS

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "criu_hold.h"
#include "criu_smaps.h"
#include "criu_sysv.h"

#define EXPORT __attribute__((visibility("default")))

enum { OBJECTS_MAX = 1024 };

typedef off64_t lseek_fn(int fd, off64_t offset, int whence);
typedef void *mmap_fn(void *addr, size_t len, int prot, int flags, int fd, off64_t offset);

struct object {
	uint64_t device, inode;
};

/* what a dump leaves out */
static struct {
	bool read;
	size_t n;
	struct object list[OBJECTS_MAX];
	unsigned long number; /* of that whose image was made last; 0: that is not left out */
} hidden;

/* what was mapped last that may be a new object */
static struct {
	void *addr;
	size_t len;
	int fd;
} mapped = { .fd = -1 };

static openat_fn *real_openat(void)
{
	static openat_fn *real;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "openat64");
	return real;
}

static void read_hidden(void)
{
	const char *dir = getenv("REBERTH_SKIP");
	char path[PATH_MAX];
	ssize_t len;
	int fd;

	hidden.read = true;
	if (!dir || snprintf(path, sizeof(path), "%s/shared", dir) >= (int)sizeof(path))
		return;
	fd = real_openat()(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	len = read(fd, hidden.list, sizeof(hidden.list));
	close(fd);
	if (len > 0)
		hidden.n = (size_t)len / sizeof(hidden.list[0]);
}

/* Only what has the other image may have its pages hidden. */
static bool is_hidden(int fd)
{
	struct stat st;

	if (hidden.number == 0 || fstat(fd, &st) < 0 || st.st_ino != hidden.number)
		return false;
	for (size_t i = 0; i < hidden.n; i++)
		if (hidden.list[i].inode == st.st_ino && hidden.list[i].device == st.st_dev)
			return true;
	return false;
}

/* "pagemap-shmem-4711.img" */
static bool is_image(const char *path, unsigned long *ret_number)
{
	int end = 0;

	return sscanf(path, "pagemap-shmem-%lu.img%n", ret_number, &end) == 1 && end > 0 &&
	       path[end] == '\0';
}

/* All objects of which CRIU makes images are on one device. */
static bool is_hidden_number(unsigned long number)
{
	if (!hidden.read)
		read_hidden();
	for (size_t i = 0; i < hidden.n; i++)
		if (hidden.list[i].inode == number)
			return true;
	return false;
}

/* Return: a descriptor of the object that has arrived; negative errno */
static int open_arrived(int images, unsigned long number)
{
	const char *dir = getenv("REBERTH_SHARED");
	char path[PATH_MAX];
	struct stat st;
	int fd;

	if (!dir || snprintf(path, sizeof(path), "%s/%lu", dir, number) >= (int)sizeof(path))
		return -ENODATA;
	fd = criu_open_handed(real_openat(), images, path, O_RDWR);
	if (fd < 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)))
		return fd;
	close(fd);
	return -ESTALE;
}

/* A memfd that may not be sealed has one seal from the beginning. */
static int seal_like(int fd, int model)
{
	int want = fcntl(model, F_GET_SEALS), have = fcntl(fd, F_GET_SEALS);

	if (want < 0 || have < 0)
		return -errno;
	/* it may have more: those that an earlier restore has added in the end, as this one will */
	if ((want & ~have) == 0)
		return 0;
	return fcntl(fd, F_ADD_SEALS, want & ~have) < 0 ? -errno : 0;
}

/* Is it what CRIU has just made, and nothing else? */
static bool is_new_object(void)
{
	struct stat st;

	return mapped.fd >= 0 && fstat(mapped.fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       st.st_blocks == 0 && st.st_nlink == 0 && fcntl(mapped.fd, F_GET_SEALS) >= 0;
}

static int put_in_place(int images, unsigned long number)
{
	int fd, flags, r;

	if (!is_new_object())
		return -ESTALE;
	fd = open_arrived(images, number);
	if (fd < 0)
		return fd;
	r = seal_like(fd, mapped.fd);
	flags = r < 0 ? -1 : fcntl(mapped.fd, F_GETFD);
	if (r >= 0 && (flags < 0 || dup3(fd, mapped.fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0 ||
		       mmap(mapped.addr, mapped.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			    mapped.fd, 0) == MAP_FAILED))
		r = -errno;
	close(fd);
	mapped.fd = -1;
	return r;
}

/* One of the usual name, beside the other, is that of a segment which has this number as id. */
static int open_image(int dir, const char *path, int flags, mode_t mode, unsigned long number)
{
	char other[64];
	int fd, r;

	if (sysv_has_attached(number)) {
		hidden.number = 0;
		return sysv_open_image(real_openat(), dir, path, flags, mode, number);
	}
	snprintf(other, sizeof(other), "shared-%lu.img", number);
	if (flags & O_CREAT) {
		hidden.number = is_hidden_number(number) ? number : 0;
		return real_openat()(dir, hidden.number ? other : path, flags, mode);
	}
	fd = real_openat()(dir, other, flags);
	if (fd < 0)
		return errno == ENOENT ? real_openat()(dir, path, flags) : -1;
	r = put_in_place(dir, number);
	if (r >= 0)
		return fd;
	close(fd);
	errno = -r;
	return -1;
}

EXPORT int openat64(int dir, const char *path, int flags, ...)
{
	unsigned long number;
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(args, mode_t);
	va_end(args);
	if (!(flags & O_CREAT) && !criu_await_images(path)) {
		errno = ENOENT;
		return -1;
	}
	/* not ENOENT: CRIU takes that for no pages */
	if (!(flags & O_CREAT) && !sysv_has_arrived() && !criu_await_pages(dir, path)) {
		errno = EIO;
		return -1;
	}
	if (!(flags & O_CREAT) && !sysv_join(real_openat(), dir, path))
		return -1;
	if (is_image(path, &number))
		return open_image(dir, path, flags, mode, number);
	if (strcmp(path, "smaps") == 0) {
		int fd = smaps_open(dir);

		if (fd != SMAPS_OF_THE_KERNEL)
			return fd;
	}
	return real_openat()(dir, path, flags, mode);
}

EXPORT off64_t lseek64(int fd, off64_t offset, int whence)
{
	static lseek_fn *real;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "lseek64");
	if (whence == SEEK_DATA && (is_hidden(fd) || sysv_is_hidden(fd))) {
		errno = ENXIO;
		return -1;
	}
	return real(fd, offset, whence);
}

EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t offset)
{
	static mmap_fn *real;
	void *at;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "mmap64");
	at = real(addr, len, prot, flags, fd, offset);
	if (at != MAP_FAILED && fd >= 0 && (flags & MAP_SHARED) && (prot & PROT_WRITE) &&
	    offset == 0) {
		mapped.addr = at;
		mapped.len = len;
		mapped.fd = fd;
	}
	return at;
}

/* Where off_t has 64 bits anyway, a CRIU may have been built to call these. */
EXPORT int openat(int dir, const char *path, int flags, ...) __attribute__((alias("openat64")));
EXPORT off_t lseek(int fd, off_t offset, int whence) __attribute__((alias("lseek64")));
EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
	__attribute__((alias("mmap64")));
