// SPDX-License-Identifier: Apache-2.0
/*
 * test_inject.c - a userfaultfd is taken from a process, and whoever does it is killed
 *
 * At each step the worker or its guard is killed by a fault point. Whatever happens the process has
 * its registers, signal mask, actions and descriptors afterwards, and a system call that it was in
 * goes on.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#include "inject_fixture.h"
#include "proc.h"

enum { SLEEP_MS = 30 };

static const char *const repair_steps[] = {
	"memory.repair.frozen", "memory.repair.ready", "memory.repair.entry",
	"memory.repair.armed",	"memory.repair.exit",
};

/* --- the state of a process, as text */

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
	char v1_state[PATH_MAX + 16];

	snprintf(v1_state, sizeof(v1_state), "%s/freezer.state", freezer);
	return strcmp(kind, "filtered") == 0 && access(v1_state, F_OK) < 0 &&
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

static bool wait_gone(pid_t pid)
{
	unsigned long long starttime = rb_pid_starttime(pid);

	/* whoever reaps it may take its time */
	for (int i = 0; i < 5000 && rb_pid_alive(pid, starttime); i++)
		usleep(1000);
	return !rb_pid_alive(pid, starttime);
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

int main(void)
{
	const char *why = setup("inject");

	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return 0;
	}
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
	return teardown();
}
