// SPDX-License-Identifier: Apache-2.0
/* test_ipv6.c - duplicate address detection that is put off */
#include "testnet.h"

static struct testnet net;
static struct rb_err err;

#define SHOW "ip -6 -o addr show dev %s scope link"

static void test_dad(void)
{
	int was = -1;

	go_to(net.inside);
	CHECK_OK(rb_dad_suspend(&was, &err));
	CHECK_INT(was, 1);
	CHECK_INT(add_cable(&net, "d0", "q0"), 0);
	/* the far end comes up last, and with it the address */
	CHECK_INT(sh(net.inside,
		     "for i in $(seq 100); do " SHOW " | grep -q . && break; sleep 0.01; done",
		     "d0"),
		  0);
	CHECK_INT(sh(net.inside, SHOW " | grep -q fe80:", "d0"), 0);
	CHECK_INT(sh(net.inside, SHOW " | grep tentative; [ $? = 1 ]", "d0"), 0);
	rb_dad_resume(was);
	CHECK_INT(sh(net.inside,
		     "cd /proc/sys/net/ipv6/conf; [ \"$(cat default/accept_dad c0/accept_dad "
		     "d0/accept_dad | xargs)\" = '1 1 1' ]"),
		  0);
	/* where it was off it stays off, and there is nothing to resume */
	CHECK_INT(sh(net.inside, "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad"), 0);
	CHECK_OK(rb_dad_suspend(&was, &err));
	rb_dad_resume(was);
	CHECK_INT(sh(net.inside,
		     "cd /proc/sys/net/ipv6/conf; [ \"$(cat default/accept_dad c0/accept_dad | "
		     "xargs)\" = '0 1' ]"),
		  0);
}

int main(void)
{
	if (geteuid() != 0 || testnet_up(&net) < 0 || access("/proc/net/if_inet6", F_OK) < 0) {
		printf("1..0 # SKIP needs root, iproute2, network namespaces and IPv6\n");
		return 0;
	}
	NET_RUN(net, test_dad);
	testnet_down(&net);
	return tap_done();
}
