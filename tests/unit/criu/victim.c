// SPDX-License-Identifier: Apache-2.0
/*
 * victim.c - a process of many threads that notices when anything of its own is changed
 *
 * `victim [threads]`: computing threads keep sums in floating-point registers and compare them,
 * waiting ones sit in system calls of different kinds; every thread checks its signal mask. The
 * main thread checks that no mapping and no descriptor is there that it did not make, and prints a
 * number five times a second. The first thing that is wrong is printed, and ends it with status 1.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 64, KINDS = 5, OWN_FDS_MAX = 16 };

static atomic_ulong beats[THREADS_MAX];
static int ping[2], silent[2];

static void wrong(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("wrong: ");
	vprintf(fmt, ap);
	putchar('\n');
	fflush(stdout);
	_exit(1);
}

static void check_mask(const sigset_t *want, long id)
{
	sigset_t now;

	pthread_sigmask(SIG_SETMASK, NULL, &now);
	for (int sig = 1; sig < 32; sig++)
		if (sigismember(&now, sig) != sigismember(want, sig))
			wrong("thread %ld: signal %d is %sblocked", id, sig,
			      sigismember(&now, sig) ? "" : "not ");
}

static void compute(long id)
{
	double a = (double)id, b = 1.5, c = 0.25, d = 3.0, want;
	unsigned long x = 88172645463325252UL + (unsigned long)id, y = x;

	for (int i = 0; i < 20000; i++) {
		a += b * c;
		d += a * 0.0;
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	}
	for (int i = 0; i < 20000; i++)
		y ^= y << 13, y ^= y >> 7, y ^= y << 17;
	want = (double)id + 20000 * 0.375;
	if (a != want || d != 3.0 || x != y)
		wrong("thread %ld: computed %f, %f, %lx, not %f, 3, %lx", id, a, d, x, want, y);
}

static void wait_somehow(long id)
{
	struct timespec ts = { .tv_nsec = 2000000 };
	struct pollfd fd = { .fd = silent[0], .events = POLLIN };
	char c;
	ssize_t n;

	switch (id % KINDS) {
	case 1:
		if (nanosleep(&ts, NULL) < 0 && errno != EINTR)
			wrong("thread %ld: nanosleep: %s", id, strerror(errno));
		break;
	case 2:
		if (poll(&fd, 1, 3) != 0 && errno != EINTR)
			wrong("thread %ld: poll says something is there", id);
		break;
	case 3:
		n = read(ping[0], &c, 1);
		if (n != 1 && !(n < 0 && errno == EINTR))
			wrong("thread %ld: read returned %zd", id, n);
		break;
	case 4:
		if (write(ping[1], "x", 1) != 1 && errno != EINTR && errno != EAGAIN)
			wrong("thread %ld: write: %s", id, strerror(errno));
		usleep(300);
		break;
	default:
		compute(id);
	}
}

static void *run(void *arg)
{
	long id = (long)arg;
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	if (id & 1)
		sigaddset(&mask, SIGALRM);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	for (;;) {
		wait_somehow(id);
		check_mask(&mask, id);
		atomic_fetch_add(&beats[id], 1);
	}
	return NULL;
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

static void check_maps(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];

	while (file && fgets(line, sizeof(line), file))
		if (strstr(line, "CRIU"))
			wrong("foreign mapping: %s", line);
	if (file)
		fclose(file);
}

int main(int argc, char **argv)
{
	long threads = argc > 1 ? atol(argv[1]) : 5;
	sigset_t mask;
	int fds;

	if (threads < 1 || threads > THREADS_MAX || pipe(ping) < 0 || pipe(silent) < 0)
		return 2;
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	for (long i = 0; i < threads; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, run, (void *)i) != 0)
			return 2;
	}
	fds = count_fds();
	for (unsigned long n = 1;; n++) {
		usleep(50000);
		check_mask(&mask, -1);
		check_maps();
		if (count_fds() != fds)
			wrong("%d descriptors, not %d", count_fds(), fds);
		if (n % 4 == 0) {
			printf("%lu\n", n / 4);
			fflush(stdout);
		}
	}
}
