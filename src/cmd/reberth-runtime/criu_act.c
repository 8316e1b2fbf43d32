// SPDX-License-Identifier: Apache-2.0
/*
 * criu_act.c - of the library that CRIU gets: its action script, without starting anything
 *
 * CRIU forks and starts the script for each of a dozen actions, of which we want three or four.
 * While the container stands still that takes half a millisecond for one that does nothing, and
 * three for `reberth-runtime criu-action`. So CRIU does these things itself: where it would fork
 *for the script, act() is called, and its own wait for that process is told the outcome
 * (criu_quick.c). What it does is described in criu_action.c, which is asked when fault points are
 * armed, and for what is not urgent.
 *
 *	$REBERTH_ACTIONS	a file:
 *	    line 1		the actions that are wanted, each between blanks
 *	    line 2		a file whose presence has the script asked (fault points)
 *	    line 3		the socket that is asked: dump.sock, or hold.sock
 *	    line 4		a file to be made for action "post-resume", or nothing
 *
 * What must always hold: a CRIU that holds tasks lets them run for "go" alone. It is killed, or
 * asks again, when the other end is gone. With CRIU the connection ends, so that nobody takes tasks
 * for held that are not.
 */
#include "criu_act.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "criu_hold.h"

enum { LINES = 4, RETRY_US = 20000 };

struct orders {
	char text[4 * PATH_MAX];
	const char *actions, *faults, *socket, *resumed;
	char dir[PATH_MAX]; /* that of the socket */
};

static bool read_orders(struct orders *orders)
{
	const char **const lines[LINES] = { &orders->actions, &orders->faults, &orders->socket,
					    &orders->resumed };
	const char *path = getenv("REBERTH_ACTIONS"), *slash;
	char *at = orders->text;
	ssize_t n;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	n = fd < 0 ? -1 : read(fd, orders->text, sizeof(orders->text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	orders->text[n] = '\0';
	for (int i = 0; i < LINES; i++) {
		char *end = strchr(at, '\n');

		if (!end)
			return false;
		*end = '\0';
		*lines[i] = at;
		at = end + 1;
	}
	slash = strrchr(orders->socket, '/');
	return slash &&
	       snprintf(orders->dir, sizeof(orders->dir), "%.*s", (int)(slash - orders->socket),
			orders->socket) < (int)sizeof(orders->dir);
}

static bool make(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* The address of a unix socket has room for 107 bytes only: from its folder on. */
static int connect_to(const struct orders *orders)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int dir = open(orders->dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int fd = dir < 0 ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 &&
	    (snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d%s", dir,
		      strrchr(orders->socket, '/')) >= (int)sizeof(address.sun_path) ||
	     connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)) {
		close(fd);
		fd = -1;
	}
	if (dir >= 0)
		close(dir);
	return fd;
}

/* Says @line and waits for an answer. Return: the connection, -1 without an answer */
static int ask(const struct orders *orders, const char *line, char reply[16])
{
	int fd = connect_to(orders);
	size_t len = 0;

	memset(reply, 0, 16);
	if (fd >= 0 && send(fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line))
		while (len < 15) {
			ssize_t n = read(fd, reply + len, 15 - len);

			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				break;
			len += (size_t)n;
			if (memchr(reply, '\n', len))
				return fd;
		}
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Source, all is dumped. The end of the connection is a no. */
static int tell_server(const struct orders *orders, const char *action)
{
	char line[64], reply[16];
	int fd;

	snprintf(line, sizeof(line), "%s %d\n", action, (int)getpid());
	fd = ask(orders, line, reply);
	if (fd >= 0)
		close(fd);
	return fd >= 0 && strcmp(reply, "go\n") == 0 ? 0 : 1;
}

/* Target, the tasks are there. The worker decides, or the one that comes after it. */
static int hold(const struct orders *orders)
{
	const char *init = getenv("CRTOOLS_INIT_PID");
	char line[64], reply[16], released[PATH_MAX];
	pid_t runc = getppid();
	int fd, status;

	snprintf(line, sizeof(line), "held %d\n", init ? atoi(init) : 0);
	for (;;) {
		/* "abort" is also said to those that are not held yet */
		if (getppid() != runc || access(orders->dir, F_OK) < 0)
			return 1;
		fd = ask(orders, line, reply);
		if (fd >= 0 && (strcmp(reply, "go\n") == 0 || strcmp(reply, "abort\n") == 0))
			break;
		if (fd >= 0)
			close(fd);
		usleep(RETRY_US);
	}
	status = strcmp(reply, "go\n") != 0 || getppid() != runc ||
		 snprintf(released, sizeof(released), "%s/released", orders->dir) >=
			 (int)sizeof(released) ||
		 !make(released);
	/* not before they are marked: a worker that hears of the end must not take them for lost */
	close(fd);
	return status;
}

int act(void)
{
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION");
	struct orders orders;
	char word[64];

	if (!action || snprintf(word, sizeof(word), " %s ", action) >= (int)sizeof(word) ||
	    !read_orders(&orders) || access(orders.faults, F_OK) == 0)
		return ACT_NOT_OURS;
	if (!strstr(orders.actions, word))
		return *orders.resumed && strcmp(action, "post-resume") == 0 ? !make(orders.resumed)
									     : 0;
	if (strcmp(action, "post-dump") == 0)
		return tell_server(&orders, action);
	if (strcmp(action, "post-setup-namespaces") == 0)
		/* namespaces are made, and the pages may still be on their way */
		return !criu_await_word(orders.dir, "pages");
	if (strcmp(action, "post-restore") == 0)
		return hold(&orders);
	return ACT_NOT_OURS;
}
