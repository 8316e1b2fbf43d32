// SPDX-License-Identifier: Apache-2.0
/* ipam_answer.c - what other nodes ask about chunks and addresses (ipam.c) */
#include "ipam_internal.h"

#include <errno.h>

static int answer_claim(const struct rb_ipam *ipam, const char *from, const json_t *spec,
			const json_t *request, json_t **ret, struct rb_err *err)
{
	struct rb_subnet subnet = rb_net_subnet(spec);
	int64_t chunk = rb_json_int(request, "chunk", -1);
	char owner[64];
	int r;

	if (chunk < 0 || chunk >= rb_subnet_chunks(&subnet))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "there is no chunk %lld",
				   (long long)chunk);
	r = rb_chunk_claim(ipam->journal, id_of(spec), (uint32_t)chunk, from, owner, err);
	if (r >= 0)
		*ret = json_pack("{s:s}", "owner", owner);
	return r;
}

static int answer_borrow(const struct rb_ipam *ipam, const char *from, const json_t *spec,
			 uint32_t address, struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL;
	int r;

	if (!rb_ipam_owns(ipam, spec, address))
		return rb_err_code(err, RB_E_PROTOCOL, -EPROTO,
				   "node '%s' does not own the chunk of that address", ipam->node);
	/* again: the answer was lost */
	r = rb_address_add(ipam->journal, id_of(spec), address, from, "lent", "", from, err);
	if (r > 0)
		return 0;
	if (r == 0)
		r = rb_address_list(ipam->journal, id_of(spec), address, address, &rows, err);
	if (r < 0 || row_of(rows, from))
		return r;
	return rb_ipam_refuse(spec, address, rb_json_str(json_array_get(rows, 0), "node", "?"),
			      err);
}

static int answer_return(const struct rb_ipam *ipam, const char *from, const json_t *spec,
			 uint32_t address, const char *to, struct rb_err *err)
{
	int r;

	if (*to && strcmp(to, ipam->node) != 0)
		r = rb_address_hand(ipam->journal, id_of(spec), address, from, to, err);
	else
		r = rb_address_drop(ipam->journal, id_of(spec), address, from, NULL, err);
	return r < 0 ? r : 0;
}

static int answer_held(const struct rb_ipam *ipam, const json_t *spec, const json_t *request,
		       json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL, *held = json_array();
	const json_t *address, *row;
	size_t i, j;
	int r = rb_address_list(ipam->journal, id_of(spec), 0, UINT32_MAX, &rows, err);

	if (r < 0)
		return r;
	json_array_foreach (json_object_get(request, "addresses"), i, address) {
		bool found = false;

		json_array_foreach (rows, j, row)
			found |= is_ours(ipam, row) &&
				 address_of(row) == json_integer_value(address);
		json_array_append_new(held, json_boolean(found));
	}
	*ret = json_pack("{s:O}", "held", held);
	return 0;
}

int rb_ipam_answer(const struct rb_ipam *ipam, const char *from, const json_t *request,
		   json_t **ret, struct rb_err *err)
{
	static const char *const ops[] = { "claim", "withdraw", "borrow", "return", "held" };
	const char *op = rb_json_str(request, "op", "");
	uint32_t address = (uint32_t)rb_json_int(request, "address", 0);
	_cleanup_json_ json_t *spec = NULL;
	bool known = false;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		known |= strcmp(ops[i], op) == 0;
	if (!known)
		return 1;
	r = rb_network_get(ipam->journal, rb_json_str(request, "network", ""), &spec, err);
	if (r < 0)
		return r;
	if (!rb_net_has_node(spec, from))
		return rb_err_code(err, RB_E_DENIED, -EACCES,
				   "node '%s' is not a member of network '%s'", from,
				   rb_json_str(spec, "name", "?"));
	if (strcmp(op, "claim") == 0)
		return answer_claim(ipam, from, spec, request, ret, err);
	if (strcmp(op, "withdraw") == 0)
		return rb_chunk_withdraw(ipam->journal, id_of(spec),
					 (uint32_t)rb_json_int(request, "chunk", 0), from, err);
	if (strcmp(op, "borrow") == 0)
		return answer_borrow(ipam, from, spec, address, err);
	if (strcmp(op, "return") == 0)
		return answer_return(ipam, from, spec, address, rb_json_str(request, "to", ""),
				     err);
	return answer_held(ipam, spec, request, ret, err);
}
