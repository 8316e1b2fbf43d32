/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pager_rig.h - a container of victims, and a test that plays CRIU to its pager
 *
 * A victim is a process in a cgroup of its own with some memory that is registered with a
 * userfaultfd, and handed over, as CRIU does it: first handed over, then registered. It reads its
 * memory and says in shared memory what it saw. Page N of task T reads as page_value(T, N) in each
 * word; some pages are not in the store, and read as zero.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "pager.h"
#include "store.h"

#define RIG_PAGE  ((uint64_t)RB_PAGE_SIZE)
#define RIG_BASE  UINT64_C(0x700000000000)
#define RIG_TASKS 8

/** What a victim says of itself; in memory that all share. */
struct victim_report {
	volatile bool ready;	/* handed over and registered */
	volatile bool go;	/* the test lets it run */
	volatile bool done;	/* it has seen all */
	volatile uint64_t seen; /* pages that it read */
	volatile uint64_t zeros, wrong;
	volatile uint64_t where; /* address of the last one that was not right */
	volatile uint64_t extra; /* of the scenario */
};

struct victim {
	int task;
	uint64_t pages;
	pid_t pid;
	struct victim_report *report;
	void (*run)(struct victim *victim);
};

/** What stands between pager and source; in memory that all share. */
struct rig_link {
	volatile bool broken;	       /* nothing comes */
	volatile bool nonsense;	       /* differences come, to pages that nobody has */
	volatile bool lost;	       /* the source has no pages any more */
	volatile int urgent, streamed; /* calls */
	volatile uint64_t pages;       /* that were sent */
};

struct rig {
	bool open;
	struct rig_link *link; /* pages are at the source, but for a fifth of them (rig_far()) */
	char folder[64], cgroup[64], freezer[PATH_MAX];
	char released[PATH_MAX], lock[PATH_MAX], socket[PATH_MAX], source[PATH_MAX];
	struct rb_store *store;
	pid_t keeper;
	int conn_fd;  /* CRIU's */
	int alive_fd; /* reading end */
	struct victim victims[RIG_TASKS];
	int n;
	struct rb_err err;
};

/** rig_why_not - NULL where these tests can run, else the reason */
const char *rig_why_not(void);

/** rig_open - a store, a cgroup, a keeper; @v2: kill by the cgroup of version 2 */
bool rig_open(struct rig *rig, bool v2);

/** rig_far - of rigs that are opened from now on most pages are still at the source */
void rig_far(bool far);

/** rig_close - kill and remove all; also of a test that failed half-way, by the next one */
void rig_close(struct rig *rig);

/** rig_start - the pager. Return: as rb_pager_start() */
int rig_start(struct rig *rig);

/** rig_connect - as CRIU does */
bool rig_connect(struct rig *rig);

/** rig_fill - pages of task @task into the store */
bool rig_fill(struct rig *rig, int task, uint64_t pages);

/** rig_victim - start one, handed over and registered when this returns. NULL: it failed. */
struct victim *rig_victim(struct rig *rig, int task, uint64_t pages, void (*run)(struct victim *));

bool rig_send(const struct rig *rig, uint32_t word);
/** rig_send_fd - a descriptor with its byte; -1: a new userfaultfd */
bool rig_send_fd(const struct rig *rig, int fd);
bool rig_finish(const struct rig *rig);	 /* CRIU's last word */
bool rig_release(const struct rig *rig); /* the tasks were let go */
void rig_go(struct rig *rig);		 /* all victims run */

/** rig_child - pid of the child of @parent with that name, waited for; 0 when there is none */
pid_t rig_child(pid_t parent, const char *name);

/** rig_done - have all victims seen all, and rightly? Says what is wrong. */
bool rig_done(const struct rig *rig);

/** rig_killed - did all victims die of SIGKILL, none of them having seen a wrong page? */
bool rig_killed(struct rig *rig);

/** rig_farewell - what pager and guard said at their end: 0 when nothing, -1 when they live on */
int rig_farewell(const struct rig *rig);

/** rig_lock_free - the lock is free, or becomes so soon */
bool rig_lock_free(const struct rig *rig);

/** rig_source_left - the file that says that the source is needed is there, and held or not */
enum { RIG_SOURCE_GONE, RIG_SOURCE_HELD, RIG_SOURCE_LOST };
int rig_source(const struct rig *rig);

/** rig_registered - mappings of @pid that a userfaultfd looks after */
int rig_registered(pid_t pid);

/** rig_until - wait for it, with a limit */
#define rig_until(cond)                                               \
	({                                                            \
		bool _ok = false;                                     \
		for (int _i = 0; _i < 20000 && !(_ok = (cond)); _i++) \
			rig_nap();                                    \
		_ok;                                                  \
	})
void rig_nap(void);

/* for the victims */
uint64_t page_value(int task, uint64_t page); /* 0: not in the store */
uint64_t *page_at(uint64_t page);
void victim_check(struct victim *victim, const uint64_t *page, uint64_t want);
void victim_reads_all(struct victim *victim);
