// SPDX-License-Identifier: Apache-2.0
/*
 * on_tty.c - run a command on a terminal of its own, and play its user
 *
 * usage: on_tty COLUMNS [EXPECT SEND]... -- COMMAND [ARGUMENT...]
 *
 * Waits until the command has written EXPECT (since the last one), then sends SEND; a SEND of
 * "HANGUP" closes the terminal. Copies all output to standard output and ends with the command's
 * exit status; 99 when EXPECT did not come within half a minute, 128 + n for a signal.
 */
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 30000
#define OUTPUT_MAX  65536

static char output[OUTPUT_MAX];
static size_t output_len, expected_from;

/* Return: whether there was something before the command closed its terminal. */
static int read_some(int fd)
{
	char *at = output + output_len;
	ssize_t n;

	if (output_len + 1 >= sizeof(output))
		return -1;
	if (poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, PATIENCE_MS) <= 0)
		return -1;
	n = read(fd, at, sizeof(output) - output_len - 1);
	if (n <= 0)
		return 0;
	if (write(STDOUT_FILENO, at, (size_t)n) != n)
		return -1;
	output_len += (size_t)n;
	output[output_len] = '\0';
	return 1;
}

static int give_up(pid_t pid, const char *what)
{
	fprintf(stderr, "on_tty: '%s' did not come\n", what);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 99;
}

static int play(int fd, pid_t pid, char **pairs, int count)
{
	for (int i = 0; i + 1 < count; i += 2) {
		char *found;

		while (!(found = strstr(output + expected_from, pairs[i])))
			if (read_some(fd) <= 0)
				return give_up(pid, pairs[i]);
		expected_from = (size_t)(found - output) + strlen(pairs[i]);
		if (strcmp(pairs[i + 1], "HANGUP") == 0)
			return close(fd), -1;
		if (write(fd, pairs[i + 1], strlen(pairs[i + 1])) < 0)
			return give_up(pid, pairs[i + 1]);
	}
	while (read_some(fd) > 0)
		;
	return 0;
}

int main(int argc, char **argv)
{
	struct winsize size = { .ws_row = 24 };
	int first = 2, fd, status, played;
	pid_t pid;

	while (first < argc && strcmp(argv[first], "--") != 0)
		first++;
	if (argc < 4 || first + 1 >= argc)
		return 98;
	size.ws_col = (unsigned short)atoi(argv[1]);
	pid = forkpty(&fd, NULL, NULL, &size);
	if (pid < 0)
		return 98;
	if (pid == 0) {
		signal(SIGINT, SIG_DFL); /* whatever the tests were started by ignores */
		execvp(argv[first + 1], argv + first + 1);
		_exit(127);
	}
	played = play(fd, pid, argv + 2, first - 2);
	if (played > 0)
		return played;
	if (waitpid(pid, &status, 0) < 0)
		return 98;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
