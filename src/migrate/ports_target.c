// SPDX-License-Identifier: Apache-2.0
/*
 * ports_target.c - what the host that a container comes to does for its connections
 */
#include "ports.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "flow.h"
#include "forward.h"
#include "forwards.h"
#include "json.h"
#include "migration.h"

int rb_ports_arrive(struct rb_migration *m, const json_t *flows, struct rb_err *err)
{
	_cleanup_close_ int lock = -EBADF;
	_cleanup_json_ json_t *facts = NULL, *row = NULL;
	int r;

	if (!json_array_size(flows))
		return 0;
	facts = json_pack("{s:s, s:O}", "container_id", m->entry.container_id, "flows", flows);
	row = json_pack("{s:s, s:s, s:O}", "id", m->entry.id, "kind", "back", "facts", facts);
	if (!row)
		return rb_err_set(err, -ENOMEM, "note the ways back");
	r = lock = rb_ports_lock(m->node, err);
	if (r >= 0)
		r = rb_forwards_put(m->node->journal, m->entry.id, "back", m->entry.container,
				    facts, err);
	return r < 0 ? r : rb_ports_apply(row, err);
}

int rb_ports_arrive_undo(struct rb_migration *m, struct rb_err *err)
{
	_cleanup_json_ json_t *row = NULL;
	_cleanup_close_ int lock = rb_ports_lock(m->node, err);
	int r = lock < 0 ? lock : rb_forwards_get(m->node->journal, m->entry.id, "back", &row, err);

	return r <= 0 ? r : rb_ports_drop(m->node, m->entry.id, "back", err);
}

/* is it the forward of this very container? */
static bool is_ours(const struct rb_migration *m, const json_t *row)
{
	const char *ip = rb_json_str(json_object_get(row, "facts"), "ip", "-"), *name;
	json_t *endpoint;

	if (strcmp(rb_json_str(row, "container", ""), m->entry.container) != 0)
		return false;
	json_object_foreach (rb_json_path(m->entry.facts, "offer.networks"), name, endpoint)
		if (strcmp(rb_json_str(endpoint, "IPAddress", ""), ip) == 0)
			return true;
	return false;
}

static int keep_flows_only(struct rb_migration *m, json_t *row, struct rb_err *err)
{
	const char *id = rb_json_str(row, "id", "");
	json_t *facts = json_object_get(row, "facts"), *live = NULL;
	int r;

	if (rb_forward_flows(id, json_object_get(facts, "flows"), &live, NULL) >= 0)
		json_object_set_new(facts, "flows", live);
	if (!json_array_size(json_object_get(facts, "flows")))
		return rb_ports_drop(m->node, id, "forward", err);
	if (!json_array_size(json_object_get(facts, "ports")))
		return 0;
	json_object_set_new(facts, "ports", json_array());
	json_object_set_new(facts, "state", json_string("home"));
	r = rb_forwards_put(m->node->journal, id, "forward", m->entry.container, facts, err);
	return r < 0 ? r : rb_ports_apply(row, err);
}

int rb_ports_home(struct rb_migration *m, struct rb_err *err)
{
	_cleanup_json_ json_t *rows = NULL;
	_cleanup_close_ int lock = -EBADF;
	json_t *row;
	size_t i;
	int r = rb_forwards_list(m->node->journal, "forward", &rows, err);

	if (r < 0 || !json_array_size(rows))
		return r;
	lock = rb_ports_lock(m->node, err);
	if (lock < 0)
		return lock;
	json_array_foreach (rows, i, row)
		if (r >= 0 && is_ours(m, row))
			r = keep_flows_only(m, row, err);
	return r;
}
