/* SPDX-License-Identifier: Apache-2.0 */
/*
 * victim.h - a process that does to its memory what a test tells it
 *
 * It is a child of the test in a cgroup of its own, and takes one order after the other from a
 * socket. After exec(2) it goes on (`PROGRAM --victim FD`, see victim_main()).
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "cleanup.h"
#include "freezer.h"
#include "ranges.h"

enum { PAGE = 4096 };

enum order_kind {
	DO_NOTHING,
	DO_MMAP,     /* addr, len, prot, flags; fixed when addr is not 0 */
	DO_MUNMAP,   /* addr, len */
	DO_MREMAP,   /* addr, len, arg new length, addr2 new address or 0 */
	DO_MADVISE,  /* addr, len, arg */
	DO_MPROTECT, /* addr, len, arg */
	DO_WRITE,    /* addr, len, arg value */
	DO_READ,     /* addr, len: a byte of each page */
	DO_MLOCK,    /* addr, len; arg 0: munlock */
	DO_BRK,	     /* arg bytes more; returns the old end */
	DO_FORK,    /* a child that writes arg to [addr, addr+len) of its memory; returns its pid */
	DO_WAIT,    /* for child arg */
	DO_THREAD,  /* the same as DO_WRITE by a thread that has ended when it returns */
	DO_LEAVE,   /* the main thread ends, another one goes on taking orders */
	DO_EXEC,    /* this program again */
	DO_SYSCALL, /* number arg, with addr, len, addr2 */
	DO_SLEEP,   /* arg ms; returns the ms that it took */
	DO_CALL,    /* victim_call() */
};

struct order {
	enum order_kind kind;
	uint64_t addr, len, addr2;
	long arg, flags;
};

struct victim {
	pid_t pid;
	int sock;
};

static void (*victim_call)(void); /* a program's own */
static char victim_cgroup[64], victim_freezer[PATH_MAX];

static void *write_by_thread(void *arg)
{
	const struct order *order = arg;

	memset((void *)order->addr, (int)order->arg, order->len);
	return NULL;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static long sleep_ms(long ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
	int64_t start = now_ms();

	if (nanosleep(&ts, NULL) < 0)
		return -errno;
	return (long)(now_ms() - start);
}

static void victim_serve(int sock);

static void *serve_by_thread(void *arg)
{
	victim_serve((int)(intptr_t)arg);
	return NULL;
}

static long victim_thread(const struct order *order)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, write_by_thread, (void *)order) != 0)
		return -EAGAIN;
	return pthread_join(thread, NULL);
}

static long victim_fork(const struct order *order)
{
	pid_t pid = fork();

	if (pid == 0) {
		memset((void *)order->addr, (int)order->arg, order->len);
		pause();
		_exit(0);
	}
	return pid;
}

static long victim_exec(int sock)
{
	char path[PATH_MAX], number[16];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	path[len > 0 ? len : 0] = '\0';
	snprintf(number, sizeof(number), "%d", sock);
	execl(path, path, "--victim", number, NULL);
	return -errno;
}

static long victim_obey(const struct order *o, int sock)
{
	void *addr = (void *)o->addr, *at;
	volatile char *bytes = addr;
	pthread_t thread;
	long sum = 0;

	switch (o->kind) {
	case DO_MMAP:
		at = mmap(addr, o->len, (int)o->arg,
			  MAP_ANONYMOUS | (int)o->flags | (o->flags & MAP_TYPE ? 0 : MAP_PRIVATE) |
				  (addr ? MAP_FIXED : 0),
			  -1, 0);
		return at == MAP_FAILED ? -errno : (long)at;
	case DO_MUNMAP:
		return munmap(addr, o->len) < 0 ? -errno : 0;
	case DO_MREMAP:
		at = o->addr2 ? mremap(addr, o->len, (size_t)o->arg, MREMAP_MAYMOVE | MREMAP_FIXED,
				       (void *)o->addr2)
			      : mremap(addr, o->len, (size_t)o->arg, 0);
		return at == MAP_FAILED ? -errno : (long)at;
	case DO_MADVISE:
		return madvise(addr, o->len, (int)o->arg) < 0 ? -errno : 0;
	case DO_MPROTECT:
		return mprotect(addr, o->len, (int)o->arg) < 0 ? -errno : 0;
	case DO_WRITE:
		memset(addr, (int)o->arg, o->len);
		return 0;
	case DO_READ:
		for (uint64_t i = 0; i < o->len; i += PAGE)
			sum += bytes[i];
		return sum;
	case DO_MLOCK:
		/* AddressSanitizer makes a function of this name that does nothing */
		return syscall(o->arg ? SYS_mlock : SYS_munlock, addr, o->len) < 0 ? -errno : 0;
	case DO_BRK:
		return (long)sbrk(o->arg);
	case DO_FORK:
		return victim_fork(o);
	case DO_WAIT:
		kill((pid_t)o->arg, SIGKILL);
		return waitpid((pid_t)o->arg, NULL, 0);
	case DO_THREAD:
		return victim_thread(o);
	case DO_LEAVE:
		if (pthread_create(&thread, NULL, serve_by_thread, (void *)(intptr_t)sock) != 0)
			return -EAGAIN;
		pthread_exit(NULL);
	case DO_EXEC:
		return victim_exec(sock);
	case DO_SYSCALL:
		return syscall(o->arg, o->addr, o->len, o->addr2) < 0 ? -errno : 0;
	case DO_SLEEP:
		return sleep_ms(o->arg);
	case DO_CALL:
		victim_call();
		break;
	case DO_NOTHING:
		break;
	}
	return 0;
}

static void victim_serve(int sock)
{
	struct order order;

	while (read(sock, &order, sizeof(order)) == sizeof(order)) {
		long result = victim_obey(&order, sock);

		if (write(sock, &result, sizeof(result)) != sizeof(result))
			break;
	}
	_exit(0);
}

/* For main(): does not return in a victim after exec(2). */
static inline void victim_main(int argc, char **argv)
{
	long result = 0;

	if (argc != 3 || strcmp(argv[1], "--victim") != 0)
		return;
	if (write(atoi(argv[2]), &result, sizeof(result)) == sizeof(result))
		victim_serve(atoi(argv[2]));
	_exit(0);
}

/* Why tests cannot run here, or NULL. */
static inline const char *victim_setup(const char *name)
{
	snprintf(victim_cgroup, sizeof(victim_cgroup), "/rb-test-%s-%d", name, (int)getpid());
	if (geteuid() != 0)
		return "needs root";
	if (rb_freezer_path(victim_cgroup, victim_freezer, sizeof(victim_freezer), NULL) < 0)
		return "needs a cgroup freezer";
	return NULL;
}

static inline void victim_teardown(void)
{
	rb_freezer_kill(victim_freezer, NULL, NULL);
	rb_cgroup_remove(victim_cgroup);
}

/* @prepare runs in it first; it is alone in its session. */
static inline struct victim victim_start(void (*prepare)(void))
{
	struct victim victim = { .sock = -EBADF };
	char byte = 0;
	int sock[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sock) < 0)
		return victim;
	fcntl(sock[0], F_SETFD, FD_CLOEXEC);
	victim.pid = fork();
	if (victim.pid == 0) {
		close(sock[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (rb_cgroup_move(getpid(), victim_cgroup, true, false, NULL) < 0)
			_exit(3);
		if (prepare)
			prepare();
		if (write(sock[1], "", 1) == 1)
			victim_serve(sock[1]);
		_exit(0);
	}
	close(sock[1]);
	victim.sock = sock[0];
	if (read(sock[0], &byte, 1) != 1)
		victim.pid = -1;
	return victim;
}

static inline void victim_end(struct victim *victim)
{
	close(victim->sock);
	kill(victim->pid, SIGKILL);
	waitpid(victim->pid, NULL, 0);
}

static void victim_tell(const struct victim *victim, struct order order)
{
	(void)!write(victim->sock, &order, sizeof(order));
}

/* LONG_MIN when it is dead. */
static long victim_answer(const struct victim *victim)
{
	long result;

	return read(victim->sock, &result, sizeof(result)) == sizeof(result) ? result : LONG_MIN;
}

static inline long victim_do(const struct victim *victim, struct order order)
{
	victim_tell(victim, order);
	return victim_answer(victim);
}

#define DO(victim, ...) victim_do((victim), (struct order){ __VA_ARGS__ })

/* The pages of @ranges within an area of at most 4095 pages, as letters: '.' not, 'D' listed. */
static inline const char *page_map(const struct rb_ranges *ranges, uint64_t addr, size_t pages)
{
	static char map[4096];

	memset(map, '.', pages);
	map[pages] = '\0';
	for (size_t i = 0; i < ranges->n; i++)
		for (uint64_t at = ranges->list[i].start; at < ranges->list[i].end; at += PAGE)
			if (at >= addr && at < addr + pages * PAGE)
				map[(at - addr) / PAGE] = 'D';
	return map;
}

/* All descriptors and what they are, as one text. */
static inline const char *fd_text(pid_t pid, char *ret, size_t size)
{
	char path[64];
	struct dirent *entry;
	size_t len = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	ret[0] = '\0';
	while (dir && (entry = readdir(dir)) && len + 1 < size) {
		char target[256] = "";

		if (readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1) > 0)
			len += (size_t)snprintf(ret + len, size - len, "%s=%s ", entry->d_name,
						target);
	}
	if (dir)
		closedir(dir);
	return ret;
}

/* Mappings with a userfaultfd. */
static inline int count_watched(pid_t pid)
{
	char path[64], line[512];
	int count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, "VmFlags:", 8) == 0 &&
		    (strstr(line, " uw ") || strstr(line, " um ")))
			count++;
	if (file)
		fclose(file);
	return count;
}
