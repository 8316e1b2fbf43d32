// SPDX-License-Identifier: Apache-2.0
/* ipam_travel.c - an address that comes or goes with a migration (ipam.c) */
#include "ipam_internal.h"

#include <errno.h>

static bool is_of(const json_t *row, const char *migration)
{
	return (strcmp(state_of(row), "arriving") == 0 || strcmp(state_of(row), "arrived") == 0) &&
	       strcmp(rb_json_str(row, "peer", ""), migration) == 0;
}

int rb_ipam_arriving(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		     const char *migration, const char *source, struct rb_err *err)
{
	struct rb_subnet subnet = rb_net_subnet(spec);
	_cleanup_json_ json_t *rows = NULL;
	char owner[64], text[RB_ADDRESS_TEXT];
	const json_t *row;
	size_t i;
	int r;

	/* it may have left here lately, and its owner not know: that must not come after this */
	rb_ipam_deliver(ipam, spec);
	r = rb_chunk_owner(ipam->journal, id_of(spec), rb_subnet_chunk_of(&subnet, address), owner,
			   err);
	if (r >= 0)
		r = rb_address_list(ipam->journal, id_of(spec), address, address, &rows, err);
	if (r < 0)
		return r;
	json_array_foreach (rows, i, row) {
		const char *node = rb_json_str(row, "node", "");

		if (is_ours(ipam, row) && is_of(row, migration))
			return 0;
		if (is_ours(ipam, row) && strcmp(state_of(row), "releasing") == 0)
			return rb_err_code(err, RB_E_CONFLICT, -EADDRINUSE,
					   "node '%s' has not heard yet that address %s left node "
					   "'%s': try again when it can be reached",
					   owner, rb_address_text(text, address, 0), ipam->node);
		if (strcmp(node, source) != 0)
			return rb_ipam_refuse(spec, address, node, err);
	}
	r = rb_address_add(ipam->journal, id_of(spec), address, ipam->node, "arriving", migration,
			   source, err);
	if (r == 0)
		return rb_ipam_refuse(spec, address, ipam->node, err);
	return r < 0 ? r : 0;
}

/* our row for an address that came with a migration, borrowed from *@rows; NULL: there is none */
static const json_t *row_of_migration(const struct rb_ipam *ipam, const json_t *spec,
				      uint32_t address, const char *migration, json_t **rows)
{
	const json_t *ours;

	if (rb_address_list(ipam->journal, id_of(spec), address, address, rows, NULL) < 0)
		return NULL;
	ours = row_of(*rows, ipam->node);
	return ours && is_of(ours, migration) ? ours : NULL;
}

int rb_ipam_not_arriving(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
			 const char *migration, struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL;
	const json_t *ours = row_of_migration(ipam, spec, address, migration, &rows);
	int r = ours ? rb_address_drop(ipam->journal, id_of(spec), address, ipam->node,
				       state_of(ours), err)
		     : 0;

	return r < 0 ? r : 0;
}

int rb_ipam_settled(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		    const char *migration, struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL;
	const json_t *ours = row_of_migration(ipam, spec, address, migration, &rows);
	int r = 0;

	if (ours && strcmp(state_of(ours), "arrived") == 0)
		r = rb_address_move(ipam->journal, id_of(spec), address, ipam->node, "arrived",
				    "held", "", err);
	else if (ours)
		r = rb_ipam_give_up(ipam, spec, ours, err);
	return r < 0 ? r : 0;
}

int rb_ipam_leaving(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
		    const char *target, struct rb_err *err)
{
	int r = rb_address_move(ipam->journal, id_of(spec), address, ipam->node, "held", "leaving",
				target, err);

	return r < 0 ? r : 0;
}

int rb_ipam_not_leaving(const struct rb_ipam *ipam, const json_t *spec, uint32_t address,
			struct rb_err *err)
{
	int r = rb_address_move(ipam->journal, id_of(spec), address, ipam->node, "leaving", "held",
				"", err);

	return r < 0 ? r : 0;
}
