// SPDX-License-Identifier: Apache-2.0
/*
 * test_inject_states.c - injections into processes in special states
 *
 * The victim of tests/unit/criu checks itself: threads that compute and wait.
 */
#include <poll.h>
#include <sys/resource.h>

#include "inject_fixture.h"
#include "proc.h"

enum { TIMES = 10 };

static const char *criu_victim;

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
		execl(criu_victim, "victim", "6", NULL);
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
	int out = -EBADF, r;
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
			r = inject(pid, freezers[f]);
			if (r < 0)
				printf("# %s: %s", err.msg, faults);
			CHECK_INT(r, 0);
			CHECK_INT(rb_freezer_is_frozen(freezers[f], &err), 0);
		}
	arm_faults("");
	CHECK(goes_on(out));
	CHECK(goes_on(out));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(out);
}

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

	victim_tell(&victim, (struct order){ .kind = DO_LEAVE });
	CHECK_INT(DO(&victim, DO_NOTHING), 0);
	for (int i = 0; i < 5000 && rb_pid_alive(victim.pid, rb_pid_starttime(victim.pid)); i++)
		usleep(1000);
	/* its /proc says that it is a zombie without memory; CRIU takes it for one, too */
	CHECK_INT(inject(victim.pid, freezers[0]), -ESRCH);
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
			_exit(-inject(victim.pid, freezers[0]) & 0xff);
		CHECK(wait_reached() > 0);
		kill(victim.pid, SIGKILL);
		let_go();
		CHECK_INT(waitpid(owner, &status, 0), owner);
		/* it may have been over by then */
		if (i < ARRAY_SIZE(steps) - 2)
			CHECK_INT(WEXITSTATUS(status), ESRCH);
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

int main(int argc, char **argv)
{
	const char *why = setup("states");

	criu_victim = getenv("VICTIM") ? getenv("VICTIM") : argc > 1 ? argv[1] : "";
	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return 0;
	}
	TAP_RUN(busy_threads);
	TAP_RUN(stopped_by_a_signal);
	TAP_RUN(without_a_main_thread);
	TAP_RUN(no_descriptor_left);
	TAP_RUN(frozen_in_the_middle);
	TAP_RUN(target_is_killed);
	TAP_RUN(own_cgroup_is_refused);
	return teardown();
}
