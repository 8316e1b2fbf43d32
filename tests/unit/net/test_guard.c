// SPDX-License-Identifier: Apache-2.0
/*
 * test_guard.c - a bridge hears nothing from an arriving container, but all of its other copy
 *
 *   inside: c0 --- veth0 \                    inside2 plays the container that runs on the source,
 *                         br0 (host's)        with the same hardware address, behind the uplink
 *   peer:   p9 --- lan0  /
 */
#include "testnet.h"

#define MAC	 "02:42:0a:58:00:05"
#define PEER_MAC "02:42:0a:58:00:99"
#define FLOW_MS	 3000
#define QUIET_MS 300
/* no neighbour discovery: each side speaks when it is told to */
#define QUIET	  "sysctl -qw net.ipv6.conf."
#define ON_BRIDGE "bridge fdb show br br0 | grep -i " MAC

static struct testnet net;
static struct rb_err err;

static int wire_bridge(void)
{
	int pid = getpid();

	return sh(net.host,
		  "set -e; ip link set lo up; ip link add br0 type bridge mcast_snooping 0\n"
		  "ip link add veth0 type veth peer name g0 address " MAC " netns /proc/%d/fd/%d\n"
		  "ip link add lan0 type veth peer name l0 address " MAC " netns /proc/%d/fd/%d\n"
		  "for d in veth0 lan0; do ip link set $d master br0 up; done; ip link set br0 up",
		  pid, net.inside, pid, net.peer) < 0 ||
			       sh(net.inside, QUIET "g0.disable_ipv6=1 && ip link set g0 up") < 0 ||
			       sh(net.peer, QUIET "l0.disable_ipv6=1 && ip link set l0 up") < 0
		       ? -EIO
		       : 0;
}

static int sniff_in(int netns_fd, const char *dev)
{
	int fd;

	go_to(netns_fd);
	fd = sniff(dev);
	go_to(net.host);
	return fd;
}

/* a broadcast from the address that is guarded */
static void speak(int netns_fd, const char *dev)
{
	uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
			      0x42, 0x0a, 0x58, 0x00, 0x05, 0x88, 0xb5 };
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	_cleanup_close_ int fd = -EBADF;

	go_to(netns_fd);
	to.sll_ifindex = (int)if_nametoindex(dev);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (sendto(fd, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		printf("# send on %s: %s\n", dev, strerror(errno));
	go_to(net.host);
}

static int guard(const char *id, struct rb_err *e)
{
	json_t *macs = json_pack("[s, s]", PEER_MAC, MAC);
	int r = rb_guard_on(id, macs, e);

	json_decref(macs);
	return r;
}

static void test_learns_without_guard(void)
{
	_cleanup_close_ int tap = sniff_in(net.peer, "l0");
	int seen = 0;

	/* a port that was just set up forwards nothing until the kernel has looked at its carrier
	 */
	for (int i = 0; i < 100 && !seen; i++) {
		speak(net.inside, "g0");
		seen = frames_seen(tap, FLOW_MS / 20, SAW_OTHER, NULL, 0) & SAW_OTHER;
	}
	CHECK_INT(seen, SAW_OTHER);
	CHECK_INT(sh(net.host, ON_BRIDGE " | grep -q 'dev veth0'"), 0);
	/* and back: the copy at the source speaks */
	speak(net.peer, "l0");
	CHECK_INT(sh(net.host, ON_BRIDGE " | grep -q 'dev lan0'"), 0);
}

static void test_guard_holds(void)
{
	_cleanup_close_ int tap = sniff_in(net.peer, "l0");
	_cleanup_close_ int inner = sniff_in(net.inside, "g0");

	CHECK_OK(guard("7f3a", &err));
	CHECK_OK(guard("7f3a", &err)); /* again */
	speak(net.peer, "l0");
	CHECK_INT(sh(net.host, ON_BRIDGE " | grep -q 'dev lan0'"), 0);
	drain(tap);
	drain(inner);
	speak(net.inside, "g0");
	CHECK_INT(frames_seen(tap, QUIET_MS, 0, NULL, 0) & SAW_OTHER, 0);
	CHECK_INT(sh(net.host, ON_BRIDGE " | grep -q 'dev lan0'"), 0);
	/* what the source's copy sends still gets to this host's containers */
	speak(net.peer, "l0");
	CHECK_INT(frames_seen(inner, FLOW_MS, SAW_OTHER, NULL, 0) & SAW_OTHER, SAW_OTHER);
}

static void test_guards_are_separate(void)
{
	_cleanup_close_ int tap = sniff_in(net.peer, "l0");

	CHECK_OK(guard("other", &err));
	CHECK_OK(rb_guard_off("other", &err));
	CHECK_OK(rb_guard_off("other", &err));
	speak(net.inside, "g0");
	CHECK_INT(frames_seen(tap, QUIET_MS, 0, NULL, 0) & SAW_OTHER, 0);
	CHECK_OK(rb_guard_off("7f3a", &err));
	speak(net.inside, "g0");
	CHECK_INT(frames_seen(tap, FLOW_MS, SAW_OTHER, NULL, 0) & SAW_OTHER, SAW_OTHER);
	CHECK_INT(sh(net.host, "test -z \"$(nft list tables)\""), 0);
}

static void test_bad_input_is_refused(void)
{
	json_t *bad = json_pack("[s]", "02:42:0a:58:00:05; flush ruleset");
	json_t *none = json_array(), *number = json_pack("[i]", 7);

	CHECK_INT(rb_guard_on("x", bad, &err), -EINVAL);
	CHECK_INT(rb_guard_on("x", number, &err), -EINVAL);
	CHECK_INT(guard("x y", &err), -EINVAL);
	CHECK_INT(guard("", &err), -EINVAL);
	CHECK_INT(rb_guard_off("x;y", &err), -EINVAL);
	CHECK_OK(rb_guard_on("x", none, &err));
	json_decref(bad);
	json_decref(none);
	json_decref(number);
}

int main(void)
{
	if (geteuid() != 0 || testnet_up(&net) < 0 || wire_bridge() < 0) {
		printf("1..0 # SKIP needs root, iproute2, bridges and network namespaces\n");
		return 0;
	}
	NET_RUN(net, test_learns_without_guard);
	NET_RUN(net, test_guard_holds);
	NET_RUN(net, test_guards_are_separate);
	NET_RUN(net, test_bad_input_is_refused);
	testnet_down(&net);
	return tap_done();
}
