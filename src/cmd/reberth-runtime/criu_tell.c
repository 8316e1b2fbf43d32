// SPDX-License-Identifier: Apache-2.0
/*
 * criu_tell.c - of the library that CRIU gets: tell the dump server that all is dumped
 *
 * What starts for that otherwise (criu_action.c) is linked with a dozen libraries, and the
 * container stands still for the 3 ms that it takes.
 */
#include "criu_tell.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The address of a unix socket has room for 107 bytes only: from its folder on. */
static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];
	int dir, fd;

	if (!slash || snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path) >=
			      (int)sizeof(folder))
		return -1;
	dir = open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	fd = dir < 0 ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d%s",
			       dir, slash) >= (int)sizeof(address.sun_path))
		return -1;
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -1 : fd;
}

/* The process ends afterwards: nothing is closed here. */
int tell_server(const char *socket_path, const char *action)
{
	char line[64], reply[16] = "";
	size_t len = 0;
	int fd = connect_to(socket_path);
	ssize_t n;

	if (fd < 0)
		return 1;
	snprintf(line, sizeof(line), "%s %d\n", action, (int)getppid());
	if (send(fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line))
		return 1;
	/* the end of the connection is a no */
	while (len < sizeof(reply) - 1 &&
	       (n = read(fd, reply + len, sizeof(reply) - 1 - len)) > 0) {
		len += (size_t)n;
		if (memchr(reply, '\n', len))
			break;
	}
	return strcmp(reply, "go\n") == 0 ? 0 : 1;
}
