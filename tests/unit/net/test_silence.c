// SPDX-License-Identifier: Apache-2.0
/*
 * test_silence.c - not one frame leaves or enters a silenced namespace, and all flows again after
 */
#include "testnet.h"

#include <signal.h>
#include <sys/wait.h>

#define PORT	    7001
#define CLOSED_PORT 7999
#define FLOW_MS	    15000 /* timers of TCP double while nothing is heard */
/* longer than TCP's shortest retransmission timeout and a second of ARP is not needed: what is
 * provoked here leaves at once or within 200 ms */
#define QUIET_MS 700

static struct testnet net;
static struct rb_err err;

/* what a connection needs: both ends, and a sniffer at the peer */
struct connection {
	int listener; /* inside */
	int server;   /* inside */
	int client;   /* peer */
};

static void connection_close(struct connection *c)
{
	rb_close_fd(&c->listener);
	rb_close_fd(&c->server);
	rb_close_fd(&c->client);
}

static int connection_open(struct connection *c)
{
	go_to(net.inside);
	c->listener = tcp_listen(PORT);
	go_to(net.peer);
	c->client = tcp_connect(INSIDE, PORT);
	c->server = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
	go_to(net.host);
	return c->client < 0 || c->server < 0 ? -EIO : 0;
}

static int sniff_peer(const char *dev)
{
	int fd;

	go_to(net.peer);
	fd = sniff(dev);
	go_to(net.host);
	return fd;
}

/* all that programs and the kernel inside can be made to send */
static void provoke(const struct connection *c)
{

	go_to(net.inside);
	send_udp(PEER, 9);
	send_udp(NOBODY, 9); /* makes the kernel ask for the address */
	send_raw("c0");
	sh(net.inside, "bash -c 'echo > /dev/udp/fd09::1/9; echo > /dev/udp/fd09::99/9'");
	if (c)
		send(c->server, "data", 4, MSG_DONTWAIT | MSG_NOSIGNAL);
	go_to(net.peer);
	send_udp(INSIDE, CLOSED_PORT); /* "port unreachable" comes back */
	if (c)
		send(c->client, "data", 4, MSG_DONTWAIT | MSG_NOSIGNAL); /* is acknowledged */
	go_to(net.host);
}

static void test_flows_without_silence(void)
{
	_cleanup_(connection_close) struct connection c = { -EBADF, -EBADF, -EBADF };
	_cleanup_close_ int tap = sniff_peer("p0");

	CHECK_INT(connection_open(&c), 0);
	drain(tap);
	provoke(&c);
	/* so that "nothing was seen" means something below */
	CHECK_INT(frames_seen(tap, FLOW_MS, SAW_ALL, NULL, 0), SAW_ALL);
	CHECK_INT(rb_silence_is_on(net.inside, &err), 0);
}

static void test_nothing_leaves(void)
{
	_cleanup_(connection_close) struct connection c = { -EBADF, -EBADF, -EBADF };
	_cleanup_close_ int tap = sniff_peer("p0");

	CHECK_INT(connection_open(&c), 0);
	CHECK_OK(rb_silence_on(net.inside, &err));
	CHECK_INT(rb_silence_is_on(net.inside, &err), 1);
	drain(tap);
	provoke(&c);
	CHECK_INT(frames_seen(tap, QUIET_MS, 0, NULL, 0), 0);

	/* what was sent meanwhile is not lost to the connection */
	CHECK_OK(rb_silence_lift(net.inside, &err));
	CHECK_INT(rb_silence_is_on(net.inside, &err), 0);
	CHECK(receives(c.client, "data", FLOW_MS));
	CHECK(receives(c.server, "data", FLOW_MS));
	CHECK_OK(rb_silence_on(net.inside, &err));
	drain(tap);
	provoke(&c);
	CHECK_INT(frames_seen(tap, QUIET_MS, 0, NULL, 0), 0);
	CHECK_OK(rb_silence_off(net.inside, &err));
	CHECK(receives(c.client, "data", FLOW_MS));
}

static void test_nothing_enters(void)
{
	_cleanup_close_ int fd = -EBADF;
	struct sockaddr_in any = addr4("0.0.0.0", PORT);

	go_to(net.inside);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	go_to(net.host);
	CHECK_INT(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	CHECK_OK(rb_silence_on(net.inside, &err));
	go_to(net.peer);
	send_udp(INSIDE, PORT);
	go_to(net.host);
	CHECK(!receives(fd, "hello", 100));
	CHECK_OK(rb_silence_off(net.inside, &err));
	go_to(net.peer);
	send_udp(INSIDE, PORT);
	go_to(net.host);
	CHECK(receives(fd, "hello", FLOW_MS));
}

/* the container still runs for a moment: it may lose packets, but must see no errors */
static void test_senders_see_no_error(void)
{
	CHECK_OK(rb_silence_on(net.inside, &err));
	go_to(net.inside);
	CHECK_INT(send_udp(PEER, 9), 5);
	go_to(net.host);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

/* a process with connections is killed, another resets its own */
static void test_dying_sockets_are_silent(void)
{
	_cleanup_(connection_close) struct connection c = { -EBADF, -EBADF, -EBADF };
	struct linger reset = { .l_onoff = 1 };
	_cleanup_close_ int tap = sniff_peer("p0");
	pid_t pid;

	CHECK_INT(connection_open(&c), 0);
	pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	rb_close_fd(&c.server);
	rb_close_fd(&c.listener);
	CHECK_OK(rb_silence_on(net.inside, &err));
	drain(tap);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_INT(frames_seen(tap, QUIET_MS, 0, NULL, 0), 0);
	CHECK_OK(rb_silence_off(net.inside, &err));
	connection_close(&c);

	CHECK_INT(connection_open(&c), 0);
	CHECK_OK(rb_silence_on(net.inside, &err));
	drain(tap);
	setsockopt(c.server, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	rb_close_fd(&c.server);
	CHECK_INT(frames_seen(tap, QUIET_MS, 0, NULL, 0), 0);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

static void test_loopback_works(void)
{
	_cleanup_close_ int listener = -EBADF, client = -EBADF, server = -EBADF;

	CHECK_OK(rb_silence_on(net.inside, &err));
	go_to(net.inside);
	listener = tcp_listen(PORT + 1);
	client = tcp_connect("127.0.0.1", PORT + 1);
	CHECK(client >= 0);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK_INT(send(client, "over lo", 7, 0), 7);
	CHECK(receives(server, "over lo", 1000));
	rb_close_fd(&client);
	client = tcp_connect(INSIDE, PORT + 1); /* the own address goes over lo, too */
	CHECK(client >= 0);
	CHECK_INT(sh(net.inside, "bash -c 'echo > /dev/tcp/127.0.0.1/%d'", PORT + 1), 0);
	go_to(net.host);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

static void test_loopback_stops_on_demand(void)
{
	CHECK_INT(rb_silence_loopback(net.inside, &err), -ENOENT);
	CHECK_OK(rb_silence_on(net.inside, &err));
	CHECK_OK(rb_silence_loopback(net.inside, &err));
	go_to(net.inside);
	CHECK_INT(send_udp("127.0.0.1", 9), -EPERM);
	go_to(net.host);
	/* a new device does not open it */
	CHECK_INT(add_cable(&net, "c3", "p3"), 0);
	CHECK_OK(rb_silence_on(net.inside, &err));
	go_to(net.inside);
	CHECK_INT(send_udp(INSIDE, 9), -EPERM);
	go_to(net.host);
	CHECK_OK(rb_silence_lift(net.inside, &err));
	go_to(net.inside);
	CHECK_INT(send_udp("127.0.0.1", 9), 5);
	go_to(net.host);
	CHECK_OK(rb_silence_on(net.inside, &err));
	go_to(net.inside);
	CHECK_INT(send_udp("127.0.0.1", 9), 5);
	go_to(net.host);
	CHECK_OK(rb_silence_off(net.inside, &err));
	CHECK_INT(sh(net.inside, "ip link del c3"), 0);
}

static void test_later_device(void)
{
	_cleanup_close_ int tap = -EBADF;

	CHECK_OK(rb_silence_on(net.inside, &err));
	CHECK_INT(sh(net.inside, "ip link add c1 type veth peer name p1 netns /proc/%d/fd/%d",
		     (int)getpid(), net.peer),
		  0);
	CHECK_INT(sh(net.peer, "ip link set p1 up && ip addr add 10.10.0.1/24 dev p1"), 0);
	tap = sniff_peer("p1");
	/* coming up makes the kernel speak: router solicitation, multicast reports */
	CHECK_INT(sh(net.inside, "ip link set c1 up && ip addr add 10.10.0.2/24 dev c1"), 0);
	go_to(net.inside);
	send_udp("10.10.0.1", 9);
	go_to(net.peer);
	send_udp("10.10.0.2", 9);
	CHECK_INT(frames_seen(tap, 1500, 0, NULL, 0), 0);
	go_to(net.inside);
	CHECK_INT(send_raw("c1"), 60); /* layer 2 is open until the second call */
	go_to(net.host);
	CHECK_INT(frames_seen(tap, FLOW_MS, SAW_OTHER, NULL, 0), SAW_OTHER);

	CHECK_OK(rb_silence_on(net.inside, &err));
	drain(tap);
	go_to(net.inside);
	CHECK_INT(send_raw("c1"), -1);
	send_udp("10.10.0.1", 9);
	go_to(net.host);
	CHECK_INT(frames_seen(tap, QUIET_MS, 0, NULL, 0), 0);

	CHECK_INT(sh(net.inside, "ip link del c1"), 0);
	CHECK_OK(rb_silence_on(net.inside, &err));
	CHECK_INT(rb_silence_is_on(net.inside, &err), 1);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

/* a container may name its devices as it likes; what looks like a command must not become one */
static void test_hostile_device_name(void)
{
	_cleanup_close_ int tap = -EBADF;

	CHECK_INT(sh(net.inside,
		     "ip link add '\"};include\"a' type veth peer name p2 netns "
		     "/proc/%d/fd/%d",
		     (int)getpid(), net.peer),
		  0);
	CHECK_OK(rb_silence_on(net.inside, &err));
	CHECK_INT(sh(net.peer, "ip link set p2 up"), 0);
	tap = sniff_peer("p2");
	CHECK_INT(sh(net.inside, "ip link set '\"};include\"a' up && "
				 "ip addr add 10.11.0.2/24 dev '\"};include\"a'"),
		  0);
	go_to(net.inside);
	send_udp("10.11.0.1", 9);
	go_to(net.host);
	CHECK_INT(frames_seen(tap, QUIET_MS, 0, NULL, 0), 0);
	CHECK_OK(rb_silence_off(net.inside, &err));
	CHECK_INT(sh(net.inside, "ip link del '\"};include\"a'"), 0);
}

static void test_calls_repeat(void)
{
	CHECK_OK(rb_silence_lift(net.inside, &err));
	CHECK_OK(rb_silence_off(net.inside, &err));
	for (int i = 0; i < 3; i++) {
		CHECK_OK(rb_silence_on(net.inside, &err));
		CHECK_OK(rb_silence_on(net.inside, &err));
		CHECK_INT(rb_silence_is_on(net.inside, &err), 1);
		CHECK_OK(rb_silence_lift(net.inside, &err));
		CHECK_OK(rb_silence_lift(net.inside, &err));
		CHECK_INT(rb_silence_is_on(net.inside, &err), 0);
	}
	/* whoever removes a part of it gets the whole back */
	CHECK_INT(sh(net.inside, "nft delete table netdev reberth"), 0);
	CHECK_OK(rb_silence_lift(net.inside, &err));
	CHECK_INT(sh(net.inside, "test -z \"$(nft list tables)\""), 0);
	CHECK_OK(rb_silence_on(net.inside, &err));
	CHECK_INT(sh(net.inside, "nft delete table netdev reberth"), 0);
	CHECK_INT(sh(net.inside, "nft insert rule inet reberth gate_in accept"), 0);
	CHECK_OK(rb_silence_on(net.inside, &err));
	CHECK_INT(sh(net.inside, "nft list chain netdev reberth out_c0"), 0);
	CHECK_OK(rb_silence_off(net.inside, &err));
	CHECK_OK(rb_silence_off(net.inside, &err));
	CHECK_INT(sh(net.inside, "test -z \"$(nft list tables)\""), 0);
}

static int has_chain(const char *table, const char *chain)
{
	return sh(net.inside, "nft list table %s | grep -q 'chain %s '", table, chain) == 0;
}

/* With tables that are there, gates are all that is turned: what else is in the tables stays. */
static void test_prepared(void)
{
	_cleanup_close_ int tap = sniff_peer("p0");

	CHECK_OK(rb_silence_prepare(net.inside, &err));
	CHECK_INT(rb_silence_is_on(net.inside, &err), 0);
	drain(tap);
	provoke(NULL);
	CHECK(frames_seen(tap, FLOW_MS, SAW_OTHER, NULL, 0) & SAW_OTHER);
	CHECK_INT(sh(net.inside, "nft add chain inet reberth marker"), 0);
	/* whoever made what stands there */
	CHECK_OK(rb_silence_prepare(net.inside, &err));
	CHECK_INT(has_chain("inet reberth", "marker"), 0);
	CHECK_OK(rb_silence_hearing(net.inside, &err));
	CHECK_INT(rb_silence_is_on(net.inside, &err), 0);
	/* a gate that is shut stays shut */
	CHECK_OK(rb_silence_prepare(net.inside, &err));
	CHECK_INT(sh(net.inside, "nft add chain inet reberth marker"), 0);
	CHECK_OK(rb_silence_all(net.inside, &err));
	CHECK_INT(rb_silence_is_on(net.inside, &err), 1);
	drain(tap);
	provoke(NULL);
	CHECK_INT(frames_seen(tap, QUIET_MS, 0, NULL, 0), 0);
	go_to(net.inside);
	CHECK_INT(send_udp("127.0.0.1", 9), -EPERM);
	go_to(net.host);
	CHECK_INT(has_chain("inet reberth", "marker"), 1);
	CHECK_OK(rb_silence_lift(net.inside, &err));
	CHECK_INT(has_chain("inet reberth", "marker"), 1);

	/* tables of before, and what somebody took away, are made again */
	CHECK_INT(sh(net.inside, "nft flush table netdev reberth"), 0);
	CHECK_INT(sh(net.inside, "nft delete chain netdev reberth heard"), 0);
	CHECK_OK(rb_silence_all(net.inside, &err));
	CHECK_INT(has_chain("netdev reberth", "heard"), 1);
	CHECK_INT(has_chain("inet reberth", "marker"), 0);
	CHECK_INT(rb_silence_is_on(net.inside, &err), 1);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

/* whatever somebody takes away while the rest stays is missed, and made again: of layer 2 above all
 */
static void test_parts_of_it(void)
{
	static const char *const commands[] = {
		"nft flush table netdev reberth",
		"nft delete table netdev reberth",
		"nft flush chain netdev reberth gate_out",
		"nft flush chain netdev reberth out_c0",
		"nft flush chain netdev reberth in_c0",
		"nft flush chain netdev reberth heard",
		"nft insert rule netdev reberth gate_in accept",
		"nft flush chain arp reberth gate_out",
		"nft flush table inet reberth",
	};
	_cleanup_close_ int tap = sniff_peer("p0");

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		printf("# %s\n", commands[i]);
		CHECK_OK(rb_silence_all(net.inside, &err));
		CHECK_INT(rb_silence_is_on(net.inside, &err), 1);
		CHECK_INT(sh(net.inside, "%s", commands[i]), 0);
		CHECK_INT(rb_silence_is_on(net.inside, &err), 0);
		CHECK_OK(rb_silence_on(net.inside, &err));
		CHECK_INT(rb_silence_is_on(net.inside, &err), 1);
		/* loopback stays as it was, unless it was its own table */
		go_to(net.inside);
		if (!strstr(commands[i], "inet"))
			CHECK_INT(send_udp("127.0.0.1", 9), -EPERM);
		go_to(net.host);
	}
	drain(tap);
	provoke(NULL);
	CHECK_INT(frames_seen(tap, QUIET_MS, 0, NULL, 0), 0);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

/* what the frozen time has of it: the fastest of some */
static void test_time_of_a_look(void)
{
	enum { LOOKS = 200 };
	int64_t on_us = INT64_MAX, all_us = INT64_MAX;

	CHECK_OK(rb_silence_all(net.inside, &err));
	for (int i = 0; i < LOOKS; i++) {
		int64_t began_us = rb_now_us(), then_us;

		CHECK_INT(rb_silence_is_on(net.inside, &err), 1);
		then_us = rb_now_us();
		CHECK_OK(rb_silence_all(net.inside, &err));
		on_us = then_us - began_us < on_us ? then_us - began_us : on_us;
		all_us = rb_now_us() - then_us < all_us ? rb_now_us() - then_us : all_us;
	}
	printf("# is it on: %lld us; nothing to turn: %lld us\n", (long long)on_us,
	       (long long)all_us);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

/* many of them, each of which a gate has to know */
static void test_many_devices(void)
{
	CHECK_INT(sh(net.inside,
		     "bash -c 'for i in $(seq 60); do ip link add m$i type veth peer name n$i; "
		     "done'"),
		  0);
	CHECK_OK(rb_silence_prepare(net.inside, &err));
	CHECK_INT(sh(net.inside, "nft add chain inet reberth marker"), 0);
	CHECK_OK(rb_silence_on(net.inside, &err));
	CHECK_INT(has_chain("inet reberth", "marker"), 1);
	/* another one of the same name is another device */
	CHECK_INT(sh(net.inside, "ip link del m7 && ip link add m7 type veth peer name n7"), 0);
	CHECK_OK(rb_silence_on(net.inside, &err));
	CHECK_INT(has_chain("inet reberth", "marker"), 0);
	CHECK_INT(rb_silence_is_on(net.inside, &err), 1);
	CHECK_OK(rb_silence_off(net.inside, &err));
	CHECK_INT(sh(net.inside, "bash -c 'for i in $(seq 60); do ip link del m$i; done'"), 0);
}

/* seen from a child, we are the daemon, and our namespace is the host's */
static void test_host_namespace_is_refused(void)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(rb_silence_on(net.host, &err) == -EINVAL && err.code == RB_E_REFUSED ? 0 : 1);
	waitpid(pid, &status, 0);
	CHECK_INT(status, 0);
	CHECK_INT(rb_silence_is_on(net.host, &err), 0);
}

/* a placeholder does this */
static void test_own_namespace_is_allowed(void)
{
	go_to(net.inside);
	CHECK_OK(rb_silence_on(net.inside, &err));
	go_to(net.host);
	CHECK_OK(rb_silence_off(net.inside, &err));
}

int main(void)
{
	if (geteuid() != 0 || testnet_up(&net) < 0) {
		printf("1..0 # SKIP needs root, iproute2 and network namespaces\n");
		return 0;
	}
	NET_RUN(net, test_flows_without_silence);
	NET_RUN(net, test_nothing_leaves);
	NET_RUN(net, test_nothing_enters);
	NET_RUN(net, test_senders_see_no_error);
	NET_RUN(net, test_dying_sockets_are_silent);
	NET_RUN(net, test_loopback_works);
	NET_RUN(net, test_loopback_stops_on_demand);
	NET_RUN(net, test_later_device);
	NET_RUN(net, test_hostile_device_name);
	NET_RUN(net, test_calls_repeat);
	NET_RUN(net, test_prepared);
	NET_RUN(net, test_parts_of_it);
	NET_RUN(net, test_time_of_a_look);
	NET_RUN(net, test_many_devices);
	NET_RUN(net, test_host_namespace_is_refused);
	NET_RUN(net, test_own_namespace_is_allowed);
	testnet_down(&net);
	return tap_done();
}
