// SPDX-License-Identifier: Apache-2.0
/*
 * block.c - fills blocks with pages of processes
 *
 * Pages are read some dozens at a time, wherever they are, with one process_vm_readv(2). Then those
 * that follow each other become a record; those that are all zero a record without content. Pages
 * of shared memory come as they were read by those who looked for what has changed.
 */
#include "block.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "pack.h"
#include "record.h"
#include "ranges.h"
#include "wait.h"

#define BATCH RB_PAGES_PER_BLOCK

/* Of a block among those of its round (struct rb_memory_sink). */
enum place { ANYWHERE, FIRST, LAST };

struct rb_block {
	struct rb_memory_sink sink;
	struct rb_packer *packer;
	struct rb_memory_stats stats;
	enum place place; /* of what is in it */
	size_t used;
	uint8_t data[RB_BLOCK_SIZE];

	/* pages that are to be read next */
	pid_t pid;
	int task; /* or number of the object */
	bool shared;
	size_t n;
	bool missed;
	uint64_t addr[BATCH];
	uint8_t pages[BATCH][RB_PAGE_SIZE] __attribute__((aligned(64)));
};

/* Of four that differ in how long a write takes: held back or not, by several connections or not */
static int road(const struct rb_memory_sink *sink)
{
	return (sink->held_back ? 1 : 0) + (sink->write_last ? 2 : 0);
}

int rb_block_new(const struct rb_memory_sink *sink, struct rb_packer *packer, struct rb_block **ret,
		 struct rb_err *err)
{
	struct rb_block *block = malloc(sizeof(*block));

	if (!block)
		return rb_err_set(err, -ENOMEM, "send memory");
	block->sink = *sink;
	block->packer = packer;
	rb_packer_begin(packer, road(sink));
	block->place = ANYWHERE;
	block->stats = (struct rb_memory_stats){};
	block->used = block->n = 0;
	block->missed = block->shared = false;
	*ret = block;
	return 0;
}

void rb_block_free(struct rb_block *block)
{
	free(block);
}

const struct rb_memory_stats *rb_block_stats(const struct rb_block *block)
{
	return &block->stats;
}

int rb_block_flush(struct rb_block *block, const struct rb_wait *wait, struct rb_err *err)
{
	int64_t began_us = rb_now_us();
	__typeof__(block->sink.write) write = block->sink.write;
	int r;

	if (block->used == 0)
		return 0;
	if (block->place == FIRST && block->sink.write_first)
		write = block->sink.write_first;
	else if (block->place == LAST && block->sink.write_last)
		write = block->sink.write_last;
	r = write(block->sink.arg, block->data, block->used, wait, err);
	rb_packer_written(block->packer, block->used, began_us, rb_now_us());
	block->stats.bytes += block->used;
	block->used = 0;
	return r < 0 ? r : 0;
}

/* Records of different places are not in one block, unless that makes no difference. */
static int make_room(struct rb_block *block, enum place place, size_t len,
		     const struct rb_wait *wait, struct rb_err *err)
{
	bool apart = place != block->place && (block->sink.write_first || block->sink.write_last);
	int r = apart || block->used + RB_RECORD_HEADER + len > sizeof(block->data)
			? rb_block_flush(block, wait, err)
			: 0;

	block->place = place;
	return r;
}

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, RB_PAGE_SIZE - 1) == 0;
}

static void note_pages(struct rb_block *block, size_t count, bool zero)
{
	if (zero) {
		block->stats.zero_pages += count;
		return;
	}
	block->stats.pages += count;
	block->stats.raw_bytes += count * RB_PAGE_SIZE;
}

/* the pages from @first on, which follow each other and are alike */
static int add_run(struct rb_block *block, size_t first, size_t count, enum rb_page_kind kind,
		   const struct rb_wait *wait, struct rb_err *err)
{
	bool zero = kind == RB_PAGE_ZERO;
	struct rb_record record = {
		.kind = zero ? RB_RECORD_ZERO : RB_RECORD_DATA,
		.task = block->task,
		.addr = block->addr[first],
		.count = (uint32_t)count,
		.payload = block->pages[first],
		.len = zero ? 0 : (uint32_t)(count * RB_PAGE_SIZE),
		.delta = kind == RB_PAGE_DELTA,
		.shared = block->shared,
	};
	int r;

	note_pages(block, count, zero);
	if (kind == RB_PAGE_SAME)
		return 0;
	if (!zero)
		rb_pack(block->packer, &record);
	r = make_room(block, ANYWHERE, record.len, wait, err);
	if (r < 0)
		return r;
	block->used += rb_record_encode(block->data + block->used, &record);
	return 0;
}

static int add_records(struct rb_block *block, size_t count, const struct rb_wait *wait,
		       struct rb_err *err)
{
	enum rb_page_kind kinds[BATCH];
	int r = 0;

	for (size_t i = 0; i < count; i++)
		kinds[i] = is_zero(block->pages[i]) ? RB_PAGE_ZERO : RB_PAGE_WHOLE;
	if (!block->shared)
		rb_packer_prepare(block->packer, block->task, block->addr, block->pages, kinds,
				  count);
	for (size_t first = 0, next; r >= 0 && first < count; first = next) {
		size_t most = kinds[first] == RB_PAGE_ZERO ? BATCH : rb_packer_most(block->packer);

		for (next = first + 1;
		     next < count && next < first + most && kinds[next] == kinds[first] &&
		     block->addr[next] == block->addr[next - 1] + RB_PAGE_SIZE;
		     next++)
			;
		r = add_run(block, first, next - first, kinds[first], wait, err);
	}
	return r;
}

/* Return: pages that were read from @first on, which may end before one that is not there */
static ssize_t read_pages(struct rb_block *block, size_t first)
{
	struct iovec local = { block->pages[first], (block->n - first) * RB_PAGE_SIZE };
	struct iovec remote[BATCH];
	size_t parts = 0;
	ssize_t n;

	for (size_t i = first; i < block->n; i++) {
		if (parts && block->addr[i] == block->addr[i - 1] + RB_PAGE_SIZE)
			remote[parts - 1].iov_len += RB_PAGE_SIZE;
		else
			remote[parts++] = (struct iovec){ (void *)block->addr[i], RB_PAGE_SIZE };
	}
	n = process_vm_readv(block->pid, &local, 1, remote, parts, 0);
	if (n < 0)
		return errno == EFAULT ? 0 : -errno;
	return n / RB_PAGE_SIZE;
}

/* What its process may not touch itself (PROT_NONE) is read past its protection. */
static bool read_protected(struct rb_block *block, size_t i)
{
	_cleanup_close_ int fd = -EBADF;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)block->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 &&
	       pread(fd, block->pages[i], RB_PAGE_SIZE, (off_t)block->addr[i]) == RB_PAGE_SIZE;
}

/* Is there something at this address still? */
static bool is_populated(pid_t pid, uint64_t addr)
{
	_cleanup_close_ int fd = -EBADF;
	uint64_t entry = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	/* present or swapped */
	return fd >= 0 &&
	       pread(fd, &entry, sizeof(entry), (off_t)(addr / RB_PAGE_SIZE * sizeof(entry))) ==
		       sizeof(entry) &&
	       entry >> 62;
}

bool rb_block_missed(struct rb_block *block)
{
	bool missed = block->missed;

	block->missed = false;
	return missed;
}

/* Take the page out that could not be read: it was unmapped, commonly. */
static void pass_over(struct rb_block *block, size_t i)
{
	block->missed |= is_populated(block->pid, block->addr[i]);
	block->n--;
	memmove(&block->addr[i], &block->addr[i + 1], (block->n - i) * sizeof(block->addr[0]));
}

int rb_block_flush_pages(struct rb_block *block, const struct rb_wait *wait, struct rb_err *err)
{
	size_t have = 0, count;

	while (have < block->n) {
		ssize_t n = read_pages(block, have);

		if (n == -ESRCH) {
			block->n = have;
			break;
		}
		if (n < 0)
			return rb_err_set(err, (int)n, "read the memory of process %d",
					  (int)block->pid);
		have += (size_t)n;
		if (have < block->n && read_protected(block, have))
			have++;
		else if (have < block->n)
			pass_over(block, have);
	}
	count = block->n;
	block->n = 0;
	return add_records(block, count, wait, err);
}

int rb_block_add_pages(struct rb_block *block, pid_t pid, int task, const struct rb_range *range,
		       const struct rb_wait *wait, struct rb_err *err)
{
	block->pid = pid;
	block->task = task;
	block->shared = false;
	for (uint64_t at = range->start; at < range->end; at += RB_PAGE_SIZE) {
		int r;

		block->addr[block->n++] = at;
		if (block->n < BATCH)
			continue;
		r = rb_block_flush_pages(block, wait, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* @more: of all records of the list but the last */
static int add_list(struct rb_block *block, enum rb_record_kind more, enum rb_record_kind last,
		    int task, const struct rb_ranges *ranges, const struct rb_wait *wait,
		    struct rb_err *err)
{
	size_t at = 0;

	do {
		size_t left = ranges->n - at;
		uint32_t count = (uint32_t)(left < RB_KEEP_PER_BLOCK ? left : RB_KEEP_PER_BLOCK);
		struct rb_record record = {
			.kind = count == left ? last : more,
			.task = task,
			.count = count,
			.len = count * (uint32_t)sizeof(struct rb_range),
		};
		uint8_t *payload;
		int r = make_room(block, LAST, record.len, wait, err);

		if (r < 0)
			return r;
		payload = block->data + block->used + RB_RECORD_HEADER;
		for (uint32_t i = 0; i < count; i++)
			rb_record_put_range(payload, i, &ranges->list[at + i]);
		record.payload = payload;
		block->used += rb_record_encode(block->data + block->used, &record);
		at += count;
	} while (at < ranges->n);
	return 0;
}

int rb_block_add_keep(struct rb_block *block, int task, const struct rb_ranges *ranges,
		      const struct rb_wait *wait, struct rb_err *err)
{
	return add_list(block, RB_RECORD_KEEP_MORE, RB_RECORD_KEEP, task, ranges, wait, err);
}

int rb_block_add_later(struct rb_block *block, int task, const struct rb_ranges *ranges,
		       const struct rb_wait *wait, struct rb_err *err)
{
	return add_list(block, RB_RECORD_LATER, RB_RECORD_LATER, task, ranges, wait, err);
}

int rb_block_add_object(struct rb_block *block, int number, const struct rb_object *object,
			const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_record record = { .kind = RB_RECORD_OBJECT, .task = number, .shared = true };
	int r = make_room(block, FIRST, RB_OBJECT_PAYLOAD, wait, err);

	if (r < 0)
		return r;
	record.payload = block->data + block->used + RB_RECORD_HEADER;
	record.len = rb_record_put_object(block->data + block->used + RB_RECORD_HEADER, object);
	block->used += rb_record_encode(block->data + block->used, &record);
	return 0;
}

int rb_block_add_tmpfs(struct rb_block *block, int number, const struct rb_tmpfs_record *tmpfs,
		       const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_record record = { .kind = RB_RECORD_TMPFS, .task = number, .shared = true };
	int r = make_room(block, FIRST, RB_TMPFS_PAYLOAD, wait, err);

	if (r < 0)
		return r;
	record.payload = block->data + block->used + RB_RECORD_HEADER;
	record.len = rb_record_put_tmpfs(block->data + block->used + RB_RECORD_HEADER, tmpfs);
	block->used += rb_record_encode(block->data + block->used, &record);
	return 0;
}

int rb_block_add_copy(struct rb_block *block, int number, uint64_t offset, const uint8_t *page,
		      const struct rb_wait *wait, struct rb_err *err)
{
	block->task = number;
	block->shared = true;
	if (page)
		memcpy(block->pages[block->n], page, RB_PAGE_SIZE);
	else
		memset(block->pages[block->n], 0, RB_PAGE_SIZE);
	block->addr[block->n++] = offset;
	return block->n < BATCH ? 0 : rb_block_flush_copies(block, wait, err);
}

int rb_block_flush_copies(struct rb_block *block, const struct rb_wait *wait, struct rb_err *err)
{
	size_t count = block->n;

	block->n = 0;
	return add_records(block, count, wait, err);
}
