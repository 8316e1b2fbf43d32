/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ports.h - published ports, and connections that go by a host's own address, when a container
 * moves
 *
 * The host that is left forwards (net/forward.h), the one where the container is leads its answers
 * back (net/way_back.h). What stands for that is in the journal (journal/forwards.h) before the
 * rules are made, and from there they are made again after a reboot. All changes of a host's are
 * made under one lock.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "node.h"

struct rb_conntrack;
struct rb_err;
struct rb_migration;
struct rb_wait;

/* --- ports_source.c --- */

/**
 * rb_ports_published - the published ports of a container, for rb_port_parse()
 *
 * IPv4 only, and none that is for 127.0.0.1 alone: those are no forwarding of the kernel's.
 */
json_t *rb_ports_published(const json_t *inspect);

/** rb_ports_ip - the address of the container that they lead to, or NULL */
const char *rb_ports_ip(const json_t *inspect);

/**
 * rb_ports_flows - the connections of a container that go by hosts, see flow.h
 * @listener: knows those of this host, or NULL: they are listed now
 * @own: array for those that go by this one
 * @passed: for those that go by others, where the container was before
 *
 * Return: number of the first, also of those that there is no room for; or negative errno.
 */
int rb_ports_flows(const struct rb_node *node, const json_t *inspect, struct rb_conntrack *listener,
		   json_t *own, json_t *passed, struct rb_err *err);

/** rb_ports_forwards - shall this migration leave a forward behind, and can it? */
bool rb_ports_forwards(const json_t *facts, const json_t *inspect);

/** rb_source_ports - stage: from now on new connections through published ports find the container
 * wherever it is; so those that need more than that are known at the freeze */
int rb_source_ports(struct rb_migration *m, struct rb_err *err);
int rb_source_ports_undo(struct rb_migration *m, struct rb_err *err);

/** rb_ports_listen - some time before the freeze: hear of new connections, see conntrack.h;
 * rb_ports_look() - shortly before it: list those that there are */
void rb_ports_listen(struct rb_migration *m);
void rb_ports_look(struct rb_migration *m);

/** rb_ports_note - while the container stands still: which connections go by this host, or by
 * others that it was on before; facts "flows", "flows_passed" */
void rb_ports_note(struct rb_migration *m);

/** rb_ports_keep - before the container is removed here; may be repeated */
int rb_ports_keep(struct rb_migration *m, struct rb_err *err);

/** rb_ports_leave - after that: this host leads nothing back for it any more */
int rb_ports_leave(struct rb_migration *m, struct rb_err *err);

/* --- ports_target.c --- */

/** rb_ports_arrive - before the tasks run: the container's answers find the hosts that they go by.
 * @flows: as they came from the source, or NULL */
int rb_ports_arrive(struct rb_migration *m, const json_t *flows, struct rb_err *err);
int rb_ports_arrive_undo(struct rb_migration *m, struct rb_err *err);

/** rb_ports_home - Docker has opened the ports here: what this host forwarded for the container
 * ends, but for connections that are open */
int rb_ports_home(struct rb_migration *m, struct rb_err *err);

/* --- ports_upkeep.c --- */

/** rb_ports_lock - be the only one that changes forwards on this host. Return: descriptor. */
int rb_ports_lock(const struct rb_node *node, struct rb_err *err);

/** rb_ports_apply - make the rules of a row of the journal */
int rb_ports_apply(const json_t *row, struct rb_err *err);

/** rb_ports_drop - remove the rules of a row, and then the row; absent is fine */
int rb_ports_drop(const struct rb_node *node, const char *id, const char *kind, struct rb_err *err);

/** rb_ports_upkeep - make again what a reboot or somebody took away; forget connections that are
 * over, and ways back of containers that are gone */
int rb_ports_upkeep(const struct rb_node *node, struct rb_err *err);

/** rb_ports_list - for `reberth forward ls` */
int rb_ports_list(const struct rb_node *node, json_t **ret, struct rb_err *err);

/** rb_ports_end - for `reberth forward rm`. @id: of the forward, as the list has it. */
int rb_ports_end(const struct rb_node *node, const char *id, struct rb_err *err);

/* --- obstacles_ports.c --- */

/** rb_obstacles_ports_source - which connections through this host are lost, and how many */
void rb_obstacles_ports_source(const struct rb_node *node, const json_t *facts,
			       const json_t *inspect, json_t *obstacles);

/** rb_obstacles_ports_target - published ports that somebody has here already */
void rb_obstacles_ports_target(const struct rb_node *node, const json_t *offer, json_t *obstacles,
			       const struct rb_wait *wait);
