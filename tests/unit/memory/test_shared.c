// SPDX-License-Identifier: Apache-2.0
/*
 * test_shared.c - shared memory in rounds: what changed since the last one arrives, however it was
 * changed
 *
 * A child has the objects that its parent made before. What arrives is the parent's.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block.h"
#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "objects.h"
#include "pack.h"
#include "ranges.h"
#include "receive.h"
#include "record.h"
#include "shared.h"
#include "shuffle.h"
#include "tap.h"
#include "tmpfs_options.h"
#include "wait.h"

enum {
	PAGES = 1024,
	SIZE = PAGES * RB_PAGE_SIZE,
	SUMS = PAGES * 8 / RB_PAGE_SIZE, /* pages for what is known of them */
};

static pid_t child;
static struct rb_shared *shared;
static struct rb_receiver *receiver;
static struct rb_err err;
static uint64_t sent_pages; /* with content, in the last round */
static char dir[] = "/tmp/test_shared.XXXXXX";

static int take(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		struct rb_err *why)
{
	(void)arg;
	(void)wait;
	return rb_receiver_take(receiver, block, len, why);
}

static struct rb_memory_sink sink = { take, NULL };

static int send_round(bool last)
{
	static struct rb_packer *packer;
	_cleanup_block_ struct rb_block *block = NULL;
	int r = packer ? 0 : rb_packer_new(&packer, &err);

	if (r >= 0)
		r = rb_block_new(&sink, packer, &block, &err);
	rb_receiver_begin(receiver, last);
	rb_shared_begin(shared);
	if (r >= 0)
		r = rb_shared_add(shared, child, &err);
	rb_shared_end(shared);
	if (r >= 0)
		r = rb_shared_send(shared, block, last, NULL, &err);
	if (r >= 0)
		r = rb_block_flush(block, NULL, &err);
	if (r >= 0)
		r = shuffle_end(&err);
	sent_pages = rb_block_stats(block)->pages;
	return r < 0 ? r : rb_receiver_end(receiver, &err);
}

static void have_child(void)
{
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
}

static void end_child(void)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static bool begin(void)
{
	rb_err_clear(&err);
	have_child();
	return rb_shared_new(&shared, &err) >= 0 && rb_receiver_new(&receiver, &err) >= 0;
}

static void end(void)
{
	end_child();
	rb_shared_free(shared);
	rb_receiver_free(receiver);
	shared = NULL;
	receiver = NULL;
}

static uint8_t *make_anonymous(void)
{
	return mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void fill(uint8_t *at, size_t from, size_t count, int with)
{
	memset(at + from * RB_PAGE_SIZE, with, count * RB_PAGE_SIZE);
}

/* the object of a mapping, as it arrived; its descriptor */
static int arrived_of(const void *at, size_t size)
{
	char path[64], text[128] = "";
	unsigned long long inode;
	struct stat st;
	int pid, fd;

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at,
		 (unsigned long)at + size);
	if (stat(path, &st) < 0 || rb_objects_publish(rb_receiver_objects(receiver), dir, &err) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/%lu", dir, (unsigned long)st.st_ino);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return -1;
	close(fd);
	if (sscanf(text, "%d %d %llu", &pid, &fd, &inode) != 3 || pid != getpid() ||
	    fstat(fd, &st) < 0 || st.st_ino != inode)
		return -1;
	return fd;
}

static int arrived(const void *at)
{
	return arrived_of(at, SIZE);
}

static bool is_same_of(const uint8_t *at, size_t size)
{
	uint8_t *copy = malloc(size);
	int fd = arrived_of(at, size);
	bool same = fd >= 0 && pread(fd, copy, size, 0) == (ssize_t)size &&
		    memcmp(copy, at, size) == 0;

	free(copy);
	return same;
}

static bool is_same(const uint8_t *at)
{
	return is_same_of(at, SIZE);
}

static void test_rounds(void)
{
	uint8_t *at = make_anonymous();
	uint64_t bytes;

	CHECK(begin());
	fill(at, 10, 100, 1);
	fill(at, 500, 10, 0); /* pages that are there, with nothing in them */
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, 100);
	CHECK_INT(rb_shared_pending(shared, &bytes, &err), 0);
	CHECK_INT(bytes, 0);
	fill(at, 20, 1, 2);
	fill(at, 900, 1, 3);
	fill(at, 30, 1, 0);
	CHECK_INT(rb_shared_pending(shared, &bytes, &err), 0);
	CHECK_INT(bytes, 3 * RB_PAGE_SIZE);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, 2);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(sent_pages, 0);
	CHECK(is_same(at));
	CHECK_INT(rb_receiver_pages(receiver), 100 + SUMS);
	end();
	munmap(at, SIZE);
}

/* With so much several threads look at it in the end, from both ends. */
static void test_large(void)
{
	const size_t pages = 40 * 512 + 7, size = pages * RB_PAGE_SIZE;
	uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	CHECK(begin());
	for (size_t i = 0; i < pages; i++)
		if (i / 512 != 20 && i != 30 * 512 + 9)
			fill(at, i, 1, 1 + (int)(i % 251));
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, pages - 513);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(sent_pages, 0);
	CHECK_INT(rb_shared_bytes(shared), (pages - 513) * RB_PAGE_SIZE); /* holes are holes */
	for (size_t i = 0; i < pages; i += 511)
		at[i * RB_PAGE_SIZE + i % RB_PAGE_SIZE] ^= 0x55;
	fill(at, 5 * 512, 3, 0);
	CHECK_INT(madvise(at + 6 * 512 * RB_PAGE_SIZE, 512 * RB_PAGE_SIZE, MADV_REMOVE), 0);
	CHECK_INT(send_round(true), 0);
	CHECK(is_same_of(at, size));
	end();
	munmap(at, size);
}

/* blocks of a round overtake each other: an object is known before its pages nevertheless */
static void test_shuffled(void)
{
	uint8_t *at = make_anonymous(), *other = make_anonymous();

	CHECK(begin());
	sink = shuffle_sink;
	shuffle.take = take;
	shuffle.seed = 4715;
	shuffle.overtaken = shuffle.first = 0;
	for (int i = 1; i < 10; i++) {
		fill(at, 0, PAGES, i);
		fill(other, (size_t)i * 20, 200, i);
		fill(other, (size_t)i * 30, 10, 0);
		CHECK_INT(send_round(i == 9), 0);
		CHECK(is_same(at));
		CHECK(is_same(other));
	}
	CHECK_INT(shuffle.first, 2 * 9);
	CHECK(shuffle.overtaken > 30);
	sink = (struct rb_memory_sink){ take, NULL };
	end();
	munmap(at, SIZE);
	munmap(other, SIZE);
}

/* a process that wrote and ended left no marks in any page table that is still there */
static void test_writer_is_gone(void)
{
	uint8_t *at = make_anonymous();
	pid_t pid;

	CHECK(begin());
	fill(at, 0, PAGES, 1);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, PAGES);
	pid = fork();
	if (pid == 0) {
		at[777 * RB_PAGE_SIZE + 5] = 9;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(sent_pages, 1);
	CHECK(is_same(at));
	end();
	munmap(at, SIZE);
}

/* holes are neither filled here nor there, and what became one is one there */
static void test_holes(void)
{
	uint8_t *at = make_anonymous();

	CHECK(begin());
	fill(at, 0, 200, 1);
	fill(at, 300, 200, 1);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(rb_shared_bytes(shared), 400 * RB_PAGE_SIZE);
	madvise(at + 100 * RB_PAGE_SIZE, 250 * RB_PAGE_SIZE, MADV_REMOVE);
	fill(at, 320, 1, 2);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, 1);
	CHECK_INT(rb_receiver_pages(receiver), 251 + 1);
	madvise(at, SIZE, MADV_REMOVE);
	fill(at, 1, 1, 2);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(rb_receiver_pages(receiver), 1 + 1);
	CHECK_INT(rb_shared_bytes(shared), RB_PAGE_SIZE);
	CHECK(is_same(at));
	end();
	munmap(at, SIZE);
}

/* what is mapped behind an end within a page is no part of the file, and there nevertheless */
static void test_behind_the_end(void)
{
	int fd = memfd_create("cut", MFD_CLOEXEC), there;
	uint8_t *at, *arrived_at;

	CHECK(begin());
	CHECK_INT(ftruncate(fd, SIZE - 100), 0);
	at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(at + SIZE - RB_PAGE_SIZE, 5, RB_PAGE_SIZE);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(send_round(true), 0);
	CHECK_INT(sent_pages, 1); /* read(2) does not see it, a mapping does */
	there = arrived(at);
	CHECK(there >= 0);
	arrived_at = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, there, 0);
	CHECK(memcmp(at + SIZE - RB_PAGE_SIZE, arrived_at + SIZE - RB_PAGE_SIZE, RB_PAGE_SIZE) ==
	      0);
	CHECK_INT(rb_objects_check(rb_receiver_objects(receiver), &err), 0);
	end();
	munmap(arrived_at, SIZE);
	munmap(at, SIZE);
	close(fd);
}

/* by write(2), with a size that ends in a page, and that changes */
static void test_memfd(void)
{
	int fd = memfd_create("some name (deleted)", MFD_CLOEXEC), there;
	static uint8_t page[RB_PAGE_SIZE], back[RB_PAGE_SIZE];
	char link[64], target[64] = "";
	uint8_t *at;

	CHECK(begin());
	CHECK_INT(ftruncate(fd, SIZE - 100), 0);
	memset(page, 7, sizeof(page));
	CHECK_INT(pwrite(fd, page, 100, SIZE - 200), 100);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(sent_pages, 1);
	CHECK_INT(ftruncate(fd, SIZE / 2), 0);
	CHECK_INT(send_round(false), 0);
	CHECK_INT(rb_receiver_pages(receiver), 0);
	CHECK_INT(ftruncate(fd, SIZE), 0);
	CHECK_INT(pwrite(fd, page, 100, SIZE - 200), 100);
	CHECK_INT(send_round(true), 0);
	at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	there = arrived(at);
	CHECK(there >= 0);
	CHECK(is_same(at));
	CHECK_INT(pread(there, back, 100, SIZE - 200), 100);
	CHECK_INT(memcmp(page, back, 100), 0);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", there);
	CHECK(readlink(link, target, sizeof(target) - 1) > 0);
	CHECK_STR(target, "/memfd:some name (deleted) (deleted)");
	munmap(at, SIZE);
	close(fd);
	end();
}

/* what nobody has any more is gone there, too; what is not ours is not looked at */
static void test_which(void)
{
	uint8_t *small =
		mmap(NULL, RB_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint8_t *at = make_anonymous(), *other = make_anonymous();
	pid_t later;

	/* a child that has one only, and nothing of what arrives */
	madvise(at, SIZE, MADV_DONTFORK);
	have_child();
	later = child;
	madvise(at, SIZE, MADV_DOFORK);
	CHECK(begin());
	fill(at, 0, 1, 1);
	fill(other, 0, 1, 1);
	*small = 1;
	CHECK_INT(send_round(false), 0);
	CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), 2);
	end_child();
	child = later;
	CHECK_INT(send_round(true), 0);
	CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), 1);
	CHECK(is_same(other));
	munmap(at, SIZE);
	munmap(other, SIZE);
	munmap(small, RB_PAGE_SIZE);
	end();
}

/* whose restored tasks could not open what has arrived */
static void test_user_namespace(void)
{
	uint8_t *at = make_anonymous();
	int in[2];
	char byte;

	fill(at, 0, 1, 1);
	CHECK_INT(pipe(in), 0);
	CHECK(begin());
	end_child();
	child = fork();
	if (child == 0) {
		if (unshare(CLONE_NEWUSER) == 0)
			(void)!write(in[1], "x", 1);
		close(in[1]);
		for (;;)
			pause();
	}
	close(in[1]);
	if (read(in[0], &byte, 1) == 1) {
		CHECK_INT(send_round(true), 0);
		CHECK_INT(rb_objects_count(rb_receiver_objects(receiver)), 0);
	}
	close(in[0]);
	end();
	munmap(at, SIZE);
}

/* what tasks that were held and killed wrote is seen */
static void test_check(void)
{
	uint8_t *at = make_anonymous();
	int fd;

	CHECK(begin());
	fill(at, 3, 50, 1);
	CHECK_INT(send_round(true), 0);
	fd = arrived(at);
	CHECK(fd >= 0);
	CHECK_INT(rb_objects_check(rb_receiver_objects(receiver), &err), 0);
	CHECK_INT(pwrite(fd, "x", 1, (off_t)PAGES / 2 * RB_PAGE_SIZE), 1);
	CHECK_INT(rb_objects_check(rb_receiver_objects(receiver), &err), -ESTALE);
	end();
	munmap(at, SIZE);
}

static void test_hide(void)
{
	_cleanup_buf_ struct rb_buf list = {};
	uint8_t *at = make_anonymous();
	uint64_t pair[2];
	struct stat st;
	char path[64];

	CHECK(begin());
	CHECK_INT(send_round(false), 0);
	CHECK_INT(rb_shared_hide(shared, dir, &err), 0);
	snprintf(path, sizeof(path), "%s/shared", dir);
	CHECK_INT(rb_read_file(path, 0, &list, &err), 0);
	CHECK_INT(list.len, sizeof(pair));
	memcpy(pair, list.data, sizeof(pair));
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at,
		 (unsigned long)at + SIZE);
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(pair[0], st.st_dev);
	CHECK_INT(pair[1], st.st_ino);
	end();
	munmap(at, SIZE);
}

/* how the target's has to be mounted; what cannot be repeated there is CRIU's */
static void test_options(void)
{
	static const char *const others[] = {
		"ro,mode=755", "rw,huge=always", "rw,mpol=bind:0", "rw,usrquota",
		"rw,noswap",   "mode=1777",	 "rw,inode64x",	   "rw,casefold=utf8",
	};
	char text[RB_TMPFS_TEXT + 1];

	CHECK(rb_tmpfs_copy_options("rw,seclabel,size=1k,nr_inodes=3,mode=1777,uid=7,inode64", text,
				    sizeof(text)));
	CHECK_STR(text, "mode=1777,uid=7,inode64");
	CHECK(rb_tmpfs_is_plain("shm", text));
	CHECK(rb_tmpfs_copy_options("rw", text, sizeof(text)));
	CHECK_STR(text, "");
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		CHECK(!rb_tmpfs_copy_options(others[i], text, sizeof(text)));
}

static int take_object(struct rb_record *record, struct rb_object *object, bool known)
{
	uint8_t *block = (uint8_t *)record->payload - RB_RECORD_HEADER;

	object->known = known;
	record->len = rb_record_put_object(block + RB_RECORD_HEADER, object);
	return rb_receiver_take(receiver, block, rb_record_encode(block, record), NULL);
}

/* a peer that lies about pages */
static void test_hostile(void)
{
	static uint8_t block[RB_BLOCK_SIZE], page[RB_PAGE_SIZE];
	static const struct rb_object others[] = {
		{ .inode = 4712, .size = SIZE, .known = true },
		{ .inode = 4711, .size = SIZE }, /* what is here already is said to be new */
	};
	static const struct rb_tmpfs_record nonsense[] = {
		{ 1, "shm", "mode=1777,bogus" },     { 1, "shm", "mode=1777,size=1k" },
		{ 1, "shm", "mode=1777,mpol=bind" }, { 1, "shm", "huge=always" },
		{ 1, "shm\n/", "mode=1777" },	     { 1, "", "mode=1777" },
	};
	struct rb_object object = { .inode = 4711, .size = SIZE },
			 file = { .size = SIZE, .kind = RB_OBJECT_FILE, .tmpfs = 77 };
	struct rb_record name = { RB_RECORD_OBJECT, 1, 0, 0, block + RB_RECORD_HEADER, 0,
				  .shared = true };
	static const struct rb_record bad[] = {
		{ RB_RECORD_DATA, 2, 0, 1, page, RB_PAGE_SIZE, .shared = true },
		{ RB_RECORD_DATA, 1, SIZE, 1, page, RB_PAGE_SIZE, .shared = true },
		{ RB_RECORD_ZERO, 1, SIZE - RB_PAGE_SIZE, 2, NULL, 0, .shared = true },
		{ RB_RECORD_ZERO, 1, (uint64_t)1 << 50, 1, NULL, 0, .shared = true },
	};
	size_t len;

	CHECK(begin());
	rb_receiver_begin(receiver, true);
	name.len = rb_record_put_object(block + RB_RECORD_HEADER, &object);
	len = rb_record_encode(block, &name);
	CHECK_INT(rb_receiver_take(receiver, block, len, &err), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		len = rb_record_encode(block, &bad[i]);
		CHECK_INT(rb_receiver_take(receiver, block, len, NULL), -EPROTO);
	}
	CHECK_INT(rb_receiver_end(receiver, &err), 0);
	rb_receiver_begin(receiver, true);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		name.len = rb_record_put_object(block + RB_RECORD_HEADER, &others[i]);
		len = rb_record_encode(block, &name);
		CHECK_INT(rb_receiver_take(receiver, block, len, NULL), -EPROTO);
	}
	/* what is not here is said to be */
	name.task = 2;
	CHECK_INT(take_object(&name, &object, true), -EPROTO);
	/* over each connection the same is said, in one round */
	name.task = 1;
	CHECK_INT(take_object(&name, &object, true), 0);
	CHECK_INT(take_object(&name, &object, true), 0);
	CHECK_INT(take_object(&name, &object, false), -EPROTO);
	object.size -= RB_PAGE_SIZE;
	CHECK_INT(take_object(&name, &object, true), -EPROTO);
	/* a file of a tmpfs that nobody named, and a tmpfs that cannot be made */
	name.task = 3;
	name.len = rb_record_put_object(block + RB_RECORD_HEADER, &file);
	len = rb_record_encode(block, &name);
	CHECK_INT(rb_receiver_take(receiver, block, len, &err), -EPROTO);
	CHECK(strstr(err.msg, "came before that"));
	name = (struct rb_record){ RB_RECORD_TMPFS, 77, 0, 0, block + RB_RECORD_HEADER, 0,
				   .shared = true };
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		name.len = rb_record_put_tmpfs(block + RB_RECORD_HEADER, &nonsense[i]);
		len = rb_record_encode(block, &name);
		CHECK_INT(rb_receiver_take(receiver, block, len, NULL), -EPROTO);
	}
	CHECK_INT(rb_receiver_pages(receiver), 0);
	end();
}

int main(void)
{
	uint8_t *at = make_anonymous();
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at,
		 (unsigned long)at + SIZE);
	if (access(path, R_OK) < 0) {
		printf("1..0 # SKIP mappings cannot be opened here: %s\n", strerror(errno));
		return 0;
	}
	munmap(at, SIZE);
	if (!mkdtemp(dir))
		return 1;
	TAP_RUN(test_rounds);
	TAP_RUN(test_large);
	TAP_RUN(test_shuffled);
	TAP_RUN(test_writer_is_gone);
	TAP_RUN(test_holes);
	TAP_RUN(test_behind_the_end);
	TAP_RUN(test_memfd);
	TAP_RUN(test_which);
	TAP_RUN(test_user_namespace);
	TAP_RUN(test_check);
	TAP_RUN(test_hide);
	TAP_RUN(test_options);
	TAP_RUN(test_hostile);
	rb_rm_rf(dir, NULL);
	return tap_done();
}
