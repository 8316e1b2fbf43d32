// SPDX-License-Identifier: Apache-2.0
/* segment.c - where this host meets a container on layer 2 */
#include "segment.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <string.h>

#include "net.h"

static bool fill(const struct ifaddrs *at, struct in_addr ip, struct rb_segment *ret)
{
	struct rb_segment segment = {};

	if (!at->ifa_addr || !at->ifa_netmask || at->ifa_addr->sa_family != AF_INET ||
	    (at->ifa_flags & IFF_LOOPBACK))
		return false;
	segment.own = ((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr;
	segment.mask = ((struct sockaddr_in *)(void *)at->ifa_netmask)->sin_addr;
	if (!rb_segment_has(&segment, ip) || ntohl(segment.mask.s_addr) <= ntohl(ret->mask.s_addr))
		return false;
	snprintf(segment.device, sizeof(segment.device), "%s", at->ifa_name);
	*ret = segment;
	return true;
}

static bool fill_mac(const struct ifaddrs *at, struct rb_segment *segment)
{
	const struct sockaddr_ll *link = (const struct sockaddr_ll *)(const void *)at->ifa_addr;

	if (!link || link->sll_family != AF_PACKET || link->sll_halen != 6 ||
	    strcmp(at->ifa_name, segment->device) != 0)
		return false;
	rb_mac_text(segment->mac, link->sll_addr);
	return true;
}

int rb_segment_find(struct in_addr ip, struct rb_segment *ret)
{
	struct rb_segment segment = {};
	struct ifaddrs *list = NULL;
	bool found = false;

	if (getifaddrs(&list) < 0)
		return -errno;
	for (const struct ifaddrs *at = list; at; at = at->ifa_next)
		fill(at, ip, &segment);
	for (const struct ifaddrs *at = list; at && !found; at = at->ifa_next)
		found = segment.device[0] && fill_mac(at, &segment);
	freeifaddrs(list);
	if (!found)
		return -ENOENT;
	*ret = segment;
	return 0;
}
