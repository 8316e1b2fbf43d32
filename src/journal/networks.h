/* SPDX-License-Identifier: Apache-2.0 */
/*
 * networks.h - the networks across hosts, in the journal: what they are, which node owns which
 * chunk of the subnet, and who holds which address
 *
 * A network's description ("spec") is JSON, see network/spec.h; here only its id and name count.
 * Addresses are IPv4, in host order. What stands in the chunk table was consented to, see
 * network/ipam.c. Of the rows of table address, those of this node say what Docker holds here;
 * those of other nodes, which addresses of our chunks are with them. An address is free when its
 * chunk is ours and it has no row. All writes are single statements, and durable.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct rb_err;
struct rb_journal;

/* --- networks --- */

/** rb_network_add - a new network. @spec has "id" and "name". Return: 0, or -EEXIST/RB_E_CONFLICT
 * when the name or the id is there. */
int rb_network_add(struct rb_journal *journal, const json_t *spec, const char *state,
		   struct rb_err *err);

/** rb_network_get - by name, or by id or at least 8 digits of it. @ret: the spec, and in it "state"
 * and "since_ms". Return: 0 or -ENOENT/RB_E_NOT_FOUND. */
int rb_network_get(struct rb_journal *journal, const char *name, json_t **ret, struct rb_err *err);

/** rb_network_list - all of them, as an array of what rb_network_get() gives */
int rb_network_list(struct rb_journal *journal, json_t **ret, struct rb_err *err);

/** rb_network_state - change the state */
int rb_network_state(struct rb_journal *journal, const char *id, const char *state,
		     struct rb_err *err);

/** rb_network_update - replace the description (its id stays) */
int rb_network_update(struct rb_journal *journal, const json_t *spec, struct rb_err *err);

/** rb_network_forget - the network with its chunks and addresses; absent is fine */
int rb_network_forget(struct rb_journal *journal, const char *id, struct rb_err *err);

/* --- chunks --- */

/**
 * rb_chunk_claim - note a chunk as a node's, unless it is another's
 * @ret_owner: 64 bytes: whose it is now
 */
int rb_chunk_claim(struct rb_journal *journal, const char *network, uint32_t chunk,
		   const char *node, char *ret_owner, struct rb_err *err);

/** rb_chunk_settle - all members have consented to our claim */
int rb_chunk_settle(struct rb_journal *journal, const char *network, uint32_t chunk,
		    struct rb_err *err);

/** rb_chunk_withdraw - it is not that node's any more; absent, or another's: nothing is done */
int rb_chunk_withdraw(struct rb_journal *journal, const char *network, uint32_t chunk,
		      const char *node, struct rb_err *err);

/** rb_chunk_list - [{"chunk","node","settled"}, ...], by number. @node: of that one only, or NULL
 */
int rb_chunk_list(struct rb_journal *journal, const char *network, const char *node, json_t **ret,
		  struct rb_err *err);

/** rb_chunk_owner - @ret: 64 bytes, "" when nobody owns it */
int rb_chunk_owner(struct rb_journal *journal, const char *network, uint32_t chunk, char *ret,
		   struct rb_err *err);

/** rb_chunk_inherit - a node leaves: its chunks are @heir's, and nothing is lent to it any more.
 * @settled: the heir is us */
int rb_chunk_inherit(struct rb_journal *journal, const char *network, const char *node,
		     const char *heir, bool settled, struct rb_err *err);

/* --- addresses --- */

/**
 * rb_address_add - a row, if there is none for this address but of @beside
 * @peer: other node or migration that it is about, "" for none
 * @beside: node that may hold it, too; "" for none
 *
 * Return: 1 when it was made, 0 when the address is taken.
 */
int rb_address_add(struct rb_journal *journal, const char *network, uint32_t address,
		   const char *node, const char *state, const char *peer, const char *beside,
		   struct rb_err *err);

/** rb_address_move - compare-and-swap of a row's state. @from: NULL for any. Return: 1, or 0 when
 * it is not in @from */
int rb_address_move(struct rb_journal *journal, const char *network, uint32_t address,
		    const char *node, const char *from, const char *state, const char *peer,
		    struct rb_err *err);

/** rb_address_hand - a row changes from one node to another. Return: 1, or 0 when there was none */
int rb_address_hand(struct rb_journal *journal, const char *network, uint32_t address,
		    const char *node, const char *to, struct rb_err *err);

/** rb_address_drop - remove a row. @state: only if it is in that one, or NULL. Return: 1 or 0. */
int rb_address_drop(struct rb_journal *journal, const char *network, uint32_t address,
		    const char *node, const char *state, struct rb_err *err);

/** rb_address_list - [{"address","node","state","peer","since_ms"}, ...]. @first, @last: range; 0
 * and UINT32_MAX for all */
int rb_address_list(struct rb_journal *journal, const char *network, uint32_t first, uint32_t last,
		    json_t **ret, struct rb_err *err);
