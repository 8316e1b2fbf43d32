// SPDX-License-Identifier: Apache-2.0
/*
 * test_dirty.c - whatever changes a file, the look after it knows
 *
 * Each test changes the content of a file in one way. What has changed is found by reading it all,
 * and must be among what the look says; the look must not just say "all of it". The last tests do
 * all of it at once, and put together a copy from what each look says.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "dirty.h"
#include "ext4_util.h"
#include "extents.h"
#include "tap.h"
#include "tree_util.h"
#include "wait.h"

#define BLOCK 4096
#define SIZE  ((size_t)16 << 20)
#define MAX   ((size_t)24 << 20)
#define PIECE ((size_t)64 << 10)

#ifndef FALLOC_FL_WRITE_ZEROES
#define FALLOC_FL_WRITE_ZEROES 0x80
#endif

struct move_extent { /* of EXT4_IOC_MOVE_EXT, which no header of user space has */
	uint32_t reserved, donor_fd;
	uint64_t orig_start, donor_start, len, moved;
};
#define MOVE_EXT _IOWR('f', 15, struct move_extent)

static char root[PATH_MAX];

struct watched {
	char path[PATH_MAX];
	struct dirty *dirty;
	struct dirty_file *file;
	int fd;	       /* of the looks */
	int write_fd;  /* of the changes */
	uint8_t *copy; /* as of the last look; MAX bytes */
	size_t size;
	struct bits said;
};

static void fill(uint8_t *data, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		data[i] = (uint8_t)(seed >> 16);
	}
}

static size_t read_whole(int fd, uint8_t *ret)
{
	size_t n = 0;
	ssize_t got;

	while (n < MAX && (got = pread(fd, ret + n, MAX - n, (off_t)n)) > 0)
		n += (size_t)got;
	return n;
}

static int look(struct watched *w, bool settle)
{
	struct stat st;

	if (fstat(w->fd, &st) < 0)
		return -errno;
	return dirty_look(w->dirty, w->file, w->fd, (uint64_t)st.st_size, settle, &w->said);
}

static void release(struct watched *w)
{
	if (w->dirty)
		dirty_file_free(w->dirty, w->file);
	dirty_close(w->dirty);
	bits_free(&w->said);
	free(w->copy);
	rb_close_fd(&w->fd);
	rb_close_fd(&w->write_fd);
}

/* A file of random content that was looked at once. */
static int set_up_in(struct watched *w, const char *folder)
{
	static int count;

	*w = (struct watched){ .fd = -EBADF, .write_fd = -EBADF };
	snprintf(w->path, sizeof(w->path), "%s/file%d", folder, count++);
	w->copy = malloc(MAX);
	fill(w->copy, SIZE, (unsigned int)count);
	w->size = SIZE;
	w->write_fd = open(w->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	w->fd = open(w->path, O_RDONLY | O_CLOEXEC);
	if (w->write_fd < 0 || w->fd < 0 || rb_write_all(w->write_fd, w->copy, SIZE) < 0)
		return -1;
	if (dirty_open(&w->dirty) < 0 || dirty_file_new(w->dirty, w->fd, BLOCK, &w->file) < 0)
		return -1;
	dirty_watch(w->dirty, true);
	return look(w, true);
}

/* Is all that differs from the copy said? Return: blocks that differ, -1 if one is missing */
static int changed_and_said(struct watched *w)
{
	_cleanup_free_ uint8_t *now = malloc(MAX);
	size_t size = read_whole(w->fd, now);
	int n = 0;

	for (size_t at = 0; at < size; at += BLOCK) {
		size_t len = size - at < BLOCK ? size - at : BLOCK;

		if (at + len <= w->size && memcmp(now + at, w->copy + at, len) == 0)
			continue;
		n++;
		if (!bits_has(&w->said, at / BLOCK)) {
			printf("# block %zu of %s differs, and nothing said so\n", at / BLOCK,
			       w->path);
			return -1;
		}
	}
	memcpy(w->copy, now, size);
	w->size = size;
	return n;
}

#define SET_UP(w)                                             \
	_cleanup_(release) struct watched w;                  \
	do {                                                  \
		int _r = set_up_in(&w, root);                 \
		if (dirty_why(w.dirty)) {                     \
			printf("# %s\n", dirty_why(w.dirty)); \
			tap_ok = false;                       \
			return;                               \
		}                                             \
		CHECK_INT(_r, 0);                             \
	} while (0)

/* known, all that changed is said, and not more than @max blocks */
#define CHECK_LOOK(w, settle, min, max)                          \
	do {                                                     \
		CHECK_INT(look(&w, settle), 1);                  \
		CHECK(changed_and_said(&w) >= (int)(min));       \
		CHECK((long)bits_count(&w.said) <= (long)(max)); \
	} while (0)

static void write_at(const struct watched *w, off_t at, size_t len)
{
	static unsigned int seed;
	_cleanup_free_ uint8_t *data = malloc(len);

	fill(data, len, ++seed);
	if (rb_pwrite_all(w->write_fd, data, len, at) < 0)
		abort();
}

static void nothing(void)
{
	SET_UP(w);
	CHECK_LOOK(w, true, 0, 0);
	CHECK_LOOK(w, false, 0, 0);
}

static void written(void)
{
	SET_UP(w);
	write_at(&w, 5 * BLOCK + 100, 50);
	write_at(&w, 3 << 20, 100000);
	CHECK_LOOK(w, true, 2, SIZE / BLOCK - 1);
	/* the map says "unwritten" until the file system has noted that the data is on the disk */
	for (int i = 0; i < 100 && look(&w, true) == 1 && bits_count(&w.said) > 0; i++)
		usleep(20000);
	CHECK_LOOK(w, true, 0, 0);
}

/* A folio that is dirty is not told again. */
static void written_while_dirty(void)
{
	SET_UP(w);
	for (int i = 0; i < 5; i++) {
		write_at(&w, 7 * BLOCK, 200);
		CHECK_LOOK(w, false, 1, SIZE / BLOCK - 1);
	}
}

static void written_by_others(void)
{
	SET_UP(w);
	for (int i = 0; i < 8; i++) {
		pid_t pid;

		fflush(NULL);
		pid = fork();
		if (pid == 0) {
			write_at(&w, (off_t)(i + 1) * 1000000, 5000);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		CHECK_LOOK(w, i % 2, 1, SIZE / BLOCK - 1);
	}
}

static void stored_through_mapping(void)
{
	uint8_t *map;

	SET_UP(w);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w.write_fd, 0);
	CHECK(map != MAP_FAILED);
	map[12345] ^= 1;
	CHECK_LOOK(w, false, 1, SIZE / BLOCK - 1);
	/* no fault any more */
	map[12345] ^= 2;
	CHECK_LOOK(w, false, 1, SIZE / BLOCK - 1);
	map[12345] ^= 4;
	CHECK_LOOK(w, true, 1, SIZE / BLOCK - 1);
	map[12345] ^= 8; /* it was written out and protected */
	map[(9 << 20) + 1] ^= 8;
	CHECK_LOOK(w, false, 2, SIZE / BLOCK - 1);
	munmap(map, SIZE);
}

/* Written by a system call first: the folio is dirty, and the store has nothing to tell. */
static void stored_where_dirty(void)
{
	uint8_t *map;

	SET_UP(w);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w.write_fd, 0);
	CHECK(map != MAP_FAILED);
	write_at(&w, 1 << 20, 10);
	for (size_t i = 0; i < 512; i += 37)
		map[(1 << 20) + i * BLOCK] ^= 1;
	CHECK_LOOK(w, true, 14, SIZE / BLOCK - 1);
	munmap(map, SIZE);
}

static void stored_by_another_process(void)
{
	static char text[] = "look what I can";
	struct iovec mine = { .iov_base = text, .iov_len = 15 }, theirs;
	uint8_t *map;
	pid_t pid;

	SET_UP(w);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w.write_fd, 0);
	CHECK(map != MAP_FAILED);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
	}
	theirs = (struct iovec){ .iov_base = map + 77777, .iov_len = 15 };
	CHECK_INT(process_vm_writev(pid, &mine, 1, &theirs, 1, 0), 15);
	CHECK_LOOK(w, true, 1, SIZE / BLOCK - 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap(map, SIZE);
}

static ssize_t splice_in(int from, int to, loff_t at)
{
	int fds[2];
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	n = splice(from, NULL, fds[1], NULL, 4096, 0);
	if (n > 0)
		n = splice(fds[0], NULL, to, &at, (size_t)n, 0);
	close(fds[0]);
	close(fds[1]);
	return n;
}

/* Without the data passing through the writer. */
static void spliced(void)
{
	_cleanup_close_ int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	loff_t to = 11 << 20;

	SET_UP(w);
	CHECK_INT(lseek(w.write_fd, 1 << 20, SEEK_SET), 1 << 20);
	CHECK(sendfile(w.write_fd, from, NULL, 20000) > 0);
	CHECK_LOOK(w, true, 5, SIZE / BLOCK - 1);
	lseek(from, 0, SEEK_SET);
	CHECK_INT(splice_in(from, w.write_fd, 9 << 20), 4096);
	CHECK_LOOK(w, true, 1, SIZE / BLOCK - 1);
	CHECK(copy_file_range(w.write_fd, &(loff_t){ 0 }, w.write_fd, &to, 9000, 0) > 0);
	CHECK_LOOK(w, true, 2, SIZE / BLOCK - 1);
}

static void *aligned(size_t len, int seed)
{
	void *data;

	if (posix_memalign(&data, 4096, len) != 0)
		abort();
	fill(data, len, (unsigned int)seed);
	return data;
}

static void written_directly(void)
{
	_cleanup_free_ void *data = aligned(PIECE, 99);
	_cleanup_close_ int fd = -EBADF;

	SET_UP(w);
	fd = open(w.path, O_WRONLY | O_DIRECT | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_INT(pwrite(fd, data, PIECE, 2 << 20), PIECE);
	CHECK_LOOK(w, true, PIECE / BLOCK, PIECE / BLOCK);
	CHECK_INT(pwrite(fd, data, PIECE, 4 << 20), PIECE);
	CHECK_LOOK(w, true, PIECE / BLOCK, PIECE / BLOCK);
	CHECK_LOOK(w, false, 0, 0);
}

/* Begun before a look, over after it. */
static void written_directly_meanwhile(void)
{
	enum { LEN = 8 << 20 };
	_cleanup_free_ void *data = aligned(LEN, 1234);
	_cleanup_close_ int fd = -EBADF;
	struct iocb cb, *cbs[] = { &cb };
	struct io_event done;
	aio_context_t context = 0;

	SET_UP(w);
	fd = open(w.path, O_WRONLY | O_DIRECT | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_INT(syscall(SYS_io_setup, 4, &context), 0);
	for (int i = 0; i < 8; i++) {
		fill(data, LEN, (unsigned int)i);
		cb = (struct iocb){ .aio_fildes = (uint32_t)fd,
				    .aio_lio_opcode = IOCB_CMD_PWRITE,
				    .aio_buf = (uintptr_t)data,
				    .aio_nbytes = LEN,
				    .aio_offset = (1 << 20) * i };
		CHECK_INT(syscall(SYS_io_submit, context, 1, cbs), 1);
		CHECK_LOOK(w, false, 0, SIZE / BLOCK - 1);
		CHECK_INT(syscall(SYS_io_getevents, context, 1, 1, &done, NULL), 1);
		CHECK_LOOK(w, false, 0, SIZE / BLOCK - 1);
	}
	CHECK_LOOK(w, true, 0, SIZE / BLOCK - 1);
	CHECK_LOOK(w, true, 0, 0);
	syscall(SYS_io_destroy, context);
}

#define ALLOCATES(name, mode, min)                                         \
	static void name(void)                                             \
	{                                                                  \
		SET_UP(w);                                                 \
		if (fallocate(w.write_fd, mode, 5 << 20, 256 << 10) < 0) { \
			CHECK_INT(errno, EOPNOTSUPP);                      \
			printf("# " #mode " is not supported here\n");     \
			return;                                            \
		}                                                          \
		CHECK_LOOK(w, false, min, SIZE / BLOCK - 1 + (size_t)64);  \
		write_at(&w, (5 << 20) + 100, 100);                        \
		CHECK_LOOK(w, true, 1, SIZE / BLOCK - 1 + (size_t)64);     \
	}

ALLOCATES(punched, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 64)
ALLOCATES(zeroed, FALLOC_FL_ZERO_RANGE, 64)
ALLOCATES(zeroed_and_written, FALLOC_FL_WRITE_ZEROES, 64)
ALLOCATES(collapsed, FALLOC_FL_COLLAPSE_RANGE, 1000)
ALLOCATES(inserted, FALLOC_FL_INSERT_RANGE, 1000)

/* Parts of pages, too. */
static void punched_askew(void)
{
	SET_UP(w);
	CHECK_INT(fallocate(w.write_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000000, 3000),
		  0);
	CHECK_INT(fallocate(w.write_fd, FALLOC_FL_ZERO_RANGE, 2000000, 9000), 0);
	CHECK_LOOK(w, false, 4, SIZE / BLOCK - 1);
}

static void cut_and_grown(void)
{
	SET_UP(w);
	CHECK_INT(ftruncate(w.write_fd, 10000001), 0);
	CHECK_INT(ftruncate(w.write_fd, SIZE), 0);
	CHECK_LOOK(w, false, 1, SIZE / BLOCK - 1);
	CHECK_INT(ftruncate(w.write_fd, 9000001), 0);
	CHECK_LOOK(w, false, 0, SIZE / BLOCK - 1);
	CHECK_INT(ftruncate(w.write_fd, 9000005), 0);
	CHECK_LOOK(w, false, 0, SIZE / BLOCK - 1);
	CHECK_INT(ftruncate(w.write_fd, 0), 0);
	write_at(&w, 0, 1 << 20);
	write_at(&w, 8000000, 100);
	CHECK_LOOK(w, true, 256, SIZE / BLOCK - 1);
	write_at(&w, 5000, 10);
	CHECK_LOOK(w, true, 1, SIZE / BLOCK - 1);
}

static void appended(void)
{
	SET_UP(w);
	for (int i = 0; i < 6; i++) {
		write_at(&w, (off_t)(SIZE + (size_t)i * 100000), 100000);
		CHECK_LOOK(w, i % 2, 20, SIZE / BLOCK - 1);
	}
}

static void defragmented(void)
{
	struct move_extent move = { .orig_start = 100, .donor_start = 100, .len = 64 };
	_cleanup_close_ int donor = open(at(root, "donor"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	SET_UP(w);
	CHECK_INT(fallocate(donor, 0, 0, SIZE), 0);
	move.donor_fd = (uint32_t)donor;
	CHECK_INT(ioctl(w.write_fd, MOVE_EXT, &move), 0);
	CHECK_INT(move.moved, 64);
	CHECK_LOOK(w, true, 0, SIZE / BLOCK - 1);
	CHECK(bits_count(&w.said) >= 64);
}

/* An overlay's file is the upper file. */
static void through_an_overlay(void)
{
	char options[4 * PATH_MAX], inside[PATH_MAX];
	_cleanup_close_ int fd = -EBADF;
	uint8_t *map;
	static const char *const folders[] = { "lower", "upper", "work", "merged" };

	for (int i = 0; i < 4; i++)
		CHECK_INT(mkdir(at(root, folders[i]), 0755), 0);
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", at(root, "lower"),
		 at(root, "upper"), at(root, "work"));
	if (mount("overlay", at(root, "merged"), "overlay", 0, options) < 0) {
		printf("# no overlay here\n");
		return;
	}
	{
		_cleanup_(release) struct watched w;

		CHECK_INT(set_up_in(&w, at(root, "upper")), 0);
		snprintf(inside, sizeof(inside), "%s/%s", at(root, "merged"),
			 strrchr(w.path, '/') + 1);
		fd = open(inside, O_RDWR | O_CLOEXEC);
		CHECK(fd >= 0);
		CHECK_INT(pwrite(fd, "over the overlay", 16, 3000000), 16);
		CHECK_LOOK(w, true, 1, SIZE / BLOCK - 1);
		map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CHECK(map != MAP_FAILED);
		map[6000000] ^= 1;
		CHECK_LOOK(w, true, 1, SIZE / BLOCK - 1);
		munmap(map, SIZE);
	}
	umount2(at(root, "merged"), MNT_DETACH);
}

/* --- all at once --- */

static void change_somehow(const struct watched *w, int direct, uint8_t *map, uint8_t *data)
{
	off_t at = (off_t)((size_t)rand() % (SIZE - 2 * PIECE));
	size_t len = (size_t)rand() % 20000 + 1;

	switch (rand() % 12) {
	case 0 ... 4:
		fill(data, len, (unsigned int)rand());
		pwrite(w->write_fd, data, len, at);
		break;
	case 5 ... 7:
		map[at] ^= 0x55;
		map[at + 5000] ^= 0xaa;
		break;
	case 8:
		fill(data, PIECE, (unsigned int)rand());
		pwrite(direct, data, PIECE, at & ~(off_t)4095);
		break;
	case 9:
		fallocate(w->write_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (off_t)len);
		break;
	case 10:
		fallocate(w->write_fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, at, (off_t)len);
		break;
	case 11:
		if (rand() % 8 == 0)
			fdatasync(w->write_fd);
		else
			sync_file_range(w->write_fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	}
}

static pid_t start_changing(const struct watched *w, int seed)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		uint8_t *data = aligned(PIECE, 1);
		int direct = open(w->path, O_WRONLY | O_DIRECT | O_CLOEXEC);
		uint8_t *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w->write_fd, 0);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		srand((unsigned int)seed);
		for (;;)
			change_somehow(w, direct, map, data);
	}
	return pid;
}

/* What a receiver has after patches made of what is said. */
static int patch_copy(struct watched *w, bool settle)
{
	int r = look(w, settle);

	for (size_t i = 0; r >= 0 && i < SIZE / BLOCK; i++)
		if ((r == 0 || bits_has(&w->said, i)) &&
		    pread(w->fd, w->copy + i * BLOCK, BLOCK, (off_t)(i * BLOCK)) != BLOCK)
			return -1;
	return r;
}

static void all_at_once(void)
{
	int known = 0;

	for (int seed = 1; seed <= 6; seed++) {
		pid_t pids[2];

		SET_UP(w);
		for (int i = 0; i < 2; i++)
			pids[i] = start_changing(&w, seed * 10 + i);
		for (int i = 0; i < 12; i++) {
			int r;

			rb_wait_ms(10, NULL, NULL);
			r = patch_copy(&w, i % 3 > 0);
			CHECK(r >= 0);
			known += r;
		}
		for (int i = 0; i < 2; i++) {
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
		}
		CHECK(patch_copy(&w, false) >= 0);
		/* the copy has nothing that is not said, so nothing may differ now */
		bits_clear(&w.said);
		CHECK_INT(changed_and_said(&w), 0);
	}
	CHECK(known > 6); /* or it was not put to the test */
}

/* Files that came and went leave room for those that come after them; until then nothing is told of
 * these. */
static void many_that_are_gone(void)
{
	enum { FILES = 256, BATCH = 16 };
	struct dirty_file *files[BATCH], *more;
	_cleanup_close_ int fd = -EBADF;

	SET_UP(w);
	fd = open(at(root, "short-lived"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_INT(ftruncate(fd, 1 << 20), 0);
	for (int n = 1; n + BATCH <= FILES; n += BATCH) {
		for (int i = 0; i < BATCH; i++)
			CHECK_INT(dirty_file_new(w.dirty, fd, BLOCK, &files[i]), 0);
		dirty_watch(w.dirty, true);
		for (int i = 0; i < BATCH; i++)
			dirty_file_free(w.dirty, files[i]);
	}
	for (int i = 0; i < BATCH; i++)
		CHECK_INT(dirty_file_new(w.dirty, fd, BLOCK, &files[i]), 0);
	more = files[0];
	/* as in a freeze, in which there is no time to begin anew */
	dirty_watch(w.dirty, false);
	CHECK_INT(dirty_look(w.dirty, more, fd, 1 << 20, true, &w.said), 0);
	CHECK_INT(dirty_look(w.dirty, more, fd, 1 << 20, true, &w.said), 0);
	CHECK_LOOK(w, true, 0, 0);
	dirty_watch(w.dirty, true);
	CHECK_INT(dirty_look(w.dirty, more, fd, 1 << 20, true, &w.said), 0);
	CHECK_INT(dirty_look(w.dirty, more, fd, 1 << 20, true, &w.said), 1);
	/* which costs the others one look */
	CHECK_INT(look(&w, true), 0);
	read_whole(w.fd, w.copy);
	write_at(&w, 1234567, 10);
	CHECK_LOOK(w, true, 1, SIZE / BLOCK - 1);
	for (int i = 0; i < BATCH; i++)
		dirty_file_free(w.dirty, files[i]);
}

/* A ring that is full says nothing of what did not fit: so "unknown", and then it goes on. */
static void too_much_to_tell(void)
{
	enum { TIMES = 200000 };

	SET_UP(w);
	for (int i = 0; i < TIMES; i++)
		CHECK_INT(fallocate(w.write_fd, FALLOC_FL_ZERO_RANGE, BLOCK, BLOCK), 0);
	CHECK_INT(look(&w, true), 0);
	read_whole(w.fd, w.copy);
	write_at(&w, 1234567, 10);
	CHECK_LOOK(w, true, 1, SIZE / BLOCK - 1);
}

static void journalled(void)
{
	char folder[PATH_MAX];
	const char *why = ext4_mount("data=journal", folder);
	_cleanup_(release) struct watched w;

	CHECK(!why);
	CHECK_INT(set_up_in(&w, folder), 0);
	CHECK_INT(look(&w, true), 0);
}

static void on_a_file_system_that_tells_nothing(void)
{
	_cleanup_(release) struct watched w;

	CHECK_INT(set_up_in(&w, "/dev/shm"), 0);
	unlink(w.path);
	CHECK_INT(look(&w, true), 0);
	write_at(&w, 0, 10);
	CHECK_INT(look(&w, true), 0);
}

static void maps_compared(void)
{
	struct extent a[] = { { 0, 1000 << 12, 8 << 12, 0 }, { 16 << 12, 5000 << 12, 4 << 12, 0 } };
	/* the same, cut otherwise; one block elsewhere, one unwritten */
	struct extent b[] = { { 0, 1000 << 12, 3 << 12, 0 },
			      { 3 << 12, 1003 << 12, 4 << 12, 0 },
			      { 7 << 12, 1008 << 12, 1 << 12, 0 },
			      { 16 << 12, 5000 << 12, 3 << 12, 0 },
			      { 19 << 12, 5003 << 12, 1 << 12, 0x800 } };
	struct extents before = { .list = a, .n = 2 }, now = { .list = b, .n = 5 };
	struct bits differ = {};

	CHECK_INT(bits_resize(&differ, 32), 0);
	extents_differ(&before, &before, BLOCK, &differ);
	CHECK_INT(bits_count(&differ), 0);
	extents_differ(&before, &now, BLOCK, &differ);
	CHECK_INT(bits_count(&differ), 2);
	CHECK(bits_has(&differ, 7) && bits_has(&differ, 19));
	bits_free(&differ);
}

/* An older kernel may tell nothing; one that says that it does is held to it. */
static const char *why_not(void)
{
	static char text[128];
	struct dirty *dirty;

	if (geteuid())
		return "needs root";
	if (dirty_open(&dirty) < 0)
		abort();
	snprintf(text, sizeof(text), "not told by this kernel: %s", dirty_why(dirty) ?: "");
	if (!dirty_why(dirty)) {
		dirty_close(dirty);
		return ext4_mount("", root);
	}
	dirty_close(dirty);
	return text;
}

int main(void)
{
	const char *why = why_not();

	TAP_RUN(maps_compared);
	if (why) {
		TAP_SKIP(all_at_once, why);
		return tap_done();
	}
	TAP_RUN(nothing);
	TAP_RUN(written);
	TAP_RUN(written_while_dirty);
	TAP_RUN(written_by_others);
	TAP_RUN(stored_through_mapping);
	TAP_RUN(stored_where_dirty);
	TAP_RUN(stored_by_another_process);
	TAP_RUN(spliced);
	TAP_RUN(written_directly);
	TAP_RUN(written_directly_meanwhile);
	TAP_RUN(punched);
	TAP_RUN(zeroed);
	TAP_RUN(zeroed_and_written);
	TAP_RUN(collapsed);
	TAP_RUN(inserted);
	TAP_RUN(punched_askew);
	TAP_RUN(cut_and_grown);
	TAP_RUN(appended);
	TAP_RUN(defragmented);
	TAP_RUN(through_an_overlay);
	TAP_RUN(all_at_once);
	TAP_RUN(many_that_are_gone);
	TAP_RUN(too_much_to_tell);
	TAP_RUN(journalled);
	TAP_RUN(on_a_file_system_that_tells_nothing);
	return tap_done();
}
