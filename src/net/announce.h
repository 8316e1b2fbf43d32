/* SPDX-License-Identifier: Apache-2.0 */
/*
 * announce.h - private to net/ and its tests: frames that say where an address is
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RB_ARP_FRAME_LEN 42 /* Ethernet 14, ARP for IPv4 28 */
#define RB_NA_FRAME_LEN	 86 /* Ethernet 14, IPv6 40, neighbour advertisement 24, option 8 */

/**
 * rb_announce_arp - gratuitous ARP for one IPv4 address
 * @mac: 6 bytes, ours
 * @addr: 4 bytes, network order
 * @reply: as a reply to nobody's question (what `arping -A` sends; some hosts take only one of the
 * two forms), else the request form that RFC 5227 section 3 calls an announcement
 */
void rb_announce_arp(uint8_t ret[RB_ARP_FRAME_LEN], const uint8_t mac[6], const uint8_t addr[4],
		     bool reply);

/**
 * rb_announce_na - unsolicited neighbour advertisement with override flag (RFC 4861 section 4.4),
 * to all nodes
 * @addr: 16 bytes
 * @router: the sender forwards IPv6; without this flag, hosts would drop us as their router
 */
void rb_announce_na(uint8_t ret[RB_NA_FRAME_LEN], const uint8_t mac[6], const uint8_t addr[16],
		    bool router);

/**
 * rb_icmp6_checksum - Internet checksum over IPv6's pseudo header and an ICMPv6 message
 * @addresses: source and destination, 32 bytes
 * @len: of @payload, even
 */
uint16_t rb_icmp6_checksum(const uint8_t *addresses, const uint8_t *payload, size_t len);
