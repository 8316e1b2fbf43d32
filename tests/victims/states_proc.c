// SPDX-License-Identifier: Apache-2.0
/*
 * states_proc.c - what belongs to processes and threads themselves: signals, ids, limits, clocks
 */
#include "states.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define FILES_MAX 512
#define MASK	  027
#define NICE	  5
#define LONG_S	  1000000
#define VALUE	  4711

static atomic_int handled;

static void on_usr1(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (info->si_pid == getpid())
		handled++;
}

static void setup_handler(void)
{
	struct sigaction action = { .sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigaddset(&action.sa_mask, SIGUSR2);
	states_need(sigaction(SIGUSR1, &action, NULL), "sigaction");
	states_need(sigaction(SIGHUP, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL),
		    "sigaction");
}

static void check_handler(uint64_t round)
{
	struct sigaction usr1, hup;
	int before = handled;

	(void)round;
	states_need(sigaction(SIGUSR1, NULL, &usr1), "sigaction");
	states_need(sigaction(SIGHUP, NULL, &hup), "sigaction");
	if (usr1.sa_sigaction != on_usr1 || !(usr1.sa_flags & SA_SIGINFO) ||
	    !(usr1.sa_flags & SA_RESTART) || !sigismember(&usr1.sa_mask, SIGUSR2) ||
	    hup.sa_handler != SIG_IGN)
		states_bad("handler: actions differ");
	raise(SIGUSR1);
	if (handled != before + 1)
		states_bad("handler: was called %d times", handled - before);
}

/* one signal pending for this thread, one with a value for the process; both blocked by states.c */
static void setup_pending(void)
{
	states_need(-pthread_kill(pthread_self(), SIGUSR2), "pthread_kill");
	states_need(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = VALUE }),
		    "sigqueue");
}

static void check_pending(uint64_t round)
{
	sigset_t pending, blocked, mine;
	siginfo_t info = {};

	(void)round;
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	if (!sigismember(&blocked, SIGUSR2) || !sigismember(&blocked, SIGRTMIN + 2) ||
	    sigismember(&blocked, SIGUSR1))
		states_bad("pending: blocked signals differ");
	if (!sigismember(&pending, SIGUSR2) || !sigismember(&pending, SIGRTMIN + 2))
		states_bad("pending: signals are gone");
	sigemptyset(&mine);
	sigaddset(&mine, SIGRTMIN + 2);
	if (sigtimedwait(&mine, &info, &(struct timespec){}) < 0 || info.si_int != VALUE ||
	    info.si_pid != getpid())
		states_bad("pending: value %d", info.si_int);
	states_need(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = VALUE }),
		    "sigqueue");
}

static char cwd[PATH_MAX];

static void setup_cwd(void)
{
	if (!getcwd(cwd, sizeof(cwd)))
		states_bad("getcwd: %s", strerror(errno));
}

static void check_cwd(uint64_t round)
{
	char now[PATH_MAX];

	(void)round;
	if (!getcwd(now, sizeof(now)) || strcmp(now, cwd) != 0)
		states_bad("cwd: differs from '%s'", cwd);
}

static void setup_umask(void)
{
	umask(MASK);
}

/* reading it means writing it; no other thread makes files that anyone looks at the mode of */
static void check_umask(uint64_t round)
{
	mode_t now = umask(MASK);

	(void)round;
	if (now != MASK)
		states_bad("umask: %03o", now);
}

static struct rlimit core_limit, files_limit;

static void setup_rlimit(void)
{
	getrlimit(RLIMIT_NOFILE, &files_limit);
	if (files_limit.rlim_cur > FILES_MAX)
		files_limit.rlim_cur = FILES_MAX;
	states_need(setrlimit(RLIMIT_NOFILE, &files_limit), "setrlimit");
	states_need(setrlimit(RLIMIT_CORE, &core_limit), "setrlimit");
}

static void check_rlimit(uint64_t round)
{
	struct rlimit files, core;

	(void)round;
	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_CORE, &core);
	if (files.rlim_cur != files_limit.rlim_cur || files.rlim_max != files_limit.rlim_max ||
	    core.rlim_cur != core_limit.rlim_cur || core.rlim_max != core_limit.rlim_max)
		states_bad("rlimit: %llu files, core %llu", (unsigned long long)files.rlim_cur,
			   (unsigned long long)core.rlim_cur);
}

/* a property of the thread in Linux */
static void setup_nice(void)
{
	states_need(setpriority(PRIO_PROCESS, 0, NICE), "setpriority");
	prctl(PR_SET_NAME, "states-nice");
}

static void check_nice(uint64_t round)
{
	char name[16] = "";

	(void)round;
	prctl(PR_GET_NAME, name);
	if (getpriority(PRIO_PROCESS, 0) != NICE || strcmp(name, "states-nice") != 0)
		states_bad("nice: %d, thread '%s'", getpriority(PRIO_PROCESS, 0), name);
}

static void before_fork_env(void)
{
	setenv("STATES_ENV", "as it was set", 1);
}

static void check_env(uint64_t round)
{
	const char *value = getenv("STATES_ENV");

	(void)round;
	if (!value || strcmp(value, "as it was set") != 0)
		states_bad("env: '%s'", value ? value : "(none)");
}

static int64_t latest_us[2];

static void check_clock(uint64_t round)
{
	static const clockid_t clocks[] = { CLOCK_MONOTONIC, CLOCK_BOOTTIME };

	(void)round;
	for (int i = 0; i < 2; i++) {
		struct timespec now;
		int64_t now_us;

		clock_gettime(clocks[i], &now);
		now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
		if (now_us < latest_us[i])
			states_bad("clock: %s went back by %lld us", i ? "boottime" : "monotonic",
				   (long long)(latest_us[i] - now_us));
		latest_us[i] = now_us;
	}
}

static pid_t ids[7];

static void read_ids(pid_t ret[7])
{
	/* the main process's parent is outside of what migrates */
	const pid_t parent = states_self ? getppid() : 0;
	const pid_t now[7] = { getpid(), parent,	   getsid(0),	    getpgrp(),
			       gettid(), (pid_t)geteuid(), (pid_t)getegid() };

	memcpy(ret, now, sizeof(now));
}

static void setup_ids(void)
{
	read_ids(ids);
}

static void check_ids(uint64_t round)
{
	pid_t now[7];

	(void)round;
	read_ids(now);
	for (int i = 0; i < 7; i++)
		if (now[i] != ids[i])
			states_bad("ids: number %d is %d, not %d", i, now[i], ids[i]);
}

/* --- calls that wait longer than this will ever run: there is no handler that could end them */

static const char *_Atomic woken;

static void *sleep_long(void *arg)
{
	nanosleep(&(struct timespec){ .tv_sec = LONG_S }, NULL);
	woken = "nanosleep";
	return arg;
}

static void *poll_long(void *arg)
{
	poll(NULL, 0, LONG_S * 1000);
	woken = "poll";
	return arg;
}

static void *poll_forever(void *arg)
{
	poll(NULL, 0, -1);
	woken = "poll without a limit";
	return arg;
}

static void check_sleeps(uint64_t round)
{
	(void)round;
	if (woken)
		states_bad("sleeps: %s has returned", woken);
}

static void setup_sleeps(void)
{
	static void *(*const sleeps[])(void *) = { sleep_long, poll_long, poll_forever };
	sigset_t all, before;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (size_t i = 0; i < sizeof(sleeps) / sizeof(*sleeps); i++)
		states_need(-pthread_create(&thread, NULL, sleeps[i], NULL), "pthread_create");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

const struct feature states_proc[] = {
	{ "handler", NULL, setup_handler, check_handler },
	{ "pending", NULL, setup_pending, check_pending },
	{ "cwd", NULL, setup_cwd, check_cwd },
	{ "umask", NULL, setup_umask, check_umask },
	{ "rlimit", NULL, setup_rlimit, check_rlimit },
	{ "nice", NULL, setup_nice, check_nice },
	{ "env", before_fork_env, NULL, check_env },
	{ "clock", NULL, NULL, check_clock },
	{ "ids", NULL, setup_ids, check_ids },
	{ "sleeps", NULL, setup_sleeps, check_sleeps },
	{ NULL, NULL, NULL, NULL },
};
