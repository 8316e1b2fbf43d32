/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h - names of containers, known on all nodes of their network
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#define RB_NAMES_PORT 7482 /* of a network's name server, on the bridge's own address */

struct rb_err;
struct rb_node;
struct rb_wait;

/**
 * rb_names_here - who is in a network on this node, and how they are called
 * @containers: from rb_mesh_containers()
 * @before: what this returned the last time, or NULL: containers that it has are not looked at
 *	again, and those that are gone stay in it for some seconds, since one that was moved may not
 *be known elsewhere yet
 *
 * Return: [{"ip", "names": [...], ...}, ...], new reference.
 */
json_t *rb_names_here(const struct rb_node *node, const json_t *spec, const json_t *containers,
		      const json_t *before, const struct rb_wait *wait);

/** rb_names_store - what a node says is in a network there, for our name server. Return: 1 when it
 * is news, 0, negative errno */
int rb_names_store(const struct rb_node *node, const json_t *spec, const char *from,
		   const json_t *list, struct rb_err *err);

/** rb_names_stored - what rb_names_store() was given last; an empty list when there is nothing */
json_t *rb_names_stored(const struct rb_node *node, const json_t *spec, const char *from);

/** rb_names_reload - have the name server look at what is stored */
void rb_names_reload(const struct rb_node *node, const json_t *spec);

/** rb_names_resolvers - the host's own name servers that containers' questions can be taken from:
 * those that are no loopback addresses; an array of IPv4 addresses, may be empty */
json_t *rb_names_resolvers(void);

/** rb_names_tend - have the name server of a network running, on @address. Return: 1 when it was
 * started, 0, negative errno */
int rb_names_tend(const struct rb_node *node, const json_t *spec, uint32_t address,
		  struct rb_err *err);

/** rb_names_reap - of name servers that were started here and ended; takes any child */
void rb_names_reap(void);

/** rb_names_stop - end it, and forget the names; absent is fine */
void rb_names_stop(const struct rb_node *node, const json_t *spec);
