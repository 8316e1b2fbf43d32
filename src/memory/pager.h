/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pager.h - gives restored processes their pages when they touch them
 *
 * CRIU restores private anonymous memory empty (`lazy-pages`), registers it with a userfaultfd for
 * each task, and hands these over a unix socket. The pager is a process of its own that outlives
 * the worker: it serves faults from the first descriptor on, and once the tasks are let go it
 * places all other pages, the most recently written first. When none is left it closes the
 * descriptors, and nothing of it remains in the processes.
 *
 * When the last holder of a userfaultfd closes it, missing pages silently read as zero. So a second
 * process, the pager's guard, holds each as well: it kills the container (all of its cgroup) should
 * the pager die before it is done, and only then lets go. A guard that dies is replaced.
 *
 * Pages that are still at the source (rb_store_expect()) are fetched by processes of their own
 * (fetcher.h): what is touched first, with what lies near it, and from the release on all the rest.
 * Who touches a page while the source cannot be reached waits. When the source says that it has
 * lost them, the container is killed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_err;
struct rb_page_source;
struct rb_store;

/*
 * What is written to alive_fd before pager and guard end in good order: everything was placed, or
 * the restore failed, or the container ended, and nothing of it runs.
 */
#define RB_PAGER_DONE	  'd'
#define RB_PAGER_UNPLACED 'u' /* the store had pages that no mapping was registered for */

struct rb_pager_options {
	int listen_fd; /* CRIU connects here: lazy-pages.socket; taken over, also on failure */
	struct rb_store *store;	   /* the child works on its copy; the caller frees its own */
	const char *freezer_path;  /* the container's cgroup, to be killed (rb_freezer_kill()) */
	const char *released_path; /* exists once the tasks were let go: from then on pages are
				      placed unasked and the store shrinks */
	const char *lock_path;	   /* held (flock) until it is done; goes with it */
	pid_t keeper; /* the placeholder: the pager ends when it is gone, and the container
			 with it */
	const struct rb_page_source *source; /* of the pages that the store expects, or NULL */
	const char *source_path; /* with a source: held (flock) while it is needed, and goes then;
				    a file that is not held means that memory was lost, and the
				    container killed for it. Tells how many bytes are left */
	int alive_fd; /* write end of a pipe, or -EBADF: pager and guard hold it open, and
			 write one byte before they end in good order */
};

/**
 * rb_pager_start - start pager and guard
 *
 * Returns when they are ready to serve: they run in a session of their own and are reaped by nobody
 * (double fork). They stay in the caller's cgroup, which must not be the container's. Paths are
 * absolute; the folder of @released_path is there.
 *
 * Until @released_path exists the pages of the store stay for the caller, who may start another
 * pager with it when the restore failed: once the lock is free again, for until then the container
 * is being killed. A pager that CRIU never connected to ends when somebody connects and closes.
 * While the pager runs the caller must not put or drop pages.
 *
 * The caller closes its own @alive_fd: both processes are gone when the reading end shows the end
 * of the file. If no byte came before, the container must be killed by whoever reads there.
 *
 * Needs CAP_SYS_PTRACE (forks of restored processes). Return: 0; -EWOULDBLOCK when another pager
 * holds the lock; another negative errno.
 */
int rb_pager_start(const struct rb_pager_options *options, struct rb_err *err);

/** rb_pager_supported - has this kernel what CRIU asks for in a lazy restore? */
bool rb_pager_supported(void);
