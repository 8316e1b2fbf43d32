// SPDX-License-Identifier: Apache-2.0
/* sockets.c - what the sockets of a network namespace are bound to, connected to and listen for */
#include "sockets.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define ENTRIES_MAX 65536 /* that are looked at */

/* --- addresses --- */

static size_t ip_len(int family)
{
	return family == AF_INET ? 4 : 16;
}

bool rb_ip_parse(const char *text, struct rb_ip *ret)
{
	struct rb_ip ip = { .family = strchr(text, ':') ? AF_INET6 : AF_INET };

	if (inet_pton(ip.family, text, ip.bytes) != 1)
		return false;
	*ret = ip;
	return true;
}

const char *rb_ip_text(const struct rb_ip *ip, char *ret)
{
	return inet_ntop(ip->family, ip->bytes, ret, INET6_ADDRSTRLEN) ? ret : "?";
}

bool rb_ip_equal(const struct rb_ip *a, const struct rb_ip *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, ip_len(a->family)) == 0;
}

bool rb_ip_is_any(const struct rb_ip *ip)
{
	static const uint8_t zeros[16];

	return memcmp(ip->bytes, zeros, ip_len(ip->family)) == 0;
}

bool rb_ip_is_loopback(const struct rb_ip *ip)
{
	static const uint8_t loopback6[16] = { [15] = 1 };

	return ip->family == AF_INET ? ip->bytes[0] == 127
				     : memcmp(ip->bytes, loopback6, sizeof(loopback6)) == 0;
}

bool rb_ip_is_link_local(const struct rb_ip *ip)
{
	return ip->family == AF_INET6 && ip->bytes[0] == 0xfe && (ip->bytes[1] & 0xc0) == 0x80;
}

bool rb_ip_in_subnet(const struct rb_ip *ip, const char *subnet)
{
	char text[INET6_ADDRSTRLEN];
	size_t len = strcspn(subnet, "/");
	struct rb_ip net;
	int bits;

	if (!subnet[len] || len >= sizeof(text))
		return false;
	memcpy(text, subnet, len);
	text[len] = '\0';
	bits = atoi(subnet + len + 1);
	if (!rb_ip_parse(text, &net) || net.family != ip->family || bits < 0 ||
	    (size_t)bits > 8 * ip_len(net.family))
		return false;
	for (int i = 0; i < bits; i++)
		if ((ip->bytes[i / 8] ^ net.bytes[i / 8]) & (0x80 >> i % 8))
			return false;
	return true;
}

void rb_ip_unmap(struct rb_ip *ip)
{
	static const uint8_t prefix[12] = { [10] = 0xff, 0xff };

	if (ip->family != AF_INET6 || memcmp(ip->bytes, prefix, sizeof(prefix)) != 0)
		return;
	ip->family = AF_INET;
	memmove(ip->bytes, ip->bytes + 12, 4);
	memset(ip->bytes + 4, 0, 12);
}

bool rb_host_has_ip(const struct rb_ip *ip)
{
	struct ifaddrs *list = NULL;
	bool found = false;

	if (getifaddrs(&list) < 0)
		return false;
	for (const struct ifaddrs *at = list; at && !found; at = at->ifa_next) {
		const void *bytes = NULL;

		if (!at->ifa_addr || at->ifa_addr->sa_family != ip->family)
			continue;
		bytes = ip->family == AF_INET
				? (const void *)&((struct sockaddr_in *)(void *)at->ifa_addr)
					  ->sin_addr
				: (const void *)&((struct sockaddr_in6 *)(void *)at->ifa_addr)
					  ->sin6_addr;
		found = memcmp(bytes, ip->bytes, ip_len(ip->family)) == 0;
	}
	freeifaddrs(list);
	return found;
}

/* --- /proc/PID/net --- */

/* hexadecimal words of 32 bits, each in this host's order */
static bool parse_words(const char *text, struct rb_ip *ret)
{
	size_t len = strspn(text, "0123456789ABCDEFabcdef");

	if (len != 8 && len != 32)
		return false;
	*ret = (struct rb_ip){ .family = len == 8 ? AF_INET : AF_INET6 };
	for (size_t i = 0; i < len / 8; i++) {
		uint32_t word;

		if (sscanf(text + 8 * i, "%8x", &word) != 1)
			return false;
		memcpy(ret->bytes + 4 * i, &word, sizeof(word));
	}
	rb_ip_unmap(ret);
	return true;
}

bool rb_socket_parse(const char *line, int protocol, struct rb_socket *ret)
{
	/* linux/tcp_states.h; a UDP socket has one of the first two numbers named here */
	enum { ESTABLISHED = 1, TIME_WAIT = 6, CLOSE = 7, LISTEN = 10 };
	struct rb_socket sock = { .protocol = protocol };
	unsigned int local_port, peer_port, state;
	char local[33], peer[33];

	if (sscanf(line, " %*u: %32[0-9A-Fa-f]:%x %32[0-9A-Fa-f]:%x %x", local, &local_port, peer,
		   &peer_port, &state) != 5 ||
	    !parse_words(local, &sock.local) || !parse_words(peer, &sock.peer))
		return false;
	sock.local_port = (uint16_t)local_port;
	sock.peer_port = (uint16_t)peer_port;
	sock.listening = protocol == IPPROTO_TCP && state == LISTEN;
	sock.connected = protocol == IPPROTO_TCP
				 ? state != TIME_WAIT && state != CLOSE && state != LISTEN
				 : state == ESTABLISHED;
	*ret = sock;
	return true;
}

/* What the kernel joins by itself: for all hosts, all routers, all who snoop, and the groups that
 * neighbour discovery asks a node by. */
static bool is_kernels(const struct rb_ip *group)
{
	static const char *const own[] = { "224.0.0.1", "224.0.0.2", "224.0.0.106",
					   "ff01::1",	"ff02::1",   "ff01::2",
					   "ff02::2",	"ff05::2",   "ff02::6a" };
	struct rb_ip ip;

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (rb_ip_parse(own[i], &ip) && rb_ip_equal(&ip, group))
			return true;
	return rb_ip_in_subnet(group, "ff02::1:ff00:0/104");
}

bool rb_membership_parse(const char *line, int family, struct rb_membership *at)
{
	struct rb_ip group = { .family = family };
	char name[IF_NAMESIZE], hex[33];
	unsigned int index;

	if (family == AF_INET) {
		/* a device's line, and then one for each of its groups */
		if (line[0] != '\t') {
			if (sscanf(line, "%u %15s :", &index, name) == 2) {
				memcpy(at->device, name, sizeof(name));
				at->index = index;
			}
			return false;
		}
		if (sscanf(line, " %32[0-9A-Fa-f]", hex) != 1 || !parse_words(hex, &group) ||
		    group.family != AF_INET)
			return false;
	} else {
		if (sscanf(line, "%u %15s %32[0-9A-Fa-f]", &index, name, hex) != 3 ||
		    strlen(hex) != 32)
			return false;
		memcpy(at->device, name, sizeof(name));
		at->index = index;
		for (size_t i = 0; i < 16; i++)
			if (sscanf(hex + 2 * i, "%2hhx", &group.bytes[i]) != 1)
				return false;
	}
	at->group = group;
	return !is_kernels(&group);
}

static FILE *open_table(int pid, const char *table)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/net/%s", pid, table);
	return fopen(path, "re");
}

/* room for one more; NULL when there is none */
static void *grow(void **array, int count, size_t size)
{
	void *more = count < ENTRIES_MAX ? reallocarray(*array, (size_t)count + 1, size) : NULL;

	if (!more)
		return NULL;
	*array = more;
	return (char *)more + (size_t)count * size;
}

int rb_sockets_read(int pid, struct rb_socket **ret)
{
	static const struct {
		const char *name;
		int protocol;
	} tables[] = {
		{ "tcp", IPPROTO_TCP },
		{ "tcp6", IPPROTO_TCP },
		{ "udp", IPPROTO_UDP },
		{ "udp6", IPPROTO_UDP },
	};
	_cleanup_free_ void *list = NULL;
	int count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		_cleanup_fclose_ FILE *file = open_table(pid, tables[i].name);
		struct rb_socket sock, *at;
		char line[512];

		while (file && fgets(line, sizeof(line), file))
			if (rb_socket_parse(line, tables[i].protocol, &sock) &&
			    (at = grow(&list, count, sizeof(sock)))) {
				*at = sock;
				count++;
			}
	}
	*ret = TAKE_PTR(list);
	return count;
}

int rb_memberships_read(int pid, struct rb_membership **ret)
{
	_cleanup_free_ void *list = NULL;
	int count = 0;

	for (int six = 0; six < 2; six++) {
		_cleanup_fclose_ FILE *file = open_table(pid, six ? "igmp6" : "igmp");
		struct rb_membership group = {}, *at;
		char line[256];

		while (file && fgets(line, sizeof(line), file))
			if (rb_membership_parse(line, six ? AF_INET6 : AF_INET, &group) &&
			    (at = grow(&list, count, sizeof(group)))) {
				*at = group;
				count++;
			}
	}
	*ret = TAKE_PTR(list);
	return count;
}

bool rb_default_gateway(int pid, struct rb_ip *ret)
{
	_cleanup_fclose_ FILE *file = open_table(pid, "route");
	char line[256], gateway[9];
	unsigned int destination, mask;

	/* interface, destination, gateway, flags, references, use, metric, mask */
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%*s %x %8[0-9A-Fa-f] %*x %*d %*u %*d %x", &destination, gateway,
			   &mask) == 3 &&
		    destination == 0 && mask == 0)
			return parse_words(gateway, ret) && !rb_ip_is_any(ret);
	return false;
}
