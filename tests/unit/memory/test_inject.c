// SPDX-License-Identifier: Apache-2.0
/*
 * test_inject.c - a userfaultfd is taken from a process, and whoever does it is killed
 *
 * At each step the worker or its guard is killed by a fault point. Whatever happens the process has
 * its registers, signal mask, actions and descriptors afterwards, and a system call that it was in
 * goes on. The victim of tests/unit/criu checks itself: threads that compute and wait.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/resource.h>

#include "err.h"
#include "fault.h"
#include "inject.h"
#include "io.h"
#include "tap.h"
#include "tracee.h"
#include "tracee_call.h"
#include "victim.h"
#include "wait.h"

enum { SLEEP_MS = 30, TIMES = 30 };

static const char *const steps[] = {
	"memory.inject.stopped", "memory.inject.noted", "memory.open.ready",  "memory.open.entry",
	"memory.open.armed",	 "memory.open.exit",	"memory.close.ready", "memory.close.entry",
	"memory.close.armed",	 "memory.close.exit",	"memory.inject.back",
};
static const char *const repair_steps[] = {
	"memory.repair.frozen", "memory.repair.ready", "memory.repair.entry",
	"memory.repair.armed",	"memory.repair.exit",
};

/* Of the two versions of the freezer, those that are here. */
static char freezers[2][PATH_MAX];
static int freezer_count;
static const char *criu_victim;
static char run_dir[64];
static struct rb_err err;
static struct rb_wait wait_limit;

static void arm_faults(const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/faults", run_dir);
	rb_write_file(path, text, strlen(text), 0600, false, NULL);
}

/* --- the state of a process, as text */

static size_t add_registers(pid_t tid, char *text, size_t size)
{
	struct rb_thread thread = { .tid = tid };
	size_t len = 0;

	if (rb_tracee_seize(&thread, &err) < 0 || rb_tracee_await(&thread, &wait_limit, &err) < 0 ||
	    rb_tracee_note(&thread, &err) < 0)
		return (size_t)snprintf(text, size, "no registers: %s\n", err.msg);
	for (size_t i = 0; i < thread.regs_len && len < size; i++)
		len += (size_t)snprintf(text + len, size - len, "%02x%s", thread.regs[i],
					i % 8 == 7 ? " " : "");
	len += (size_t)snprintf(text + len, size - len, "mask %lx rseq %lx\n", thread.sigmask,
				thread.rseq_cs);
	rb_tracee_detach(&thread);
	return len;
}

static size_t add_signals(pid_t pid, char *text, size_t size)
{
	char path[64], line[256];
	size_t len = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if ((strstr(line, "Sig") && !strstr(line, "SigQ")) || strstr(line, "Pnd") ||
		    strstr(line, "Tracer") || strstr(line, "State") || strstr(line, "Seccomp"))
			len += (size_t)snprintf(text + len, size - len, "%s", line);
	if (file)
		fclose(file);
	return len;
}

/* Until it sleeps in a system call. */
static void wait_rest(pid_t pid)
{
	char path[64], state = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	for (int i = 0; i < 10000 && state != 'S'; i++) {
		FILE *file = fopen(path, "re");

		if (i)
			usleep(100);
		if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
			i = 10000;
		if (file)
			fclose(file);
	}
}

/* @tid: 0, or the one whose registers count, at rest in a system call */
static const char *state_text(pid_t pid, pid_t tid, char *text, size_t size)
{
	size_t len;

	/* also after we looked */
	wait_rest(pid);
	len = tid ? add_registers(tid, text, size) : 0;
	wait_rest(pid);
	len += add_signals(pid, text + len, size - len);
	fd_text(pid, text + len, size - len);
	return text;
}

/* --- kinds of victims */

static void filtered(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 4, .filter = code };

	if (setgid(65534) < 0 || setuid(65534) < 0)
		_exit(5);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(5);
}

static void deaf(void)
{
	sigset_t all;

	sigfillset(&all);
	signal(SIGTRAP, SIG_IGN);
	sigprocmask(SIG_SETMASK, &all, NULL);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGTRAP);
}

static const struct {
	const char *name;
	void (*prepare)(void);
} kinds[] = { { "plain", NULL }, { "filtered", filtered }, { "deaf", deaf } };

static struct victim start_kind(const char *name)
{
	size_t i = 0;

	while (strcmp(kinds[i].name, name) != 0)
		i++;
	return victim_start(kinds[i].prepare);
}

/* --- injections */

static int inject(pid_t pid, const char *freezer)
{
	int fd = -EBADF, r;

	rb_err_clear(&err);
	r = rb_inject_userfaultfd(pid, freezer, &fd, &wait_limit, &err);
	if (r == 0)
		close(fd);
	return r;
}

static void print_difference(const char *before, const char *after)
{
	size_t at = 0;

	while (before[at] && before[at] == after[at])
		at++;
	if (before[at] || after[at])
		printf("# state differs at %zu: before %.60s, after %.60s\n", at, before + at,
		       after + at);
}

/* One that is to end with @want leaves the victim as it was, at rest and asleep. */
static bool is_harmless(const struct victim *victim, const char *freezer, const char *faults,
			int want)
{
	char before[16384], after[16384];
	long slept;
	int r;

	state_text(victim->pid, victim->pid, before, sizeof(before));
	arm_faults(faults);
	r = inject(victim->pid, freezer);
	if (r != want)
		printf("# injection: %d, not %d: %s\n", r, want, err.msg);
	state_text(victim->pid, victim->pid, after, sizeof(after));
	print_difference(before, after);
	arm_faults(faults);
	victim_tell(victim, (struct order){ .kind = DO_SLEEP, .arg = SLEEP_MS });
	wait_rest(victim->pid);
	r = r == want ? inject(victim->pid, freezer) : r;
	slept = victim_answer(victim);
	if (slept < SLEEP_MS || slept > SLEEP_MS + 2000)
		printf("# slept %ld ms, injection: %d\n", slept, r);
	arm_faults("");
	return r == want && strcmp(before, after) == 0 && slept >= SLEEP_MS &&
	       slept <= SLEEP_MS + 2000 && rb_freezer_is_frozen(freezer, NULL) == 0;
}

/* In a v2 freezer the thread runs into its filter between two calls of the tracer: the one hole
 * that is known, about a microsecond wide (tracee_call.c). */
static bool is_known_hole(const char *kind, const char *freezer, const char *step)
{
	return strcmp(kind, "filtered") == 0 && freezer == freezers[1] &&
	       strcmp(step, "memory.open.armed") == 0;
}

/* All steps for one kind of victim and one freezer. */
static void each_step(const char *kind, int freezer, const char *before, const char *const *names,
		      size_t count, const char *action, int want)
{
	struct victim victim;

	if (freezer >= freezer_count)
		return;
	victim = start_kind(kind);
	CHECK(victim.pid > 0);
	for (size_t i = 0; i < count; i++) {
		char faults[256];

		if (is_known_hole(kind, freezers[freezer], names[i]))
			continue;
		snprintf(faults, sizeof(faults), "%s%s %s\n", before, names[i], action);
		if (!is_harmless(&victim, freezers[freezer], faults, want)) {
			printf("# %s victim, %s, %s", kind, freezers[freezer], faults);
			tap_ok = false;
			break;
		}
	}
	victim_end(&victim);
}

static const char *const no_step[] = { "none" };

static void undisturbed(void)
{
	each_step("plain", 0, "", no_step, 1, "kill", 0);
	each_step("filtered", 0, "", no_step, 1, "kill", 0);
	each_step("deaf", 0, "", no_step, 1, "kill", 0);
}

static void worker_is_killed(void)
{
	each_step("plain", 0, "", steps, ARRAY_SIZE(steps), "kill 1", 0);
	each_step("filtered", 0, "", steps, ARRAY_SIZE(steps), "kill 1", 0);
	each_step("deaf", 0, "", steps, ARRAY_SIZE(steps), "kill 1", 0);
}

static void worker_is_killed_in_v2(void)
{
	each_step("plain", 1, "", steps, ARRAY_SIZE(steps), "kill 1", 0);
	each_step("filtered", 1, "", steps, ARRAY_SIZE(steps), "kill 1", 0);
}

static void step_fails(void)
{
	each_step("deaf", 0, "", steps, ARRAY_SIZE(steps), "fail 1", -EIO);
}

static void worker_is_always_killed(void)
{
	each_step("plain", 0, "", steps + 5, 2, "kill", -EINTR);
}

/* The second one, too, while it puts things right. */
static void mender_is_killed(void)
{
	const size_t count = ARRAY_SIZE(repair_steps);

	each_step("filtered", 0, "memory.open.exit kill 1\n", repair_steps, count, "kill 2", 0);
	each_step("filtered", 1, "memory.open.exit kill 1\n", repair_steps, count, "kill 1", 0);
}

/* Whoever stands at the fault point, or -1. */
static pid_t wait_reached(void)
{
	char path[PATH_MAX];
	pid_t pid = -1;

	snprintf(path, sizeof(path), "%s/fault.reached", run_dir);
	for (int i = 0; i < 5000 && pid < 0; i++) {
		FILE *file = fopen(path, "re");

		if (file && fscanf(file, "%*s %d", &pid) != 1)
			pid = -1;
		if (file)
			fclose(file);
		usleep(1000);
	}
	return pid;
}

static void let_go(void)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/fault.reached", run_dir);
	unlink(path);
}

static bool wait_gone(pid_t pid)
{
	for (int i = 0; i < 5000 && kill(pid, 0) == 0; i++)
		usleep(1000);
	return kill(pid, 0) < 0;
}

static bool survives_guard(const struct victim *victim, const char *freezer, const char *step)
{
	char before[16384], after[16384], faults[96];
	pid_t owner, worker;
	bool good;

	state_text(victim->pid, victim->pid, before, sizeof(before));
	snprintf(faults, sizeof(faults), "%s pause 1\n", step);
	arm_faults(faults);
	owner = fork();
	if (owner == 0)
		_exit(inject(victim->pid, freezer) == 0 ? 0 : 1);
	worker = wait_reached();
	kill(owner, SIGKILL);
	waitpid(owner, NULL, 0);
	let_go();
	good = worker > 0 && wait_gone(worker);
	state_text(victim->pid, victim->pid, after, sizeof(after));
	print_difference(before, after);
	return good && strcmp(before, after) == 0 && DO(victim, DO_NOTHING) == 0;
}

static void guard_is_killed(void)
{
	/* the plain one would tell nothing more */
	for (size_t k = 1; k < ARRAY_SIZE(kinds); k++) {
		struct victim victim = victim_start(kinds[k].prepare);

		CHECK(victim.pid > 0);
		for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
			if (!survives_guard(&victim, freezers[0], steps[i])) {
				printf("# %s victim, %s\n", kinds[k].name, steps[i]);
				tap_ok = false;
			}
		victim_end(&victim);
	}
}

/* --- many threads that check themselves */

static pid_t start_criu_victim(int *ret_out)
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
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (rb_cgroup_move(getpid(), victim_cgroup, true, false, NULL) < 0)
			_exit(3);
		execl(criu_victim, "victim", "12", NULL);
		_exit(4);
	}
	close(fds[1]);
	*ret_out = fds[0];
	return pid;
}

/* Does it print another number, and nothing that is wrong? */
static bool goes_on(int out)
{
	char text[256];
	ssize_t n;

	/* what it said until now */
	while (rb_wait_fd(out, POLLIN, &(struct rb_wait){ .cancel_fd = -EBADF, .deadline_ms = 1 },
			  NULL) == 0) {
		n = read(out, text, sizeof(text) - 1);
		text[n > 0 ? n : 0] = '\0';
		if (n <= 0 || strstr(text, "wrong")) {
			printf("# victim: %s\n", n > 0 ? text : "ended");
			return false;
		}
	}
	return rb_wait_fd(out, POLLIN, &wait_limit, NULL) == 0 &&
	       (n = read(out, text, sizeof(text) - 1)) > 0 && !memmem(text, (size_t)n, "wrong", 5);
}

static void busy_threads(void)
{
	int out = -EBADF;
	pid_t pid = start_criu_victim(&out);

	CHECK(goes_on(out));
	for (int i = 0; i < TIMES; i++)
		CHECK_INT(inject(pid, freezers[0]), 0);
	CHECK(goes_on(out));
	for (int f = 0; f < freezer_count; f++)
		for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
			char faults[96];

			snprintf(faults, sizeof(faults), "%s kill 1\n", steps[i]);
			arm_faults(faults);
			CHECK_INT(inject(pid, freezers[f]), 0);
			CHECK_INT(rb_freezer_is_frozen(freezers[f], &err), 0);
		}
	arm_faults("");
	CHECK(goes_on(out));
	CHECK(goes_on(out));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(out);
}

/* --- special states */

static void stopped_by_a_signal(void)
{
	struct victim victim = victim_start(NULL);
	int status = 0;

	kill(victim.pid, SIGSTOP);
	CHECK_INT(waitpid(victim.pid, &status, WUNTRACED), victim.pid);
	CHECK_INT(inject(victim.pid, freezers[0]), 0);
	arm_faults("memory.open.exit kill 1\n");
	CHECK_INT(inject(victim.pid, freezers[0]), 0);
	/* it still is stopped */
	victim_tell(&victim, (struct order){ .kind = DO_NOTHING });
	CHECK_INT(rb_wait_fd(victim.sock, POLLIN,
			     &(struct rb_wait){ .cancel_fd = -EBADF,
						.deadline_ms = rb_now_ms() + 100 },
			     NULL),
		  -ETIMEDOUT);
	kill(victim.pid, SIGCONT);
	CHECK_INT(victim_answer(&victim), 0);
	victim_end(&victim);
}

static void without_a_main_thread(void)
{
	struct victim victim = victim_start(NULL);
	int fd = -EBADF;

	victim_tell(&victim, (struct order){ .kind = DO_LEAVE });
	CHECK_INT(DO(&victim, DO_NOTHING), 0);
	usleep(20000);
	/* by another thread; it has to be found, or refused, but not harmed */
	(void)rb_inject_userfaultfd(victim.pid, freezers[0], &fd, &wait_limit, &err);
	if (fd >= 0)
		close(fd);
	CHECK_INT(DO(&victim, DO_NOTHING), 0);
	victim_end(&victim);
}

/* No number is left for a descriptor. */
static void full(void)
{
	struct rlimit limit = { 3, 3 };

	/* what is open stays so */
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void no_descriptor_left(void)
{
	struct victim victim = victim_start(full);

	CHECK(victim.pid > 0);
	CHECK_INT(inject(victim.pid, freezers[0]), -ENOTSUP);
	CHECK(strstr(err.msg, "Too many open files") != NULL);
	CHECK_INT(DO(&victim, DO_NOTHING), 0);
	victim_end(&victim);
}

/* Somebody pauses the container right in the middle. */
static void frozen_in_the_middle(void)
{
	struct victim victim = victim_start(NULL);
	char before[16384], after[16384];
	int status;
	pid_t owner;

	state_text(victim.pid, victim.pid, before, sizeof(before));
	arm_faults("memory.open.ready pause 1\n");
	owner = fork();
	if (owner == 0)
		_exit(inject(victim.pid, freezers[0]) == 0 ? 0 : 1);
	CHECK(wait_reached() > 0);
	CHECK_INT(rb_freezer_freeze(freezers[0], &wait_limit, &err), 0);
	let_go();
	usleep(50000);
	CHECK_INT(waitpid(owner, &status, WNOHANG), 0);
	CHECK_INT(rb_freezer_thaw(freezers[0], &err), 0);
	CHECK_INT(waitpid(owner, &status, 0), owner);
	CHECK_INT(status, 0);
	CHECK_STR(state_text(victim.pid, victim.pid, after, sizeof(after)), before);
	CHECK_INT(DO(&victim, DO_NOTHING), 0);
	victim_end(&victim);
}

/* The target is killed while it is looked into. */
static void target_is_killed(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(steps) - 1; i++) {
		struct victim victim = victim_start(NULL);
		char faults[96];
		int status;
		pid_t owner;

		snprintf(faults, sizeof(faults), "%s pause 1\n", steps[i]);
		arm_faults(faults);
		owner = fork();
		if (owner == 0)
			_exit(inject(victim.pid, freezers[0]) == -ESRCH ? 0 : 1);
		CHECK(wait_reached() > 0);
		kill(victim.pid, SIGKILL);
		let_go();
		CHECK_INT(waitpid(owner, &status, 0), owner);
		/* it may have been over by then */
		if (i < ARRAY_SIZE(steps) - 2)
			CHECK_INT(status, 0);
		victim_end(&victim);
	}
}

static void own_cgroup_is_refused(void)
{
	pid_t pid = fork();
	int fd = -EBADF, status;

	if (pid == 0) {
		if (rb_cgroup_move(getpid(), victim_cgroup, true, false, NULL) < 0)
			_exit(3);
		_exit(rb_inject_userfaultfd(getppid(), freezers[0], &fd, NULL, NULL) == -ENOTSUP
			      ? 0
			      : 1);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
}

static void find_freezers(void)
{
	struct rb_cgroup_mount mounts[RB_CGROUP_MAX];
	int count = rb_cgroup_mounts(mounts, NULL);

	snprintf(freezers[0], sizeof(freezers[0]), "%s", victim_freezer);
	freezer_count = 1;
	for (int i = 0; i < count; i++) {
		char path[PATH_MAX], knob[PATH_MAX + 16];

		if (mounts[i].controllers[0])
			continue;
		snprintf(path, sizeof(path), "%s%s", mounts[i].point, victim_cgroup);
		snprintf(knob, sizeof(knob), "%s/cgroup.freeze", path);
		if (access(knob, F_OK) == 0 && strcmp(path, victim_freezer) != 0)
			strcpy(freezers[freezer_count++], path);
	}
	printf("# %d freezers\n", freezer_count);
}

int main(int argc, char **argv)
{
	struct victim first;
	const char *why;

	victim_main(argc, argv);
	criu_victim = getenv("VICTIM") ? getenv("VICTIM") : argv[1];
	wait_limit = rb_wait_within(NULL, 600000);
	why = victim_setup("inject");
	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return 0;
	}
	snprintf(run_dir, sizeof(run_dir), "/tmp/rb-test-inject-XXXXXX");
	if (!mkdtemp(run_dir))
		return 1;
	/* makes the cgroup */
	first = victim_start(NULL);
	victim_end(&first);
	find_freezers();
	rb_fault_setup(run_dir);
	TAP_RUN(undisturbed);
	TAP_RUN(worker_is_killed);
	if (freezer_count > 1)
		TAP_RUN(worker_is_killed_in_v2);
	else
		TAP_SKIP(worker_is_killed_in_v2, "there is one freezer only");
	TAP_RUN(step_fails);
	TAP_RUN(worker_is_always_killed);
	TAP_RUN(mender_is_killed);
	TAP_RUN(guard_is_killed);
	TAP_RUN(busy_threads);
	TAP_RUN(stopped_by_a_signal);
	TAP_RUN(without_a_main_thread);
	TAP_RUN(no_descriptor_left);
	TAP_RUN(frozen_in_the_middle);
	TAP_RUN(target_is_killed);
	TAP_RUN(own_cgroup_is_refused);
	victim_teardown();
	rb_rm_rf(run_dir, NULL);
	return tap_done();
}
