// SPDX-License-Identifier: Apache-2.0
/*
 * serve.c - what nodes ask each other about networks
 */
#include "serve.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "err.h"
#include "ipam.h"
#include "json.h"
#include "mesh.h"
#include "names.h"
#include "networks.h"
#include "node.h"
#include "spec.h"
#include "wait.h"

#define ENGINE_MS 30000

static const char *name_in(const json_t *request)
{
	return rb_json_str(request, "network", "");
}

/* who owns what is part of the description when it is made, not a claim */
static int note_chunks(const struct rb_node *node, const json_t *spec, const json_t *chunks,
		       struct rb_err *err)
{
	const char *id = rb_json_str(spec, "id", "");
	const json_t *chunk;
	char owner[64];
	size_t i;
	int r = 0;

	json_array_foreach (chunks, i, chunk) {
		uint32_t number = (uint32_t)rb_json_int(chunk, "chunk", 0);

		if (r >= 0)
			r = rb_chunk_claim(node->journal, id, number,
					   rb_json_str(chunk, "node", ""), owner, err);
		if (r >= 0 && strcmp(owner, node->name) == 0)
			r = rb_chunk_settle(node->journal, id, number, err);
	}
	return r < 0 ? r : 0;
}

int rb_network_make_here(const struct rb_node *node, const json_t *spec, const json_t *chunks,
			 struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, ENGINE_MS);
	_cleanup_close_ int lock = rb_mesh_lock(node, err);
	_cleanup_json_ json_t *known = NULL;
	int r = lock < 0 ? lock : rb_net_check(spec, err);

	if (r >= 0 && !rb_net_has_node(spec, node->name))
		r = rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "node '%s' is no member of it",
				node->name);
	if (r < 0)
		return r;
	if (rb_network_get(node->journal, rb_json_str(spec, "id", ""), &known, NULL) < 0)
		r = rb_network_add(node->journal, spec, "creating", err);
	if (r >= 0)
		r = note_chunks(node, spec, chunks, err);
	if (r >= 0)
		r = rb_mesh_rules(node, true, err);
	if (r >= 0)
		r = rb_mesh_apply(node, spec, &wait, err);
	return r < 0 ? r : 0;
}

int rb_network_unmake_here(const struct rb_node *node, const char *network, struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, ENGINE_MS);
	_cleanup_close_ int lock = rb_mesh_lock(node, err);
	_cleanup_json_ json_t *spec = NULL;
	const char *id, *before;
	int r = lock < 0 ? lock : rb_network_get(node->journal, network, &spec, err);

	if (r == -ENOENT) {
		rb_err_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	id = rb_json_str(spec, "id", "");
	before = rb_json_str(spec, "state", "ready");
	r = rb_network_state(node->journal, id, "removing", err);
	if (r >= 0)
		r = rb_mesh_remove(node, spec, &wait, err);
	/* somebody came in meanwhile: it stays */
	if (r == -EBUSY)
		rb_network_state(node->journal, id, before, NULL);
	if (r >= 0)
		rb_names_stop(node, spec);
	if (r >= 0)
		r = rb_network_forget(node->journal, id, err);
	return r < 0 ? r : rb_mesh_rules(node, true, err);
}

int rb_network_use_here(const struct rb_node *node, const char *network, json_t **ret,
			struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, ENGINE_MS);
	_cleanup_json_ json_t *spec = NULL, *containers = NULL, *names = json_array();
	json_t *container;
	const char *id;
	int r = rb_network_get(node->journal, network, &spec, NULL);

	if (r >= 0)
		r = rb_mesh_containers(node, spec, &containers, &wait, err);
	if (r < 0 && r != -ENOENT)
		return r;
	rb_err_clear(err);
	json_object_foreach (containers, id, container)
		json_array_append(names, json_object_get(container, "Name"));
	*ret = json_pack("{s:O}", "containers", names);
	return 0;
}

static int serve_status(const struct rb_node *node, const char *network, json_t **ret,
			struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, ENGINE_MS);
	_cleanup_json_ json_t *spec = NULL;
	int r = rb_network_get(node->journal, network, &spec, err);

	return r < 0 ? r : rb_mesh_status(node, spec, ret, &wait, err);
}

static int serve_query(const struct rb_node *node, const char *network, json_t **ret,
		       struct rb_err *err)
{
	_cleanup_json_ json_t *spec = NULL;
	int r = rb_network_get(node->journal, network, &spec, err);

	if (r < 0 && r != -ENOENT)
		return r;
	rb_err_clear(err);
	*ret = json_pack("{s:s}", "state", rb_json_str(spec, "state", ""));
	return 0;
}

/* Members came or went. */
static int serve_update(const struct rb_node *node, const json_t *request, struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, ENGINE_MS);
	const json_t *spec = json_object_get(request, "spec");
	const char *id = rb_json_str(spec, "id", ""), *gone = rb_json_str(request, "gone", "");
	const char *heir = rb_json_str(request, "heir", "");
	_cleanup_close_ int lock = rb_mesh_lock(node, err);
	_cleanup_json_ json_t *known = NULL;
	int r = lock < 0 ? lock : rb_net_check(spec, err);

	if (r >= 0)
		r = rb_network_get(node->journal, id, &known, err);
	if (r >= 0)
		r = rb_network_update(node->journal, spec, err);
	if (r >= 0 && *gone)
		r = rb_chunk_inherit(node->journal, id, gone, heir, strcmp(heir, node->name) == 0,
				     err);
	if (r >= 0)
		r = rb_mesh_rules(node, true, err);
	if (r >= 0)
		r = rb_mesh_apply(node, spec, &wait, err);
	return r < 0 ? r : 0;
}

static int serve_names(const struct rb_node *node, const char *from, const json_t *request,
		       json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *spec = NULL;
	int r = rb_network_get(node->journal, name_in(request), &spec, err);

	if (r >= 0 && !rb_net_has_node(spec, from))
		r = rb_err_code(err, RB_E_DENIED, -EACCES, "node '%s' is no member of it", from);
	if (r >= 0)
		r = rb_names_store(node, spec, from, json_object_get(request, "list"), err);
	if (r > 0)
		rb_names_reload(node, spec);
	if (r >= 0)
		*ret = json_pack("{s:o}", "list", rb_names_stored(node, spec, node->name));
	return r < 0 ? r : 0;
}

int rb_network_serve(const struct rb_node *node, const char *from, const json_t *request,
		     json_t **ret, struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, ENGINE_MS);
	const json_t *spec = json_object_get(request, "spec");
	const char *op = rb_json_str(request, "op", "");
	struct rb_ipam ipam = rb_ipam_of(node);
	int r;

	if (strcmp(op, "probe") == 0) {
		r = rb_net_check(spec, err);
		return r < 0 ? r : rb_mesh_probe(node, spec, ret, &wait, err);
	}
	if (strcmp(op, "make") == 0)
		return rb_network_make_here(node, spec, json_object_get(request, "chunks"), err);
	if (strcmp(op, "confirm") == 0)
		return rb_network_state(node->journal, name_in(request), "ready", err);
	if (strcmp(op, "unmake") == 0)
		return rb_network_unmake_here(node, name_in(request), err);
	if (strcmp(op, "use") == 0)
		return rb_network_use_here(node, name_in(request), ret, err);
	if (strcmp(op, "status") == 0)
		return serve_status(node, name_in(request), ret, err);
	if (strcmp(op, "query") == 0)
		return serve_query(node, name_in(request), ret, err);
	if (strcmp(op, "update") == 0)
		return serve_update(node, request, err);
	if (strcmp(op, "names") == 0)
		return serve_names(node, from, request, ret, err);
	r = rb_ipam_answer(&ipam, from, request, ret, err);
	if (r == 1)
		r = rb_err_code(err, RB_E_PROTOCOL, -EPROTO, "'%.40s' is not known here", op);
	return r;
}
