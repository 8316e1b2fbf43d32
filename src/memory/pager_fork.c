// SPDX-License-Identifier: Apache-2.0
/*
 * pager_fork.c - what a child has of its parent's pages that are not in place yet
 *
 * All, but where the parent has said MADV_WIPEONFORK: there it finds zeros, for instance the random
 * number generators that learn from this that they are in a child now, and must not go on with the
 * parent's numbers. The kernel registers that mapping with the child's userfaultfd like any other,
 * so it is up to the pager to give it nothing.
 *
 * Only smaps tells which mappings these are, and reading that takes 25 ms per GiB in place. So it
 * is read when a process forks, as long as any of its pages are missing, and never by the source,
 * where it would be in the frozen time; this way it is also right for what is said after the move.
 * The kernel does not tell whose event it is: processes that CRIU handed over are found by their
 * number in the container. One that was forked off since is not; but what was wiped for it is
 * neither its children's. What the parent changes in the moment between the fork and this look is
 * not seen as it was.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "freezer.h"
#include "log.h"
#include "pager_internal.h"
#include "proc.h"
#include "ranges.h"
#include "store.h"
#include "tasks.h"
#include "vmas.h"

enum { PROCESSES_MAX = 4096 };

/* Return: its pid here, 0 when it is not found. */
static pid_t find(const struct rb_pager *p, struct rb_pager_task *task)
{
	_cleanup_free_ pid_t *pids = NULL;
	/* a container's namespace is made by Docker, in ours */
	int level = rb_task_levels(getpid()) + 1, count;

	if (task->pid && rb_pid_alive(task->pid, task->starttime))
		return task->pid;
	task->pid = 0;
	pids = task->number > 0 ? calloc(PROCESSES_MAX, sizeof(*pids)) : NULL;
	count = pids ? rb_freezer_pids(p->freezer_path, pids, PROCESSES_MAX, NULL) : 0;
	for (int i = 0; i < count && i < PROCESSES_MAX && !task->pid; i++) {
		if (rb_task_number(pids[i], level) != task->number)
			continue;
		task->starttime = rb_pid_starttime(pids[i]);
		task->pid = pids[i];
	}
	return task->pid;
}

int rb_pager_forked(struct rb_pager *p, struct rb_pager_task *parent, int child)
{
	_cleanup_(rb_ranges_free) struct rb_ranges wiped = {};
	struct rb_err err = {};
	pid_t pid;
	int r = rb_store_clone(p->store, parent->number, child, NULL);

	if (r < 0 || rb_store_pages(p->store, child) == 0)
		return r;
	pid = find(p, parent);
	r = pid ? rb_vmas_wiped(pid, &wiped, &err) : 0;
	if (r < 0 && r != -ESRCH)
		rb_warn("pager: a child may find memory that should be wiped: %s", err.msg);
	for (size_t i = 0; i < wiped.n; i++)
		rb_store_drop(p->store, child, wiped.list[i].start,
			      (wiped.list[i].end - wiped.list[i].start) / RB_PAGE_SIZE);
	return 0;
}
