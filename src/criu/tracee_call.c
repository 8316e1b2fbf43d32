// SPDX-License-Identifier: Apache-2.0
/*
 * tracee_call.c - system calls in another process that write nothing into its memory
 *
 * The thread is sent to a system call instruction that the process has anyway, the vdso's, and
 * stopped before and behind it by PTRACE_SYSCALL. These stops are no signals, so that neither a
 * blocked nor an ignored SIGTRAP matters (the kernel would reset its action), and none is left over
 * when the tracer dies. All signals are blocked meanwhile: one that waits would come first.
 *
 * When the tracer dies the thread runs on from where it stands: the caller has it frozen before
 * (memory/inject.c). Behind the call that is in user mode, so it stands still before it has done
 * anything. Before the call, it makes the call first, and no tracer holds off its seccomp filter
 * any more, which may be one that kills. So it enters with a read(2) of no descriptor, which about
 * every filter allows, and that is turned into the wanted call at the stop before it: the filter
 * looks at it only after this stop. What is left is a tracer that dies between two ptrace(2) calls,
 * and only with the v2 freezer: with v1 the thread stands at that stop until it is thawed, by a new
 * tracer.
 *
 * A thread that goes on from a ptrace stop always passes the kernel's signal handling, which
 * restarts the system call that its registers tell of. So they may be put back at the stop behind
 * the call. At the one before it they may not: the kernel would take the call from them.
 */
#include "tracee_call.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "fault.h"
#include "tracee.h"
#include "wait.h"

#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21)
#endif

enum {
	GET_DISPATCH = 0x4211, /* PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG */
	CODE_CHUNK = 65536,
	SYSCALL_STOP = SIGTRAP | 0x80, /* PTRACE_O_TRACESYSGOOD */
};

/* struct ptrace_sud_config of the kernel */
struct dispatch {
	uint64_t mode, selector, offset, len;
};

#if defined(__x86_64__)
static const unsigned char insn_bytes[] = { 0x0f, 0x05 };
enum { INSN_ALIGN = 1 };
#else
static const unsigned char insn_bytes[] = { 0x01, 0, 0, 0xd4 };
enum { INSN_ALIGN = 4 };
#ifndef NT_ARM_SYSTEM_CALL
#define NT_ARM_SYSTEM_CALL 0x404
#endif
#endif

static long pt(int request, pid_t tid, long addr, const void *data)
{
	return ptrace((enum __ptrace_request)request, tid, (void *)addr, (void *)data) < 0 ? -errno
											   : 0;
}

static int get_regs(pid_t tid, struct user_regs_struct *ret)
{
	struct iovec iov = { .iov_base = ret, .iov_len = sizeof(*ret) };
	long r = pt(PTRACE_GETREGSET, tid, NT_PRSTATUS, &iov);

	/* a shorter set is that of a 32-bit program, with other numbers and another instruction */
	return r < 0 ? (int)r : iov.iov_len == sizeof(*ret) ? 0 : -ENOTSUP;
}

static int set_regs(pid_t tid, const struct user_regs_struct *regs)
{
	struct iovec iov = { .iov_base = (void *)regs, .iov_len = sizeof(*regs) };

	return (int)pt(PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov);
}

static void set_arguments(struct user_regs_struct *regs, const uint64_t args[3])
{
#if defined(__x86_64__)
	regs->rdi = args[0];
	regs->rsi = args[1];
	regs->rdx = args[2];
#else
	for (int i = 0; i < 3; i++)
		regs->regs[i] = args[i];
#endif
}

/* read(-1, NULL, 0), about to be made at @insn */
static void set_entry(struct user_regs_struct *regs, uint64_t insn)
{
	set_arguments(regs, (uint64_t[3]){ UINT64_MAX, 0, 0 });
#if defined(__x86_64__)
	regs->rip = insn;
	regs->rax = SYS_read;
	regs->orig_rax = (unsigned long)-1;
#else
	regs->pc = insn;
	regs->regs[8] = SYS_read;
#endif
}

/* At the stop before a system call: another one. */
static int change_call(pid_t tid, long nr, const uint64_t args[3])
{
	struct user_regs_struct regs;
	int r = get_regs(tid, &regs);

	if (r < 0)
		return r;
	set_arguments(&regs, args);
#if defined(__x86_64__)
	regs.orig_rax = (unsigned long)nr;
#else
	int number = (int)nr;
	struct iovec iov = { .iov_base = &number, .iov_len = sizeof(number) };

	r = (int)pt(PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &iov);
	if (r < 0)
		return r;
#endif
	return set_regs(tid, &regs);
}

static int get_result(pid_t tid, long *ret)
{
	struct user_regs_struct regs;
	int r = get_regs(tid, &regs);

#if defined(__x86_64__)
	if (r == 0)
		*ret = (long)regs.rax;
#else
	if (r == 0)
		*ret = (long)regs.regs[0];
#endif
	return r;
}

int rb_tracee_await(struct rb_thread *thread, const struct rb_wait *wait, struct rb_err *err)
{
	int r = rb_tracee_wait_stop(thread, wait, err);

	/* the stop that was asked for comes next, before the handler runs */
	while (r == 0 && thread->signal) {
		thread->stopped = false;
		if (pt(PTRACE_CONT, thread->tid, 0, (void *)(long)thread->signal) < 0)
			return -ESRCH;
		r = rb_tracee_wait_stop(thread, wait, err);
	}
	return r;
}

/* On to the next stop before or behind a system call. */
static int run(struct rb_thread *thread, struct rb_err *err)
{
	int pass = 0;

	for (;;) {
		int r = (int)pt(PTRACE_SYSCALL, thread->tid, 0, (void *)(long)pass);

		thread->stopped = false;
		/* ended by force; or frozen, and to be waited for: it cannot be left like this */
		if (r == 0)
			r = rb_tracee_wait_stop(thread, NULL, err);
		if (r < 0)
			return r;
		if (thread->signal == SYSCALL_STOP) {
			thread->signal = 0;
			return 0;
		}
		pass = thread->signal;
		thread->signal = 0;
		/* only SIGSTOP is not blocked; it does not keep a traced thread from going on */
		if (pass && pass != SIGSTOP)
			return rb_err_code(err, RB_E_INTERNAL, -EIO,
					   "thread %d got signal %d instead of a system call",
					   (int)thread->tid, pass);
	}
}

static int point(const char *name, const char *step, struct rb_err *err)
{
	char text[96];

	snprintf(text, sizeof(text), "%s.%s", name, step);
	return rb_fault_point(text, NULL, err);
}

/* All that is needed, or without the second one if there is no filter that it would hold off. */
static int set_options(struct rb_thread *thread)
{
	char path[64], line[256];
	_cleanup_fclose_ FILE *file = NULL;
	struct dispatch dispatch = {};
	int mode = 0;

	/* its calls become signals, unless they come from where Wine's own do */
	if (pt(GET_DISPATCH, thread->tid, sizeof(dispatch), &dispatch) == 0 && dispatch.mode != 0)
		return -ENOTSUP;
	if (pt(PTRACE_SETOPTIONS, thread->tid, 0,
	       (void *)(long)(PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP)) == 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)thread->tid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Seccomp: %d", &mode) == 1)
			break;
	if (!file || mode != 0)
		return -ENOTSUP;
	return (int)pt(PTRACE_SETOPTIONS, thread->tid, 0, (void *)(long)PTRACE_O_TRACESYSGOOD);
}

/* To the stop before the harmless call. */
static int enter(struct rb_thread *thread, uint64_t insn, const char *name, struct rb_err *err)
{
	const uint64_t all = ~UINT64_C(0);
	struct user_regs_struct regs;
	int r = get_regs(thread->tid, &regs);

	if (r == 0)
		r = set_options(thread);
	if (r == 0)
		r = (int)pt(PTRACE_SETSIGMASK, thread->tid, sizeof(all), &all);
	if (r == 0) {
		set_entry(&regs, insn);
		r = set_regs(thread->tid, &regs);
	}
	if (r == -ENOTSUP)
		return rb_err_code(
			err, RB_E_REFUSED, r,
			"no system call can be made in thread %d: a 32-bit program, system "
			"calls that it catches itself, or a seccomp filter that cannot be "
			"held off",
			(int)thread->tid);
	if (r < 0)
		return rb_err_set(err, r, "prepare a system call in thread %d", (int)thread->tid);
	r = point(name, "ready", err);
	return r < 0 ? r : run(thread, err);
}

int rb_tracee_call(struct rb_thread *thread, uint64_t insn, const char *name, long nr,
		   const uint64_t args[3], long *ret, struct rb_err *err)
{
	int r = enter(thread, insn, name, err), ran;

	if (r < 0)
		return r;
	r = point(name, "entry", err);
	if (r == 0)
		r = change_call(thread->tid, nr, args);
	if (r == 0)
		r = point(name, "armed", err);
	/* whatever call it is: registers cannot be put back here */
	ran = run(thread, r < 0 ? NULL : err);
	if (r == 0)
		r = ran;
	if (r == 0)
		r = get_result(thread->tid, ret);
	if (r == 0)
		r = point(name, "exit", err);
	return r;
}

int rb_tracee_put_back(struct rb_thread *thread, const struct rb_thread *saved, struct rb_err *err)
{
	struct iovec iov = { .iov_base = (void *)saved->regs, .iov_len = saved->regs_len };
	long r = pt(PTRACE_SETREGSET, thread->tid, NT_PRSTATUS, &iov);

	if (r == 0)
		r = pt(PTRACE_SETSIGMASK, thread->tid, sizeof(saved->sigmask), &saved->sigmask);
	if (r < 0)
		return r == -ESRCH ? -ESRCH
				   : rb_err_set(err, (int)r, "restore thread %d", (int)thread->tid);
	rb_tracee_put_rseq(thread, saved);
	return 0;
}

/* Return: address in [start, end), or 0. */
static uint64_t find_in(pid_t pid, uint64_t start, uint64_t end)
{
	_cleanup_free_ unsigned char *bytes = malloc(CODE_CHUNK);

	for (uint64_t at = start; bytes && at < end; at += CODE_CHUNK) {
		size_t len = end - at < CODE_CHUNK ? (size_t)(end - at) : CODE_CHUNK;

		if (rb_mem_read(pid, at, bytes, len) < 0)
			return 0;
		for (size_t i = 0; i + sizeof(insn_bytes) <= len; i += INSN_ALIGN)
			if (memcmp(bytes + i, insn_bytes, sizeof(insn_bytes)) == 0)
				return at + i;
	}
	return 0;
}

bool rb_tracee_is_syscall(pid_t pid, uint64_t insn)
{
	unsigned char bytes[sizeof(insn_bytes)];

	return insn && rb_mem_read(pid, insn, bytes, sizeof(bytes)) == 0 &&
	       memcmp(bytes, insn_bytes, sizeof(bytes)) == 0;
}

int rb_tracee_find_syscall(pid_t pid, uint64_t *ret, struct rb_err *err)
{
	for (int pass = 0; pass < 2; pass++) {
		char path[64], line[512], perms[8];
		_cleanup_fclose_ FILE *file = NULL;
		uint64_t start, end;

		snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
		file = fopen(path, "re");
		while (file && fgets(line, sizeof(line), file)) {
			if (sscanf(line, "%lx-%lx %7s", &start, &end, perms) != 3 ||
			    perms[0] != 'r' || perms[2] != 'x' ||
			    (pass == 0) != (strstr(line, "[vdso]") != NULL))
				continue;
			*ret = find_in(pid, start, end);
			if (*ret)
				return 0;
		}
	}
	return rb_err_code(err, RB_E_REFUSED, -ENOENT,
			   "process %d has no system call instruction that is readable", (int)pid);
}
