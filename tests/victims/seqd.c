// SPDX-License-Identifier: Apache-2.0
/*
 * seqd.c - answers each request with the next number; who answers with which number tells whether
 * there is one copy of it, and whether that copy is the latest
 *
 * usage: seqd [-6] PORT [FILE [GROUP]]
 *   -6  IPv6 as well as IPv4
 *
 * UDP datagrams and TCP lines on the same port. Request "<id>", answer "<id> <counter> <nonce>
 * <host>": the counter is kept in memory and starts at 1, the nonce is drawn when the program
 * starts, the host is the first word of FILE at this moment ("-" if there is none): mount a file
 * there that differs between the hosts. GROUP: a multicast group in which datagrams are heard, too.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "victim.h"

#define CLIENTS_MAX  64
#define LINE_MAX_LEN 128

struct client {
	char line[LINE_MAX_LEN];
	size_t len;
};

static struct {
	unsigned long long counter;
	unsigned long long nonce;
	const char *host_file;
	/* 0: UDP, 1: TCP listener, the others: TCP clients (fd < 0: free) */
	struct pollfd fds[2 + CLIENTS_MAX];
	struct client clients[CLIENTS_MAX];
} seqd;

static void read_host(char ret[64])
{
	int fd = seqd.host_file ? open(seqd.host_file, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n = fd < 0 ? 0 : read(fd, ret, 63);

	if (fd >= 0)
		close(fd);
	ret[n > 0 ? n : 0] = '\0';
	ret[strcspn(ret, " \t\r\n")] = '\0';
	if (!*ret)
		strcpy(ret, "-");
}

/* Return: length of the answer to the request in @line, 0 when there is no answer to it */
static size_t answer(const char *line, char *ret, size_t size)
{
	unsigned long long id;
	char host[64];

	if (sscanf(line, "%llu", &id) != 1)
		return 0;
	read_host(host);
	return (size_t)snprintf(ret, size, "%llu %llu %016llx %s\n", id, ++seqd.counter, seqd.nonce,
				host);
}

static void serve_udp(int fd)
{
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	char line[LINE_MAX_LEN], out[256];
	ssize_t n = recvfrom(fd, line, sizeof(line) - 1, 0, (struct sockaddr *)&from, &from_len);
	size_t len;

	if (n < 0)
		return;
	line[n] = '\0';
	len = answer(line, out, sizeof(out));
	if (len && sendto(fd, out, len, 0, (struct sockaddr *)&from, from_len) < 0)
		fprintf(stderr, "sendto: %s\n", strerror(errno));
}

static void serve_tcp(struct pollfd *slot, struct client *client)
{
	ssize_t n = recv(slot->fd, client->line + client->len, LINE_MAX_LEN - 1 - client->len, 0);
	char *end;

	if (n <= 0) {
		close(slot->fd);
		slot->fd = -1;
		return;
	}
	client->len += (size_t)n;
	client->line[client->len] = '\0';
	while ((end = strchr(client->line, '\n'))) {
		char out[256];
		size_t len;

		*end = '\0';
		len = answer(client->line, out, sizeof(out));
		client->len -= (size_t)(end + 1 - client->line);
		memmove(client->line, end + 1, client->len + 1);
		if (len && send(slot->fd, out, len, MSG_NOSIGNAL) < 0)
			fprintf(stderr, "send: %s\n", strerror(errno));
	}
	if (client->len == LINE_MAX_LEN - 1)
		client->len = 0;
}

static void accept_one(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	for (int i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
		struct pollfd *slot = &seqd.fds[2 + i];

		if (slot->fd >= 0)
			continue;
		slot->fd = fd;
		seqd.clients[i].len = 0;
		return;
	}
	if (fd >= 0)
		close(fd);
}

static int bound(int family, int type, uint16_t port)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} to = { .v6 = { .sin6_family = (sa_family_t)family, .sin6_port = htons(port) } };
	int fd = socket(family, type | SOCK_CLOEXEC, 0), on = 1;

	/* the port is at the same place in both */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &to.any, family == AF_INET ? sizeof(to.v4) : sizeof(to.v6)) < 0)
		return -1;
	return fd;
}

static void listen_on(int family, uint16_t port)
{
	int udp = bound(family, SOCK_DGRAM, port), tcp = bound(family, SOCK_STREAM, port);

	if (udp < 0 || tcp < 0 || listen(tcp, 16) < 0) {
		perror("listen");
		exit(1);
	}
	for (int i = 0; i < 2 + CLIENTS_MAX; i++)
		seqd.fds[i] = (struct pollfd){ .fd = i == 0   ? udp
						     : i == 1 ? tcp
							      : -1,
					       .events = POLLIN };
}

static void join(const char *group)
{
	struct ip_mreqn req = {};

	if (inet_pton(AF_INET, group, &req.imr_multiaddr) != 1 ||
	    setsockopt(seqd.fds[0].fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &req, sizeof(req)) < 0) {
		perror("join");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	bool ipv6 = argc > 1 && strcmp(argv[1], "-6") == 0;
	char **args = argv + 1 + ipv6;
	int n = argc - 1 - ipv6;

	if (n < 1 || n > 3) {
		fprintf(stderr, "usage: %s [-6] PORT [FILE [GROUP]]\n", argv[0]);
		return 2;
	}
	seqd.host_file = n > 1 ? args[1] : NULL;
	if (getrandom(&seqd.nonce, sizeof(seqd.nonce), 0) != (ssize_t)sizeof(seqd.nonce))
		return 1;
	victim_catch_stop();
	listen_on(ipv6 ? AF_INET6 : AF_INET, (uint16_t)victim_number(args[0], "port", 1, 65535));
	if (n > 2)
		join(args[2]);
	while (!victim_stop) {
		if (poll(seqd.fds, 2 + CLIENTS_MAX, -1) < 0)
			continue;
		if (seqd.fds[0].revents)
			serve_udp(seqd.fds[0].fd);
		if (seqd.fds[1].revents)
			accept_one(seqd.fds[1].fd);
		for (int i = 0; i < CLIENTS_MAX; i++)
			if (seqd.fds[2 + i].fd >= 0 && seqd.fds[2 + i].revents)
				serve_tcp(&seqd.fds[2 + i], &seqd.clients[i]);
	}
	return 0;
}
