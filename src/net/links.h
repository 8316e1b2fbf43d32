/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links.h - devices, addresses and routes of the namespace that the caller is in
 *
 * All calls need CAP_NET_ADMIN but the reading ones. Devices are named by at most 15 characters.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct rb_err;

struct rb_link {
	int index;
	int master; /* index of its bridge, 0: none */
	unsigned int mtu;
	bool up;
	uint8_t mac[6];
	char kind[16];		       /* "vxlan", "bridge", "" for hardware */
	uint32_t vni;		       /* of a vxlan */
	struct sockaddr_storage local; /* of a vxlan; family AF_UNSPEC: none */
	uint16_t port;		       /* of a vxlan */
};

/** A VXLAN device as it shall be. */
struct rb_vxlan {
	const char *name;
	uint32_t vni;
	uint16_t port; /* UDP */
	unsigned int mtu;
	struct sockaddr_storage local; /* our address on the underlay; its port does not count */
	const char *bridge;	       /* that it becomes a port of */
};

/** rb_link_get - Return: 0 or -ENODEV */
int rb_link_get(const char *name, struct rb_link *ret, struct rb_err *err);

/** rb_link_delete - absent is fine */
int rb_link_delete(const char *name, struct rb_err *err);

/** rb_link_set_mac - and it stays that, whatever becomes a port of it */
int rb_link_set_mac(const char *name, const uint8_t mac[6], struct rb_err *err);

/** rb_vxlan_ensure - have the device as described, in its bridge, up. One that is there with
 * another identifier, address or port is replaced. Return: 1 when something was changed, 0,
 * negative errno */
int rb_vxlan_ensure(const struct rb_vxlan *vxlan, struct rb_err *err);

/**
 * rb_vxlan_peers - where the device sends what is for many, or for an unknown hardware address
 * @peers: addresses, all of the family of the device's own; others that it has are removed
 *
 * Return: 1 when something was changed, 0, negative errno.
 */
int rb_vxlan_peers(const char *name, const struct sockaddr_storage *peers, size_t n,
		   struct rb_err *err);

/** rb_vxlan_vni_used - has any device here this identifier? Return: 1, 0 or negative errno. */
int rb_vxlan_vni_used(uint32_t vni, struct rb_err *err);

/** rb_link_add_address - an IPv4 address (host order); there already: fine */
int rb_link_add_address(const char *name, uint32_t address, unsigned int prefix,
			struct rb_err *err);

/** rb_link_of_address - MTU of the device that has this address. Return: 0, or -EADDRNOTAVAIL when
 * none has it */
int rb_link_of_address(const struct sockaddr_storage *address, char ret_name[16],
		       unsigned int *ret_mtu, struct rb_err *err);

/** rb_route_list - IPv4 routes of the main table, without the default: [{"to":"10.0.0.0/8",
 * "dev":"eth1"}, ...] */
int rb_route_list(json_t **ret, struct rb_err *err);
