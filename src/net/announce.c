// SPDX-License-Identifier: Apache-2.0
/*
 * announce.c - tell the segment where a container's addresses are now
 *
 * The address pairs stay the same when a container moves, so its peers' neighbour tables are right
 * all the time; it is the switches that have to learn the new port, and any frame from our hardware
 * address teaches them. Proper announcements also mend a peer that has given up meanwhile.
 *
 * IPv6 addresses are read from /proc/net/if_inet6 rather than by getifaddrs(3), which hides the
 * flags: an address whose duplicate detection has not ended or has failed is not ours to announce.
 */
#include "announce.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <netinet/icmp6.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "net.h"
#include "thread.h"
#include "wait.h"

#define INTERVAL_MS 100

/* from linux/if_addr.h, which cannot be included beside netinet/in.h everywhere */
#define ADDR_FLAG_DAD_FAILED 0x08
#define ADDR_FLAG_TENTATIVE  0x40

struct visit {
	int times;
	int fd; /* of the socket, for rb_thread_close() */
};

/* what the thread that announces works with */
struct announce {
	int fd;		      /* packet socket */
	struct ifaddrs *devs; /* getifaddrs(3): AF_PACKET entries give index, flags and address */
	int result; /* 0, or the latest failure: one bad device must not hide the others */
	struct rb_err *err;
};

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
	memcpy(at, data, len);
	return at + len;
}

static uint8_t *put16(uint8_t *at, uint16_t value)
{
	return put(at, (uint8_t[]){ (uint8_t)(value >> 8), (uint8_t)value }, 2);
}

void rb_announce_arp(uint8_t ret[RB_ARP_FRAME_LEN], const uint8_t mac[6], const uint8_t addr[4],
		     bool reply)
{
	static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const uint8_t unknown[6];
	uint8_t *at = ret;

	at = put(at, broadcast, 6);
	at = put(at, mac, 6);
	at = put16(at, ETHERTYPE_ARP);
	at = put16(at, ARPHRD_ETHER);
	at = put16(at, ETHERTYPE_IP);
	at = put(at, (uint8_t[]){ 6, 4 }, 2);
	at = put16(at, reply ? ARPOP_REPLY : ARPOP_REQUEST);
	at = put(at, mac, 6);
	at = put(at, addr, 4);
	at = put(at, reply ? mac : unknown, 6);
	put(at, addr, 4);
}

uint16_t rb_icmp6_checksum(const uint8_t *addresses, const uint8_t *payload, size_t len)
{
	uint32_t sum = IPPROTO_ICMPV6 + (uint32_t)len;

	for (size_t i = 0; i < 32; i += 2)
		sum += (uint32_t)(addresses[i] << 8 | addresses[i + 1]);
	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)(payload[i] << 8 | payload[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void rb_announce_na(uint8_t ret[RB_NA_FRAME_LEN], const uint8_t mac[6], const uint8_t addr[16],
		    bool router)
{
	static const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	static const uint8_t all_nodes[16] = { 0xff, 0x02, [15] = 1 };
	uint8_t *addresses, *icmp, *at = ret;

	at = put(at, all_nodes_mac, 6);
	at = put(at, mac, 6);
	at = put16(at, ETHERTYPE_IPV6);
	at = put(at, (uint8_t[]){ 0x60, 0, 0, 0 }, 4);
	at = put16(at, 32);
	at = put(at, (uint8_t[]){ IPPROTO_ICMPV6, 255 }, 2); /* 255: proves that no router saw it */
	addresses = at;
	at = put(at, addr, 16);
	at = put(at, all_nodes, 16);
	icmp = at;
	at = put(at, (uint8_t[]){ ND_NEIGHBOR_ADVERT, 0, 0, 0 }, 4);
	at = put(at, (uint8_t[]){ router ? 0xa0 : 0x20, 0, 0, 0 }, 4); /* R, S, O */
	at = put(at, addr, 16);
	at = put(at, (uint8_t[]){ ND_OPT_TARGET_LINKADDR, 1 }, 2); /* length in 8 bytes */
	put(at, mac, 6);
	put16(icmp + 2, rb_icmp6_checksum(addresses, icmp, 32));
}

/* The device that can announce (up, Ethernet, speaks ARP), or NULL. Old-style labels like "eth0:1"
 * stand for the device in front of the colon. */
static const struct sockaddr_ll *device_find(const struct announce *a, const char *label)
{
	size_t len = strcspn(label, ":");

	for (const struct ifaddrs *dev = a->devs; dev; dev = dev->ifa_next) {
		const struct sockaddr_ll *ll = (const struct sockaddr_ll *)(void *)dev->ifa_addr;

		if (!ll || ll->sll_family != AF_PACKET || strncmp(dev->ifa_name, label, len) != 0 ||
		    dev->ifa_name[len])
			continue;
		if (!(dev->ifa_flags & IFF_UP) || dev->ifa_flags & (IFF_NOARP | IFF_LOOPBACK) ||
		    ll->sll_hatype != ARPHRD_ETHER || ll->sll_halen != 6)
			return NULL;
		return ll;
	}
	return NULL;
}

static void send_frame(struct announce *a, const char *dev, int ifindex, const uint8_t *frame,
		       size_t len)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = ifindex };

	if (sendto(a->fd, frame, len, 0, (const struct sockaddr *)&to, sizeof(to)) >= 0)
		return;
	/* a drop at netdev egress looks like a full queue */
	a->result = rb_err_set(a->err, -errno, "announce the addresses of '%s'%s", dev,
			       errno == ENOBUFS ? " (is it silenced still?)" : "");
}

static void announce_ipv4(struct announce *a)
{
	for (const struct ifaddrs *ifa = a->devs; ifa; ifa = ifa->ifa_next) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(void *)ifa->ifa_addr;
		const struct sockaddr_ll *ll = device_find(a, ifa->ifa_name);
		uint8_t frame[RB_ARP_FRAME_LEN];

		if (!ll || !in || in->sin_family != AF_INET)
			continue;
		for (int reply = 0; reply < 2; reply++) {
			rb_announce_arp(frame, ll->sll_addr, (const uint8_t *)&in->sin_addr, reply);
			send_frame(a, ifa->ifa_name, ll->sll_ifindex, frame, sizeof(frame));
		}
	}
}

static bool is_router(const char *dev)
{
	_cleanup_buf_ struct rb_buf text = {};
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/forwarding", dev);
	return rb_read_file(path, 64, &text, NULL) == 0 && text.len && text.data[0] != '0';
}

static void announce_ipv6_line(struct announce *a, const char *line)
{
	uint8_t addr[16], frame[RB_NA_FRAME_LEN];
	const struct sockaddr_ll *ll;
	unsigned int flags;
	char dev[IF_NAMESIZE];

	for (size_t i = 0; i < sizeof(addr); i++)
		if (sscanf(line + 2 * i, "%2hhx", &addr[i]) != 1)
			return;
	/* address, index, prefix length, scope, flags, name */
	if (sscanf(line + 32, " %*x %*x %*x %x %15s", &flags, dev) != 2)
		return;
	ll = device_find(a, dev);
	if (!ll || flags & (ADDR_FLAG_TENTATIVE | ADDR_FLAG_DAD_FAILED))
		return;
	rb_announce_na(frame, ll->sll_addr, addr, is_router(dev));
	send_frame(a, dev, ll->sll_ifindex, frame, sizeof(frame));
}

static void announce_ipv6(struct announce *a)
{
	/* thread-self: of the namespace that this thread has joined */
	_cleanup_fclose_ FILE *file = fopen("/proc/thread-self/net/if_inet6", "re");
	char line[128];

	/* absent: a kernel without IPv6 */
	while (file && fgets(line, sizeof(line), file))
		if (strlen(line) > 32)
			announce_ipv6_line(a, line);
}

/* The socket stays open: see rb_thread_close(). */
static void free_announce(struct announce *a)
{
	if (a->devs)
		freeifaddrs(a->devs);
}

static int announce(void *arg, struct rb_err *err)
{
	struct visit *visit = arg;
	_cleanup_(free_announce) struct announce a = { .fd = -EBADF, .err = err };
	int r = 0;

	/* protocol 0: this socket never receives */
	a.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (a.fd < 0)
		return rb_err_set(err, -errno, "open a packet socket");
	visit->fd = a.fd;
	if (getifaddrs(&a.devs) < 0)
		return rb_err_set(err, -errno, "list network addresses");
	for (int i = 0; i < visit->times; i++) {
		if (i)
			r = rb_wait_ms(INTERVAL_MS, NULL, err);
		if (r < 0)
			return r;
		announce_ipv4(&a);
		announce_ipv6(&a);
	}
	return a.result;
}

int rb_announce(int netns_fd, int times, struct rb_err *err)
{
	struct visit visit = { .times = times, .fd = -EBADF };
	int r = rb_netns_run(netns_fd, announce, &visit, err);

	if (visit.fd >= 0)
		rb_thread_close(visit.fd);
	return r;
}
