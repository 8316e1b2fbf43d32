/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - ask a segment who has an address
 */
#pragma once

#include <net/if.h>

#include "sockets.h"

struct rb_wait;

/** One question, and its answer. */
struct rb_probe {
	char device[IF_NAMESIZE]; /* of the namespace that we are in */
	struct rb_ip ip;
	uint8_t owner[6]; /* whose answer is right: the hardware address of the container */
	bool taken;	  /* somebody else answered */
	uint8_t taker[6]; /* who */
};

/**
 * rb_probe_all - ask, and listen for a moment (250 ms) for answers to all of them
 * @probes: @taken and @taker are filled in
 *
 * Asks as a host does that looks for duplicates (RFC 5227 section 2.1.1, RFC 4862 section 5.4.2),
 * from no address of its own: nobody learns anything from it. A device that is not there, or no
 * Ethernet, has nobody who answers. Needs CAP_NET_RAW.
 */
void rb_probe_all(struct rb_probe *probes, int count, const struct rb_wait *wait);
