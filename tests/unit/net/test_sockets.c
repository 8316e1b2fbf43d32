// SPDX-License-Identifier: Apache-2.0
/*
 * test_sockets.c - addresses, and the lines of /proc/PID/net
 */
#include "testnet.h"

#include <sys/wait.h>

#include "sockets.h"

static struct testnet net;

static struct rb_ip ip(const char *text)
{
	struct rb_ip ret = {};

	if (!rb_ip_parse(text, &ret))
		printf("# '%s' is no address\n", text);
	return ret;
}

static void addresses_and_subnets(void)
{
	static const struct {
		const char *address, *subnet;
		bool in;
	} cases[] = {
		{ "10.88.1.2", "10.88.0.0/16", true },
		{ "10.89.1.2", "10.88.0.0/16", false },
		{ "10.88.1.2", "10.88.1.2/32", true },
		{ "10.88.1.3", "10.88.1.2/32", false },
		{ "10.88.1.3", "0.0.0.0/0", true },
		{ "10.88.1.3", "10.88.0.0", false },
		{ "10.88.1.3", "10.88.0.0/33", false },
		{ "fd01::5", "fd01::/64", true },
		{ "fd02::5", "fd01::/64", false },
		{ "10.88.1.2", "fd01::/64", false },
		{ "10.88.1.2", "", false },
		{ "192.168.129.1", "192.168.128.0/17", true },
		{ "192.168.127.1", "192.168.128.0/17", false },
	};
	struct rb_ip address, nothing;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		address = ip(cases[i].address);
		printf("# %s in %s\n", cases[i].address, cases[i].subnet);
		CHECK_INT(rb_ip_in_subnet(&address, cases[i].subnet), cases[i].in);
	}
	CHECK_INT(rb_ip_parse("", &nothing), false);
	CHECK_INT(rb_ip_parse("10.88.1.2/16", &nothing), false);
	address = ip("127.1.2.3");
	CHECK_INT(rb_ip_is_loopback(&address), true);
	address = ip("::1");
	CHECK_INT(rb_ip_is_loopback(&address), true);
	address = ip("::");
	CHECK_INT(rb_ip_is_loopback(&address), false);
	CHECK_INT(rb_ip_is_any(&address), true);
	CHECK_INT(rb_ip_is_link_local(&address), false);
	address = ip("fe80::1");
	CHECK_INT(rb_ip_is_link_local(&address), true);
	address = ip("febf::1");
	CHECK_INT(rb_ip_is_link_local(&address), true);
	address = ip("fec0::1");
	CHECK_INT(rb_ip_is_link_local(&address), false);
}

static void lines_of_tcp(void)
{
	struct rb_socket sock = {};
	char text[INET6_ADDRSTRLEN];

	CHECK_INT(rb_socket_parse("  sl  local_address rem_address   st tx_queue rx_queue\n",
				  IPPROTO_TCP, &sock),
		  false);
	CHECK_INT(rb_socket_parse("   0: 0201580A:1F90 0100580A:C350 01 00000000:00000000 02:0 0\n",
				  IPPROTO_TCP, &sock),
		  true);
	CHECK_STR(rb_ip_text(&sock.local, text), "10.88.1.2");
	CHECK_STR(rb_ip_text(&sock.peer, text), "10.88.0.1");
	CHECK_INT(sock.local_port, 8080);
	CHECK_INT(sock.peer_port, 50000);
	CHECK_INT(sock.connected, true);
	CHECK_INT(sock.listening, false);
	rb_socket_parse("   1: 00000000:1F90 00000000:0000 0A 00000000:00000000\n", IPPROTO_TCP,
			&sock);
	CHECK_INT(sock.listening, true);
	CHECK_INT(sock.connected, false);
	CHECK_INT(rb_ip_is_any(&sock.local), true);
	rb_socket_parse("   1: 0201580A:1F90 0100580A:C350 06 00000000:00000000\n", IPPROTO_TCP,
			&sock);
	CHECK_INT(sock.connected, false);
	rb_socket_parse("   1: 0201580A:1F90 00000000:0000 07 00000000:00000000\n", IPPROTO_UDP,
			&sock);
	CHECK_INT(sock.connected, false);
	CHECK_INT(sock.listening, false);
}

static void an_ipv4_address_of_an_ipv6_socket_is_one(void)
{
	struct rb_socket sock = {};
	char text[INET6_ADDRSTRLEN];

	CHECK_INT(rb_socket_parse("   0: 0000000000000000FFFF00000201580A:0050 "
				  "0000000000000000FFFF00000100580A:C350 01 0:0\n",
				  IPPROTO_TCP, &sock),
		  true);
	CHECK_INT(sock.peer.family, AF_INET);
	CHECK_STR(rb_ip_text(&sock.peer, text), "10.88.0.1");
	rb_socket_parse("   0: 000001FD000000000000000005000000:0050 "
			"000001FD000000000000000006000000:C350 01 0:0\n",
			IPPROTO_TCP, &sock);
	CHECK_INT(sock.local.family, AF_INET6);
	CHECK_STR(rb_ip_text(&sock.local, text), "fd01::5");
}

static void only_groups_that_a_program_joined_count(void)
{
	char text[INET6_ADDRSTRLEN];
	struct rb_membership group = {};

	CHECK_INT(rb_membership_parse("Idx\tDevice    : Count Querier\tGroup    Users\n", AF_INET,
				      &group),
		  false);
	CHECK_INT(rb_membership_parse("7\teth0      :     2      V3\n", AF_INET, &group), false);
	CHECK_INT(rb_membership_parse("\t\t\t\t010000E0     1 0:00000000\t\t0\n", AF_INET, &group),
		  false);
	CHECK_INT(rb_membership_parse("\t\t\t\t050107EF     1 0:00000000\t\t0\n", AF_INET, &group),
		  true);
	CHECK_STR(group.device, "eth0");
	CHECK_INT(group.index, 7);
	CHECK_STR(rb_ip_text(&group.group, text), "239.7.1.5");
	CHECK_INT(rb_membership_parse("7    eth0            ff0200000000000000000001ff000005     1 "
				      "00000004 0\n",
				      AF_INET6, &group),
		  false);
	CHECK_INT(rb_membership_parse("7    eth0            ff020000000000000000000000000001     1 "
				      "0000000C 0\n",
				      AF_INET6, &group),
		  false);
	CHECK_INT(rb_membership_parse("8    eth1            ff05000000000000000000000000beef     1 "
				      "00000004 0\n",
				      AF_INET6, &group),
		  true);
	CHECK_STR(group.device, "eth1");
	CHECK_INT(group.index, 8);
	CHECK_STR(rb_ip_text(&group.group, text), "ff05::beef");
}

/* A program inside; the parent looks at it by its pid. */
static pid_t member(int *ret_ready)
{
	int fds[2];
	pid_t pid;

	if (pipe(fds) < 0 || (pid = fork()) < 0)
		return -1;
	if (pid == 0) {
		struct ip_mreqn group = {};
		int fd;

		go_to(net.inside);
		fd = socket(AF_INET, SOCK_DGRAM, 0);
		inet_pton(AF_INET, "239.7.1.5", &group.imr_multiaddr);
		group.imr_ifindex = (int)if_nametoindex("c0");
		if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)) < 0 ||
		    tcp_listen(7001) < 0 || write(fds[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(fds[1]);
	*ret_ready = fds[0];
	return pid;
}

static void the_kernels_own_tables(void)
{
	_cleanup_free_ struct rb_membership *groups = NULL;
	_cleanup_free_ struct rb_socket *socks = NULL;
	char text[INET6_ADDRSTRLEN], byte;
	int ready = -EBADF, count, listeners = 0;
	struct rb_ip gateway;
	pid_t pid;

	pid = member(&ready);
	CHECK_INT(read(ready, &byte, 1), 1);
	count = rb_memberships_read(pid, &groups);
	CHECK_INT(count, 1);
	if (count == 1) {
		CHECK_STR(rb_ip_text(&groups[0].group, text), "239.7.1.5");
		CHECK_STR(groups[0].device, "c0");
	}
	count = rb_sockets_read(pid, &socks);
	for (int i = 0; i < count; i++)
		listeners += socks[i].listening && socks[i].local_port == 7001;
	CHECK_INT(listeners, 1);
	CHECK_INT(rb_default_gateway(pid, &gateway), false);
	CHECK_INT(sh(net.inside, "ip route add default via " PEER), 0);
	CHECK_INT(rb_default_gateway(pid, &gateway), true);
	CHECK_STR(rb_ip_text(&gateway, text), PEER);
	close(ready);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	go_to(net.peer);
	gateway = ip(PEER6);
	CHECK_INT(rb_host_has_ip(&gateway), true);
	gateway = ip(INSIDE);
	CHECK_INT(rb_host_has_ip(&gateway), false);
}

int main(void)
{
	if (testnet_up(&net) < 0) {
		printf("Bail out! no test network\n");
		return 1;
	}
	TAP_RUN(addresses_and_subnets);
	TAP_RUN(lines_of_tcp);
	TAP_RUN(an_ipv4_address_of_an_ipv6_socket_is_one);
	TAP_RUN(only_groups_that_a_program_joined_count);
	NET_RUN(net, the_kernels_own_tables);
	testnet_down(&net);
	return tap_done();
}
