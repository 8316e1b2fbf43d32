/* SPDX-License-Identifier: Apache-2.0 */
/*
 * obstacles.h - what stands in the way of a migration, found before anything is changed
 *
 * An obstacle is {"severity": "error" | "warning", "what", "remedy"}, of a container of a group
 * also "container". A new one is a function and a row in the table of obstacles_source.c or
 * obstacles_target.c; those of the network are in obstacles_network.c and obstacles_segment.c.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "node.h"

struct rb_err;
struct rb_wait;

/** rb_obstacles_source - what the source can tell from `inspect`; adds to @obstacles
 * @reconnect: the container takes new addresses
 * @group: array of what inspect says of all that move together, of this one, too; or NULL */
int rb_obstacles_source(const struct rb_node *node, const json_t *inspect, bool reconnect,
			const json_t *group, json_t *obstacles, const struct rb_wait *wait,
			struct rb_err *err);

/** rb_obstacles_shm - of these, that a /dev/shm which others may share has something in it: not
 * when the container is frozen either. Return: 0, or RB_E_REFUSED */
int rb_obstacles_shm(const json_t *inspect, int init_pid, struct rb_err *err);

/** rb_obstacles_network - of these, what has to do with its network and its sockets */
void rb_obstacles_network(const struct rb_node *node, const json_t *inspect, bool reconnect,
			  const json_t *group, json_t *obstacles, const struct rb_wait *wait);

/** rb_obstacles_group - of these, what only one of several that move together has */
void rb_obstacles_group(const struct rb_node *node, const json_t *group, const json_t *inspect,
			json_t *obstacles);

/** rb_obstacles_name - say whose they are: "container 'x': ..." */
void rb_obstacles_name(json_t *obstacles, const char *name);

/** rb_obstacles_joined - containers that have joined the network of these since: nobody may be left
 * without one, behind our silence. Return: 0, or RB_E_REFUSED */
int rb_obstacles_joined(const struct rb_node *node, const json_t *group, const struct rb_wait *wait,
			struct rb_err *err);

/**
 * rb_obstacles_target - what the target can tell from the source's offer
 * @layer_bytes: of layers of images that it has not
 */
int rb_obstacles_target(const struct rb_node *node, const json_t *offer, uint64_t layer_bytes,
			json_t *obstacles, const struct rb_wait *wait, struct rb_err *err);

/** What a host has room for, in bytes. */
struct rb_room {
	uint64_t memory;  /* 0: unknown */
	uint64_t allowed; /* of that, to reberthd: rb_memory_allowed() */
	bool lazy;	  /* memory need not go through the disk (strategy.h) */
};

/** rb_obstacles_room - of these, that there is too little of it for what the offer says */
void rb_obstacles_room(const struct rb_node *node, const json_t *offer, const struct rb_room *room,
		       json_t *obstacles);

/** rb_offer_images - bytes of memory that will be written to disk
 * @lazy: as in rb_room */
uint64_t rb_offer_images(const json_t *offer, bool lazy);

/** What will be written below a path. */
struct rb_written {
	const char *path; /* or what it is */
	uint64_t bytes;
	uint64_t dev, free; /* which disk it is on, and what is free there, bytes */
};

/** rb_obstacles_disks - of these, that a disk has too little room for all that goes to it */
void rb_obstacles_disks(const struct rb_node *node, const struct rb_written *list, size_t n,
			json_t *obstacles);

/** rb_obstacles_layers - the same, for the time in which Docker loads layers
 * @state, @docker: our folder and its own; their bytes do not matter */
void rb_obstacles_layers(const struct rb_node *node, const struct rb_written *state,
			 const struct rb_written *docker, uint64_t layer_bytes, json_t *obstacles);

/** rb_obstacles_disk - the same, of what the offer says
 * @offer: with its members
 * @docker: Docker's own folder
 * @layer_bytes: as for rb_obstacles_target() */
void rb_obstacles_disk(const struct rb_node *node, const json_t *offer, const char *docker,
		       uint64_t layer_bytes, bool lazy, json_t *obstacles);

/** rb_obstacles_segment - of these, what has to do with the networks that it has there */
void rb_obstacles_segment(const struct rb_node *node, const json_t *offer, json_t *obstacles,
			  const struct rb_wait *wait);

/**
 * rb_connections_describe - the container's TCP connections to the outside, for the offer
 *
 * Return: array of {"peer": address, "count", "here": is it an address of this host}, by peer;
 * without those through published ports. Runs in the host's network namespace.
 */
json_t *rb_connections_describe(const json_t *inspect);

/** rb_obstacles_connections - which of the offer's connections will end, and why
 * @target: this node
 * @translated: what leaves the container's networks for the world gets the host's address */
void rb_obstacles_connections(const json_t *offer, const char *target, bool translated,
			      json_t *obstacles);

/** rb_network_masquerades - does Docker give what leaves this network the host's address? */
bool rb_network_masquerades(const json_t *network);

/** rb_obstacles_refuse - 0 when there are only warnings; else RB_E_REFUSED with the first error and
 * the number of the others */
int rb_obstacles_refuse(const json_t *obstacles, struct rb_err *err);

/** rb_obstacle_add - @remedy may be NULL */
void rb_obstacle_add(json_t *obstacles, const char *severity, const char *remedy, const char *fmt,
		     ...) __attribute__((format(printf, 4, 5)));
