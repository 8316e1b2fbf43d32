// SPDX-License-Identifier: Apache-2.0
/* unix_peers.c - with whom a process speaks over unix sockets */
#include <stddef.h>
#include <sys/socket.h>

#include "fds.h"
#include "sockets.h"

struct peers {
	pid_t *pids;
	int count, max;
};

/* unix(7): of a socket that is not connected the pid is 0, and of one of another family, too */
static int add_peer(int fd, int number, void *arg, struct rb_err *err)
{
	struct peers *peers = arg;
	struct ucred peer = {};
	socklen_t len = sizeof(peer);

	(void)number;
	(void)err;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.pid > 0 &&
	    peers->count < peers->max)
		peers->pids[peers->count++] = peer.pid;
	return 0;
}

int rb_unix_peers(int pid, pid_t *ret, int max)
{
	struct peers peers = { .pids = ret, .max = max };

	rb_each_socket(pid, add_peer, &peers, NULL);
	return peers.count;
}
