/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migration.h - one migration in a worker, on either side
 *
 * A side is a table of stages. A stage's undo must work from the facts in the journal alone, must
 * be harmless when its run never began or only half happened, and may be repeated: a worker that
 * was killed is followed by one that has nothing but the journal.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "energy.h"
#include "io.h"
#include "journal.h"
#include "node.h"
#include "wait.h"

struct rb_conn;
struct rb_err;
struct rb_migration;

struct rb_stage {
	const char *name;
	int (*run)(struct rb_migration *m, struct rb_err *err);
	int (*undo)(struct rb_migration *m, struct rb_err *err);
	bool undo_first; /* its undo runs before all others: it gives the container back */
};

#define RB_MEMBERS_MAX 16

/*
 * A container of the migration. Commonly there is one. With --group the first one owns the network
 * namespace that the others share, and each comes after the one whose network it joined. Whatever
 * there is once per migration (state, COMMIT, silence, addresses, ports) is the first one's; stages
 * run over all members where there is one thing per container. The facts of the first are those of
 * the entry itself, the others' are its fact "members", in their order.
 */
struct rb_member {
	json_t *facts; /* borrowed from the entry */
	char name[256];
	char container_id[65]; /* here, as in struct rb_entry */
	char work_dir[512];    /* of the first the migration's, of the others "<that>/<number>" */

	struct rb_sync *sync;	      /* source: manifests of what was sent, see sync.h */
	struct rb_memory *memory;     /* source: while its memory is followed (memory/send.h) */
	struct rb_arrival *arrival;   /* target */
	struct rb_overlay *detached;  /* target: the container's overlay while it is not mounted */
	bool rootfs_changed;	      /* target: by the files that came last */
	bool armed;		      /* target: runc and CRIU wait for images (target_arm.c) ... */
	json_t *descriptors;	      /* ... and have read this, as descriptors.json */
	struct rb_receiver *receiver; /* target: memory that came in rounds (target_memory.c) */
	uint64_t expected_bytes; /* source: what the next round will send; UINT64_MAX: unknown */
	int pager_listen_fd;	 /* target: CRIU's way to the pager; 0: none */
};

struct rb_migration {
	const struct rb_node *node;
	struct rb_entry entry; /* facts in entry.facts */
	struct rb_wait wait;   /* cancel and deadline; without both once COMMIT is written */
	struct rb_conn *conn;  /* to the peer; NULL when there is none any more */
	uint64_t bytes_sent;   /* of connections that are closed */
	uint64_t bytes_received;
	char work_dir[512];	 /* <state_dir>/migrations/<id> */
	json_t *timings;	 /* [{"name","ms"}] */
	int64_t began_ms;	 /* rb_now_ms() */
	struct rb_energy energy; /* of this host, since then */
	json_t *their_energy;	 /* of the peer's, as it said (rb_energy_json()), or NULL */
	int lock_fd;		 /* held while a worker works on this migration */

	struct rb_member members[RB_MEMBERS_MAX];
	size_t members_count; /* at least 1 once it is open */

	/* source */
	int64_t frozen_us;	      /* rb_now_us() when the freeze began; 0: not yet */
	int64_t downtime_ms;	      /* -1: unknown */
	bool ready_asked;	      /* the target may be READY */
	struct rb_lanes *lanes;	      /* over which large rounds go, or NULL (lanes.h) */
	size_t files_promised;	      /* large ones, which the target keeps in mind (blocks.h) */
	int64_t held_back_ms;	      /* that sending memory waited for --bandwidth */
	struct rb_conntrack *tracked; /* hears of new connections, or NULL */

	/* target */
	bool peer_rebooted;    /* by its last answer (peer.h) */
	bool settled;	       /* the new place is announced, and all is heard */
	struct rb_buf carried; /* what was caught on the source, until then */
	struct rb_received
		*received;	  /* files that came, and may be patched (received.h), or NULL */
	struct rb_inlets *inlets; /* where lanes come in, or NULL (target_lanes.h) */
	uint64_t memory_limit;	  /* of pages that may wait here, bytes; 0: not known yet */
	bool sync_due;		  /* the images shall reach the disk, and do not yet */
	pid_t sync_pid;		  /* child that has the images reach the disk, or 0 */

	/* what the container's network hears while it cannot, on either side (switchover.c) */
	struct rb_capture *capture;
	struct rb_injector *injector;
	int frames; /* that were caught on the source and heard there or here */

	/* progress */
	const char *shown;    /* stage that is shown */
	char message[256];    /* what is being waited for, or "" */
	uint64_t bytes_total; /* estimate of what this side sends in all */
	int64_t progress_ms;  /* when it was last written */
	uint64_t bytes_last;
	double rate; /* bytes per second, smoothed */
};

/** rb_each_member - for each container, the one with the network namespace first */
#define rb_each_member(c, m)                                    \
	for (__typeof__(&(m)->members[0]) c = &(m)->members[0]; \
	     c < &(m)->members[0] + (m)->members_count; c++)

/* --- the containers of a migration (member.c) --- */

/** rb_members_bind - the members as the entry's facts say; again whenever those are others */
int rb_members_bind(struct rb_migration *m, struct rb_err *err);

/** rb_member_number - 0 for the first, the one with the network namespace */
size_t rb_member_number(const struct rb_migration *m, const struct rb_member *c);

/** rb_member_fact - as rb_migration_fact(), of one container */
void rb_member_fact(struct rb_member *c, const char *key, json_t *value);

/** rb_member_args - arguments of a call that is about one container; rb_member_asked() reads them
 */
json_t *rb_member_args(const struct rb_migration *m, const struct rb_member *c);

/** rb_member_memory_dir - where its images are while they are in memory: gone with a reboot */
int rb_member_memory_dir(const struct rb_migration *m, const struct rb_member *c, char *ret,
			 size_t size, struct rb_err *err);

/** rb_migration_remove_work - the work folder, and the images that are in memory */
int rb_migration_remove_work(struct rb_migration *m, struct rb_err *err);

/** rb_member_answer - what an answer to a call about all says of one: the first's is in itself, the
 * others' are its "members" */
const json_t *rb_member_answer(const struct rb_migration *m, const struct rb_member *c,
			       const json_t *answer);

/** rb_member_asked - whom a call of the source's is about: its argument "member", a number */
struct rb_member *rb_member_asked(struct rb_migration *m, const json_t *args);

/**
 * rb_members_list - for reports: array of {"container", "container_id", "new_id"}, owned by the
 * caller; NULL when there is one container only
 */
json_t *rb_members_list(const struct rb_entry *entry);

/**
 * rb_migration_open - bind a worker to an entry of the journal
 * @entry: taken over (its facts too)
 * @cancel_fd: readable once the migration is to be cancelled, or -EBADF
 *
 * Takes the lock that makes sure that one worker at a time works on it.
 *
 * Return: 0; -EBUSY when another worker has it.
 */
int rb_migration_open(struct rb_migration *m, const struct rb_node *node, struct rb_entry *entry,
		      int cancel_fd, struct rb_err *err);
void rb_migration_close(struct rb_migration *m);

/** rb_migration_sweep - remove lock and progress of migrations that have ended */
void rb_migration_sweep(const struct rb_node *node);

/** rb_migration_reload - state and boot id from the journal: a person, or a source that rebooted,
 * may have decided meanwhile */
int rb_migration_reload(struct rb_migration *m, struct rb_err *err);

/** rb_migration_reload_all - the facts, too: what the last worker knew, under its lock */
int rb_migration_reload_all(struct rb_migration *m, struct rb_err *err);

/** rb_migration_hurry - while the container stands still its worker, and the processes of lanes, go
 * before others of the host, CRIU's among them: what they do is short, and others wait for it */
void rb_migration_hurry(const struct rb_migration *m, bool hurry);

/** rb_migration_doubt - what is waited for, and why, into the log (once) and into the progress */
void rb_migration_doubt(struct rb_migration *m, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** rb_migration_hang_up - close the connection, keeping its counters for the report */
void rb_migration_hang_up(struct rb_migration *m);

/** rb_migration_rebooted - was this host restarted since the entry's state was written? */
bool rb_migration_rebooted(const struct rb_migration *m);

/** rb_migration_save - write the facts to the journal, durable when it returns */
int rb_migration_save(struct rb_migration *m, struct rb_err *err);

/** rb_migration_fact - set a fact (the value is taken over); it is saved with the next stage or by
 * rb_migration_save() */
void rb_migration_fact(struct rb_migration *m, const char *key, json_t *value);

/** rb_migration_wait - the wait of the whole, but at most @ms from now */
struct rb_wait rb_migration_wait(const struct rb_migration *m, int64_t ms);

/** rb_migration_cleanup_wait - @ms from now, and nothing cuts it short: for undo and past COMMIT */
struct rb_wait rb_migration_cleanup_wait(int64_t ms);

/**
 * rb_stages_run - run a table from its first stage to its last
 *
 * Fault points "<role>.<stage>.begin" and ".end" lie around each stage. The first stage that fails
 * ends the run; its name goes into @err.
 */
int rb_stages_run(struct rb_migration *m, const struct rb_stage *stages, struct rb_err *err);

/** rb_stage_run - run one stage of a table, with everything that belongs to it */
int rb_stage_run(struct rb_migration *m, const struct rb_stage *stage, struct rb_err *err);

/**
 * rb_stages_undo - undo all stages up to the one that the journal names, last first
 *
 * Goes on when an undo fails, and reports the first failure.
 */
int rb_stages_undo(struct rb_migration *m, const struct rb_stage *stages, struct rb_err *err);

/* --- progress (progress.c) --- */

/** rb_progress_stage - show that a stage began */
void rb_progress_stage(struct rb_migration *m, const char *stage);

/** rb_progress_say - show in words how far it is */
void rb_progress_say(struct rb_migration *m, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** rb_progress_bytes - show bytes sent; cheap to call often */
void rb_progress_bytes(struct rb_migration *m);

/** rb_progress_read - what the worker of @id last wrote, or NULL */
json_t *rb_progress_read(const struct rb_node *node, const char *id);
