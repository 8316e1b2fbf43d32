/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sockets.h - what the sockets of a network namespace are bound to, connected to and listen for, as
 * /proc/PID/net tells it (proc(5)); a look at a container that runs
 */
#pragma once

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rb_err;

/** An address of either family; of IPv4 the first four bytes count. */
struct rb_ip {
	int family; /* AF_INET or AF_INET6 */
	uint8_t bytes[16];
};

struct rb_socket {
	int protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	struct rb_ip local, peer;
	uint16_t local_port, peer_port;
	bool listening; /* TCP */
	bool connected; /* has a peer, and is not past its end */
};

/** A multicast group that somebody joined on a device. */
struct rb_membership {
	char device[IF_NAMESIZE];
	unsigned int index; /* of the device */
	struct rb_ip group;
};

/** rb_ip_parse - from text, without prefix length. Return: false when it is none. */
bool rb_ip_parse(const char *text, struct rb_ip *ret);
/** rb_ip_text - @ret has room for INET6_ADDRSTRLEN */
const char *rb_ip_text(const struct rb_ip *ip, char *ret);
bool rb_ip_equal(const struct rb_ip *a, const struct rb_ip *b);
/** rb_ip_is_any - 0.0.0.0 or :: */
bool rb_ip_is_any(const struct rb_ip *ip);
bool rb_ip_is_loopback(const struct rb_ip *ip);
/** rb_ip_unmap - an IPv4 address in IPv6's clothes (::ffff:10.88.1.2) becomes one of IPv4 */
void rb_ip_unmap(struct rb_ip *ip);
/** rb_ip_is_link_local - fe80::/10; those of IPv4 are like any other */
bool rb_ip_is_link_local(const struct rb_ip *ip);
/** rb_ip_in_subnet - @subnet as "10.88.0.0/16" */
bool rb_ip_in_subnet(const struct rb_ip *ip, const char *subnet);

/** rb_host_has_ip - does a device of the namespace that we are in have this address? */
bool rb_host_has_ip(const struct rb_ip *ip);

/**
 * rb_sockets_read - the TCP and UDP sockets of a process's network namespace
 * @ret: for free(3)
 *
 * An IPv4 address that an IPv6 socket has is given as such.
 *
 * Return: their number; 0 also when they cannot be read.
 */
int rb_sockets_read(int pid, struct rb_socket **ret);

/**
 * rb_unix_peers - with whom a process speaks over unix sockets: who connected, or listened
 *
 * As the sockets remember it: who has inherited one since is not named. Needs CAP_SYS_PTRACE.
 *
 * Return: number of processes, at most @max of them in @ret; one may be named more than once.
 */
int rb_unix_peers(int pid, pid_t *ret, int max);

/** rb_memberships_read - the multicast groups, but for those that the kernel itself is in; likewise
 */
int rb_memberships_read(int pid, struct rb_membership **ret);

/** rb_default_gateway - of IPv4; false when there is none */
bool rb_default_gateway(int pid, struct rb_ip *ret);

/* --- lines of these files; for the tests --- */

/** rb_socket_parse - a line of /proc/PID/net/{tcp,udp}{,6}; false for the heading and the like */
bool rb_socket_parse(const char *line, int protocol, struct rb_socket *ret);

/** rb_membership_parse - a line of igmp or igmp6; false when it is no group that a program joined
 * @at: of igmp the device that was named last; kept between calls, all zeros at first */
bool rb_membership_parse(const char *line, int family, struct rb_membership *at);
