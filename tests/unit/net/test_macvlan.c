// SPDX-License-Identifier: Apache-2.0
/*
 * test_macvlan.c - a container whose device is a macvlan, and its sibling on the same parent
 *
 * "inside" has v0 10.9.1.2, "peer" its sibling v1 10.9.1.1; their parent m0 is on the "host".
 */
#include "frames.h"
#include "testnet.h"

#define PORT	7778
#define INSIDE1 "10.9.1.2"
#define OLD	"02:00:00:00:09:02"

static struct testnet net;
static struct rb_err err;
static int server = -EBADF, client = -EBADF;

static int make_siblings(void)
{
	struct sockaddr_in any = addr4("0.0.0.0", PORT), to = addr4(INSIDE1, PORT);

	if (sh(net.host, "ip link add m0 type veth peer name m1 && ip link set m1 up && "
			 "ip link set m0 up") < 0 ||
	    sh(net.host,
	       "ip link add link m0 name v0 address " OLD " netns /proc/%d/fd/%d type macvlan "
	       "mode bridge && ip link add link m0 name v1 netns /proc/%d/fd/%d type macvlan mode "
	       "bridge",
	       (int)getpid(), net.inside, (int)getpid(), net.peer) < 0 ||
	    sh(net.inside, "ip addr add " INSIDE1 "/24 dev v0 && ip link set v0 up") < 0 ||
	    sh(net.peer, "ip addr add 10.9.1.1/24 dev v1 && ip link set v1 up && "
			 "ip neigh add " INSIDE1 " lladdr " OLD " dev v1") < 0)
		return -EIO;
	go_to(net.inside);
	server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(server, (struct sockaddr *)&any, sizeof(any)) < 0)
		return -errno;
	go_to(net.peer);
	client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (connect(client, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	go_to(net.host);
	return 0;
}

static bool says(const char *text)
{
	return send(client, text, strlen(text), 0) == (ssize_t)strlen(text);
}

/* frames of the sibling's datagrams */
static int catch_udp(struct rb_capture *capture, int want, struct rb_buf *ret)
{
	struct pollfd pfd = { .fd = rb_capture_fd(capture), .events = POLLIN };
	struct rb_frame_view view;
	size_t at = 0;
	int n = 0;

	while (n < want && poll(&pfd, 1, 1000) > 0) {
		if (rb_capture_drain(capture, false, ret) < 0)
			return -1;
		while (rb_frames_next(ret->data, ret->len, &at, &view) == 1)
			n += kind_of(view.frame, (ssize_t)view.len) == SAW_UDP;
	}
	return n;
}

static void test_caught_and_heard(void)
{
	_cleanup_buf_ struct rb_buf caught = {};
	struct rb_injector *injector = NULL;
	struct rb_capture *capture = NULL;

	CHECK(says("before"));
	CHECK(receives(server, "before", 1000));
	CHECK_OK(rb_capture_open(net.inside, &capture, &err));
	CHECK_OK(rb_silence_hearing(net.inside, &err));
	CHECK(says("one") && says("two"));
	CHECK_INT(catch_udp(capture, 2, &caught), 2);
	CHECK(!receives(server, "one", 50));
	CHECK_OK(rb_injector_open(net.inside, &injector, &err));
	CHECK(rb_inject(injector, caught.data, caught.len, &err) >= 2);
	CHECK(receives(server, "one", 1000));
	CHECK(receives(server, "two", 1000));
	rb_injector_close(injector);
	rb_capture_close(capture);
	CHECK_OK(rb_silence_off(net.inside, &err));
	/* our way in is gone with the injector */
	CHECK_INT(sh(net.host, "ip -d link | grep sibling0; [ $? = 1 ]"), 0);
}

/* What is for many reaches the container, and nobody else. */
static void test_broadcast(void)
{
	static const uint8_t head[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
					0,    0,    0,	  0,	9,    0x88, 0xb5 };
	uint8_t record[RB_FRAME_RECORD + 60] = { [3] = 60 }, seen[64] = {};
	struct rb_injector *injector = NULL;
	int inside, peer;

	memcpy(record + RB_FRAME_RECORD, head, sizeof(head));
	go_to(net.inside);
	inside = sniff("v0");
	go_to(net.peer);
	peer = sniff("v1");
	go_to(net.host);
	/* of the two devices there, the cable is not for this one */
	CHECK_INT(sh(net.inside, "ip link del c0"), 0);
	CHECK_OK(rb_injector_open(net.inside, &injector, &err));
	drain(inside);
	drain(peer);
	CHECK_INT(rb_inject(injector, record, sizeof(record), &err), 1);
	CHECK_INT(frames_seen(inside, 1000, SAW_OTHER, seen, sizeof(seen)) & SAW_OTHER, SAW_OTHER);
	CHECK_INT(seen[11], 9);
	CHECK_INT(frames_seen(peer, 50, SAW_OTHER, NULL, 0) & SAW_OTHER, 0);
	rb_injector_close(injector);
	close(inside);
	close(peer);
}

/* Silence means silence for siblings, too. */
static void test_silent(void)
{
	int peer;

	go_to(net.peer);
	peer = sniff("v1");
	CHECK_OK(rb_silence_on(net.inside, &err));
	drain(peer);
	go_to(net.inside);
	send_raw("v0");
	send_udp("10.9.1.1", PORT);
	CHECK_INT(frames_seen(peer, 50, 0, NULL, 0) & (SAW_OTHER | SAW_UDP | SAW_ARP), 0);
	CHECK_OK(rb_silence_off(net.inside, &err));
	send_raw("v0");
	CHECK_INT(frames_seen(peer, 1000, SAW_OTHER, NULL, 0) & SAW_OTHER, SAW_OTHER);
	close(peer);
}

static void test_park(void)
{
	struct rb_injector *injector = NULL;
	int wire, seen;

	/* what arrives before it is parked goes out instead */
	go_to(net.host);
	wire = sniff("m1");
	seen = rb_passon_open(net.inside, &err);
	CHECK(seen >= 0);
	drain(wire);
	CHECK(says("early"));
	CHECK(receives(server, "early", 1000)); /* nobody had silenced it */
	CHECK_INT(rb_park(net.inside, &err), 1);
	CHECK_INT(rb_park(net.inside, &err), 1);
	CHECK_INT(rb_passon_end(net.inside, seen, &err), 1);
	CHECK_INT(frames_seen(wire, 1000, SAW_UDP, NULL, 0) & SAW_UDP, SAW_UDP);
	close(seen);
	/* its sibling does not reach it, but sends to the outside */
	drain(wire);
	CHECK(says("late"));
	CHECK_INT(frames_seen(wire, 1000, SAW_UDP, NULL, 0) & SAW_UDP, SAW_UDP);
	CHECK(!receives(server, "late", 50));
	/* the way in is known already */
	CHECK_OK(rb_injector_open(net.inside, &injector, &err));
	rb_injector_close(injector);
	CHECK_INT(rb_unpark(net.inside, &err), 1);
	CHECK_INT(rb_unpark(net.inside, &err), 1);
	CHECK_INT(sh(net.inside, "ip link show v0 | grep -q 'ether " OLD "'"), 0);
	CHECK_INT(sh(net.inside, "ip link show v0 | grep -q alias; [ $? = 1 ]"), 0);
	CHECK(says("again"));
	CHECK(receives(server, "again", 1000));
	close(wire);
}

int main(void)
{
	if (geteuid() != 0 || testnet_up(&net) < 0 || make_siblings() < 0) {
		printf("1..0 # SKIP needs root, iproute2, network namespaces and macvlan\n");
		return 0;
	}
	NET_RUN(net, test_caught_and_heard);
	NET_RUN(net, test_silent);
	NET_RUN(net, test_park);
	NET_RUN(net, test_broadcast);
	testnet_down(&net);
	return tap_done();
}
