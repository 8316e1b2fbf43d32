/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipam.h - addresses of a network across hosts, handed out without clashes
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct rb_err;
struct rb_journal;
struct rb_node;

/** How this node asks another one; in tests that is not a connection. */
struct rb_ipam {
	struct rb_journal *journal;
	const char *node; /* our name */
	int (*ask)(void *arg, const char *peer, const json_t *request, json_t **ret,
		   struct rb_err *err);
	void *arg;
};

/** rb_ipam_of - that of a node, which asks over TLS */
struct rb_ipam rb_ipam_of(const struct rb_node *node);

/**
 * rb_ipam_request - Docker wants an address for a container, or for its bridge
 * @spec: of the network
 * @wanted: that one, or 0 for any
 *
 * May ask other nodes, each for some seconds at most: where this node's chunks are used up, or the
 * address is in a chunk of another node.
 *
 * Return: 0; -EADDRINUSE/RB_E_CONFLICT when it is taken, and by whom; -EADDRNOTAVAIL when none is
 * left; other negative errno.
 */
int rb_ipam_request(const struct rb_ipam *ipam, const json_t *spec, uint32_t wanted, uint32_t *ret,
		    struct rb_err *err);

/** rb_ipam_gateway - the address of this node's own bridge, of its first chunk; chosen at the first
 * call, and the chunk claimed, if this node has none. */
int rb_ipam_gateway(const struct rb_ipam *ipam, const json_t *spec, uint32_t *ret,
		    struct rb_err *err);

/** rb_ipam_release - Docker does not use an address any more. What other nodes have to hear of that
 * is left in the journal, see rb_ipam_deliver(). */
int rb_ipam_release(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		    struct rb_err *err);

/** rb_ipam_deliver - tell the owners of chunks what was released here since. What cannot be told
 * now stays in the journal. */
void rb_ipam_deliver(const struct rb_ipam *ipam, const json_t *spec);

/** rb_ipam_audit - take back addresses of our chunks that other nodes were lent and do not hold.
 * @min_age_ms: leave younger loans alone */
void rb_ipam_audit(const struct rb_ipam *ipam, const json_t *spec, int64_t min_age_ms);

/** rb_ipam_claim - make one more chunk ours; all members have to consent. @wanted: that chunk, or
 * -1 for any */
int rb_ipam_claim(const struct rb_ipam *ipam, const json_t *spec, int64_t wanted,
		  struct rb_err *err);

/** rb_ipam_arriving - a migration brings a container that has this address: Docker may ask for it,
 * although its owner knows it as taken. -EADDRINUSE when somebody else has it here. Idempotent. */
int rb_ipam_arriving(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		     const char *migration, const char *source, struct rb_err *err);

/** rb_ipam_not_arriving - the migration was rolled back; absent is fine */
int rb_ipam_not_arriving(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
			 const char *migration, struct rb_err *err);

/** rb_ipam_settled - the migration is over, and the container here: its address is as any other's
 * now. Absent is fine. */
int rb_ipam_settled(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		    const char *migration, struct rb_err *err);

/** rb_ipam_leaving - whenever Docker releases the address here, it is @target's */
int rb_ipam_leaving(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		    const char *target, struct rb_err *err);

/** rb_ipam_not_leaving - it stays; absent is fine */
int rb_ipam_not_leaving(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
			struct rb_err *err);

/** rb_ipam_answer - what another node asks. Return: 1 when @request is none of ours. */
int rb_ipam_answer(const struct rb_ipam *ipam, const char *from, const json_t *request,
		   json_t **ret, struct rb_err *err);
