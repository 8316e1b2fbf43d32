/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracee.h - stop a thread by ptrace, look at it, change it
 *
 * The caller becomes the tracer; waitpid(2) of its other children is not disturbed, as only the
 * thread in question is waited for. A thread that is traced by somebody else cannot be had.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_err;
struct rb_wait;

/** What CRIU changes in a thread and gives back at the end. */
struct rb_thread {
	pid_t tid;
	size_t regs_len, fpu_len;
	unsigned char regs[512]; /* NT_PRSTATUS, as it is at a stop inside of a system call too */
	unsigned char *fpu;	 /* NT_X86_XSTATE or NT_PRFPREG, allocated */
	uint64_t sigmask;
	uint64_t rseq_addr; /* address of its rseq_cs field, 0 when it has none */
	uint64_t rseq_cs;
	bool stopped; /* at a ptrace stop, by us */
	int signal;   /* that it stopped with the delivery of, 0 at any other stop */
};

/** rb_tracee_seize - attach and ask for a stop. Return: 0, -ESRCH when it is dead or a zombie. */
int rb_tracee_seize(struct rb_thread *thread, struct rb_err *err);

/** rb_tracee_wait_stop - until it stands still. Return: 0, -ESRCH when it died meanwhile. */
int rb_tracee_wait_stop(struct rb_thread *thread, const struct rb_wait *wait, struct rb_err *err);

/** rb_tracee_detach - let go; a signal that is being delivered is delivered, and a call that waits
 * for a time is made anew */
void rb_tracee_detach(struct rb_thread *thread);

/** rb_tracee_save - fill registers, mask and rseq of a stopped thread. Free with
 * rb_tracee_free(). */
int rb_tracee_save(struct rb_thread *thread, struct rb_err *err);

/** rb_tracee_note - the same without the floating-point registers and without an allocation: enough
 * where nothing but system calls is made (rb_tracee_call()) */
int rb_tracee_note(struct rb_thread *thread, struct rb_err *err);

/** rb_tracee_put_rseq - a kernel that saw foreign registers in a restartable sequence has forgotten
 * it; on the way out of the stop it is then restarted as it should */
void rb_tracee_put_rseq(struct rb_thread *thread, const struct rb_thread *saved);

/**
 * rb_tracee_restore - put a stopped thread back to what @saved says
 *
 * Also takes away a trap signal that foreign code left for it. Return: 1 when something differed,
 * 0 when not, negative errno.
 */
int rb_tracee_restore(struct rb_thread *thread, const struct rb_thread *saved,
		      const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_tracee_syscall - have a stopped thread make a system call, all others of its process stopped
 * @code: address of executable memory whose first bytes are overwritten; the caller puts them back
 *
 * The thread's registers and mask are foreign afterwards: rb_tracee_restore().
 *
 * Return: what the system call returned, in @ret; negative errno when it could not be made.
 */
int rb_tracee_syscall(struct rb_thread *thread, uint64_t code, long nr, const uint64_t args[3],
		      long *ret, const struct rb_wait *wait, struct rb_err *err);

void rb_tracee_free(struct rb_thread *thread);

/** rb_mem_read, rb_mem_write - the memory of a process through /proc/PID/mem, past protections */
int rb_mem_read(pid_t pid, uint64_t addr, void *data, size_t len);
int rb_mem_write(pid_t pid, uint64_t addr, const void *data, size_t len);
