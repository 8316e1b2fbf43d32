/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containerd.h - what only containerd knows of Docker's containers (internal to engine/)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rb_err;
struct rb_wait;

/** Whose socket, and which of the snapshots there. */
struct rb_snapshot {
	const char *socket_path;
	const char *name_space; /* Docker's in containerd */
	const char *snapshotter;
	const char *key;
};

/**
 * rb_containerd_upper - upper folder of a snapshot of overlayfs, mounted or not
 * @ret: at least PATH_MAX bytes
 *
 * Return: 0; -ENOENT/RB_E_NOT_FOUND: containerd has no such snapshot; -ECONNREFUSED: no containerd
 * answers there; -ENOTSUP/RB_E_REFUSED: the snapshot is no overlay.
 */
int rb_containerd_upper(const struct rb_snapshot *snapshot, char *ret, size_t size,
			const struct rb_wait *wait, struct rb_err *err);

/**
 * rb_containerd_parse - the same, of the body that containerd has answered with
 * @body: one message of gRPC: a byte that is 1 if it is packed, its length (4 bytes, big endian),
 *	a MountsResponse of snapshots.proto
 */
int rb_containerd_parse(const void *body, size_t len, char *ret, size_t size, struct rb_err *err);
