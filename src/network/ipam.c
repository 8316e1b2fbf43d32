// SPDX-License-Identifier: Apache-2.0
/*
 * ipam.c - addresses of a network across hosts, handed out without clashes
 *
 * Each node owns chunks of the subnet, and hands out addresses of these alone: nodes that cannot
 * reach each other never give one address to two containers. A chunk changes from nobody's to a
 * node's by consent of all members: each notes the claim unless it knows another owner, and a
 * claimant that is refused by one takes back what the others have noted, and tries the next.
 *
 * An address may be with another node than the owner of its chunk: because a container took it
 * along when it was moved, or because its user asked for it there ("borrow"). The owner has a row
 * for each such loan, and the address is not free before the last row is gone.
 *
 *   rows of this node           who writes them
 *   gateway                     this node's bridge
 *   held                        a container here has it
 *   asking                      as held; its owner is being asked
 *   arriving (peer: migration)  may be held as soon as Docker asks: a container comes with it
 *   arrived (peer: migration)   Docker has asked; when it releases it, it is arriving again
 *   leaving (peer: node)        held; it is that node's when Docker releases it
 *   releasing (peer: node, "")  released by Docker; its owner does not know yet
 *
 *   rows of other nodes
 *   lent                        it is with that node
 *
 * What must always hold: where a node holds an address, the owner of its chunk has a row for it,
 * of that node or, while it moves, of the one that it came from. So the node that moves it away
 * hands its row on, also after days, and never just drops it; the node where it arrives tells
 * nobody before that. A row of our own is written before the owner's and removed after it.
 * So an owner may drop a loan when the borrower says that it has no row (the audit): that mends
 * whatever a crash has left. An owner that cannot be reached keeps the address reserved.
 */
#include "ipam_internal.h"

#include <errno.h>

#include "wait.h"

int rb_ipam_refuse(const json_t *spec, uint32_t address, const char *holder, struct rb_err *err)
{
	char text[RB_ADDRESS_TEXT];

	return rb_err_code(err, RB_E_CONFLICT, -EADDRINUSE,
			   "address %s of network '%s' is in use on node '%s'",
			   rb_address_text(text, address, 0), rb_json_str(spec, "name", "?"),
			   holder);
}

bool rb_ipam_owns(const struct rb_ipam *ipam, const json_t *spec, uint32_t address)
{
	struct rb_subnet subnet = rb_net_subnet(spec);
	char owner[64] = "";

	rb_chunk_owner(ipam->journal, id_of(spec), rb_subnet_chunk_of(&subnet, address), owner,
		       NULL);
	return strcmp(owner, ipam->node) == 0;
}

/* Take the first address of a chunk that has no row. A container that is started again so mostly
 * gets the one that it had. Return: 1, 0: none is free */
static int take_from_chunk(const struct rb_ipam *ipam, const json_t *spec, uint32_t chunk,
			   const char *state, uint32_t *ret, struct rb_err *err)
{
	struct rb_subnet subnet = rb_net_subnet(spec);
	_cleanup_json_ json_t *rows = NULL;
	uint32_t first, last;
	size_t at = 0;
	int r;

	rb_subnet_chunk(&subnet, chunk, &first, &last);
	r = rb_address_list(ipam->journal, id_of(spec), first, last, &rows, err);
	if (r < 0)
		return r;
	for (uint32_t n = 0; n <= last - first; n++) {
		uint32_t address = first + n;

		while (at < json_array_size(rows) && address_of(json_array_get(rows, at)) < address)
			at++;
		if (!rb_net_usable(spec, address) ||
		    (at < json_array_size(rows) && address_of(json_array_get(rows, at)) == address))
			continue;
		/* somebody may come before us */
		r = rb_address_add(ipam->journal, id_of(spec), address, ipam->node, state, "", "",
				   err);
		if (r > 0)
			*ret = address;
		if (r)
			return r;
	}
	return 0;
}

/* Return: 1, 0: our chunks are used up */
static int take_any(const struct rb_ipam *ipam, const json_t *spec, const char *state,
		    uint32_t *ret, struct rb_err *err)
{
	_cleanup_json_ json_t *chunks = NULL;
	const json_t *chunk;
	size_t i;
	int r = rb_chunk_list(ipam->journal, id_of(spec), ipam->node, &chunks, err);

	json_array_foreach (chunks, i, chunk) {
		if (r == 0 && rb_json_int(chunk, "settled", 0))
			r = take_from_chunk(ipam, spec, (uint32_t)rb_json_int(chunk, "chunk", 0),
					    state, ret, err);
	}
	return r;
}

/* The same, and claim another chunk for it where there is none left. */
static int take_more(const struct rb_ipam *ipam, const json_t *spec, const char *state,
		     uint32_t *ret, struct rb_err *err)
{
	int r = take_any(ipam, spec, state, ret, err);

	if (r == 0) {
		r = rb_ipam_claim(ipam, spec, -1, err);
		if (r >= 0)
			r = take_any(ipam, spec, state, ret, err);
	}
	if (r == 0)
		return rb_err_code(err, RB_E_CONFLICT, -EADDRNOTAVAIL,
				   "network '%s' has no free address for node '%s'",
				   rb_json_str(spec, "name", "?"), ipam->node);
	return r < 0 ? r : 0;
}

int rb_ipam_gateway(const struct rb_ipam *ipam, const json_t *spec, uint32_t *ret,
		    struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL;
	const json_t *row;
	size_t i;
	int r = rb_address_list(ipam->journal, id_of(spec), 0, UINT32_MAX, &rows, err);

	json_array_foreach (rows, i, row)
		if (is_ours(ipam, row) && strcmp(state_of(row), "gateway") == 0) {
			*ret = address_of(row);
			return 0;
		}
	if (r >= 0)
		r = take_more(ipam, spec, "gateway", ret, err);
	return r < 0 ? r : 0;
}

/* An address in a chunk of another node: that one has to be asked. */
static int borrow(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		  const char *owner, struct rb_err *err)
{
	int r = rb_address_add(ipam->journal, id_of(spec), address, ipam->node, "asking", "",
			       ipam->node, err);

	if (r < 0)
		return r;
	r = ask(ipam, owner, request_about(spec, "borrow", "address", address), NULL, err);
	if (r < 0) {
		/* without an answer it may have been noted there: it is given back with the rest */
		if (err && err->code == RB_E_CONFLICT)
			rb_address_drop(ipam->journal, id_of(spec), address, ipam->node, "asking",
					NULL);
		else
			rb_address_move(ipam->journal, id_of(spec), address, ipam->node, "asking",
					"releasing", "", NULL);
		return r;
	}
	r = rb_address_move(ipam->journal, id_of(spec), address, ipam->node, "asking", "held", "",
			    err);
	return r < 0 ? r : 0;
}

/* There is a row of ours. Return: 0 it is held now, negative errno */
static int request_known(const struct rb_ipam *ipam, const json_t *spec, const json_t *row,
			 struct rb_err *err)
{
	const char *state = state_of(row), *peer = rb_json_str(row, "peer", "");
	int r = 0;

	if (strcmp(state, "gateway") == 0)
		return 0;
	/* what was released and not told yet can be had again, unless it went elsewhere */
	if (strcmp(state, "arriving") == 0)
		r = rb_address_move(ipam->journal, id_of(spec), address_of(row), ipam->node, state,
				    "arrived", peer, err);
	else if (strcmp(state, "releasing") == 0 && !*peer)
		r = rb_address_move(ipam->journal, id_of(spec), address_of(row), ipam->node, state,
				    "held", "", err);
	if (r > 0)
		return 0;
	if (r < 0)
		return r;
	return rb_ipam_refuse(spec, address_of(row),
			      strcmp(state, "releasing") == 0 && *peer ? peer : ipam->node, err);
}

static int request_one(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		       struct rb_err *err)
{
	struct rb_subnet subnet = rb_net_subnet(spec);
	_cleanup_json_ json_t *rows = NULL;
	char owner[64], text[RB_ADDRESS_TEXT];
	uint32_t chunk = rb_subnet_chunk_of(&subnet, address);
	const json_t *ours;
	int r;

	if (!rb_net_usable(spec, address))
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "address %s is not one for a container in subnet %s",
				   rb_address_text(text, address, 0),
				   rb_json_str(spec, "subnet", "?"));
	r = rb_address_list(ipam->journal, id_of(spec), address, address, &rows, err);
	if (r < 0)
		return r;
	ours = row_of(rows, ipam->node);
	if (ours)
		return request_known(ipam, spec, ours, err);
	r = rb_chunk_owner(ipam->journal, id_of(spec), chunk, owner, err);
	if (r >= 0 && !*owner) {
		r = rb_ipam_claim(ipam, spec, chunk, err);
		if (r >= 0)
			r = rb_chunk_owner(ipam->journal, id_of(spec), chunk, owner, err);
	}
	if (r < 0)
		return r;
	if (strcmp(owner, ipam->node) != 0)
		return borrow(ipam, spec, address, owner, err);
	r = rb_address_add(ipam->journal, id_of(spec), address, ipam->node, "held", "", "", err);
	if (r)
		return r < 0 ? r : 0;
	return rb_ipam_refuse(spec, address,
			      rb_json_str(json_array_get(rows, 0), "node", ipam->node), err);
}

int rb_ipam_request(const struct rb_ipam *ipam, const json_t *spec, uint32_t wanted, uint32_t *ret,
		    struct rb_err *err)
{
	int r;

	if (!wanted)
		return take_more(ipam, spec, "held", ret, err);
	*ret = wanted;
	/* every node has this one */
	if (wanted == rb_net_gateway(spec))
		return 0;
	r = request_one(ipam, spec, wanted, err);
	return r < 0 ? r : 0;
}

int rb_ipam_give_up(const struct rb_ipam *ipam, const json_t *spec, const json_t *ours,
		    struct rb_err *err)
{
	const char *state = state_of(ours);
	const char *target = strcmp(state, "leaving") == 0 ? rb_json_str(ours, "peer", "") : "";
	uint32_t address = address_of(ours);
	int r;

	if (!rb_ipam_owns(ipam, spec, address))
		r = rb_address_move(ipam->journal, id_of(spec), address, ipam->node, state,
				    "releasing", target, err);
	else if (*target)
		r = rb_address_hand(ipam->journal, id_of(spec), address, ipam->node, target, err);
	else
		r = rb_address_drop(ipam->journal, id_of(spec), address, ipam->node, state, err);
	return r < 0 ? r : 0;
}

int rb_ipam_release(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		    struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL;
	const json_t *ours;
	const char *state;
	int r = rb_address_list(ipam->journal, id_of(spec), address, address, &rows, err);

	ours = r < 0 ? NULL : row_of(rows, ipam->node);
	if (!ours)
		return r < 0 ? r : 0;
	state = state_of(ours);
	if (strcmp(state, "gateway") == 0 || strcmp(state, "releasing") == 0 ||
	    strcmp(state, "arriving") == 0)
		return 0;
	if (strcmp(state, "arrived") != 0)
		return rb_ipam_give_up(ipam, spec, ours, err);
	/* the migration may start its container once more */
	r = rb_address_move(ipam->journal, id_of(spec), address, ipam->node, state, "arriving",
			    rb_json_str(ours, "peer", ""), err);
	return r < 0 ? r : 0;
}

static void deliver_one(const struct rb_ipam *ipam, const json_t *spec, const json_t *row)
{
	struct rb_subnet subnet = rb_net_subnet(spec);
	const char *to = rb_json_str(row, "peer", "");
	uint32_t address = address_of(row);
	json_t *request;
	char owner[64] = "";

	if (rb_chunk_owner(ipam->journal, id_of(spec), rb_subnet_chunk_of(&subnet, address), owner,
			   NULL) < 0)
		return;
	request = request_about(spec, "return", "address", address);
	json_object_set_new(request, "to", json_string(to));
	if (!*owner || strcmp(owner, ipam->node) == 0)
		json_decref(request);
	else if (ask(ipam, owner, request, NULL, NULL) < 0)
		return;
	rb_address_drop(ipam->journal, id_of(spec), address, ipam->node, "releasing", NULL);
}

void rb_ipam_deliver(const struct rb_ipam *ipam, const json_t *spec)
{
	_cleanup_json_ json_t *rows = NULL;
	const json_t *row;
	size_t i;

	if (rb_address_list(ipam->journal, id_of(spec), 0, UINT32_MAX, &rows, NULL) < 0)
		return;
	json_array_foreach (rows, i, row)
		if (is_ours(ipam, row) && strcmp(state_of(row), "releasing") == 0)
			deliver_one(ipam, spec, row);
}

/* one node's loans: what it does not hold is free again */
static void audit_node(const struct rb_ipam *ipam, const json_t *spec, const char *node,
		       const json_t *rows, int64_t before_ms)
{
	_cleanup_json_ json_t *request = NULL, *answer = NULL;
	json_t *addresses = json_array(), *held;
	const json_t *row;
	size_t i, n = 0;

	json_array_foreach (rows, i, row)
		if (strcmp(rb_json_str(row, "node", ""), node) == 0 &&
		    rb_json_int(row, "since_ms", 0) < before_ms)
			json_array_append_new(addresses, json_integer(address_of(row)));
	request = json_pack("{s:s, s:s, s:o}", "op", "held", "network", id_of(spec), "addresses",
			    addresses);
	if (json_array_size(addresses) == 0 ||
	    ipam->ask(ipam->arg, node, request, &answer, NULL) < 0)
		return;
	held = json_object_get(answer, "held");
	if (json_array_size(held) != json_array_size(addresses))
		return;
	json_array_foreach (addresses, n, row)
		if (json_is_false(json_array_get(held, n)))
			rb_address_drop(ipam->journal, id_of(spec),
					(uint32_t)json_integer_value(row), node, "lent", NULL);
}

void rb_ipam_audit(const struct rb_ipam *ipam, const json_t *spec, int64_t min_age_ms)
{
	_cleanup_json_ json_t *rows = NULL;
	const json_t *name;
	size_t i;

	if (rb_address_list(ipam->journal, id_of(spec), 0, UINT32_MAX, &rows, NULL) < 0)
		return;
	json_array_foreach (json_object_get(spec, "nodes"), i, name)
		if (strcmp(json_string_value(name), ipam->node) != 0)
			audit_node(ipam, spec, json_string_value(name), rows,
				   rb_realtime_ms() - min_age_ms);
}
