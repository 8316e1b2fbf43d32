/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipam_internal.h - what the files of the address management share; ipam.c says how it works
 */
#pragma once

#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "ipam.h"
#include "json.h"
#include "networks.h"
#include "spec.h"

static inline const char *id_of(const json_t *spec)
{
	return rb_json_str(spec, "id", "");
}

static inline uint32_t address_of(const json_t *row)
{
	return (uint32_t)rb_json_int(row, "address", 0);
}

static inline const char *state_of(const json_t *row)
{
	return rb_json_str(row, "state", "");
}

static inline bool is_ours(const struct rb_ipam *ipam, const json_t *row)
{
	return strcmp(rb_json_str(row, "node", ""), ipam->node) == 0;
}

/* {"op", "network", "chunk" or "address"} */
static inline json_t *request_about(const json_t *spec, const char *op, const char *key,
				    uint32_t value)
{
	return json_pack("{s:s, s:s, s:I}", "op", op, "network", id_of(spec), key,
			 (json_int_t)value);
}

static inline int ask(const struct rb_ipam *ipam, const char *peer, json_t *request, json_t **ret,
		      struct rb_err *err)
{
	_cleanup_json_ json_t *owned = request, *ignored = NULL;

	return ipam->ask(ipam->arg, peer, owned, ret ? ret : &ignored, err);
}

/* the row of a node for an address, borrowed from @rows */
static inline const json_t *row_of(const json_t *rows, const char *node)
{
	const json_t *row;
	size_t i;

	json_array_foreach (rows, i, row)
		if (strcmp(rb_json_str(row, "node", ""), node) == 0)
			return row;
	return NULL;
}

/** rb_ipam_refuse - fill @err: @holder has the address. Return: -EADDRINUSE. */
int rb_ipam_refuse(const json_t *spec, uint32_t address, const char *holder, struct rb_err *err);

/** rb_ipam_owns - is the address in a chunk of this node? */
bool rb_ipam_owns(const struct rb_ipam *ipam, const json_t *spec, uint32_t address);

/** rb_ipam_give_up - nobody here has the address of our row @ours any more */
int rb_ipam_give_up(const struct rb_ipam *ipam, const json_t *spec, const json_t *ours,
		    struct rb_err *err);
