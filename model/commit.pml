/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit.pml - the commit protocol of one migration, for spin
 *
 * Two hosts, one container, one conversation between them.  README.md next to
 * this file has the states, the messages and what is checked; ./check runs it.
 *
 * How it is written.  A worker is a table of steps: "at this step, when this
 * holds, do this and go to that step".  A step is atomic, and a failure may
 * come between any two steps, so whatever the code does in two system calls
 * with a meaning of their own is two steps here.  A crash throws the step away
 * and goes to *_RECOVER, which knows only what the journal and the host say.
 *
 * Waiting is a guard, not a loop.  So a run can only go on for ever if the
 * protocol does, and a run that stops has stopped for good: "when nothing can
 * move any more, exactly one instance runs" is then all of the liveness, and
 * needs no fairness.  That no run goes on for ever is checked by itself (-DNP).
 *
 * Variants:  -DMAXFAIL=n       at most n failures in a run; without it, any number
 *            -DREBOOT_ABORTS   a source that lost its frozen tasks rolls back;
 *                              without it, it rolls forward to the target,
 *                              which has the only copy of the memory
 *            -DFETCH           the target fetches memory when the container runs
 *                              there already (post-copy); with REBOOT_ABORTS
 *            -DPERSON          somebody uses `migration resolve`
 *            -DPROMISE         with PERSON: `--commit` only when the source
 *                              really did not go on after the freeze
 *            -DFORGET          journals drop migrations that have ended
 *            -DMUT_...         a protocol broken on purpose; ./check says which
 */

mtype = {
	/* Journals: those of both sides, of the source, of the target. */
	NONE, PREPARING, ABORT, DONE, FORGOTTEN,
	FROZEN, COMMIT, ABORTED,
	READY, GO,

	/* Not in a journal: COMMIT, by a source that was rebooted since READY. */
	LOST,

	/* Messages: M_READY, M_RUNNING and M_FETCHED go to the source, the others from it. */
	M_PREPARE, M_DATA, M_READY, M_GO, M_RUNNING, M_FETCHED,

	/* What the container is on a host. */
	ABSENT, STOPPED, HELD, FREEZED, RUNNING,

	/* Steps of the source. */
	S_START, S_PREPARE, S_POLICY, S_JOURNAL, S_FREEZE, S_SEND, S_WAIT,
	S_COMMIT, S_GO, S_CONFIRM, S_FETCH, S_POLL, S_POLLED,
	S_KILL, S_REMOVE, S_DONE,
	S_ABORT, S_THAW, S_ASK, S_ASKED, S_AGAIN, S_UNPOLICY, S_ABORTED,
	S_RECOVER, S_LOST, S_LOST_ASKED, S_OFF, S_END,

	/* Steps of the target. */
	T_WAIT, T_DATA, T_RESTORE, T_JOURNAL, T_READY, T_HELD,
	T_POLL, T_POLLED, T_AGAIN, T_GO, T_RUN, T_POLICY, T_RUNNING,
	T_FETCH, T_FETCHED, T_DONE,
	T_ABORT, T_CLEAN, T_RECOVER, T_OFF, T_END
}

/* Durable: outlive crash and reboot. */
mtype sj = NONE;		/* the source's journal */
mtype tj = NONE;		/* the target's journal */
bool s_policy = true;		/* Docker starts it at boot, on the source */
bool t_policy = false;		/* the same on the target */
bool t_images = false;		/* the checkpoint is there, in memory or on the target's disk */
bool t_synced = false;		/* ... on its disk */
bool s_resolved = false;	/* a person said --abort on the source */

/* Of the host: outlive a crash of reberth, not a reboot. */
bool s_up = true, t_up = true;
mtype s_ct = RUNNING;
mtype t_ct = ABSENT;
bool s_orphan = false;		/* a dead worker's CRIU, still about to freeze */
bool t_orphan = false;		/* a dead worker's CRIU, still restoring */
#ifdef FETCH
bool t_lacks = false;		/* it runs, and some of its memory is still at the source */
#endif

/* Of the worker. */
mtype s_pc = S_START, t_pc = T_WAIT;
mtype s_answer = NONE, t_answer = NONE;	/* what the last QUERY brought */
bool s_sent = false;		/* the last byte may have gone: READY is possible */

/*
 * The conversation.  A break loses what was under way from some message on:
 * the receiver may still read what had arrived, then it sees the break.  It is
 * never made again; after it there is only QUERY.
 */
bool link = true;
chan s2t = [3] of { mtype };
chan t2s = [3] of { mtype };

/* From here on nothing fails, and both hosts are up. */
bool quiet = false;

/* Ghosts: not in any program, only there to say what went wrong. */
bool dumped = false;		/* the checkpoint is a picture of the container */
bool s_ran_on = false;		/* the source ran after that */
bool s_boot_over = false;	/* the boot in which it was taken is over */
bool t_ran = false;		/* the target ran */

bool two_running = false;	/* both ran at one moment */
bool stale_run = false;		/* an older state ran after a newer one */
bool destroyed_early = false;	/* the source's went while the target had no GO */
bool images_missing = false;	/* restored from images that a power loss took */
bool nothing_known = false;	/* an undecided side was told "never heard of it" */
bool made_up = false;		/* pages were placed that the source did not have any more */
bool none_running = false;	/* all is quiet and nobody runs */
bool not_settled = false;	/* all is quiet and the journals do not agree */

#ifdef MUT_FORGET_RESOLVED
#define TARGET_AGREED	true
#else
#define TARGET_AGREED	(!s_resolved || (t_up && (tj == ABORT || tj == FORGOTTEN)))
#endif
#define S_ENDED(j)	((j) == DONE || (j) == ABORTED || (j) == FORGOTTEN)
#define T_WENT(j)	((j) == GO || (j) == DONE)

/* Without FETCH all memory is there before GO. */
#ifdef FETCH
#define LACKING		(t_ct == RUNNING && t_lacks)
#define STILL_THERE	(s_ct == FREEZED && (sj == FROZEN || sj == COMMIT))
#define LACKS(so)	t_lacks = so
#define S_SAYS		(sj == COMMIT && s_boot_over -> LOST : sj)
#else
#define LACKING		false
#define LACKS(so)	skip
#define S_SAYS		sj
#endif
/* What lets the source kill what it keeps. */
#if defined(FETCH) && !defined(MUT_FETCH_KILLS)
#define AFTER_RUNNING	S_FETCH
#define NO_NEED(j)	((j) == DONE)
#define NEEDED(j)	((j) == GO)
#else
#define AFTER_RUNNING	S_KILL
#define NO_NEED(j)	T_WENT(j)
#define NEEDED(j)	false
#endif

/* Temporal logic must find it by itself. */
#ifdef LTL
#define NEVER(ghost)	skip
#else
#define NEVER(ghost)	assert(!ghost)
#endif

/* A person's promise may be false about *what* runs, then this is not checked. */
#if defined(PERSON) && !defined(PROMISE)
#define STALE(when)	skip
#else
#define STALE(when)	stale_run = stale_run || (when); NEVER(stale_run)
#endif

#ifdef MUT_ABORT_BLIND
#define ABORT_BLIND	true
#else
#define ABORT_BLIND	false
#endif

#define SAY(what)	printf(what)

/* Every change of an instance to "running" goes through one of these two. */
inline s_runs() {
	s_ct = RUNNING;
	s_ran_on = dumped;
	two_running = (t_ct == RUNNING);
	NEVER(two_running);
	STALE(t_ran)
}

inline t_runs() {
	t_ct = RUNNING;
	two_running = (s_ct == RUNNING);
	NEVER(two_running);
	STALE(s_ran_on);
	t_ran = true
}

/* To send into a broken conversation looks like success. */
inline s_says(m) {
	if
	:: link -> s2t!m
	:: else
	fi
}

inline t_says(m) {
	if
	:: link -> t2s!m
	:: else
	fi
}

/*
 * QUERY from the source.  An answer that it acts on never changes any more,
 * with one exception (READY), so it may be old by the time it is acted upon:
 * that is why asking and acting are two steps.  A target that never heard of
 * the migration leaves a tombstone: ABORT, which a PREPARE still under way will
 * find.  If the source says ABORT, an undecided target becomes ABORT, in one
 * compare and swap.
 */
inline s_asks() {
	if
	:: tj == NONE || (sj == ABORT && (tj == PREPARING || tj == READY)) ->
		SAY("target: journal ABORT, because of a QUERY\n");
		tj = ABORT
	:: else
	fi;
	s_answer = tj
}

inline forget_all(c) {
	do
	:: nempty(c) -> c?_
	:: empty(c) -> break
	od
}

/*
 * The source.
 */
active proctype source()
{
	do
	/* Forward. */
	:: atomic { s_pc == S_START ->
		SAY("source: journal PREPARING\n");
		sj = PREPARING;
		s_pc = S_PREPARE
	}
	:: atomic { s_pc == S_PREPARE ->
		SAY("source: sends PREPARE\n");
		s_says(M_PREPARE);
		s_pc = S_POLICY
	}
	:: atomic { s_pc == S_POLICY ->
		SAY("source: restart policy no\n");
#ifndef MUT_SOURCE_POLICY
		s_policy = false;
#endif
		s_pc = S_JOURNAL
	}
	:: atomic { s_pc == S_JOURNAL ->
		if
		:: sj == PREPARING ->
			SAY("source: journal FROZEN\n");
			sj = FROZEN;
			s_pc = S_FREEZE
		:: else -> s_pc = S_ABORT
		fi
	}
	:: atomic { s_pc == S_FREEZE ->
		SAY("source: frozen and dumped\n");
		s_ct = FREEZED;
		dumped = true;
		s_pc = S_SEND
	}
	/* The last byte: from here on the target can become READY. */
	:: atomic { s_pc == S_SEND ->
		SAY("source: sends the last data\n");
		s_says(M_DATA);
		s_sent = true;
		s_pc = S_WAIT
	}
	:: atomic { s_pc == S_WAIT && t2s?[M_READY] ->
		t2s?M_READY;
		s_pc = S_COMMIT
	}
	:: atomic { s_pc == S_WAIT && (!link || sj == ABORT) ->
		s_pc = S_ABORT
	}
#ifdef MUT_COMMIT_LATE
	:: atomic { s_pc == S_COMMIT ->
		SAY("source: sends GO (no COMMIT in the journal)\n");
		s_says(M_GO);
		s_pc = S_GO
	}
	:: atomic { s_pc == S_GO ->
		if
		:: sj == FROZEN -> sj = COMMIT; s_pc = S_CONFIRM
		:: else -> s_pc = S_ABORT
		fi
	}
#else
	/* The point of no return. */
	:: atomic { s_pc == S_COMMIT ->
		if
		:: sj == FROZEN ->
			SAY("source: journal COMMIT\n");
			sj = COMMIT;
			s_pc = S_GO
		:: else -> s_pc = S_ABORT
		fi
	}
	:: atomic { s_pc == S_GO ->
		SAY("source: sends GO\n");
		s_says(M_GO);
#ifdef MUT_KILL_EARLY
		s_pc = S_KILL
#else
		s_pc = S_CONFIRM
#endif
	}
#endif
	:: atomic { s_pc == S_CONFIRM && t2s?[M_RUNNING] ->
		t2s?M_RUNNING;
		s_pc = AFTER_RUNNING
	}
#if defined(FETCH) && !defined(MUT_FETCH_KILLS)
	/*
	 * The frozen tasks are the only copy of what the target still lacks:
	 * they stay until it says that it needs them no more.
	 */
	:: atomic { s_pc == S_FETCH && t2s?[M_FETCHED] ->
		t2s?M_FETCHED;
		s_pc = S_KILL
	}
	:: atomic { s_pc == S_FETCH && !link ->
		forget_all(t2s);
		s_pc = S_POLL
	}
#endif
	:: atomic { s_pc == S_CONFIRM && !link ->
		forget_all(t2s);
#ifdef MUT_UNDO_AFTER_COMMIT
		sj = ABORT;
		s_pc = S_THAW
#else
		s_pc = S_POLL
#endif
	}
	/*
	 * COMMIT and no conversation: ask until the target has decided.  Its
	 * ABORT, out of READY, ends its right to run just as GO ends ours.
	 */
	:: atomic { s_pc == S_POLL && t_up && tj != PREPARING && tj != READY && !NEEDED(tj) ->
		s_asks();
		s_pc = S_POLLED
	}
	:: atomic { s_pc == S_POLLED && NO_NEED(s_answer) ->
		SAY("source: hears from the target that it went\n");
		s_answer = NONE;
		s_pc = S_KILL
	}
#ifndef MUT_COMMIT_DEAF
	:: atomic { s_pc == S_POLLED && s_answer == ABORT ->
		SAY("source: the target aborted after our COMMIT: journal ABORT\n");
		s_answer = NONE;
		sj = ABORT;
		s_pc = S_THAW
	}
#endif
	:: atomic { s_pc == S_POLLED && s_answer == FORGOTTEN ->
		nothing_known = true;
		NEVER(nothing_known)
	}
	:: atomic { s_pc == S_KILL ->
		SAY("source: kills the frozen tasks\n");
		destroyed_early = !T_WENT(tj) || LACKING;
		NEVER(destroyed_early);
		s_ct = STOPPED;
		s_pc = S_REMOVE
	}
	:: atomic { s_pc == S_REMOVE ->
		SAY("source: removes the container\n");
		s_ct = ABSENT;
		s_pc = S_DONE
	}
	:: atomic { s_pc == S_DONE ->
		SAY("source: journal DONE\n");
		s_policy = false;	/* mutants only: else it is already */
		sj = DONE;
		s_pc = S_END
	}

	/* Back. Only the worker thaws, so a cancel never races with it. */
	:: atomic { s_pc == S_ABORT ->
		link = false;
		forget_all(t2s);
		if
#ifdef MUT_THAW_WITHOUT_ABORT
		:: s_pc = S_THAW
#else
		:: sj == PREPARING || sj == FROZEN || sj == ABORT || ABORT_BLIND ->
			SAY("source: journal ABORT, closes the conversation\n");
			sj = ABORT;
			s_pc = S_THAW
		:: else -> s_pc = S_RECOVER
#endif
		fi
	}
	:: atomic { s_pc == S_THAW ->
		if
		:: s_ct == FREEZED ->
			SAY("source: thaws\n");
			s_runs()
		:: else
		fi;
#ifdef MUT_CONFIRM_NOT
		s_pc = (s_ct == RUNNING -> S_UNPOLICY : S_ASK)
#else
		s_pc = S_ASK
#endif
	}
	/*
	 * Until the target has said ABORT the restart policy stays no, and what
	 * was lost is not started again.  Not needed if it cannot be READY.
	 */
#ifdef MUT_THAW_WITHOUT_ABORT
	:: atomic { s_pc == S_ASK && sj != ABORT ->
		SAY("source: journal ABORT, late\n");
		sj = ABORT
	}
#endif
	:: atomic { s_pc == S_ASK && sj == ABORT && (!s_sent || s_resolved) ->
		s_pc = S_AGAIN
	}
	:: atomic { s_pc == S_ASK && sj == ABORT && s_sent && !s_resolved && t_up ->
		s_asks();
		s_pc = S_ASKED
	}
#ifdef MUT_REBOOT_STARTS
	:: atomic { s_pc == S_ASK ->
		s_pc = S_AGAIN
	}
#endif
	:: atomic { s_pc == S_ASKED && s_answer == ABORT ->
		s_answer = NONE;
		s_pc = S_AGAIN
	}
#ifndef FETCH
	/*
	 * Only by a person's word: the target was told to go.  What we have is
	 * not running, and it may be newer than what runs there: keep it.
	 */
	:: atomic { s_pc == S_ASKED && T_WENT(s_answer) && s_ct == STOPPED ->
		SAY("source: the target runs by a person's word, keeps its copy stopped\n");
		s_answer = NONE;
		s_pc = S_DONE
	}
#endif
	:: atomic { s_pc == S_ASKED && s_answer == FORGOTTEN ->
		nothing_known = true;
		NEVER(nothing_known)
	}
	:: atomic { s_pc == S_AGAIN ->
		if
		:: s_ct == STOPPED ->
			SAY("source: starts the container again\n");
			s_runs()
		:: else
		fi;
		s_pc = S_UNPOLICY
	}
	:: atomic { s_pc == S_UNPOLICY ->
		SAY("source: restart policy as before\n");
		s_policy = true;
		s_pc = S_ABORTED
	}
	:: atomic { s_pc == S_ABORTED ->
		SAY("source: journal ABORTED\n");
		sj = ABORTED;
		s_pc = S_END
	}

	/* A new worker. First it makes sure that nothing of the old one lives. */
	:: atomic { s_pc == S_RECOVER ->
#ifndef MUT_ORPHANS
		s_orphan = false;
#endif
		s_sent = (sj != PREPARING);
		if
		:: sj == PREPARING -> s_pc = S_ABORT
		:: sj == FROZEN && s_ct != STOPPED -> s_pc = S_ABORT
		:: sj == FROZEN && s_ct == STOPPED -> s_pc = S_LOST
		:: sj == COMMIT -> s_pc = S_POLL
		:: sj == ABORT -> s_pc = S_THAW
		:: sj == NONE || S_ENDED(sj) -> s_pc = S_END
		fi
#ifdef MUT_REBOOT_STARTS_COMMIT
		;
		if
		:: sj == COMMIT && s_ct == STOPPED -> s_runs()
		:: else
		fi
#endif
	}
	/*
	 * FROZEN in the journal, and the frozen tasks are gone (reboot, killed):
	 * the target may hold the only copy of the memory.
	 */
#ifdef MUT_REBOOT_STARTS
	:: atomic { s_pc == S_LOST ->
		SAY("source: lost its tasks, does not ask\n");
		s_pc = S_ABORT
	}
#else
#ifdef REBOOT_ABORTS
	:: atomic { s_pc == S_LOST ->
		SAY("source: lost its tasks, rolls back\n");
		s_pc = S_ABORT
	}
#else
	:: atomic { s_pc == S_LOST && t_up && tj != PREPARING ->
		s_asks();
		s_pc = S_LOST_ASKED
	}
	:: atomic { s_pc == S_LOST && sj != FROZEN ->
		s_pc = S_RECOVER
	}
	:: atomic { s_pc == S_LOST_ASKED && (s_answer == READY || T_WENT(s_answer)) ->
		s_answer = NONE;
		if
		:: sj == FROZEN ->
			SAY("source: lost its tasks, the target has them: journal COMMIT\n");
			sj = COMMIT
		:: else
		fi;
		s_pc = S_RECOVER
	}
	:: atomic { s_pc == S_LOST_ASKED && s_answer == ABORT ->
		s_answer = NONE;
		s_pc = S_ABORT
	}
	:: atomic { s_pc == S_LOST_ASKED && s_answer == FORGOTTEN ->
		nothing_known = true;
		NEVER(nothing_known)
	}
#endif
#endif
	od
}

/*
 * The target.
 */
active proctype target()
{
	do
	/* Forward. */
	:: atomic { t_pc == T_WAIT && s2t?[M_PREPARE] ->
		s2t?M_PREPARE;
		if
		:: tj == NONE ->
			SAY("target: journal PREPARING\n");
			tj = PREPARING;
			t_pc = T_DATA
		:: else -> t_pc = T_ABORT
		fi
	}
	:: atomic { t_pc == T_WAIT && !link ->
		forget_all(s2t);
		t_pc = T_END
	}
	:: atomic { t_pc == T_DATA && s2t?[M_DATA] ->
		s2t?M_DATA;
		t_pc = T_RESTORE
	}
	:: atomic { (t_pc == T_DATA || t_pc == T_RESTORE || t_pc == T_JOURNAL) && (!link || tj == ABORT) ->
		t_pc = T_ABORT
	}
	:: atomic { t_pc == T_RESTORE ->
		SAY("target: restored, held\n");
		t_ct = HELD;
		t_images = true;
		t_pc = T_JOURNAL
	}
#ifdef MUT_READY_EARLY
	:: atomic { t_pc == T_JOURNAL ->
		SAY("target: sends READY (not in the journal)\n");
		t_says(M_READY);
		t_pc = T_READY
	}
	:: atomic { t_pc == T_READY ->
		if
		:: tj == PREPARING -> tj = READY; t_pc = T_HELD
		:: else -> t_pc = T_ABORT
		fi
	}
#else
	:: atomic { t_pc == T_JOURNAL ->
		if
		:: tj == PREPARING ->
			SAY("target: journal READY\n");
			tj = READY;
			t_pc = T_READY
		:: else -> t_pc = T_ABORT
		fi
	}
	:: atomic { t_pc == T_READY ->
		SAY("target: sends READY\n");
		t_says(M_READY);
#ifdef MUT_TARGET_POLICY
		t_policy = true;
#endif
#ifdef MUT_GO_WITHOUT_COMMIT
		t_pc = T_GO
#else
		t_pc = T_HELD
#endif
	}
#endif
	:: atomic { t_pc == T_HELD && s2t?[M_GO] ->
		s2t?M_GO;
		t_pc = T_AGAIN
	}
	:: atomic { t_pc == T_HELD && (!link || tj != READY) ->
		forget_all(s2t);
#ifdef MUT_TARGET_GIVES_UP
		t_pc = (tj == READY -> T_ABORT : T_POLL)
#else
		t_pc = T_POLL
#endif
	}
	/* Some time later, or never. */
	:: atomic { (t_pc == T_HELD || t_pc == T_POLL) && t_images && !t_synced ->
		SAY("target: images are on the disk\n");
		t_synced = true
	}
	/* READY and no conversation: ask until the source has decided. */
	:: atomic { t_pc == T_POLL && tj != READY ->
		t_pc = T_RECOVER
	}
	:: atomic { t_pc == T_POLL && tj == READY && s_up &&
		    (sj == COMMIT || sj == ABORT || S_ENDED(sj)) ->
		t_answer = S_SAYS;
		t_pc = T_POLLED
	}
	:: atomic { t_pc == T_POLLED && (t_answer == COMMIT || t_answer == DONE) ->
		SAY("target: hears COMMIT from the source\n");
		t_answer = NONE;
		t_pc = T_AGAIN
	}
	:: atomic { t_pc == T_POLLED && (t_answer == ABORT || t_answer == ABORTED) ->
		SAY("target: hears ABORT from the source\n");
		t_answer = NONE;
		t_pc = T_ABORT
	}
#ifdef FETCH
	/* It never ran here, and never could without the memory that was there. */
	:: atomic { t_pc == T_POLLED && t_answer == LOST ->
		SAY("target: hears COMMIT from a source that was rebooted\n");
		t_answer = NONE;
		t_pc = T_ABORT
	}
#endif
	:: atomic { t_pc == T_POLLED && t_answer == FORGOTTEN ->
		nothing_known = true;
		NEVER(nothing_known)
	}
	/*
	 * The held tasks may have been lost since (reboot, killed).  They never
	 * ran, so the images, if they are still there, are good.  If that fails,
	 * ABORT: the source is frozen or stopped until it hears from us, and
	 * takes it back.
	 */
	:: atomic { t_pc == T_AGAIN ->
		if
		:: t_ct != ABSENT || tj != READY -> t_pc = T_GO
#ifdef MUT_IMAGES_UNCHECKED
		:: t_ct == ABSENT && tj == READY ->
#else
		:: t_ct == ABSENT && tj == READY && t_images ->
#endif
			SAY("target: restores again from its images\n");
			images_missing = !t_images;
			NEVER(images_missing);
			t_ct = HELD;
			t_pc = T_GO
#ifndef NO_GIVING_UP
		:: t_ct == ABSENT && tj == READY ->
			SAY("target: cannot restore again\n");
			t_pc = T_ABORT
#endif
		fi
	}
#ifdef MUT_RUN_BEFORE_GO
	:: atomic { t_pc == T_GO ->
		if
		:: tj == READY && t_ct == HELD ->
			SAY("target: lets the tasks run (no GO in the journal)\n");
			STALE(t_ran);
			t_runs();
			t_pc = T_RUN
		:: tj == READY && t_ct != HELD -> t_pc = T_RUN
		:: else -> t_pc = T_RECOVER
		fi
	}
	:: atomic { t_pc == T_RUN && tj == READY -> tj = GO }
	:: atomic { t_pc == T_RUN && tj == ABORT -> t_pc = T_RECOVER }
#else
	:: atomic { t_pc == T_GO ->
		if
		:: tj == READY ->
			SAY("target: journal GO\n");
			tj = GO;
			t_pc = T_RUN
#ifdef MUT_GO_BLIND
		:: tj == ABORT -> tj = GO; t_pc = T_RUN
#endif
		:: else -> t_pc = T_RECOVER
		fi
	}
#endif
	/* GO in the journal: from now on it runs here, whatever it takes. */
	:: atomic { t_pc == T_RUN && T_WENT(tj) ->
		if
		:: t_ct == HELD ->
			SAY("target: lets the tasks run\n");
			STALE(t_ran);
			t_runs();
			LACKS(true)
		:: t_ct == ABSENT ->
#ifdef MUT_GO_RESTORES
			SAY("target: GO, restores from the images\n");
			STALE(t_ran);
#else
			SAY("target: GO, tasks gone: starts it afresh\n");
#endif
			t_runs()
		:: t_ct == RUNNING
		fi;
		t_pc = T_POLICY
	}
	:: atomic { t_pc == T_POLICY ->
		SAY("target: restart policy as it was on the source\n");
		t_policy = true;
		t_pc = T_RUNNING
	}
	:: atomic { t_pc == T_RUNNING ->
		SAY("target: sends RUNNING\n");
		t_says(M_RUNNING);
#ifdef FETCH
		t_pc = T_FETCH
#else
		t_pc = T_DONE
#endif
	}
#ifdef FETCH
	/* All is here, or what was to come is lost, and the container with it. */
#ifdef MUT_FETCH_DONE_EARLY
	:: atomic { t_pc == T_FETCH ->
#else
	:: atomic { t_pc == T_FETCH && !LACKING ->
#endif
		SAY("target: needs nothing more from the source\n");
		t_says(M_FETCHED);
		t_pc = T_FETCHED
	}
	:: atomic { t_pc == T_FETCHED ->
		if
#ifndef MUT_FETCH_LEFT
		:: t_ct == ABSENT ->
			SAY("target: its memory is lost: starts it afresh\n");
			t_runs()
#endif
		:: else
		fi;
		t_pc = T_DONE
	}
#endif
	:: atomic { t_pc == T_DONE ->
		SAY("target: journal DONE\n");
		tj = DONE;
		t_pc = T_END
	}

	/* Back. */
	:: atomic { t_pc == T_ABORT ->
		link = false;
		forget_all(s2t);
		if
		:: tj == PREPARING || tj == READY ->
			SAY("target: journal ABORT\n");
			tj = ABORT;
			t_pc = T_CLEAN
		:: else -> t_pc = T_RECOVER
		fi
	}
	:: atomic { t_pc == T_CLEAN ->
		SAY("target: removes everything, closes the conversation\n");
		link = false;
		t_ct = ABSENT;
		t_images = false;
		t_synced = false;
		t_policy = false;
		t_pc = T_END
	}

	/* A new worker, or a journal that somebody else has moved on. */
	:: atomic { t_pc == T_RECOVER ->
#ifndef MUT_ORPHANS
		t_orphan = false;
#endif
		if
		:: tj == PREPARING -> t_pc = T_ABORT
		:: tj == READY -> t_pc = T_POLL
		:: tj == GO -> t_pc = T_RUN
		:: tj == ABORT -> t_pc = T_CLEAN
		:: tj == NONE || tj == DONE || tj == FORGOTTEN -> t_pc = T_END
		fi
	}
	od
}

#ifdef FETCH
/*
 * The pager on the target gets the pages over connections of its own, from
 * whoever answers there out of journal and frozen tasks.  It outlives the
 * worker, and the container does not outlive it.
 */
active proctype pager()
{
	do
#ifdef MUT_FETCH_ZEROS
	:: atomic { LACKING && s_up ->
#else
	:: atomic { LACKING && s_up && STILL_THERE ->
#endif
		SAY("target: the last pages have come\n");
		made_up = !STILL_THERE;
		NEVER(made_up);
		t_lacks = false
	}
#ifndef MUT_FETCH_WAITS
	:: atomic { LACKING && s_up && !STILL_THERE ->
		SAY("target: pages are lost: its pager kills the container\n");
		t_ct = ABSENT;
		t_lacks = false
	}
#endif
	od
}
#endif

/*
 * What may happen to them, each at any time.
 */
#ifdef MAXFAIL
byte fails = 0;
#define MAY_FAIL	(fails < MAXFAIL)
#define FAILURE(what)	SAY(what); fails++
#define NO_MORE		fails = MAXFAIL
#else
#define MAY_FAIL	true
#define FAILURE(what)	SAY(what)
#define NO_MORE		skip
#endif

active proctype environment()
{
	do
	:: atomic { MAY_FAIL && link ->
		FAILURE("--- the conversation breaks\n");
		link = false
	}

	/* The processes of reberth die; containers stay as they are. */
	:: atomic { MAY_FAIL && s_up && s_pc != S_END && s_pc != S_RECOVER ->
		FAILURE("--- crash on the source\n");
		s_orphan = s_orphan || s_pc == S_FREEZE;
		link = false;
		forget_all(t2s);
		s_answer = NONE;
		s_sent = false;
		s_pc = S_RECOVER
	}
	:: atomic { MAY_FAIL && t_up && t_pc != T_END && t_pc != T_RECOVER ->
		FAILURE("--- crash on the target\n");
		t_orphan = t_orphan || t_pc == T_RESTORE || t_pc == T_AGAIN;
		link = false;
		forget_all(s2t);
		t_answer = NONE;
		t_pc = T_RECOVER
	}
	/* What a killed worker had started goes on, unless somebody ends it. */
	:: atomic { s_orphan ->
		SAY("--- an orphan on the source freezes the container\n");
		s_orphan = false;
		if
		:: s_ct == RUNNING -> s_ct = FREEZED
		:: else
		fi
	}
	:: atomic { t_orphan ->
		SAY("--- an orphan on the target restores, held\n");
		t_orphan = false;
		if
		:: t_ct == ABSENT -> t_ct = HELD
		:: else
		fi
	}

	/* Power loss, and some time later the boot. */
	:: atomic { MAY_FAIL && s_up ->
		FAILURE("--- the source loses power\n");
		s_boot_over = dumped;
		s_up = false;
		s_ct = (s_ct == ABSENT -> ABSENT : STOPPED);
		s_orphan = false;
		link = false;
		forget_all(t2s);
		s_answer = NONE;
		s_sent = false;
		s_pc = S_OFF
	}
	:: atomic { !s_up ->
		SAY("--- the source boots\n");
		s_up = true;
		s_pc = S_RECOVER;
		if
		:: s_policy && s_ct == STOPPED ->
			SAY("source: Docker starts the container\n");
			s_runs()
		:: else
		fi
	}
	:: atomic { MAY_FAIL && t_up ->
		FAILURE("--- the target loses power\n");
		t_up = false;
		t_ct = ABSENT;
		LACKS(false);
#ifndef NO_GIVING_UP
		t_images = t_synced;
#endif
		t_orphan = false;
		link = false;
		forget_all(s2t);
		t_answer = NONE;
		t_pc = T_OFF
	}
	:: atomic { !t_up ->
		SAY("--- the target boots\n");
		t_up = true;
		t_pc = T_RECOVER;
		if
		:: t_policy ->
			SAY("target: Docker starts the container\n");
			t_runs()
		:: else
		fi
	}

	/* The tasks that stand still are killed: OOM, a dead shim, dockerd. */
	:: atomic { MAY_FAIL && s_ct == FREEZED ->
		FAILURE("--- the frozen tasks on the source are killed\n");
		s_ct = STOPPED
	}
	:: atomic { MAY_FAIL && t_ct == HELD ->
		FAILURE("--- the held tasks on the target are killed\n");
		t_ct = ABSENT
	}

#ifdef FETCH
	:: atomic { MAY_FAIL && LACKING ->
		FAILURE("--- the pager is killed, and the container with it\n");
		t_ct = ABSENT;
		t_lacks = false
	}
#endif

	/* Not counted as failures, each can happen once. */
	:: atomic { s_up && (sj == PREPARING || sj == FROZEN
#ifdef MUT_CANCEL_BLIND
		|| sj == COMMIT
#endif
		) ->
		SAY("--- cancelled (user, timeout, error): journal ABORT\n");
		sj = ABORT
	}
	:: atomic { t_pc == T_DATA || t_pc == T_RESTORE ->
		SAY("--- an error on the target\n");
		t_pc = T_ABORT
	}
#ifdef FORGET
	/*
	 * The source ends last, so it may forget at once (but what a person
	 * ended needs the target's word first); the target may not.
	 */
	:: atomic { s_pc == S_END && (sj == DONE || sj == ABORTED) && TARGET_AGREED ->
		SAY("source: forgets the migration\n");
		sj = FORGOTTEN
	}
	:: atomic { (t_pc == T_END && (tj == DONE || tj == ABORT)
#ifndef MUT_FORGET_EARLY
		    && s_up && S_ENDED(sj)
#endif
		    ) ->
		SAY("target: forgets the migration\n");
		tj = FORGOTTEN
	}
#endif

	/* No more failures, from any moment on at which both hosts are up. */
	:: atomic { s_up && t_up && !s_orphan && !t_orphan ->
		SAY("--- from here on nothing fails\n");
		NO_MORE;
		quiet = true;
		break
	}
	od
}

#ifdef PERSON
/*
 * `reberth migration resolve`.  README.md has the rules in words.
 */
bool said_commit = false, said_abort = false;

/* What somebody has to promise, and what comes of breaking it. */
#ifdef MUT_PERSON_GUESSES
#define SOURCE_IS_OFF	true
#else
#define SOURCE_IS_OFF	s_boot_over
#endif
#ifdef MUT_PERSON_CONTRADICTS
#define NOT_SAID(word)	true
#else
#define NOT_SAID(word)	(!word)
#endif
#define WAITS_LOST	(s_pc == S_LOST || s_pc == S_LOST_ASKED)
#define WAITS_ABORT	(s_pc == S_ASK || s_pc == S_ASKED)
#ifdef MUT_PERSON_ABORTS_COMMIT
#define ABORTABLE	(WAITS_LOST || WAITS_ABORT || s_pc == S_POLL)
#else
#define ABORTABLE	((WAITS_LOST && sj != COMMIT) || WAITS_ABORT)
#endif
#ifdef PROMISE
#define DID_NOT_RUN_ON	(!s_ran_on)
#else
#define DID_NOT_RUN_ON	true
#endif

active proctype person()
{
	do
#ifndef FETCH
	/*
	 * --commit on the target, in READY.  The promise: the source's host has
	 * been switched off or rebooted since the freeze.  Refused where memory
	 * was left there.
	 */
	:: atomic { t_up && tj == READY && SOURCE_IS_OFF && DID_NOT_RUN_ON &&
		    NOT_SAID(said_abort) ->
		SAY("*** resolve --commit on the target: journal GO\n");
		said_commit = true;
		tj = GO
	}
#endif
	/* --abort on the target, in READY: no promise. */
	:: atomic { t_up && tj == READY ->
		SAY("*** resolve --abort on the target: journal ABORT\n");
		tj = ABORT
	}
	/*
	 * --abort on the source, which waits for a target that does not answer.
	 * The promise: nobody said --commit over there, and nobody will.
	 */
	:: atomic { !said_abort && ABORTABLE && NOT_SAID(said_commit) ->
		SAY("*** resolve --abort on the source: journal ABORT\n");
		said_abort = true;
		s_resolved = true;
		sj = ABORT;
		s_answer = NONE;
		s_pc = S_THAW
	}
	/* --commit on the source that lost its tasks: no promise. */
	:: atomic { WAITS_LOST && sj == FROZEN ->
		SAY("*** resolve --commit on the source: journal COMMIT\n");
		sj = COMMIT
	}
	:: break
	od
}
#endif

/*
 * Nothing can move any more.  Exactly one runs, the journals agree, and the
 * side where it does not run keeps nothing that could.
 */
#define ENDED_HERE	(s_ct == RUNNING && s_policy && !t_policy && t_ct == ABSENT)
#define ENDED_THERE	(t_ct == RUNNING && !LACKING && t_policy && !s_policy && s_ct != FREEZED)

active proctype the_end()
{
	atomic {
		timeout ->
		none_running = (s_ct != RUNNING && t_ct != RUNNING);
		NEVER(none_running);
		not_settled = !(
			(ENDED_HERE && (sj == ABORTED || sj == NONE || sj == FORGOTTEN) &&
			 (tj == ABORT || tj == NONE || tj == FORGOTTEN)) ||
			(ENDED_THERE && (sj == DONE || sj == FORGOTTEN) &&
			 (tj == DONE || tj == FORGOTTEN)));
		NEVER(not_settled)
	}
}

/* The same in temporal logic, as a cross-check of the above. */
#ifdef LTL
#define s_one	(s_ct == RUNNING && t_ct != RUNNING)
#define t_one	(t_ct == RUNNING && s_ct != RUNNING)
ltl never_two { [] !(s_ct == RUNNING && t_ct == RUNNING) }
ltl one_in_the_end { <> quiet -> (<> [] s_one || <> [] t_one) }
#endif
