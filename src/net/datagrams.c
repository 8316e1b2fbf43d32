// SPDX-License-Identifier: Apache-2.0
/* datagrams.c - what waits in sockets, from /proc/PID/net/udp and the like (proc(5)) */
#include <limits.h>
#include <stdio.h>

#include "cleanup.h"
#include "net.h"

/* @both: also what was not sent yet */
static unsigned long waiting_in(int pid, const char *table, bool both)
{
	char path[64], line[512];
	_cleanup_fclose_ FILE *file = NULL;
	unsigned long sum = 0, bytes, unsent;

	snprintf(path, sizeof(path), "/proc/%d/net/%s", pid, table);
	file = fopen(path, "re");
	/* sl: local remote state tx_queue:rx_queue ...; the heading does not match */
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, " %*u: %*s %*s %*x %lx:%lx", &unsent, &bytes) == 2)
			sum += bytes + (both ? unsent : 0);
	return sum;
}

unsigned long rb_tcp_waiting(int pid)
{
	return waiting_in(pid, "tcp", true) + waiting_in(pid, "tcp6", true);
}

unsigned long rb_udp_waiting(int pid)
{
	return waiting_in(pid, "udp", false) + waiting_in(pid, "udp6", false);
}
