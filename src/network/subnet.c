// SPDX-License-Identifier: Apache-2.0
/*
 * subnet.c - a network's IPv4 subnet, and how it is cut into chunks
 */
#include "subnet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

#define PREFIX_MIN     8
#define PREFIX_MAX     28
#define CHUNK_BITS_MIN 2
#define CHUNK_BITS_MAX 8

int rb_address_parse(const char *text, uint32_t *ret)
{
	struct in_addr in;

	if (inet_pton(AF_INET, text, &in) != 1)
		return -EINVAL;
	*ret = ntohl(in.s_addr);
	return 0;
}

/* "a.b.c.d/n", or "a.b.c.d" for /32 */
static int parse_range(const char *text, uint32_t *ret_base, unsigned int *ret_prefix)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	char address[16], *end;
	unsigned long prefix = 32;

	if (len >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, len);
	address[len] = '\0';
	if (slash) {
		prefix = strtoul(slash + 1, &end, 10);
		if (slash[1] < '0' || slash[1] > '9' || *end || prefix > 32)
			return -EINVAL;
	}
	*ret_prefix = (unsigned int)prefix;
	return rb_address_parse(address, ret_base);
}

static uint32_t host_mask(unsigned int prefix)
{
	return prefix == 0 ? UINT32_MAX : (uint32_t)((1ULL << (32 - prefix)) - 1);
}

int rb_subnet_parse(const char *text, struct rb_subnet *ret, struct rb_err *err)
{
	char proper[RB_ADDRESS_TEXT];
	unsigned int prefix;
	uint32_t base;

	if (parse_range(text, &base, &prefix) < 0)
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "'%.50s' is not an IPv4 subnet: give one like 10.20.0.0/16",
				   text);
	if (prefix < PREFIX_MIN || prefix > PREFIX_MAX)
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "a subnet has to be between /%d and /%d, not /%u", PREFIX_MIN,
				   PREFIX_MAX, prefix);
	if (base & host_mask(prefix))
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "'%s' is an address within a subnet: did you mean %s?", text,
				   rb_address_text(proper, base & ~host_mask(prefix), prefix));
	*ret = (struct rb_subnet){ .base = base, .prefix = prefix };
	ret->chunk_bits = (32 - prefix) / 2;
	if (ret->chunk_bits < CHUNK_BITS_MIN)
		ret->chunk_bits = CHUNK_BITS_MIN;
	if (ret->chunk_bits > CHUNK_BITS_MAX)
		ret->chunk_bits = CHUNK_BITS_MAX;
	return 0;
}

uint32_t rb_subnet_last(const struct rb_subnet *subnet)
{
	return subnet->base | host_mask(subnet->prefix);
}

bool rb_subnet_has(const struct rb_subnet *subnet, uint32_t address)
{
	return (address & ~host_mask(subnet->prefix)) == subnet->base;
}

uint32_t rb_subnet_gateway(const struct rb_subnet *subnet)
{
	return subnet->base + 1;
}

bool rb_subnet_usable(const struct rb_subnet *subnet, uint32_t address)
{
	return address > rb_subnet_gateway(subnet) && address < rb_subnet_last(subnet);
}

bool rb_subnet_overlap(const char *one, const char *other)
{
	unsigned int prefix_one, prefix_other, shorter;
	uint32_t base_one, base_other;

	if (parse_range(one, &base_one, &prefix_one) < 0 ||
	    parse_range(other, &base_other, &prefix_other) < 0)
		return false;
	shorter = prefix_one < prefix_other ? prefix_one : prefix_other;
	return ((base_one ^ base_other) & ~host_mask(shorter)) == 0;
}

uint32_t rb_subnet_chunks(const struct rb_subnet *subnet)
{
	return 1u << (32 - subnet->prefix - subnet->chunk_bits);
}

uint32_t rb_subnet_chunk_of(const struct rb_subnet *subnet, uint32_t address)
{
	return (address - subnet->base) >> subnet->chunk_bits;
}

void rb_subnet_chunk(const struct rb_subnet *subnet, uint32_t chunk, uint32_t *ret_first,
		     uint32_t *ret_last)
{
	*ret_first = subnet->base + (chunk << subnet->chunk_bits);
	*ret_last = *ret_first + (1u << subnet->chunk_bits) - 1;
}

const char *rb_address_text(char ret[RB_ADDRESS_TEXT], uint32_t address, unsigned int prefix)
{
	struct in_addr in = { htonl(address) };
	char text[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &in, text, sizeof(text));
	if (prefix > 0)
		snprintf(ret, RB_ADDRESS_TEXT, "%s/%u", text, prefix % 100);
	else
		snprintf(ret, RB_ADDRESS_TEXT, "%s", text);
	return ret;
}
