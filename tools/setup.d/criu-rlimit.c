/* SPDX-License-Identifier: Apache-2.0 */
/*
 * criu-rlimit.c - lets CRIU read resource limits without CAP_SYS_RESOURCE
 *
 * CRIU asks prlimit(2) for the limits of every task that it dumps. The kernel
 * answers for a task of another user only to holders of CAP_SYS_RESOURCE, which
 * root does not have in some virtual machines and containers; every container
 * that does not run as root would be refused. /proc/PID/limits says the same to
 * anybody who may ptrace the task, as CRIU does.
 *
 * Preloaded into CRIU by the wrapper that tools/setup makes, only where needed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The first words of the lines of /proc/PID/limits. */
static const char *const line_names[RLIM_NLIMITS] = {
	[RLIMIT_CPU] = "Max cpu time",
	[RLIMIT_FSIZE] = "Max file size",
	[RLIMIT_DATA] = "Max data size",
	[RLIMIT_STACK] = "Max stack size",
	[RLIMIT_CORE] = "Max core file size",
	[RLIMIT_RSS] = "Max resident set",
	[RLIMIT_NPROC] = "Max processes",
	[RLIMIT_NOFILE] = "Max open files",
	[RLIMIT_MEMLOCK] = "Max locked memory",
	[RLIMIT_AS] = "Max address space",
	[RLIMIT_LOCKS] = "Max file locks",
	[RLIMIT_SIGPENDING] = "Max pending signals",
	[RLIMIT_MSGQUEUE] = "Max msgqueue size",
	[RLIMIT_NICE] = "Max nice priority",
	[RLIMIT_RTPRIO] = "Max realtime priority",
	[RLIMIT_RTTIME] = "Max realtime timeout",
};

static rlim_t parse_value(const char *word)
{
	return strcmp(word, "unlimited") == 0 ? RLIM_INFINITY : strtoull(word, NULL, 10);
}

static int read_limit(pid_t pid, int resource, struct rlimit *ret_limit)
{
	char path[64], line[256], soft[32], hard[32];
	const char *name = line_names[resource];
	int r = -1;

	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return -1;
	errno = EPERM;
	while (r < 0 && fgets(line, sizeof(line), file)) {
		if (strncmp(line, name, strlen(name)) != 0)
			continue;
		/* The names are padded to 26 columns. */
		if (sscanf(line + 26, "%31s %31s", soft, hard) != 2)
			break;
		ret_limit->rlim_cur = parse_value(soft);
		ret_limit->rlim_max = parse_value(hard);
		r = 0;
	}
	fclose(file);
	return r;
}

/*
 * Overrides the C library's syscall(), by which CRIU calls prlimit64(). Whatever
 * else it is used for takes at most six arguments, and to pass on too many does
 * no harm.
 */
long syscall(long number, ...)
{
	static long (*next)(long number, ...);
	long a[6];
	va_list list;

	if (!next)
		next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	va_start(list, number);
	for (size_t i = 0; i < sizeof(a) / sizeof(a[0]); i++)
		a[i] = va_arg(list, long);
	va_end(list);

	long r = next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (r == 0 || errno != EPERM || number != SYS_prlimit64)
		return r;
	/* Only a question, not an order. */
	if (a[2] || !a[3] || a[1] < 0 || a[1] >= RLIM_NLIMITS)
		return r;
	return read_limit((pid_t)a[0], (int)a[1], (struct rlimit *)a[3]);
}
