/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frames.h - what a container's network devices heard while it could not: catch it, carry it, let
 * it be heard
 *
 * Wire format, one record per frame, in the order in which they came:
 *
 *   0   4   length n of the frame, big-endian, RB_FRAME_MIN_LEN to RB_FRAME_MAX_LEN
 *   4   10  struct virtio_net_hdr (linux/virtio_net.h), in the order of the machine, as both sides
 *           of a move have one architecture: frames from a container on the same host come
 *           unsegmented and without checksums
 *   14  6   hardware address of the device that heard it, which it has on the other host, too;
 * zeros where that is not known 20  n   the frame, from its destination address on
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rb_buf;
struct rb_capture;
struct rb_err;
struct rb_injector;

#define RB_FRAME_RECORD	 20 /* in front of each frame */
#define RB_FRAME_MIN_LEN 14
#define RB_FRAME_MAX_LEN (64 * 1024 + 256)
#define RB_FRAMES_MAX	 ((size_t)8 << 20) /* bytes of records that are kept and carried */

struct rb_frame_view {
	const uint8_t *offload; /* virtio_net_hdr */
	const uint8_t *device;
	const uint8_t *frame;
	size_t len;
};

/**
 * rb_frames_next - the next record of @data
 * @at: where it begins; moved on
 *
 * Return: 1; 0 at the end; -EAGAIN when the rest of it is not there yet; -EPROTO when it is
 * malformed.
 */
int rb_frames_next(const void *data, size_t len, size_t *at, struct rb_frame_view *ret);

/**
 * rb_frames_subtract - remove from @frames each that is in @others, as often as it is there
 *
 * What is for many is heard at both places: with what was caught at the one the other has it twice.
 * Return: number of those removed, -ENOMEM.
 */
int rb_frames_subtract(struct rb_buf *frames, const struct rb_buf *others);

/**
 * rb_capture_open - catch what a namespace hears behind the shut gate of rb_silence_hearing()
 *
 * To be opened before the gate is shut, and then nothing is lost and nothing is twice: a frame is
 * either heard or caught. Works in a child process that joins the namespace. Needs CAP_NET_RAW
 * there.
 */
int rb_capture_open(int netns_fd, struct rb_capture **ret, struct rb_err *err);
void rb_capture_close(struct rb_capture *capture);

/** rb_capture_fd - readable when something was caught */
int rb_capture_fd(const struct rb_capture *capture);

/**
 * rb_capture_drain - append what was caught since to @ret; never waits
 * @unicast: leave out what was for many
 *
 * Return: number of frames; those beyond RB_FRAMES_MAX in @ret are dropped, and counted.
 */
int rb_capture_drain(struct rb_capture *capture, bool unicast, struct rb_buf *ret);

/** rb_capture_lost - frames that were dropped for want of room, since the last call */
unsigned int rb_capture_lost(struct rb_capture *capture);

/**
 * rb_injector_open - find the cables of a namespace whose other ends are here
 *
 * Apart from the sending, since it takes some ms, and that is when order counts. Devices that
 * appear later are not known.
 */
int rb_injector_open(int netns_fd, struct rb_injector **ret, struct rb_err *err);
void rb_injector_close(struct rb_injector *injector);

/**
 * rb_inject - have the namespace hear frames
 * @data: whole records
 *
 * A frame goes to the device that heard it; where that is not known, to the one that has its
 * destination address, or, when it is for many (broadcast, multicast), to the only one. They go
 * past the host's queueing disciplines and hooks, for they have come through those of another host,
 * and past the gate of silence.c. Frames for devices that are neither a veth nor a macvlan in mode
 * `bridge` are left out. Takes 0.5 ms per 32 datagrams: the container has to run, or its sockets
 * have no room for many.
 *
 * Return: number of frames that were heard, or -EPROTO.
 */
int rb_inject(struct rb_injector *injector, const void *data, size_t len, struct rb_err *err);
