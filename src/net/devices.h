/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices.h - private to net/: a container's devices whose other side is on the host
 */
#pragma once

#include <net/ethernet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RB_DEVICES_MAX 64

struct rb_err;

enum rb_device_kind {
	RB_DEVICE_VETH,
	RB_DEVICE_MACVLAN, /* in mode `bridge`, with its parent in another namespace */
};

struct rb_device {
	int index;
	int peer; /* index there of the cable's other end, or of the parent */
	enum rb_device_kind kind;
	uint8_t address[ETH_ALEN]; /* the one that it is known by, also while it is parked */
	bool parked;		   /* has another one now (park.c) */
	char name[IF_NAMESIZE];
};

struct rb_devices {
	struct rb_device list[RB_DEVICES_MAX];
	size_t n;
};

/** What the alias of a parked device begins with; its hardware address follows. */
#define RB_PARKED_ALIAS "reberth parked "

/**
 * rb_devices_ask - those of the namespace that we are in
 * @index: of one device, or 0 for all
 *
 * Return: 0, -ENODEV without such a device, or another negative errno.
 */
int rb_devices_ask(int index, struct rb_devices *ret);

/** rb_device_ends_here - does the other end of its cable lie in our own namespace, and not in a
 * third? A container may have devices of its own making. */
bool rb_device_ends_here(const struct rb_device *device);

/** rb_devices_of - those of another namespace */
int rb_devices_of(int netns_fd, struct rb_devices *ret, struct rb_err *err);
