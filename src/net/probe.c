// SPDX-License-Identifier: Apache-2.0
/*
 * probe.c - ask a segment who has an address
 *
 * Each question has a packet socket of its own on its device. It is asked twice, for one frame may
 * be lost while a bridge or a busy host wakes up.
 */
#include "probe.h"

#include <errno.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "announce.h"
#include "cleanup.h"
#include "wait.h"

#define LISTEN_MS    250
#define AGAIN_MS     80
#define FRAME_MAX    1514
#define NS_FRAME_LEN 78 /* Ethernet 14, IPv6 40, neighbour solicitation 24 */

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
	memcpy(at, data, len);
	return at + len;
}

/* like an announcement, but the sender has no address yet: that is what makes it a question */
static size_t write_arp(uint8_t *frame, const uint8_t mac[6], const uint8_t ip[4])
{
	rb_announce_arp(frame, mac, ip, false);
	memset(frame + 28, 0, 4);
	return RB_ARP_FRAME_LEN;
}

static size_t write_solicitation(uint8_t *frame, const uint8_t mac[6], const uint8_t ip[16])
{
	uint8_t group[16] = { 0xff, 0x02, [11] = 1, 0xff, ip[13], ip[14], ip[15] };
	uint8_t group_mac[6] = { 0x33, 0x33, 0xff, ip[13], ip[14], ip[15] };
	static const uint8_t nobody[16];
	uint8_t *addresses, *icmp, *at = frame;
	uint16_t sum;

	at = put(at, group_mac, 6);
	at = put(at, mac, 6);
	at = put(at, (uint8_t[]){ 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, IPPROTO_ICMPV6, 255 }, 10);
	addresses = at;
	at = put(at, nobody, 16);
	at = put(at, group, 16);
	icmp = at;
	at = put(at, (uint8_t[]){ ND_NEIGHBOR_SOLICIT, 0, 0, 0, 0, 0, 0, 0 }, 8);
	put(at, ip, 16);
	sum = rb_icmp6_checksum(addresses, icmp, 24);
	icmp[2] = (uint8_t)(sum >> 8);
	icmp[3] = (uint8_t)sum;
	return NS_FRAME_LEN;
}

/* Who says in @frame that he has the address? NULL when nobody does. */
static const uint8_t *read_answer(const uint8_t *frame, size_t len, const struct rb_ip *ip)
{
	if (ip->family == AF_INET)
		return len >= RB_ARP_FRAME_LEN && frame[12] == 0x08 && frame[13] == 0x06 &&
				       memcmp(frame + 28, ip->bytes, 4) == 0
			       ? frame + 22
			       : NULL;
	if (len < NS_FRAME_LEN || frame[12] != 0x86 || frame[13] != 0xdd ||
	    frame[20] != IPPROTO_ICMPV6 || frame[54] != ND_NEIGHBOR_ADVERT ||
	    memcmp(frame + 62, ip->bytes, 16) != 0)
		return NULL;
	/* its option names the hardware address; without, the sender is meant */
	return len >= RB_NA_FRAME_LEN && frame[78] == ND_OPT_TARGET_LINKADDR ? frame + 80
									     : frame + 6;
}

/* -1 when nobody can be asked there */
static int open_device(const struct rb_probe *probe, uint8_t ret_mac[6])
{
	uint16_t type = probe->ip.family == AF_INET ? ETH_P_ARP : ETH_P_IPV6;
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(type) };
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ifreq ifr = {};

	memcpy(ifr.ifr_name, probe->device, IF_NAMESIZE);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &ifr) < 0 ||
	    ifr.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return -1;
	memcpy(ret_mac, ifr.ifr_hwaddr.sa_data, 6);
	at.sll_ifindex = (int)if_nametoindex(probe->device);
	return bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ? -1 : TAKE_FD(fd);
}

static void ask(const struct rb_probe *probe, int fd, const uint8_t mac[6])
{
	uint8_t frame[FRAME_MAX];
	size_t len = probe->ip.family == AF_INET ? write_arp(frame, mac, probe->ip.bytes)
						 : write_solicitation(frame, mac, probe->ip.bytes);

	if (fd >= 0)
		(void)!send(fd, frame, len, MSG_NOSIGNAL);
}

static void hear(struct rb_probe *probe, int fd)
{
	uint8_t frame[FRAME_MAX];
	struct sockaddr_ll from = {};
	socklen_t from_len = sizeof(from);
	ssize_t len;

	while ((len = recvfrom(fd, frame, sizeof(frame), 0, (struct sockaddr *)&from, &from_len)) >
	       0) {
		const uint8_t *mac = read_answer(frame, (size_t)len, &probe->ip);

		if (!mac || from.sll_pkttype == PACKET_OUTGOING ||
		    memcmp(mac, probe->owner, 6) == 0)
			continue;
		probe->taken = true;
		memcpy(probe->taker, mac, 6);
	}
}

static void listen_until(int64_t end_ms, struct rb_probe *probes, struct pollfd *fds, int count)
{
	int64_t left;

	while ((left = end_ms - rb_now_ms()) > 0 && poll(fds, (nfds_t)count, (int)left) > 0)
		for (int i = 0; i < count; i++) {
			if (fds[i].revents & POLLIN)
				hear(&probes[i], fds[i].fd);
			else if (fds[i].revents)
				rb_close_fd(&fds[i].fd);
		}
}

void rb_probe_all(struct rb_probe *probes, int count, const struct rb_wait *wait)
{
	_cleanup_free_ struct pollfd *fds = calloc((size_t)count + 1, sizeof(*fds));
	_cleanup_free_ uint8_t(*macs)[6] = calloc((size_t)count + 1, sizeof(*macs));
	int64_t begin_ms = rb_now_ms();
	int open = 0;

	if (!fds || !macs)
		return;
	for (int i = 0; i < count; i++) {
		fds[i] = (struct pollfd){ open_device(&probes[i], macs[i]), POLLIN, 0 };
		open += fds[i].fd >= 0;
		ask(&probes[i], fds[i].fd, macs[i]);
	}
	if (open) {
		listen_until(begin_ms + AGAIN_MS, probes, fds, count);
		for (int i = 0; i < count && rb_wait_ms(0, wait, NULL) >= 0; i++)
			ask(&probes[i], fds[i].fd, macs[i]);
		listen_until(begin_ms + LISTEN_MS, probes, fds, count);
	}
	for (int i = 0; i < count; i++)
		rb_close_fd(&fds[i].fd);
}
