// SPDX-License-Identifier: Apache-2.0
/* frozen.c - pages of a container that stands frozen, for the target that asks for them */
#include "frozen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "block.h"
#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "pack.h"
#include "proc.h"
#include "ranges.h"
#include "tasks.h"
#include "wait.h"

enum { PROCESSES_MAX = 4096, SETTLE_MS = 500, SETTLE_STEP_MS = 10 };

struct process {
	int task;
	pid_t pid;
	unsigned long long starttime;
};

struct rb_frozen {
	char freezer[4096];
	struct process list[PROCESSES_MAX]; /* by task */
	size_t n;
	struct rb_packer *packer;
	const struct process *last; /* that was asked for in this list */
	const struct rb_memory_sink *sink;
};

static int by_task(const void *a, const void *b)
{
	const struct process *x = a, *y = b;

	return (x->task > y->task) - (x->task < y->task);
}

/* Frozen processes neither come nor go, but for those that somebody kills. */
int rb_frozen_open(const char *freezer_path, pid_t init, struct rb_frozen **ret, struct rb_err *err)
{
	_cleanup_free_ struct rb_frozen *frozen = calloc(1, sizeof(*frozen));
	_cleanup_free_ pid_t *pids = calloc(PROCESSES_MAX, sizeof(*pids));
	int level = rb_task_levels(init), count;

	if (!frozen || !pids)
		return rb_err_set(err, -ENOMEM, "look at the frozen container");
	if (level <= 0)
		return rb_err_set(err, -EAGAIN, "look at the frozen container");
	snprintf(frozen->freezer, sizeof(frozen->freezer), "%s", freezer_path);
	count = rb_freezer_pids(freezer_path, pids, PROCESSES_MAX, err);
	if (count >= 0)
		count = rb_packer_new(&frozen->packer, err) < 0 ? -ENOMEM : count;
	if (count < 0)
		return count;
	rb_packer_once(frozen->packer);
	for (int i = 0; i < count && i < PROCESSES_MAX; i++) {
		int task = rb_task_number(pids[i], level);

		if (task > 0)
			frozen->list[frozen->n++] =
				(struct process){ task, pids[i], rb_pid_starttime(pids[i]) };
	}
	qsort(frozen->list, frozen->n, sizeof(frozen->list[0]), by_task);
	*ret = TAKE_PTR(frozen);
	return 0;
}

void rb_frozen_free(struct rb_frozen *frozen)
{
	if (frozen)
		rb_packer_free(frozen->packer);
	free(frozen);
}

static int send_want(struct rb_frozen *frozen, const struct rb_want *want, struct rb_block *block,
		     const struct rb_wait *wait, struct rb_err *err)
{
	struct process key = { .task = want->task };
	const struct process *process =
		bsearch(&key, frozen->list, frozen->n, sizeof(key), by_task);
	struct rb_range range = { want->addr, want->addr + (uint64_t)want->pages * RB_PAGE_SIZE };
	uint64_t before = rb_block_stats(block)->pages + rb_block_stats(block)->zero_pages;
	int r;

	if (!process ||
	    (process != frozen->last && rb_pid_is_gone(process->pid, process->starttime)))
		return rb_err_code(err, RB_E_CONFLICT, -ESRCH,
				   "a process of the frozen container was killed");
	frozen->last = process;
	r = rb_block_add_pages(block, process->pid, want->task, &range, wait, err);
	if (r >= 0)
		r = rb_block_flush_pages(block, wait, err);
	if (r >= 0 && rb_block_stats(block)->pages + rb_block_stats(block)->zero_pages - before !=
			      want->pages) {
		/* it is there, and could not be read */
		if (rb_block_missed(block))
			return rb_err_code(err, RB_E_INTERNAL, -EIO,
					   "memory of the frozen container cannot be read now");
		r = rb_err_code(err, RB_E_CONFLICT, -ESRCH,
				"memory of the frozen container is not there any more");
	}
	return r;
}

/* For a moment it may look otherwise, when somebody looks at a task of it. Return: 0; -ESRCH;
 * -EAGAIN when it cannot be told */
static int check_frozen(const struct rb_frozen *frozen, struct rb_err *err)
{
	int r = 0;

	for (int ms = 0; r == 0 && ms < SETTLE_MS; ms += SETTLE_STEP_MS) {
		if (ms)
			rb_wait_ms(SETTLE_STEP_MS, NULL, NULL);
		r = rb_freezer_is_frozen(frozen->freezer, NULL);
	}
	if (r == 1)
		return 0;
	if (r < 0 && r != -ENOENT)
		return rb_err_code(err, RB_E_INTERNAL, -EAGAIN,
				   "whether the container is frozen cannot be read");
	return rb_err_code(err, RB_E_CONFLICT, -ESRCH,
			   "the container was killed or thawed, and its memory with it");
}

/* What was read is only good if it stood still all the time. */
static int write_block(void *arg, const void *block, size_t len, const struct rb_wait *wait,
		       struct rb_err *err)
{
	struct rb_frozen *frozen = arg;
	int r = check_frozen(frozen, err);

	return r < 0 ? r : frozen->sink->write(frozen->sink->arg, block, len, wait, err);
}

int rb_frozen_send(struct rb_frozen *frozen, const struct rb_want *wants, size_t n,
		   const struct rb_memory_sink *sink, const struct rb_wait *wait,
		   struct rb_err *err)
{
	struct rb_memory_sink checked = { write_block, frozen, sink->held_back };
	_cleanup_block_ struct rb_block *block = NULL;
	int r = rb_block_new(&checked, frozen->packer, &block, err);

	frozen->sink = sink;
	frozen->last = NULL;
	if (r >= 0)
		r = check_frozen(frozen, err);
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = send_want(frozen, &wants[i], block, wait, err);
	return r < 0 ? r : rb_block_flush(block, wait, err);
}
