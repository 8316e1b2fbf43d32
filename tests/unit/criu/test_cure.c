// SPDX-License-Identifier: Apache-2.0
/*
 * test_cure.c - what CRIU and we rely on of the kernel's freezer and ptrace, and the cure
 *
 * Contract: a thread that was frozen and is seized and interrupted reaches its ptrace stop before
 * it runs one instruction after the thaw; a ptrace-stopped thread counts as frozen; a process that
 * is killed stops in PTRACE_EVENT_EXIT before its own tracees are let go.
 *
 * The victim (victim.c) checks itself; a child of this test plays the CRIU that is killed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "cure.h"
#include "err.h"
#include "freezer.h"
#include "io.h"
#include "tap.h"
#include "tracee.h"
#include "vfork.h"
#include "wait.h"

enum { COUNTERS = 3, VICTIM_THREADS = 7, LIMIT_MS = 20000 };

static char cgroup[64], freezer[PATH_MAX];
static const char *victim_path;
static struct rb_err err;
static struct rb_wait wait_limit;

/* A process in the test's cgroup; @ret_out gets what it prints. */
static pid_t start_victim(int *ret_out)
{
	int fds[2];
	pid_t pid;

	if (pipe(fds) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		if (rb_cgroup_move(getpid(), cgroup, true, false, NULL) < 0)
			_exit(3);
		execl(victim_path, "victim", "7", NULL);
		_exit(4);
	}
	close(fds[1]);
	*ret_out = fds[0];
	return pid;
}

/* Does it print another number within some seconds, and nothing that is wrong? */
static bool goes_on(int out)
{
	char text[128];

	for (int i = 0; i < 3; i++) {
		ssize_t n;

		if (rb_wait_fd(out, 1 /* POLLIN */, &wait_limit, NULL) < 0)
			return false;
		n = read(out, text, sizeof(text) - 1);
		text[n > 0 ? n : 0] = '\0';
		if (n <= 0 || strstr(text, "wrong")) {
			printf("# victim: %s\n", n > 0 ? text : "ended");
			return false;
		}
	}
	return true;
}

static void end_victim(pid_t pid, int out)
{
	rb_freezer_kill(freezer, &wait_limit, NULL);
	waitpid(pid, NULL, 0);
	close(out);
}

static void not_one_instruction(void)
{
	volatile uint64_t *counters =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t before[COUNTERS];
	struct rb_cure *cure = NULL;
	pid_t pids[COUNTERS];

	for (int i = 0; i < COUNTERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			if (rb_cgroup_move(getpid(), cgroup, true, false, NULL) < 0)
				_exit(3);
			for (;;)
				counters[i * 8]++;
		}
	}
	while (!counters[0] || !counters[8] || !counters[16])
		usleep(1000);
	CHECK_INT(rb_freezer_freeze(freezer, &wait_limit, &err), 0);
	for (int i = 0; i < COUNTERS; i++)
		before[i] = counters[i * 8];
	CHECK_INT(rb_cure_snapshot(freezer, &wait_limit, &cure, &err), 0);
	CHECK_INT(rb_freezer_is_frozen(freezer, &err), 1);
	CHECK_INT(rb_cure_apply(cure, freezer, &wait_limit, &err), 0);
	CHECK_INT(rb_freezer_is_frozen(freezer, &err), 1);
	for (int i = 0; i < COUNTERS; i++)
		CHECK_INT(counters[i * 8], before[i]);
	rb_cure_free(cure);
	CHECK_INT(rb_freezer_kill(freezer, &wait_limit, &err), 0);
	for (int i = 0; i < COUNTERS; i++) {
		waitpid(pids[i], NULL, 0);
		CHECK_INT(counters[i * 8], before[i]);
	}
}

static void snapshot_changes_nothing(void)
{
	struct rb_cure *cure = NULL;
	int out;
	pid_t pid = start_victim(&out);

	CHECK(goes_on(out));
	for (int i = 0; i < 10; i++) {
		CHECK_INT(rb_freezer_freeze(freezer, &wait_limit, &err), 0);
		CHECK_INT(rb_cure_snapshot(freezer, &wait_limit, &cure, &err), 0);
		CHECK_INT(rb_cure_apply(cure, freezer, &wait_limit, &err), 0);
		rb_cure_free(cure);
		CHECK_INT(rb_freezer_thaw(freezer, &err), 0);
		usleep(5000);
	}
	CHECK(goes_on(out));
	end_victim(pid, out);
}

/* Where a process has its first executable mapping. */
static uint64_t code_of(pid_t pid)
{
	char path[64], line[256], perms[8];
	uint64_t start, found = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof(line), file))
		if (sscanf(line, "%lx-%*x %7s", &start, perms) == 2 && perms[2] == 'x')
			found = start;
	if (file)
		fclose(file);
	return found;
}

/* All threads but the first one; CRIU holds all before it changes any. */
static int seize_others(pid_t pid, struct rb_thread others[VICTIM_THREADS])
{
	char path[64];
	struct dirent *entry;
	int count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) && count < VICTIM_THREADS) {
		struct rb_thread thread = { .tid = atoi(entry->d_name) };

		if (thread.tid <= 0 || thread.tid == pid)
			continue;
		if (rb_tracee_seize(&thread, &err) < 0)
			_exit(5);
		others[count++] = thread;
	}
	if (dir)
		closedir(dir);
	return count;
}

/*
 * As a CRIU does that is killed in the middle: a descriptor and a mapping too many, code written
 * over, another thread's registers pointing at a trap, signals blocked; then let go.
 */
static void damage(pid_t pid)
{
	struct rb_thread thread = { .tid = pid };
	struct rb_thread others[VICTIM_THREADS];
	int count = seize_others(pid, others);
	static const char name[8] = "CRIUMFD";
	uint64_t code = code_of(pid), mask = ~UINT64_C(0);
	struct user_regs_struct regs;
	long fd = -1, map = 0;

	if (rb_tracee_seize(&thread, &err) < 0 || rb_freezer_thaw(freezer, &err) < 0 ||
	    rb_tracee_wait_stop(&thread, &wait_limit, &err) < 0)
		_exit(5);
	for (int i = 0; i < count; i++)
		if (rb_tracee_wait_stop(&others[i], &wait_limit, &err) < 0)
			_exit(5);
	rb_mem_write(pid, code + 16, name, sizeof(name));
	if (rb_tracee_syscall(&thread, code, SYS_memfd_create, (uint64_t[3]){ code + 16, 0, 0 },
			      &fd, &wait_limit, &err) < 0 ||
	    fd < 0)
		_exit(6);
	/* mmap takes six arguments; the three that are left come from the registers as they are */
	ptrace(PTRACE_GETREGS, pid, NULL, &regs);
	regs.r10 = MAP_SHARED;
	regs.r8 = (unsigned long)fd;
	regs.r9 = 0;
	ptrace(PTRACE_SETREGS, pid, NULL, &regs);
	if (rb_tracee_syscall(&thread, code, SYS_mmap,
			      (uint64_t[3]){ 0, 4096, PROT_READ | PROT_WRITE }, &map, &wait_limit,
			      &err) < 0 ||
	    map < 0)
		_exit(7);
	ptrace(PTRACE_GETREGS, pid, NULL, &regs);
	regs.rip = code + 2;
	regs.orig_rax = (unsigned long)-1;
	ptrace(PTRACE_SETREGS, pid, NULL, &regs);
	ptrace(PTRACE_SETSIGMASK, pid, (void *)sizeof(mask), &mask);
}

/* The guard's part: trace the one that traces, freeze at its exit, then let it go. */
static void freeze_at_exit(pid_t criu)
{
	int status = 0;

	kill(criu, SIGKILL);
	waitpid(criu, &status, __WALL);
	CHECK(WIFSTOPPED(status));
	CHECK_INT(status >> 16, PTRACE_EVENT_EXIT);
	CHECK_INT(rb_freezer_freeze(freezer, &wait_limit, &err), 0);
	ptrace(PTRACE_CONT, criu, NULL, NULL);
	waitpid(criu, &status, __WALL);
	CHECK(WIFSIGNALED(status));
}

static void killed_in_the_middle(void)
{
	struct rb_cure *cure = NULL;
	int out, ready[2], status, again;
	pid_t pid = start_victim(&out), criu;
	char c;

	CHECK(goes_on(out));
	CHECK_INT(rb_freezer_freeze(freezer, &wait_limit, &err), 0);
	CHECK_INT(rb_cure_snapshot(freezer, &wait_limit, &cure, &err), 0);
	CHECK_INT(pipe2(ready, O_CLOEXEC | O_NONBLOCK), 0);
	criu = fork();
	if (criu == 0) {
		damage(pid);
		(void)!write(ready[1], "x", 1);
		/* the thread runs into the trap only when this process is gone */
		pause();
	}
	close(ready[1]);
	CHECK_INT(ptrace(PTRACE_SEIZE, criu, NULL, PTRACE_O_TRACEEXIT), 0);
	/* the stops of its tracee are signals to it, which come by us first */
	while (read(ready[0], &c, 1) != 1 && rb_wait_ms(1, &wait_limit, &err) == 0)
		while (waitpid(criu, &status, __WALL | WNOHANG) == criu)
			ptrace(PTRACE_CONT, criu, NULL, WSTOPSIG(status));
	CHECK_INT(err.code, RB_OK);
	while (waitpid(criu, &status, __WALL | WNOHANG) == criu)
		ptrace(PTRACE_CONT, criu, NULL, WSTOPSIG(status));
	freeze_at_exit(criu);
	if (!tap_ok)
		return;
	CHECK(rb_cure_apply(cure, freezer, &wait_limit, &err) > 0);
	CHECK_INT(rb_freezer_is_frozen(freezer, &err), 1);
	/* nothing is left to do, but a sleep that was cut short is not as it was */
	again = rb_cure_apply(cure, freezer, &wait_limit, &err);
	CHECK(again == 0 || again == 1);
	rb_cure_free(cure);
	CHECK_INT(rb_freezer_thaw(freezer, &err), 0);
	CHECK(goes_on(out));
	CHECK(goes_on(out));
	close(ready[0]);
	end_victim(pid, out);
}

/* A process that is nearly always between vfork and exec; for ever when @delay_us is negative. */
static pid_t start_spawner(int delay_us)
{
	pid_t pid = fork(), pids[2];

	/* both are there */
	while (pid > 0 && rb_freezer_pids(freezer, pids, 2, NULL) < 2)
		usleep(1000);
	if (pid != 0)
		return pid;
	if (rb_cgroup_move(getpid(), cgroup, true, false, NULL) < 0)
		_exit(3);
	for (;;) {
		pid_t child = vfork();

		if (child == 0) {
			if (delay_us < 0)
				pause();
			usleep((useconds_t)delay_us);
			execl("/bin/true", "true", NULL);
			_exit(4);
		}
		waitpid(child, NULL, 0);
	}
}

static void frozen_between_vfork_and_exec(void)
{
	pid_t pid = start_spawner(2000);

	for (int i = 0; i < 20; i++) {
		struct rb_cure *cure = NULL;

		usleep(5000);
		CHECK_INT(rb_vfork_freeze(freezer, &wait_limit, &err), 0);
		CHECK_INT(rb_freezer_is_frozen(freezer, &err), 1);
		CHECK_INT(rb_vfork_waiters(freezer, &err), 0);
		CHECK_INT(rb_cure_snapshot(freezer, &wait_limit, &cure, &err), 0);
		rb_cure_free(cure);
		CHECK_INT(rb_freezer_thaw(freezer, &err), 0);
	}
	CHECK_INT(rb_freezer_kill(freezer, &wait_limit, &err), 0);
	waitpid(pid, NULL, 0);
}

static void vfork_for_ever(void)
{
	pid_t pid = start_spawner(-1);
	struct rb_err why = {};

	usleep(20000);
	CHECK_INT(rb_vfork_freeze(freezer, &wait_limit, &why), -EBUSY);
	CHECK_INT(rb_freezer_is_frozen(freezer, &err), 1);
	CHECK_INT(rb_vfork_waiters(freezer, &err), 1);
	CHECK_INT(rb_freezer_kill(freezer, &wait_limit, &err), 0);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	(void)argc;
	victim_path = getenv("VICTIM") ? getenv("VICTIM") : argv[1];
	wait_limit = rb_wait_within(NULL, LIMIT_MS * 3);
	snprintf(cgroup, sizeof(cgroup), "/rb-test-cure-%d", (int)getpid());
	if (geteuid() != 0 || rb_freezer_path(cgroup, freezer, sizeof(freezer), NULL) < 0) {
		puts("1..0 # SKIP needs root and a cgroup freezer");
		return 0;
	}
	TAP_RUN(not_one_instruction);
	TAP_RUN(snapshot_changes_nothing);
	TAP_RUN(killed_in_the_middle);
	TAP_RUN(frozen_between_vfork_and_exec);
	TAP_RUN(vfork_for_ever);
	if (err.code != RB_OK)
		printf("# %s\n", err.msg);
	rb_freezer_kill(freezer, &wait_limit, NULL);
	rb_cgroup_remove(cgroup);
	return tap_done();
}
