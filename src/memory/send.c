// SPDX-License-Identifier: Apache-2.0
/*
 * send.c - the memory of a container on the source
 *
 * A page is re-armed before it is read: what is written between both is found dirty once more, so
 * nothing is lost, and a page that was read half old, half new is sent again. What a running
 * process has unmapped between scan and reading cannot be read, and is passed over.
 *
 * A process that reads files directly (O_DIRECT) is not followed: a device may write into a page
 * after it was re-armed and read, and nothing tells. So that is asked after each re-arming, and its
 * memory is sent at the end, as a whole.
 *
 * What is written in every round is left for later (defer.h), at the latest for the last look.
 *
 * The last look, at the frozen container, is taken while CRIU begins, which does not touch any task
 * until it is over. It yields two lists for each process: the pages that were
 * written since, or left for later, which are sent, and all that have content. Whatever the target
 * has beyond the second list was dropped here, and reads as zero there.
 *
 * Shared memory is not a process's: see shared.c. At the end it is compared once more while CRIU
 * dumps.
 */
#include "send.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "block.h"
#include "cleanup.h"
#include "defer.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "pack.h"
#include "record.h"
#include "proc.h"
#include "ranges.h"
#include "shared.h"
#include "tasks.h"
#include "vmas.h"
#include "wait.h"

#define PROCESSES_MAX 4096
#define STACK_PAGES   4

struct process {
	pid_t pid;
	unsigned long long starttime;
	int task;		    /* its pid in the container */
	bool seen, fresh;	    /* by the last look for processes; for the first time */
	bool direct;		    /* it reads files directly */
	bool scanned;		    /* what the next scan lists was written since */
	bool again;		    /* a page could not be read: all of it once more */
	struct rb_tracker *tracker; /* NULL: all of it is dirty */
	struct rb_ranges dirty, populated;
	struct rb_defer defer;
	struct rb_vma *vmas; /* when it was frozen last */
	int n_vmas;
	uint64_t *stacks; /* rb_task_stacks(), likewise */
	int n_stacks;
};

struct rb_memory {
	char freezer[4096];
	enum rb_track_method method;
	int level; /* of the container's pid namespace in NSpid */
	int rounds;
	struct process *list; /* by pid */
	size_t n;
	struct rb_packer *packer;
	struct rb_shared *shared;
	uint64_t shared_pending; /* bytes, when it was looked at last */
};

int rb_memory_open(const char *freezer_path, pid_t init, enum rb_track_method method,
		   struct rb_memory **ret, struct rb_err *err)
{
	struct rb_memory *memory = calloc(1, sizeof(*memory));
	int r;

	if (!memory)
		return rb_err_set(err, -ENOMEM, "follow the container's memory");
	snprintf(memory->freezer, sizeof(memory->freezer), "%s", freezer_path);
	memory->method = method;
	memory->level = rb_task_levels(init);
	r = memory->level <= 0 ? rb_err_set(err, -ESRCH, "look at the container's init")
			       : rb_shared_new(&memory->shared, err);
	if (r < 0) {
		free(memory);
		return r;
	}
	r = rb_packer_new(&memory->packer, err);
	if (r < 0) {
		rb_shared_free(memory->shared);
		free(memory);
		return r;
	}
	*ret = memory;
	return 0;
}

static void forget(struct process *process)
{
	rb_tracker_free(process->tracker);
	rb_ranges_free(&process->dirty);
	rb_ranges_free(&process->populated);
	rb_defer_clear(&process->defer);
	free(process->vmas);
	free(process->stacks);
}

void rb_memory_free(struct rb_memory *memory)
{
	if (!memory)
		return;
	for (size_t i = 0; i < memory->n; i++)
		forget(&memory->list[i]);
	rb_shared_free(memory->shared);
	free(memory->list);
	rb_packer_free(memory->packer);
	free(memory);
}

static int compare_pids(const void *a, const void *b)
{
	const pid_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int by_pid(const void *a, const void *b)
{
	const struct process *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

/* @known: of the list, in order; those that were added since come after them */
static struct process *find(struct rb_memory *memory, size_t known, pid_t pid)
{
	struct process key = { .pid = pid };

	return known ? bsearch(&key, memory->list, known, sizeof(key), by_pid) : NULL;
}

static struct process *add(struct rb_memory *memory, pid_t pid)
{
	struct process *list = realloc(memory->list, (memory->n + 1) * sizeof(*list));

	if (!list)
		return NULL;
	memory->list = list;
	list[memory->n] = (struct process){ .pid = pid, .fresh = true };
	return &list[memory->n++];
}

static void drop_unseen(struct rb_memory *memory)
{
	size_t kept = 0;

	for (size_t i = 0; i < memory->n; i++) {
		if (memory->list[i].seen)
			memory->list[kept++] = memory->list[i];
		else
			forget(&memory->list[i]);
	}
	memory->n = kept;
	if (kept)
		qsort(memory->list, kept, sizeof(*memory->list), by_pid);
}

/* Who is there? Those that are gone are forgotten, new ones are not followed yet. */
static int list_processes(struct rb_memory *memory, struct rb_err *err)
{
	_cleanup_free_ pid_t *pids = calloc(PROCESSES_MAX, sizeof(*pids));
	int count = pids ? rb_freezer_pids(memory->freezer, pids, PROCESSES_MAX, err)
			 : rb_err_set(err, -ENOMEM, "list the container's processes");
	size_t known = memory->n;

	if (count < 0)
		return count;
	if (count > PROCESSES_MAX)
		return rb_err_code(err, RB_E_REFUSED, -E2BIG,
				   "the container has more than %d processes", PROCESSES_MAX);
	for (size_t i = 0; i < memory->n; i++)
		memory->list[i].seen = memory->list[i].fresh = false;
	/* one that was just moved between two cgroups may be listed twice */
	qsort(pids, (size_t)count, sizeof(*pids), compare_pids);
	for (int i = 0; i < count; i++) {
		struct process *process = find(memory, known, pids[i]);
		unsigned long long starttime;
		int task;

		if (i > 0 && pids[i] == pids[i - 1])
			continue;
		starttime = rb_pid_starttime(pids[i]);
		task = rb_task_number(pids[i], memory->level);
		/* a stranger in its cgroup, a zombie, or gone */
		if (!starttime || task <= 0 || !rb_pid_alive(pids[i], starttime))
			continue;
		if (process && process->starttime != starttime)
			process = NULL;
		if (!process)
			process = add(memory, pids[i]);
		if (!process)
			return rb_err_set(err, -ENOMEM, "list the container's processes");
		process->starttime = starttime;
		process->task = task;
		process->seen = true;
	}
	drop_unseen(memory);
	return 0;
}

/* Why a process cannot be followed does not matter: it may have ended, or a debugger has it. Then
 * it is sent whole in the end. */
static int follow(struct rb_memory *memory, struct process *process, const struct rb_wait *wait,
		  struct rb_err *err)
{
	/* until it calls exec(2) its parent's memory is its own, and followed there: what one of
	 * both has seen written the other would not see */
	if (rb_task_shares_memory(process->pid))
		return 0;
	if (rb_tracker_arm(process->pid, memory->method, &process->tracker, wait, NULL) >= 0)
		return 0;
	/* or it took longer than we may */
	return rb_wait_ms(0, wait, err);
}

static int send_ranges(const struct process *process, const struct rb_ranges *ranges,
		       struct rb_block *block, const struct rb_wait *wait, struct rb_err *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ranges->n; i++)
		r = rb_block_add_pages(block, process->pid, process->task, &ranges->list[i], wait,
				       err);
	return r < 0 ? r : rb_block_flush_pages(block, wait, err);
}

static int send_process(struct process *process, enum rb_defer_round how, struct rb_block *block,
			const struct rb_wait *wait, struct rb_err *err)
{
	struct rb_err why = {};
	int r;

	rb_ranges_clear(&process->dirty);
	r = rb_tracker_scan(process->tracker, true, &process->dirty, &why);
	/* watched from now on, like all others */
	if (r >= 0 && process->again) {
		rb_ranges_clear(&process->dirty);
		r = rb_populated(process->pid, &process->dirty, &why);
		how = RB_DEFER_WHOLE;
	}
	if (r == -ESRCH)
		return 0;
	if (r < 0) {
		if (err)
			*err = why;
		return r;
	}
	if (rb_task_reads_directly(process->pid)) {
		rb_tracker_free(TAKE_PTR(process->tracker));
		rb_defer_clear(&process->defer);
		process->direct = true;
		return 0;
	}
	r = rb_defer_round(&process->defer, process->scanned ? how : RB_DEFER_WHOLE,
			   &process->dirty);
	if (r < 0)
		return rb_err_set(err, r, "send memory");
	process->scanned = true;
	r = send_ranges(process, &process->dirty, block, wait, err);
	process->again = rb_block_missed(block);
	return r;
}

static int look_for_shared(struct rb_memory *memory, struct rb_err *err)
{
	int r = 0;

	rb_shared_begin(memory->shared);
	for (size_t i = 0; r >= 0 && i < memory->n; i++)
		r = rb_shared_add(memory->shared, memory->list[i].pid, err);
	if (r >= 0)
		rb_shared_end(memory->shared);
	return r;
}

static int do_round(struct rb_memory *memory, enum rb_defer_round how,
		    const struct rb_memory_sink *sink, const struct rb_wait *wait,
		    struct rb_memory_stats *ret, struct rb_err *err)
{
	_cleanup_block_ struct rb_block *block = NULL;
	int r = rb_block_new(sink, memory->packer, &block, err);

	if (r >= 0)
		r = list_processes(memory, err);
	/* most that are new will be gone by the next round: none of them is stopped for nothing */
	for (size_t i = 0; r >= 0 && i < memory->n; i++)
		if (!memory->list[i].tracker && !memory->list[i].direct &&
		    (memory->rounds == 0 || !memory->list[i].fresh))
			r = follow(memory, &memory->list[i], wait, err);
	for (size_t i = 0; r >= 0 && i < memory->n; i++)
		if (memory->list[i].tracker)
			r = send_process(&memory->list[i], how, block, wait, err);
	if (r >= 0)
		r = look_for_shared(memory, err);
	if (r >= 0)
		r = rb_shared_send(memory->shared, block, false, wait, err);
	if (r >= 0)
		r = rb_block_flush(block, wait, err);
	if (r < 0) {
		rb_packer_forget(memory->packer);
		return r;
	}
	memory->rounds++;
	*ret = *rb_block_stats(block);
	return 0;
}

int rb_memory_round(struct rb_memory *memory, const struct rb_memory_sink *sink,
		    const struct rb_wait *wait, struct rb_memory_stats *ret, struct rb_err *err)
{
	return do_round(memory, RB_DEFER_HOT, sink, wait, ret, err);
}

int rb_memory_round_all(struct rb_memory *memory, const struct rb_memory_sink *sink,
			const struct rb_wait *wait, struct rb_memory_stats *ret, struct rb_err *err)
{
	return do_round(memory, RB_DEFER_NONE, sink, wait, ret, err);
}

int rb_memory_pending(struct rb_memory *memory, uint64_t *ret_bytes, int64_t *ret_shared_us,
		      struct rb_err *err)
{
	int64_t began_us = rb_now_us();
	uint64_t sum;
	int r = rb_shared_pending(memory->shared, &sum, err);

	if (r < 0)
		return r;
	*ret_shared_us = rb_now_us() - began_us;
	memory->shared_pending = sum;
	for (size_t i = 0; i < memory->n; i++) {
		struct process *process = &memory->list[i];

		rb_ranges_clear(&process->dirty);
		r = process->tracker
			    ? rb_tracker_scan(process->tracker, false, &process->dirty, err)
			    : rb_populated(process->pid, &process->dirty, err);
		if (r >= 0)
			r = rb_defer_add(&process->defer, NULL, &process->dirty);
		if (r < 0 && r != -ESRCH)
			return r;
		sum += rb_ranges_bytes(&process->dirty);
	}
	rb_err_clear(err);
	*ret_bytes = sum;
	return 0;
}

static void clear(struct process *process)
{
	rb_ranges_clear(&process->dirty);
	rb_ranges_clear(&process->populated);
	free(TAKE_PTR(process->vmas));
	process->n_vmas = 0;
}

static int note_stacks(struct process *process, struct rb_err *err)
{
	int n;

	free(TAKE_PTR(process->stacks));
	process->n_stacks = 0;
	n = rb_task_stacks(process->pid, &process->stacks, err);
	/* somebody killed it */
	if (n == -ENOENT) {
		rb_err_clear(err);
		return 0;
	}
	process->n_stacks = n < 0 ? 0 : n;
	return n < 0 ? n : 0;
}

/* Each costs time that the container stands still: mappings are read once, pages looked at once. */
static int look(struct process *process, struct rb_err *err)
{
	struct rb_tracker *tracker = process->again ? NULL : process->tracker;
	int n;

	clear(process);
	n = rb_vmas_read(process->pid, &process->vmas, err);
	if (n < 0)
		return n;
	process->n_vmas = n;
	n = rb_tracker_look(tracker, process->pid, process->vmas, n, &process->dirty,
			    &process->populated, err);
	if (n < 0)
		return n;
	n = rb_defer_add(&process->defer, &process->populated, &process->dirty);
	return n < 0 ? rb_err_set(err, n, "list the memory of process %d", (int)process->pid) : 0;
}

int rb_memory_freeze(struct rb_memory *memory, struct rb_err *err)
{
	int r = list_processes(memory, err);

	for (size_t i = 0; r >= 0 && i < memory->n; i++)
		r = note_stacks(&memory->list[i], err);
	return r;
}

int rb_memory_look(struct rb_memory *memory, struct rb_err *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < memory->n; i++) {
		r = look(&memory->list[i], err);
		/* somebody killed it */
		if (r == -ESRCH) {
			clear(&memory->list[i]);
			r = 0;
		}
	}
	return r;
}

static int hide_process(const struct process *process, const char *dir, struct rb_err *err)
{
	const struct rb_vma *vmas = process->vmas;
	const uint64_t *stacks = process->stacks;
	_cleanup_buf_ struct rb_buf out = {};
	int n = process->n_stacks, r = 0;
	char path[4096];

	/* somebody killed it */
	if (!vmas)
		return 0;
	for (int i = 0; r >= 0 && i < process->n_vmas; i++) {
		uint64_t at = vmas[i].start;

		/* CRIU itself restores the pages at a thread's stack pointer: a frozen system call
		 * that is let go for the dump may write its results there */
		for (int k = 0; r >= 0 && vmas[i].ours && k < n; k++) {
			struct rb_range part = { at, stacks[k] };

			if (stacks[k] < at || stacks[k] >= vmas[i].end)
				continue;
			if (part.start < part.end)
				r = rb_buf_add(&out, &part, sizeof(part));
			at = stacks[k] + STACK_PAGES * RB_PAGE_SIZE;
		}
		if (r >= 0 && vmas[i].ours && at < vmas[i].end)
			r = rb_buf_add(&out, &(struct rb_range){ at, vmas[i].end },
				       sizeof(struct rb_range));
	}
	if (r >= 0)
		r = rb_path(path, sizeof(path), "%s/%d", dir, (int)process->pid);
	return r < 0 ? rb_err_set(err, r, "list the memory of process %d", (int)process->pid)
		     : rb_write_file(path, out.data, out.len, 0600, false, err);
}

int rb_memory_hide(struct rb_memory *memory, const char *dir, struct rb_err *err)
{
	int r = rb_mkdir_p(dir, 0700, err);

	for (size_t i = 0; r >= 0 && i < memory->n; i++)
		r = hide_process(&memory->list[i], dir, err);
	return r < 0 ? r : rb_shared_hide(memory->shared, dir, err);
}

int rb_memory_send_last(struct rb_memory *memory, const struct rb_memory_sink *sink,
			const struct rb_wait *wait, struct rb_memory_stats *ret, struct rb_err *err)
{
	_cleanup_block_ struct rb_block *block = NULL;
	int r = rb_block_new(sink, memory->packer, &block, err);

	for (size_t i = 0; r >= 0 && i < memory->n; i++) {
		struct process *process = &memory->list[i];

		r = send_ranges(process, &process->dirty, block, wait, err);
		if (r >= 0 && rb_block_missed(block))
			r = rb_err_set(err, -EIO, "read all memory of process %d",
				       (int)process->pid);
		if (r >= 0 && !sink->write_last)
			r = rb_block_add_keep(block, process->task, &process->populated, wait, err);
	}
	if (r >= 0)
		r = rb_shared_send(memory->shared, block, true, wait, err);
	for (size_t i = 0; sink->write_last && r >= 0 && i < memory->n; i++)
		r = rb_block_add_keep(block, memory->list[i].task, &memory->list[i].populated, wait,
				      err);
	if (r >= 0)
		r = rb_block_flush(block, wait, err);
	/* the target drops what is not kept */
	rb_packer_forget(memory->packer);
	if (r >= 0)
		*ret = *rb_block_stats(block);
	return r;
}

int rb_memory_leave(struct rb_memory *memory, const struct rb_memory_sink *sink,
		    const struct rb_wait *wait, struct rb_memory_stats *ret, struct rb_err *err)
{
	_cleanup_block_ struct rb_block *block = NULL;
	int r = rb_block_new(sink, memory->packer, &block, err);

	/* before the lists where these have to come last */
	if (r >= 0 && sink->write_last)
		r = rb_shared_send(memory->shared, block, true, wait, err);
	for (size_t i = 0; r >= 0 && i < memory->n; i++) {
		struct process *process = &memory->list[i];

		r = rb_block_add_later(block, process->task, &process->dirty, wait, err);
		if (r >= 0)
			r = rb_block_add_keep(block, process->task, &process->populated, wait, err);
	}
	rb_packer_forget(memory->packer);
	/* CRIU needs it at once */
	if (r >= 0 && !sink->write_last)
		r = rb_shared_send(memory->shared, block, true, wait, err);
	if (r >= 0)
		r = rb_block_flush(block, wait, err);
	if (r >= 0)
		*ret = *rb_block_stats(block);
	return r;
}

int rb_memory_round_shared(struct rb_memory *memory, const struct rb_memory_sink *sink,
			   const struct rb_wait *wait, struct rb_memory_stats *ret,
			   struct rb_err *err)
{
	_cleanup_block_ struct rb_block *block = NULL;
	int r = rb_block_new(sink, memory->packer, &block, err);

	if (r >= 0)
		r = list_processes(memory, err);
	if (r >= 0)
		r = look_for_shared(memory, err);
	if (r >= 0)
		r = rb_shared_send(memory->shared, block, false, wait, err);
	if (r >= 0)
		r = rb_block_flush(block, wait, err);
	if (r >= 0)
		*ret = *rb_block_stats(block);
	return r;
}

void rb_memory_thaw(struct rb_memory *memory)
{
	if (memory)
		rb_shared_thaw(memory->shared);
}

uint64_t rb_memory_shared_pending(const struct rb_memory *memory)
{
	return memory->shared_pending;
}

uint64_t rb_memory_left(const struct rb_memory *memory)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < memory->n; i++)
		bytes += rb_ranges_bytes(&memory->list[i].dirty);
	return bytes;
}
