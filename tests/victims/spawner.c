// SPDX-License-Identifier: Apache-2.0
/*
 * spawner.c - start programs by vfork() without a pause, as shells do, and count them
 *
 * usage: spawner [us that each child takes before it calls exec, default 2000]
 *
 * Nearly always somebody is between vfork and exec, where no tracer can stop the one who waits.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "victim.h"

/* Return: how the child ended, as of waitpid(2); negative when there was none */
__attribute__((noinline)) static int start_one(long delay_us)
{
	static char name[] = "spawner", no_delay[] = "0", child[] = "child";
	static char *const again[] = { name, no_delay, child, NULL };
	pid_t pid = vfork();
	int status;

	if (pid == 0) {
		victim_sleep_us(delay_us);
		execv("/proc/self/exe", again);
		_exit(1);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

int main(int argc, char **argv)
{
	long delay_us = argc > 1 ? victim_number(argv[1], "delay", 0, 1000000) : 2000;

	if (argc > 2)
		return 7; /* what is started */
	victim_catch_stop();
	for (unsigned long long i = 0; !victim_stop; i++) {
		if (start_one(delay_us) != 7 << 8) {
			printf("BAD child of round %llu\n", i);
			return 1;
		}
		printf("ok %llu\n", i);
		fflush(stdout);
	}
	return 0;
}
