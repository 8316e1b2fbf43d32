/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restart.h - calls that wait for a time, in the registers of a thread that was stopped in one
 *
 * A thread that is stopped within nanosleep(2), poll(2) or futex(2) has -ERESTART_RESTARTBLOCK in
 * its registers: the kernel knows how long it has still to wait, and nobody can hand that on. CRIU
 * makes an error of it, EINTR, in the restored task and in the one that is to run on after a
 * roll-back. A program without handlers of signals never sees that otherwise; some take it for the
 * end of their sleep (busybox 1.37: `sleep 1000` is over).
 *
 * So such calls are made anew instead, as those that wait without a limit (-ERESTARTNOHAND): they
 * have their arguments still, and end with EINTR only when a handler runs. A nanosleep(2) whose two
 * arguments are the same, as in sleep(3), finds the remaining time in them; others wait their whole
 * time once more.
 *
 * What has gone on after an earlier stop, by whomever, is restart_syscall(2), which does not tell
 * what it was: that one ends with EINTR when it is dumped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/user.h>

/* of the kernel, include/linux/errno.h */
enum { RB_RESTART_ANEW = 514 /* ERESTARTNOHAND */, RB_RESTART_BLOCK = 516 };

/**
 * rb_restart_anew - change the registers of a stopped thread
 * @regs: NT_PRSTATUS; @len: of it; that of a 32-bit program is shorter, and stays as it is
 *
 * Return: true if anything was changed.
 */
static inline bool rb_restart_anew(void *regs, size_t len)
{
#if defined(__x86_64__)
	struct user_regs_struct *user = regs;

	if (len != sizeof(*user) || (long)user->rax != -RB_RESTART_BLOCK ||
	    (long)user->orig_rax < 0 || user->orig_rax == SYS_restart_syscall)
		return false;
	user->rax = (unsigned long)-RB_RESTART_ANEW;
	return true;
#else
	(void)regs;
	(void)len;
	return false;
#endif
}
