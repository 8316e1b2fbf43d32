/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.h - the daemon's worker processes
 *
 * Each migration is worked on by a process of its own, `reberthd --worker ...`, in a session of its
 * own: it outlives a daemon that is killed or upgraded. The journal knows who works on what; the
 * daemon sees to it that every migration that is not in a final state has a worker, and starts one
 * that recovers where there is none.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

struct rb_config;
struct rb_err;
struct rb_workers;

/** rb_workers_new - ends agents of an older daemon, which may be of an older program */
int rb_workers_new(const struct rb_config *config, struct rb_workers **ret, struct rb_err *err);
/** rb_workers_free - ends the agents, too; those who migrate go on */
void rb_workers_free(struct rb_workers *workers);

/** rb_workers_start_source - a worker for a migration that was just entered into the journal */
int rb_workers_start_source(struct rb_workers *workers, const char *id, struct rb_err *err);

/** rb_workers_start_push - a worker for a push that rb_pushes_begin() has made */
int rb_workers_start_push(struct rb_workers *workers, const char *id, struct rb_err *err);

/** rb_workers_start_serve - a worker that talks to a peer over an accepted socket (not taken over);
 * -EBUSY when there are too many */
int rb_workers_start_serve(struct rb_workers *workers, int fd, struct rb_err *err);

/**
 * rb_workers_start_question - a worker that answers one question: request on its standard input,
 * answer on its standard output
 * @kind: "plan" (a dry run), "network" (rb_network_command()), "forward-rm" (rb_ports_end()),
 *	"diff" (rb_push_diff())
 * @gone: has who asked lost interest? Asked about once a second; then it gets SIGTERM. NULL: it
 *runs to its end
 * @done: called from rb_workers_reap() with the answer (reference taken over), or NULL and the
 * reason
 */
int rb_workers_start_question(struct rb_workers *workers, const char *kind, const json_t *request,
			      void (*done)(void *arg, json_t *answer, const struct rb_err *why),
			      bool (*gone)(void *arg), void *arg, struct rb_err *err);

/** rb_workers_pid - our child that works on this migration or push, or 0 */
pid_t rb_workers_pid(const struct rb_workers *workers, const char *id);

/** rb_workers_reap - take note of workers that ended (on SIGCHLD) */
void rb_workers_reap(struct rb_workers *workers);

/** rb_workers_tend - start workers that recover, and the network's two agents, where one is
 * missing; end those whose answer nobody waits for; call about once a second */
void rb_workers_tend(struct rb_workers *workers);
