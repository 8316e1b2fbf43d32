// SPDX-License-Identifier: Apache-2.0
/*
 * test_mend.c - what a killed CRIU leaves goes away, what belongs to the container stays
 *
 * The rules are CRIU 4.1.1's own text, from criu/net.c.
 */
#include "testnet.h"

#include <netinet/tcp.h>
#include <signal.h>
#include <sys/wait.h>

#define PORT 7003
#define LOCK                                                                        \
	"printf '*filter\\n:CRIU - [0:0]\\n-I INPUT -j CRIU\\n-I OUTPUT -j CRIU\\n" \
	"-A CRIU -m mark --mark 0xC114 -j ACCEPT\\n-A CRIU -j DROP\\nCOMMIT\\n' | "

static struct testnet net;
static struct rb_err err;

static bool have(const char *program)
{
	char command[64];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
	return system(command) == 0;
}

static int udp_over_lo(void)
{
	int r;

	go_to(net.inside);
	r = (int)send_udp("127.0.0.1", 9);
	go_to(net.host);
	return r;
}

static void test_nothing_to_mend(void)
{
	CHECK_OK(rb_net_mend(net.inside, &err));
	CHECK_INT(sh(net.inside, "test -z \"$(nft list tables)\""), 0);
}

static void test_nftables_lock(void)
{
	CHECK_INT(sh(net.inside, "nft '\n"
				 "create table inet CRIU-b8a1-4f\n"
				 "add chain inet CRIU-b8a1-4f output { type filter hook output "
				 "priority 0; policy drop; }\n"
				 "add rule inet CRIU-b8a1-4f output meta mark 0xC114 accept\n"
				 "create table inet CRIU-77\n"
				 "create table inet CRIUS\n"
				 "create table ip CRIU-77\n"
				 "create table inet theirs'"),
		  0);
	CHECK_INT(udp_over_lo(), -EPERM);
	CHECK_OK(rb_net_mend(net.inside, &err));
	CHECK_INT(udp_over_lo(), 5);
	CHECK_INT(sh(net.inside, "test \"$(nft list tables | tr '\\n' ,)\" = "
				 "'table inet CRIUS,table ip CRIU-77,table inet theirs,'"),
		  0);
	CHECK_INT(sh(net.inside, "nft flush ruleset"), 0);
}

static void lock_and_mend(const char *v4, const char *v6)
{
	CHECK_INT(sh(net.inside, "%s -A OUTPUT -p tcp --dport 1 -j DROP", v4), 0);
	for (int i = 0; i < 2; i++) { /* twice: CRIU was killed twice */
		CHECK_INT(sh(net.inside, LOCK "%s-restore -n", v4), 0);
		CHECK_INT(sh(net.inside, LOCK "%s-restore -n", v6), 0);
	}
	CHECK_INT(udp_over_lo(), -EPERM);
	CHECK_OK(rb_net_mend(net.inside, &err));
	CHECK_INT(udp_over_lo(), 5);
	CHECK_INT(sh(net.inside, "! %s-save | grep -q CRIU && ! %s-save | grep -q CRIU", v4, v6),
		  0);
	CHECK_INT(sh(net.inside, "%s -S OUTPUT | grep -q -- '--dport 1'", v4), 0);
	CHECK_OK(rb_net_mend(net.inside, &err));
}

static void test_iptables_nft_lock(void)
{
	lock_and_mend("iptables-nft", "ip6tables-nft");
	sh(net.inside, "nft flush ruleset");
}

static void test_iptables_legacy_lock(void)
{
	lock_and_mend("iptables-legacy", "ip6tables-legacy");
}

/* another process's connection, as CRIU leaves it */
static void test_repair_ends(void)
{
	_cleanup_close_ int listener = -EBADF, server = -EBADF, client = -EBADF;
	int on = 1, value = -1;
	socklen_t len = sizeof(value);
	pid_t pid;

	go_to(net.inside);
	listener = tcp_listen(PORT);
	go_to(net.peer);
	client = tcp_connect(INSIDE, PORT);
	go_to(net.host);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(client >= 0 && server >= 0);
	pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	CHECK_INT(rb_tcp_repair_off(pid, &err), 0);
	CHECK_INT(setsockopt(server, SOL_TCP, TCP_REPAIR, &on, sizeof(on)), 0);
	CHECK_INT(rb_tcp_repair_off(pid, &err), 1);
	CHECK_INT(rb_tcp_repair_off(pid, &err), 0);
	CHECK_INT(getsockopt(server, SOL_TCP, TCP_REPAIR, &value, &len), 0);
	CHECK_INT(value, 0);
	CHECK_INT(getsockopt(server, SOL_SOCKET, SO_REUSEADDR, &value, &len), 0);
	CHECK_INT(value, 1);
	CHECK_INT(send(server, "there", 5, 0), 5);
	CHECK(receives(client, "there", 3000));
	CHECK_INT(send(client, "back", 4, 0), 4);
	CHECK(receives(server, "back", 3000));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK(rb_tcp_repair_off(pid, &err) < 0);
}

int main(void)
{
	if (geteuid() != 0 || testnet_up(&net) < 0) {
		printf("1..0 # SKIP needs root, iproute2 and network namespaces\n");
		return 0;
	}
	NET_RUN(net, test_nothing_to_mend);
	NET_RUN(net, test_nftables_lock);
	if (have("iptables-nft"))
		NET_RUN(net, test_iptables_nft_lock);
	else
		TAP_SKIP(test_iptables_nft_lock, "no iptables-nft here");
	if (have("iptables-legacy"))
		NET_RUN(net, test_iptables_legacy_lock);
	else
		TAP_SKIP(test_iptables_legacy_lock, "no iptables-legacy here");
	NET_RUN(net, test_repair_ends);
	testnet_down(&net);
	return tap_done();
}
