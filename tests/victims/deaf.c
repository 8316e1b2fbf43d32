// SPDX-License-Identifier: Apache-2.0
/*
 * deaf.c - listen, and accept nobody before SIGUSR1
 *
 * usage: deaf PORT
 *
 * Prints "ready", and "ok" for each connection that was accepted. Who connects before that has a
 * connection that no program has yet: CRIU calls it in flight, and cannot dump it.
 */
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "victim.h"

static volatile sig_atomic_t told;

static void hear(int sig)
{
	(void)sig;
	told = 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in here = { .sin_family = AF_INET };
	struct sigaction action = { .sa_handler = hear };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (argc != 2 || fd < 0)
		return 2;
	here.sin_port = htons((in_port_t)victim_number(argv[1], "port", 1, 65535));
	sigaction(SIGUSR1, &action, NULL);
	if (bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0 || listen(fd, 16) < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	victim_catch_stop();
	/* looked for now and then: a signal between the look and the sleep is not missed */
	while (!told && !victim_stop)
		victim_sleep_us(5000);
	while (!victim_stop && accept(fd, NULL, NULL) >= 0) {
		puts("ok");
		fflush(stdout);
	}
	return 0;
}
