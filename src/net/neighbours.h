/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neighbours.h - whom a container knows on its segment
 *
 * CRIU restores sockets, but not what the kernel around them knew. A container that has to ask for
 * the hardware address of each peer first drops what it has to say to them meanwhile: the kernel
 * keeps some hundred packets. And a restored TCP socket waits a second before it says it again.
 */
#pragma once

#include <jansson.h>

struct rb_err;

/**
 * rb_neighbours_read - the neighbours of a namespace whose hardware address is known, IPv4 and IPv6
 * @ret: [{"dev":"eth0","ip":"10.0.0.2","mac":"02:42:0a:00:00:02"}, ...], at most some thousand
 */
int rb_neighbours_read(int netns_fd, json_t **ret, struct rb_err *err);

/** rb_neighbours_write - make them known there; those of devices that are not there are left out.
 * They count as old: they are used, and asked for when they are (NUD_STALE). */
int rb_neighbours_write(int netns_fd, const json_t *list, struct rb_err *err);
