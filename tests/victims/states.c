// SPDX-License-Identifier: Apache-2.0
/*
 * states.c - a tree of processes and threads that holds every kind of kernel state and checks it
 *
 * usage: states [-d folder] [-o name,...] [-w name,...] [-l]
 *   -d  where to make files (default: the current folder); must be writable
 *   -o  only these features   -w  all without these: to find the one that does not migrate
 *   -l  list the features; those in brackets are known to be lost by CRIU, and need -o
 *
 * The main process forks three children; each of the four runs four threads, each of which checks
 * its share of the features every 50 ms and waits in between in a system call of its own kind. The
 * main process prints "ok <round>" every 200 ms. At the first mismatch "BAD <what>" is printed and
 * all end with status 1. SIGTERM ends it with "end <round>" and status 0.
 */
#include "states.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#define FEATURES_MAX 64
#define REPORT_EVERY 4 /* rounds */

int states_self;
atomic_bool states_ending;

static const struct feature *const tables[] = { states_ipc,   states_relay, states_memory,
						states_files, states_proc,  states_sysv };
static const struct feature *chosen[FEATURES_MAX];
static int chosen_count;
static pid_t children[STATES_PROCESSES];
static pthread_barrier_t all_set_up;

void states_bad(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	dprintf(STDOUT_FILENO, "BAD %s (process %d)\n", text, states_self);
	_exit(1);
}

long states_need(long result, const char *what)
{
	if (result < 0)
		states_bad("%s: %s", what, strerror(errno));
	return result;
}

uint64_t states_key(const char *name)
{
	uint64_t key = (uint64_t)states_self + 1;

	while (*name)
		key = victim_mix(key ^ (uint8_t)*name++);
	return key;
}

/* each kind of thread sleeps in another system call */
static void sleep_a_round(int thread, int timer)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
	struct timespec until;
	uint64_t expirations;

	switch (thread) {
	case 0:
		victim_sleep_us(STATES_ROUND_MS * 1000);
		break;
	case 1:
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += STATES_ROUND_MS * 1000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_mutex_lock(&lock);
		pthread_cond_timedwait(&never, &lock, &until);
		pthread_mutex_unlock(&lock);
		break;
	case 2:
		poll(NULL, 0, STATES_ROUND_MS);
		break;
	default:
		if (read(timer, &expirations, sizeof(expirations)) < 0 && errno != EINTR)
			states_bad("read a timerfd: %s", strerror(errno));
	}
}

static void check_children(void)
{
	for (int i = 1; i < STATES_PROCESSES; i++)
		if (waitpid(children[i], NULL, WNOHANG) != 0)
			states_bad("process %d ended", i);
}

static void end_all(uint64_t round)
{
	states_ending = true;
	/* none may see that another has ended */
	for (int i = 1; i < STATES_PROCESSES; i++)
		kill(children[i], SIGSTOP);
	for (int i = 1; i < STATES_PROCESSES; i++) {
		kill(children[i], SIGKILL);
		waitpid(children[i], NULL, 0);
	}
	dprintf(STDOUT_FILENO, "end %llu\n", (unsigned long long)round);
	exit(0);
}

static void *run_thread(void *arg)
{
	int thread = (int)(intptr_t)arg;
	struct itimerspec every = { .it_interval.tv_nsec = STATES_ROUND_MS * 1000000,
				    .it_value.tv_nsec = STATES_ROUND_MS * 1000000 };
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	timerfd_settime(timer, 0, &every, NULL);
	for (int i = thread; i < chosen_count; i += STATES_THREADS)
		if (chosen[i]->setup)
			chosen[i]->setup();
	pthread_barrier_wait(&all_set_up);
	for (uint64_t round = 0;; round++) {
		for (int i = thread; i < chosen_count; i += STATES_THREADS)
			chosen[i]->check(round);
		if (states_self == 0 && thread == 0) {
			check_children();
			if (victim_stop)
				end_all(round);
			if (round % REPORT_EVERY == 0)
				dprintf(STDOUT_FILENO, "ok %llu\n",
					(unsigned long long)round / REPORT_EVERY);
		}
		sleep_a_round(thread, timer);
	}
	return NULL;
}

static void run_process(void)
{
	pthread_t thread;

	pthread_barrier_init(&all_set_up, NULL, STATES_THREADS);
	for (intptr_t i = 1; i < STATES_THREADS; i++)
		if (pthread_create(&thread, NULL, run_thread, (void *)i) != 0)
			states_bad("make a thread");
	run_thread(NULL);
}

/* what threads and children inherit: signals that features keep pending are blocked everywhere */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	for (int i = 1; i <= 3; i++)
		sigaddset(&set, SIGRTMIN + i);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* no child starts before all are there */
static void fork_children(void)
{
	int gate[2];
	char none;

	states_need(pipe(gate), "pipe");
	for (int i = 1; i < STATES_PROCESSES; i++) {
		children[i] = fork();
		states_need(children[i], "fork");
		if (children[i] > 0)
			continue;
		states_self = i;
		signal(SIGTERM, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(gate[1]);
		states_need(read(gate[0], &none, 1), "wait for the others");
		close(gate[0]);
		run_process();
	}
	close(gate[0]);
	close(gate[1]);
}

static bool listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = list; at && *at; at += *at == ',') {
		size_t n = strcspn(at, ",");

		if (n == len && strncmp(at, name, n) == 0)
			return true;
		at += n;
	}
	return false;
}

static void choose(const char *only, const char *without, bool list)
{
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct feature *f = tables[t]; f->name; f++) {
			if (list)
				printf(f->only_if_named ? "(%s)\n" : "%s\n", f->name);
			if ((only ? listed(only, f->name) : !f->only_if_named) &&
			    !listed(without, f->name) && chosen_count < FEATURES_MAX)
				chosen[chosen_count++] = f;
		}
}

int main(int argc, char **argv)
{
	const char *only = NULL, *without = NULL, *folder = ".";
	bool list = false;
	int option;

	while ((option = getopt(argc, argv, "d:o:w:l")) > 0) {
		if (option == 'd')
			folder = optarg;
		else if (option == 'o')
			only = optarg;
		else if (option == 'w')
			without = optarg;
		else if (option == 'l')
			list = true;
		else
			return 2;
	}
	choose(only, without, list);
	if (list)
		return 0;
	if (!chosen_count || optind != argc) {
		fprintf(stderr, "usage: %s [-d folder] [-o name,...] [-w name,...] [-l]\n",
			argv[0]);
		return 2;
	}
	states_need(chdir(folder), folder);
	victim_catch_stop();
	block_signals();
	for (int i = 0; i < chosen_count; i++)
		if (chosen[i]->before_fork)
			chosen[i]->before_fork();
	fork_children();
	run_process();
	return 0;
}
