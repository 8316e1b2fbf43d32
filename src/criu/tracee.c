// SPDX-License-Identifier: Apache-2.0
/*
 * tracee.c - stop a thread by ptrace, look at it, change it
 *
 * PTRACE_SEIZE and PTRACE_INTERRUPT stop a thread without a signal. In a stop inside of a system
 * call the registers say so (orig_ax, and an -ERESTART code in ax), and the kernel restarts the
 * call when such registers are put back at a stop on its way out, whatever happened between.
 */
#include "tracee.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "restart.h"
#include "wait.h"

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif
#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21)
#endif

enum {
	FPU_MAX_BYTES = 16384,
	RSEQ_CS_OFFSET = 8, /* of rseq_cs in struct rseq */
	GET_RSEQ = 0x420f,  /* PTRACE_GET_RSEQ_CONFIGURATION */
};

/* struct ptrace_rseq_configuration of the kernel */
struct rseq_configuration {
	uint64_t rseq_abi_pointer;
	uint32_t rseq_abi_size, signature, flags, pad;
};

#if defined(__x86_64__)
#define FPU_NOTE NT_X86_XSTATE
static const unsigned char syscall_code[] = { 0x0f, 0x05, 0xcc, 0xcc };
#elif defined(__aarch64__)
#define FPU_NOTE NT_PRFPREG
static const unsigned char syscall_code[] = { 0x01, 0, 0, 0xd4, 0, 0, 0x20, 0xd4 };
#else
#error "unknown architecture"
#endif

static long pt(long request, pid_t tid, void *addr, void *data)
{
	return ptrace((enum __ptrace_request)request, tid, addr, data);
}

static bool is_dead(pid_t tid)
{
	char path[64], state = 'Z';
	_cleanup_fclose_ FILE *file = NULL;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)tid);
	file = fopen(path, "re");
	return !file || fscanf(file, "%*d (%*[^)]) %c", &state) < 1 || state == 'Z' || state == 'X';
}

int rb_tracee_seize(struct rb_thread *thread, struct rb_err *err)
{
	/* calls that we make in it must not meet its seccomp filter; not every kernel can do that
	 */
	if (pt(PTRACE_SEIZE, thread->tid, NULL, (void *)(long)PTRACE_O_SUSPEND_SECCOMP) < 0 &&
	    pt(PTRACE_SEIZE, thread->tid, NULL, NULL) < 0) {
		int saved = -errno;

		return is_dead(thread->tid)
			       ? -ESRCH
			       : rb_err_set(err, saved, "trace thread %d", (int)thread->tid);
	}
	thread->stopped = false;
	thread->signal = 0;
	if (pt(PTRACE_INTERRUPT, thread->tid, NULL, NULL) < 0)
		return errno == ESRCH ? -ESRCH
				      : rb_err_set(err, -errno, "stop thread %d", (int)thread->tid);
	return 0;
}

int rb_tracee_wait_stop(struct rb_thread *thread, const struct rb_wait *wait, struct rb_err *err)
{
	for (int round = 0;; round++) {
		int status;
		pid_t pid = waitpid(thread->tid, &status, __WALL | (wait ? WNOHANG : 0));

		if (pid == thread->tid && WIFSTOPPED(status)) {
			thread->stopped = true;
			thread->signal = status >> 16 ? 0 : WSTOPSIG(status);
			return 0;
		}
		if (pid == thread->tid || (pid < 0 && errno == ECHILD))
			return -ESRCH;
		/* a stop takes microseconds, unless the machine has more to do */
		if (!wait || round < 10)
			sched_yield();
		else if (round < 200)
			usleep(20);
		else if (rb_wait_ms(1, wait, err) < 0)
			return rb_err_code(err, RB_E_TIMEOUT, -ETIMEDOUT, "thread %d does not stop",
					   (int)thread->tid);
	}
}

static int get_regset(pid_t tid, int note, void *data, size_t size, size_t *ret_len)
{
	struct iovec iov = { .iov_base = data, .iov_len = size };

	if (pt(PTRACE_GETREGSET, tid, (void *)(long)note, &iov) < 0)
		return -errno;
	*ret_len = iov.iov_len;
	return 0;
}

static int set_regset(pid_t tid, int note, const void *data, size_t len)
{
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };

	return pt(PTRACE_SETREGSET, tid, (void *)(long)note, &iov) < 0 ? -errno : 0;
}

void rb_tracee_detach(struct rb_thread *thread)
{
	unsigned char regs[sizeof(thread->regs)];
	size_t len = 0;

	/* the kernel would go on with restart_syscall(2), of which a dump could not tell any more
	 * what it was */
	if (get_regset(thread->tid, NT_PRSTATUS, regs, sizeof(regs), &len) == 0 &&
	    rb_restart_anew(regs, len))
		set_regset(thread->tid, NT_PRSTATUS, regs, len);
	pt(PTRACE_DETACH, thread->tid, NULL, (void *)(long)thread->signal);
	thread->stopped = false;
}

static int get_mask(pid_t tid, uint64_t *ret)
{
	return pt(PTRACE_GETSIGMASK, tid, (void *)sizeof(*ret), ret) < 0 ? -errno : 0;
}

static int set_mask(pid_t tid, uint64_t mask)
{
	return pt(PTRACE_SETSIGMASK, tid, (void *)sizeof(mask), &mask) < 0 ? -errno : 0;
}

static void save_rseq(struct rb_thread *thread)
{
	struct rseq_configuration conf = {};
	uint64_t addr;

	if (pt(GET_RSEQ, thread->tid, (void *)sizeof(conf), &conf) < 0 || !conf.rseq_abi_pointer)
		return;
	addr = conf.rseq_abi_pointer + RSEQ_CS_OFFSET;
	if (rb_mem_read(thread->tid, addr, &thread->rseq_cs, sizeof(thread->rseq_cs)) == 0)
		thread->rseq_addr = addr;
}

int rb_tracee_note(struct rb_thread *thread, struct rb_err *err)
{
	int r = get_regset(thread->tid, NT_PRSTATUS, thread->regs, sizeof(thread->regs),
			   &thread->regs_len);

	if (r == 0)
		r = get_mask(thread->tid, &thread->sigmask);
	if (r < 0)
		return rb_err_set(err, r, "save thread %d", (int)thread->tid);
	/* what the kernel knows of the call it may have forgotten when they are put back */
	rb_restart_anew(thread->regs, thread->regs_len);
	save_rseq(thread);
	return 0;
}

int rb_tracee_save(struct rb_thread *thread, struct rb_err *err)
{
	int r;

	thread->fpu = malloc(FPU_MAX_BYTES);
	if (!thread->fpu)
		return rb_err_set(err, -ENOMEM, "save thread %d", (int)thread->tid);
	r = get_regset(thread->tid, FPU_NOTE, thread->fpu, FPU_MAX_BYTES, &thread->fpu_len);
	if (r < 0)
		return rb_err_set(err, r, "save thread %d", (int)thread->tid);
	return rb_tracee_note(thread, err);
}

/* The private queue holds a trap that was not delivered yet; more than a few signals never wait. */
static bool has_pending_trap(pid_t tid)
{
	siginfo_t infos[16];
	struct __ptrace_peeksiginfo_args args = { .nr = ARRAY_SIZE(infos) };
	long count = pt(PTRACE_PEEKSIGINFO, tid, &args, infos);

	for (long i = 0; i < count; i++)
		if (infos[i].si_signo == SIGTRAP || infos[i].si_signo == SIGSEGV ||
		    infos[i].si_signo == SIGILL || infos[i].si_signo == SIGBUS)
			return true;
	return false;
}

/* Go on from a stop without a signal; the thread stops again before it runs anything of its own
 * when a signal waits for it or PTRACE_INTERRUPT was called. */
static int step(struct rb_thread *thread, const struct rb_wait *wait, struct rb_err *err)
{
	thread->stopped = false;
	if (pt(PTRACE_CONT, thread->tid, NULL, NULL) < 0)
		return rb_err_set(err, -errno, "continue thread %d", (int)thread->tid);
	return rb_tracee_wait_stop(thread, wait, err);
}

static int put_state(const struct rb_thread *thread, const struct rb_thread *saved,
		     struct rb_err *err)
{
	int r = set_regset(thread->tid, NT_PRSTATUS, saved->regs, saved->regs_len);

	if (r == 0)
		r = set_regset(thread->tid, FPU_NOTE, saved->fpu, saved->fpu_len);
	if (r == 0)
		r = set_mask(thread->tid, saved->sigmask);
	return r < 0 ? rb_err_set(err, r, "restore thread %d", (int)thread->tid) : 0;
}

static bool differs(const struct rb_thread *thread, const struct rb_thread *saved)
{
	unsigned char regs[sizeof(saved->regs)];
	uint64_t mask;
	size_t len = 0;

	return get_regset(thread->tid, NT_PRSTATUS, regs, sizeof(regs), &len) < 0 ||
	       get_mask(thread->tid, &mask) < 0 || mask != saved->sigmask ||
	       len != saved->regs_len || memcmp(regs, saved->regs, len) != 0;
}

static bool is_trap(int signal)
{
	return signal == SIGTRAP || signal == SIGSEGV || signal == SIGILL || signal == SIGBUS;
}

void rb_tracee_put_rseq(struct rb_thread *thread, const struct rb_thread *saved)
{
	uint64_t rseq_cs;

	if (saved->rseq_addr &&
	    rb_mem_read(thread->tid, saved->rseq_addr, &rseq_cs, sizeof(rseq_cs)) == 0 &&
	    rseq_cs != saved->rseq_cs)
		rb_mem_write(thread->tid, saved->rseq_addr, &saved->rseq_cs,
			     sizeof(saved->rseq_cs));
}

int rb_tracee_restore(struct rb_thread *thread, const struct rb_thread *saved,
		      const struct rb_wait *wait, struct rb_err *err)
{
	int r;

	if (!differs(thread, saved) && !is_trap(thread->signal))
		return 0;
	/* its own registers first: then nothing foreign runs, whatever comes next */
	r = put_state(thread, saved, err);
	if (r == 0 && thread->signal == 0 && has_pending_trap(thread->tid))
		r = step(thread, wait, err);
	if (r == 0 && is_trap(thread->signal)) {
		if (pt(PTRACE_INTERRUPT, thread->tid, NULL, NULL) < 0)
			r = rb_err_set(err, -errno, "stop thread %d", (int)thread->tid);
		if (r == 0)
			r = step(thread, wait, err);
	}
	if (r == 0)
		r = put_state(thread, saved, err);
	if (r == 0)
		rb_tracee_put_rseq(thread, saved);
	return r < 0 ? r : 1;
}

static void set_call(unsigned char *regs, uint64_t code, long nr, const uint64_t args[3])
{
#if defined(__x86_64__)
	struct user_regs_struct *user = (struct user_regs_struct *)regs;

	user->rip = code;
	user->rax = (unsigned long)nr;
	user->orig_rax = (unsigned long)-1;
	user->rdi = args[0];
	user->rsi = args[1];
	user->rdx = args[2];
#else
	struct user_regs_struct *user = (struct user_regs_struct *)regs;

	user->pc = code;
	user->regs[8] = (unsigned long)nr;
	for (int i = 0; i < 3; i++)
		user->regs[i] = args[i];
#endif
}

static long call_result(const unsigned char *regs)
{
#if defined(__x86_64__)
	return (long)((const struct user_regs_struct *)regs)->rax;
#else
	return (long)((const struct user_regs_struct *)regs)->regs[0];
#endif
}

int rb_tracee_syscall(struct rb_thread *thread, uint64_t code, long nr, const uint64_t args[3],
		      long *ret, const struct rb_wait *wait, struct rb_err *err)
{
	unsigned char regs[sizeof(thread->regs)];
	size_t len = 0;
	int r = get_regset(thread->tid, NT_PRSTATUS, regs, sizeof(regs), &len);

	if (r == 0)
		r = rb_mem_write(thread->tid, code, syscall_code, sizeof(syscall_code));
	if (r == 0)
		r = set_mask(thread->tid, ~(UINT64_C(1) << (SIGTRAP - 1)));
	if (r == 0) {
		set_call(regs, code, nr, args);
		r = set_regset(thread->tid, NT_PRSTATUS, regs, len);
	}
	if (r < 0)
		return rb_err_set(err, r, "prepare a system call in thread %d", (int)thread->tid);
	r = step(thread, wait, err);
	if (r < 0)
		return r;
	if (thread->signal != SIGTRAP ||
	    get_regset(thread->tid, NT_PRSTATUS, regs, sizeof(regs), &len) < 0)
		return rb_err_code(err, RB_E_INTERNAL, -EIO,
				   "thread %d did not make the system call", (int)thread->tid);
	*ret = call_result(regs);
	return 0;
}

void rb_tracee_free(struct rb_thread *thread)
{
	free(thread->fpu);
	thread->fpu = NULL;
}

static int open_mem(pid_t pid, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	return open(path, flags | O_CLOEXEC);
}

int rb_mem_read(pid_t pid, uint64_t addr, void *data, size_t len)
{
	_cleanup_close_ int fd = open_mem(pid, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : pread(fd, data, len, (off_t)addr);

	return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

int rb_mem_write(pid_t pid, uint64_t addr, const void *data, size_t len)
{
	_cleanup_close_ int fd = open_mem(pid, O_RDWR);
	ssize_t n = fd < 0 ? -1 : pwrite(fd, data, len, (off_t)addr);

	return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}
