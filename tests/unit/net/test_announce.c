// SPDX-License-Identifier: Apache-2.0
/*
 * test_announce.c - announcements byte by byte, and seen on a cable
 */
#include "testnet.h"

#include "announce.h"

#define FLOW_MS 3000

static struct testnet net;
static struct rb_err err;

static const uint8_t mac[6] = { 0x02, 0x42, 0x0a, 0x58, 0x00, 0x05 };
static const uint8_t ip[4] = { 10, 88, 0, 5 };
static const uint8_t ip6[16] = { 0xfd, 0x00, [15] = 0x05 };

#define CHECK_BYTES(got, want)                                \
	do {                                                  \
		CHECK_INT(sizeof(got), sizeof(want));         \
		for (size_t _i = 0; _i < sizeof(got); _i++) { \
			if ((got)[_i] != (want)[_i])          \
				printf("# byte %zu\n", _i);   \
			CHECK_INT((got)[_i], (want)[_i]);     \
		}                                             \
	} while (0)

/* RFC 5227 section 1.1, 3: sender and target address are the same, target hardware address is zero
 */
static void test_arp_request(void)
{
	static const uint8_t want[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x42, 0x0a,
					0x58, 0x00, 0x05, 0x08, 0x06, 0x00, 0x01, 0x08, 0x00,
					6,    4,    0x00, 0x01, 0x02, 0x42, 0x0a, 0x58, 0x00,
					0x05, 10,   88,	  0,	5,    0,    0,	  0,	0,
					0,    0,    10,	  88,	0,    5 };
	uint8_t frame[RB_ARP_FRAME_LEN];

	rb_announce_arp(frame, mac, ip, false);
	CHECK_BYTES(frame, want);
}

static void test_arp_reply(void)
{
	static const uint8_t want[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x42, 0x0a,
					0x58, 0x00, 0x05, 0x08, 0x06, 0x00, 0x01, 0x08, 0x00,
					6,    4,    0x00, 0x02, 0x02, 0x42, 0x0a, 0x58, 0x00,
					0x05, 10,   88,	  0,	5,    0x02, 0x42, 0x0a, 0x58,
					0x00, 0x05, 10,	  88,	0,    5 };
	uint8_t frame[RB_ARP_FRAME_LEN];

	rb_announce_arp(frame, mac, ip, true);
	CHECK_BYTES(frame, want);
}

/* the checksum comes from another program; the peer below checks it, too */
static void test_neighbour_advertisement(void)
{
	static const uint8_t want[] = {
		0x33, 0x33, 0, 0, 0, 1, 0x02, 0x42, 0x0a, 0x58, 0x00, 0x05, 0x86, 0xdd,
		/* IPv6: 32 bytes of ICMPv6, hop limit 255, from fd00::5 to ff02::1 */
		0x60, 0, 0, 0, 0, 32, 58, 255, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5,
		0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
		/* neighbour advertisement, override; target; target's hardware address */
		136, 0, 0x4f, 0xf5, 0x20, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		5, 2, 1, 0x02, 0x42, 0x0a, 0x58, 0x00, 0x05
	};
	uint8_t frame[RB_NA_FRAME_LEN];

	rb_announce_na(frame, mac, ip6, false);
	CHECK_BYTES(frame, want);
	rb_announce_na(frame, mac, ip6, true);
	CHECK_INT(frame[58], 0xa0);
}

static int sniff_peer(const char *dev)
{
	int fd;

	go_to(net.peer);
	fd = sniff(dev);
	go_to(net.host);
	return fd;
}

/* the peer's kernel takes the address pair out of it, which proves the checksum, too */
static void test_peer_learns(void)
{
	_cleanup_close_ int tap = sniff_peer("p0");
	const char *learned =
		"test $(ip neigh show dev p0 | grep -ci 'lladdr 02:00:00:00:09:02') = 2";
	uint8_t frame[128] = {};

	/* wrong entries, older than a second (arp: locktime) */
	CHECK_INT(sh(net.inside, "ip link set c0 down && ip link set c0 address 02:00:00:00:09:02 "
				 "&& ip link set c0 up && ip addr add " INSIDE6 "/64 dev c0 nodad"),
		  0);
	CHECK_INT(sh(net.peer,
		     "sysctl -qw net.ipv4.neigh.p0.locktime=0 net.ipv4.conf.p0.arp_accept=1"
		     " net.ipv6.conf.p0.accept_untracked_na=0"),
		  0);
	CHECK_INT(sh(net.peer,
		     "ip neigh replace " INSIDE " lladdr 02:00:00:00:00:01 dev p0 nud stale &&"
		     "ip neigh replace " INSIDE6 " lladdr 02:00:00:00:00:01 dev p0 nud stale"),
		  0);
	drain(tap);
	CHECK_OK(rb_announce(net.inside, 1, &err));
	CHECK_INT(frames_seen(tap, FLOW_MS, SAW_ARP | SAW_IPV6, frame, sizeof(frame)),
		  SAW_ARP | SAW_IPV6);
	CHECK_INT(sh(net.peer,
		     "for i in $(seq 50); do %s && exit; sleep 0.05; done; ip neigh; exit 1",
		     learned),
		  0);
}

static void test_each_time(void)
{
	_cleanup_close_ int tap = sniff_peer("p0");
	int64_t start_ms = rb_now_ms();
	int arp = 0;

	CHECK_OK(rb_announce(net.inside, 3, &err));
	CHECK(rb_now_ms() - start_ms >= 200);
	for (uint8_t frame[64]; recv(tap, frame, sizeof(frame), 0) > 0;)
		arp += kind_of(frame, sizeof(frame)) == SAW_ARP;
	CHECK_INT(arp, 6); /* request and reply */
}

static void test_silence_is_told(void)
{
	CHECK_OK(rb_silence_on(net.inside, &err));
	CHECK_INT(rb_announce(net.inside, 1, &err), -ENOBUFS);
	CHECK(strstr(err.msg, "silenced"));
	CHECK_OK(rb_silence_off(net.inside, &err));
	CHECK_OK(rb_announce(net.inside, 1, &err));
}

int main(void)
{
	TAP_RUN(test_arp_request);
	TAP_RUN(test_arp_reply);
	TAP_RUN(test_neighbour_advertisement);
	if (geteuid() != 0 || testnet_up(&net) < 0) {
		TAP_SKIP(test_peer_learns, "needs root, iproute2 and network namespaces");
		return tap_done();
	}
	NET_RUN(net, test_peer_learns);
	NET_RUN(net, test_each_time);
	NET_RUN(net, test_silence_is_told);
	testnet_down(&net);
	return tap_done();
}
