/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pager_internal.h - what the files of the pager share
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fetcher.h"
#include "pager.h"

struct rb_err;
struct rb_store;

enum { RB_PAGER_URGENT, RB_PAGER_STREAM, RB_PAGER_FETCHERS };

struct rb_pager_addrs {
	uint64_t *list;
	size_t n, size;
};

struct rb_pager_task {
	int number; /* of its pages in the store; negative: forked off since */
	int fd;	    /* userfaultfd */
	pid_t pid;  /* once it was looked for (pager_fork.c); 0: not known */
	unsigned long long starttime;
	bool gone;
	struct rb_pager_addrs faults; /* pages that threads wait for */
	struct rb_pager_addrs waits;  /* of these, what is being fetched */
	uint64_t expect;	      /* a fault here means that it walks on */
	size_t ahead;		      /* pages that were placed with the last one */
};

struct rb_pager {
	struct rb_store *store;
	char freezer_path[PATH_MAX], released_path[PATH_MAX], lock_path[PATH_MAX];
	int epoll_fd, listen_fd, conn_fd, inotify_fd;
	int keeper_fd, guard_fd, self_fd; /* pidfds */
	int done_fd;			  /* eventfd, see pager_guard.c */
	int lock_fd, alive_fd;
	struct rb_page_source source;
	struct rb_fetcher fetchers[RB_PAGER_FETCHERS];
	char source_path[PATH_MAX];
	int source_fd;	      /* its lock; negative: nothing is expected from there any more */
	uint32_t stream_next; /* slot */
	uint32_t streaming;   /* pages that the stream was asked for, and that did not come yet */
	uint64_t told_left;
	int64_t replaced_ms[RB_PAGER_FETCHERS]; /* when one was started in place of another */
	int64_t probed_ms;			/* when it was asked whether tasks are gone */
	uint32_t unswept; /* pages that have come since rb_pager_place_here() */
	bool sweeping;	  /* there is more for it */
	struct rb_pager_task **tasks;
	size_t n_tasks, tasks_size, turn;
	int last_number;     /* of a task that was forked off */
	uint8_t word[4];     /* of CRIU's message, */
	size_t word_bytes;   /* as much as has come */
	int handing;	     /* its descriptor is to come, 0: none */
	unsigned int ever;   /* tasks that were handed over */
	bool finished;	     /* CRIU said so: all is registered */
	bool released;	     /* the tasks were let go */
	bool broken;	     /* the restore failed, or the container ended */
	bool lost;	     /* with the source: memory of the container */
	bool unplaced;	     /* pages were left that no mapping waited for */
	unsigned int stalls; /* attempts in a row that have to be repeated */
};

/* pager_conn.c */

/** rb_pager_accept - CRIU connects; once only */
int rb_pager_accept(struct rb_pager *p);

/** rb_pager_receive - read what CRIU says. Sets finished, or broken. Return: 0, negative errno. */
int rb_pager_receive(struct rb_pager *p);

/* pager_task.c */

/** rb_pager_add_task - @fd is taken over, also on failure */
int rb_pager_add_task(struct rb_pager *p, int number, int fd);

/** rb_pager_remove_task - close its userfaultfd and forget what is left of its pages */
void rb_pager_remove_task(struct rb_pager *p, size_t index);

/** rb_pager_read_task - read its events, apply them, serve its faults */
int rb_pager_read_task(struct rb_pager *p, struct rb_pager_task *task);

/** rb_pager_find_task - the one whose pages the store has as @number's. Return: NULL: none */
struct rb_pager_task *rb_pager_find_task(const struct rb_pager *p, int number);

/** rb_pager_note - append the address of a page. Return: 0, -ENOMEM */
int rb_pager_note(struct rb_pager_addrs *addrs, uint64_t addr);

/** rb_pager_retry_waits - look again at what waits for the source. Return: 0, -ENOMEM */
int rb_pager_retry_waits(struct rb_pager_task *task);

/** rb_pager_serve - serve (again) the faults that wait */
int rb_pager_serve(struct rb_pager *p, struct rb_pager_task *task);

/* pager_fork.c */

/** rb_pager_forked - @parent has a child, the store's task @child: it gets what is left for its
 * parent. Return: 0, negative errno */
int rb_pager_forked(struct rb_pager *p, struct rb_pager_task *parent, int child);

/* pager_place.c */

/**
 * rb_pager_place - place pages of the store that follow each other, at most @pages from @addr on
 *
 * Return: how many need no placing any more; 0 when the store does not have that at @addr;
 * -EINPROGRESS: it is still at the source; -EAGAIN: later; -ENOENT: no mapping is registered there;
 * -ESRCH: the process is gone; another negative errno: something is wrong.
 */
int rb_pager_place(struct rb_pager *p, struct rb_pager_task *task, uint64_t addr, size_t pages);

/** rb_pager_zero - a page of zeros at @addr. Return: as above. */
int rb_pager_zero(const struct rb_pager_task *task, uint64_t addr);

/** rb_pager_is_gone - has its process ended, or called exec(2)? false also when that cannot be told
 * now. Changes nothing in it. */
bool rb_pager_is_gone(const struct rb_pager_task *task);

/** rb_pager_wake - have those who wait for the page look again */
void rb_pager_wake(const struct rb_pager_task *task, uint64_t addr);

/** rb_pager_place_here - of each task some pages that are in the store, while others are still to
 * come. Return: 1 when there are more, 0, negative errno: something is wrong */
int rb_pager_place_here(struct rb_pager *p);

/** rb_pager_background - place the next pages that nobody asked for. Return: pages, 0 when there is
 * nothing to do, -EAGAIN: later, another negative errno. */
int rb_pager_background(struct rb_pager *p);

/* pager_fetch.c */

/** rb_pager_start_fetchers - nothing is fetched yet */
int rb_pager_start_fetchers(struct rb_pager *p);

/** rb_pager_fetches - is there anything at the source that is needed? */
bool rb_pager_fetches(const struct rb_pager *p);

/** rb_pager_fetch - a thread waits for the page at @addr: that, and what lies near it. Return: 0;
 * -EAGAIN: later; another negative errno */
int rb_pager_fetch(struct rb_pager *p, struct rb_pager_task *task, uint64_t addr);

/** rb_pager_leave_source - the source is not needed any more */
void rb_pager_leave_source(struct rb_pager *p);

/** rb_pager_read_fetcher - pages have come: serve who waits for them. Return: 0, negative errno */
int rb_pager_read_fetcher(struct rb_pager *p, struct rb_fetcher *fetcher);

/** rb_pager_stream - have what nobody asked for on its way; and once all is here, say so */
int rb_pager_stream(struct rb_pager *p);

/* pager_guard.c */

/** rb_pager_guard_start - a guard, also in place of one that died */
int rb_pager_guard_start(struct rb_pager *p);

/** rb_pager_unlock - let go of the lock, and remove its file; once more does no harm */
void rb_pager_unlock(const struct rb_pager *p);

/** rb_pager_kill - end the container; returns when nothing of it is left */
void rb_pager_kill(const struct rb_pager *p);

/** rb_pager_all_placed - from now on the guard lets the container live */
void rb_pager_all_placed(const struct rb_pager *p);

/** rb_pager_say_farewell - one byte to alive_fd, and the lock goes */
void rb_pager_say_farewell(const struct rb_pager *p);
