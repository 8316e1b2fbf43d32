/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subnet.h - a network's IPv4 subnet, and how it is cut into chunks
 *
 * A chunk is a power of two of addresses. Half of the subnet's host bits, at most 8 and at least 2,
 * count within a chunk: a /24 has 16 chunks of 16 addresses, a /16 has 256 of 256.
 *
 * Not for containers: the subnet's own address, the broadcast address, and the address behind the
 * subnet's own, which is every node's gateway (see network/mesh.c).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define RB_ADDRESS_TEXT 20 /* "255.255.255.255/32" */

struct rb_err;

struct rb_subnet {
	uint32_t base; /* in host order */
	unsigned int prefix;
	unsigned int chunk_bits;
};

/** rb_subnet_parse - "10.20.0.0/16": /8 to /28, no bit set behind the prefix. Return: 0 or -EINVAL
 */
int rb_subnet_parse(const char *text, struct rb_subnet *ret, struct rb_err *err);

uint32_t rb_subnet_last(const struct rb_subnet *subnet);
bool rb_subnet_has(const struct rb_subnet *subnet, uint32_t address);

/** rb_subnet_gateway - the address that every node's bridge has */
uint32_t rb_subnet_gateway(const struct rb_subnet *subnet);

/** rb_subnet_usable - may a container, or a node, have this address of it? */
bool rb_subnet_usable(const struct rb_subnet *subnet, uint32_t address);

/** rb_subnet_overlap - do two ranges of addresses, given as CIDR, have some in common? Of a text
 * that is no IPv4 range: no. */
bool rb_subnet_overlap(const char *one, const char *other);

uint32_t rb_subnet_chunks(const struct rb_subnet *subnet);
uint32_t rb_subnet_chunk_of(const struct rb_subnet *subnet, uint32_t address);

/** rb_subnet_chunk - the addresses of a chunk, those that are not usable included */
void rb_subnet_chunk(const struct rb_subnet *subnet, uint32_t chunk, uint32_t *ret_first,
		     uint32_t *ret_last);

/** rb_address_text - "10.20.0.1", with "/16" behind it where @prefix is above 0 */
const char *rb_address_text(char ret[RB_ADDRESS_TEXT], uint32_t address, unsigned int prefix);

/** rb_address_parse - "10.20.0.1". Return: 0 or -EINVAL */
int rb_address_parse(const char *text, uint32_t *ret);
