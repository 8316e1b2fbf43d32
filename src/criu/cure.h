/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cure.h - give tasks back what a killed CRIU took from them
 *
 * CRIU runs foreign code in the tasks that it dumps: single system calls written over their own
 * code, and a parasite blob. Killed in the middle it leaves them with foreign registers, a blocked
 * signal mask, overwritten code, a trap instruction ahead, an extra mapping and extra descriptors.
 * So the frozen tasks are looked at before CRIU starts, and put back to that state afterwards.
 */
#pragma once

struct rb_cure;
struct rb_err;
struct rb_wait;

/**
 * rb_cure_snapshot - note registers, signal masks, code, mappings and descriptors of all tasks
 * @freezer_path: their cgroup, frozen; it is frozen again when this returns, and no task has run
 * an instruction meanwhile (they are held by ptrace)
 *
 * Needs CAP_SYS_PTRACE and CAP_SYS_ADMIN. No task may be traced.
 */
int rb_cure_snapshot(const char *freezer_path, const struct rb_wait *wait, struct rb_cure **ret,
		     struct rb_err *err);

/** rb_cure_apply - put all tasks of the (frozen) cgroup that still live back to the snapshot; the
 * cgroup is frozen when this returns. Return: number of tasks that differed, or negative errno. */
int rb_cure_apply(const struct rb_cure *cure, const char *freezer_path, const struct rb_wait *wait,
		  struct rb_err *err);

void rb_cure_free(struct rb_cure *cure);
