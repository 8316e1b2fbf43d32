// SPDX-License-Identifier: Apache-2.0
/* ipam_claim.c - a chunk of a subnet becomes this node's, by consent of all members (ipam.c) */
#include "ipam_internal.h"

#include <errno.h>

/* Take back what the first @asked members, and we, have noted. What cannot be told stays ours, not
 * settled: it is what the next claim begins with. */
static void withdraw(const struct rb_ipam *ipam, const json_t *spec, uint32_t chunk, size_t asked)
{
	bool all = true;
	const json_t *name;
	size_t i;

	json_array_foreach (json_object_get(spec, "nodes"), i, name) {
		const char *peer = json_string_value(name);

		if (i < asked && strcmp(peer, ipam->node) != 0 &&
		    ask(ipam, peer, request_about(spec, "withdraw", "chunk", chunk), NULL, NULL) <
			    0)
			all = false;
	}
	if (all)
		rb_chunk_withdraw(ipam->journal, id_of(spec), chunk, ipam->node, NULL);
}

/* Return: 1 all have consented, 0 it is another's, negative: somebody did not answer */
static int consent_of_all(const struct rb_ipam *ipam, const json_t *spec, uint32_t chunk,
			  struct rb_err *err)
{
	const json_t *name;
	size_t i;

	json_array_foreach (json_object_get(spec, "nodes"), i, name) {
		_cleanup_json_ json_t *answer = NULL;
		const char *peer = json_string_value(name), *owner;
		char ours[64];
		int r;

		if (strcmp(peer, ipam->node) == 0)
			continue;
		r = ask(ipam, peer, request_about(spec, "claim", "chunk", chunk), &answer, err);
		owner = rb_json_str(answer, "owner", "");
		if (r >= 0 && strcmp(owner, ipam->node) == 0)
			continue;
		/* whether it was noted there is not known when no answer came */
		withdraw(ipam, spec, chunk, i + 1);
		if (r < 0)
			return rb_err_wrap(
				err, r,
				"all nodes of the network have to agree on who gets more "
				"of its addresses");
		if (*owner)
			rb_chunk_claim(ipam->journal, id_of(spec), chunk, owner, ours, NULL);
		return 0;
	}
	return 1;
}

static int try_claim(const struct rb_ipam *ipam, const json_t *spec, uint32_t chunk,
		     struct rb_err *err)
{
	char owner[64];
	int r = rb_chunk_claim(ipam->journal, id_of(spec), chunk, ipam->node, owner, err);

	if (r < 0 || strcmp(owner, ipam->node) != 0)
		return r < 0 ? r : 0;
	r = consent_of_all(ipam, spec, chunk, err);
	if (r == 1)
		r = rb_chunk_settle(ipam->journal, id_of(spec), chunk, err) < 0 ? -EIO : 1;
	return r;
}

/* A claim that was cut short, or could not be taken back everywhere. Return: as try_claim() */
static int finish_claim(const struct rb_ipam *ipam, const json_t *spec, struct rb_err *err)
{
	_cleanup_json_ json_t *chunks = NULL;
	const json_t *chunk;
	size_t i;
	int r = rb_chunk_list(ipam->journal, id_of(spec), ipam->node, &chunks, err);

	if (r < 0)
		return r;
	json_array_foreach (chunks, i, chunk)
		if (!rb_json_int(chunk, "settled", 0))
			return try_claim(ipam, spec, (uint32_t)rb_json_int(chunk, "chunk", 0), err);
	return 0;
}

int rb_ipam_claim(const struct rb_ipam *ipam, const json_t *spec, int64_t wanted,
		  struct rb_err *err)
{
	struct rb_subnet subnet = rb_net_subnet(spec);
	uint32_t count = rb_subnet_chunks(&subnet), at = 0;
	int r;

	if (wanted >= 0)
		return try_claim(ipam, spec, (uint32_t)wanted, err);
	r = finish_claim(ipam, spec, err);
	/* nodes that claim at one time begin at different places */
	for (const char *c = ipam->node; *c; c++)
		at = at * 31 + (unsigned char)*c;
	for (uint32_t i = 0; r == 0 && i < count; i++) {
		char owner[64];

		r = rb_chunk_owner(ipam->journal, id_of(spec), (at + i) % count, owner, err);
		if (r == 0 && !*owner)
			r = try_claim(ipam, spec, (at + i) % count, err);
	}
	if (r == 0)
		return rb_err_code(err, RB_E_CONFLICT, -EADDRNOTAVAIL,
				   "all of subnet %s belongs to the other nodes of network '%s'",
				   rb_json_str(spec, "subnet", "?"),
				   rb_json_str(spec, "name", "?"));
	return r < 0 ? r : 0;
}
