/* SPDX-License-Identifier: Apache-2.0 */
/* segment.h - where this host meets a container on layer 2 */
#pragma once

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>

struct rb_segment {
	char device[IF_NAMESIZE]; /* commonly the bridge of Docker's network */
	struct in_addr own, mask; /* this host's address on it */
	char mac[18];		  /* of the device */
};

/** rb_segment_find - the device of our namespace with an address in the subnet that @ip is in, too;
 * the closest subnet counts. Return: 0 or -ENOENT. */
int rb_segment_find(struct in_addr ip, struct rb_segment *ret);

/** rb_segment_has - is @ip on it? */
static inline bool rb_segment_has(const struct rb_segment *segment, struct in_addr ip)
{
	return ((ip.s_addr ^ segment->own.s_addr) & segment->mask.s_addr) == 0;
}
