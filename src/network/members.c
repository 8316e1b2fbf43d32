// SPDX-License-Identifier: Apache-2.0
/*
 * members.c - nodes that join a network, or leave it
 *
 * To join, a node is asked what stands in the way, the members learn of it, and it makes its part;
 * its first chunk it claims like any other, with everybody's consent. What fails is taken back.
 *
 * A node that leaves makes an end of its part first, and so hands out no address any more. Its
 * chunks are inherited by the node where the command is given, with the addresses in them that
 * other members hold: these are asked, since the one that leaves may be gone for good (--force).
 */
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "cluster.h"
#include "err.h"
#include "json.h"
#include "networks.h"
#include "node.h"
#include "spec.h"

#define PROBE_MS 10000
#define MAKE_MS	 45000

/* The network, and its members but the one that the request is about. */
static int begin(const struct rb_node *node, const json_t *request, json_t **ret_spec,
		 json_t **ret_others, struct rb_err *err)
{
	const char *name = rb_json_str(request, "node", "");
	_cleanup_json_ json_t *spec = NULL;
	json_t *member;
	size_t i;
	int r = rb_network_get(node->journal, rb_json_str(request, "name", ""), &spec, err);

	if (r < 0)
		return r;
	if (strcmp(rb_json_str(spec, "state", ""), "ready") != 0)
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY, "network '%s' is %s",
				   rb_json_str(spec, "name", "?"), rb_json_str(spec, "state", "?"));
	json_object_del(spec, "state");
	json_object_del(spec, "since_ms");
	*ret_others = json_array();
	json_array_foreach (json_object_get(spec, "nodes"), i, member)
		if (strcmp(json_string_value(member), name) != 0)
			json_array_append(*ret_others, member);
	*ret_spec = TAKE_PTR(spec);
	return 0;
}

static json_t *with_nodes(const json_t *spec, json_t *nodes)
{
	json_t *copy = json_copy((json_t *)spec);

	json_object_set(copy, "nodes", nodes);
	return copy;
}

/* Tell members of a description. @gone: who left it, or "" */
static int tell(const struct rb_node *node, const json_t *spec, const json_t *members,
		const char *gone, struct rb_err *err)
{
	_cleanup_json_ json_t *request = json_pack("{s:s, s:O, s:s, s:s}", "op", "update", "spec",
						   spec, "gone", gone, "heir", node->name);
	const json_t *name;
	size_t i;
	int r = 0;

	json_array_foreach (members, i, name)
		if (r >= 0)
			r = rb_cluster_ask(node, json_string_value(name), request, MAKE_MS, NULL,
					   err);
	return r < 0 ? r : 0;
}

static int all_answer(const struct rb_node *node, const json_t *spec, const json_t *members,
		      struct rb_err *err)
{
	const json_t *name;
	size_t i;
	int r = 0;

	json_array_foreach (members, i, name)
		if (r >= 0)
			r = rb_cluster_ask_about(node, json_string_value(name), "query", spec,
						 PROBE_MS, NULL, err);
	return r < 0 ? rb_err_wrap(err, r, "nothing was changed") : 0;
}

static int probe(const struct rb_node *node, const json_t *spec, const char *name,
		 struct rb_err *err)
{
	_cleanup_json_ json_t *request = json_pack("{s:s, s:O}", "op", "probe", "spec", spec);
	_cleanup_json_ json_t *answer = NULL;
	const json_t *problems;
	int r = rb_cluster_ask(node, name, request, PROBE_MS, &answer, err);

	if (r < 0)
		return rb_err_wrap(err, r, "nothing was changed");
	problems = json_object_get(answer, "problems");
	if (json_array_size(problems))
		return rb_err_code(err, RB_E_REFUSED, -EINVAL, "nothing was changed: %s",
				   json_string_value(json_array_get(problems, 0)));
	if (rb_json_int(answer, "mtu", 0) < rb_json_int(spec, "mtu", 0))
		return rb_err_code(
			err, RB_E_REFUSED, -EMSGSIZE,
			"nothing was changed: node '%s' lets through %lld bytes, and the "
			"network's MTU is %lld",
			name, (long long)rb_json_int(answer, "mtu", 0),
			(long long)rb_json_int(spec, "mtu", 0));
	return 0;
}

/* The members know of it: have it make its part. */
static int make(const struct rb_node *node, const json_t *spec, const char *name,
		struct rb_err *err)
{
	_cleanup_json_ json_t *chunks = NULL, *request = NULL;
	int r = rb_chunk_list(node->journal, rb_json_str(spec, "id", ""), NULL, &chunks, err);

	if (r < 0)
		return r;
	request = json_pack("{s:s, s:O, s:O}", "op", "make", "spec", spec, "chunks", chunks);
	r = rb_cluster_ask(node, name, request, MAKE_MS, NULL, err);
	return r < 0 ? r : rb_cluster_ask_about(node, name, "confirm", spec, PROBE_MS, NULL, err);
}

int rb_cluster_join(const struct rb_node *node, const json_t *request, json_t **ret,
		    struct rb_err *err)
{
	_cleanup_json_ json_t *spec = NULL, *others = NULL, *nodes = NULL, *wider = NULL;
	const char *name = rb_json_str(request, "node", "");
	struct rb_err ignored = {};
	int r = begin(node, request, &spec, &others, err);

	if (r < 0)
		return r;
	if (rb_net_has_node(spec, name))
		return rb_err_code(err, RB_E_CONFLICT, -EEXIST,
				   "node '%s' is a member of network '%s' already", name,
				   rb_json_str(spec, "name", "?"));
	nodes = json_copy(others);
	json_array_append_new(nodes, json_string(name));
	wider = with_nodes(spec, nodes);
	r = probe(node, wider, name, err);
	if (r >= 0)
		r = all_answer(node, spec, others, err);
	if (r < 0)
		return r;
	r = tell(node, wider, others, "", err);
	if (r >= 0)
		r = make(node, wider, name, err);
	if (r < 0) {
		rb_cluster_ask_about(node, name, "unmake", spec, MAKE_MS, NULL, &ignored);
		tell(node, spec, others, name, &ignored);
		return rb_err_wrap(err, r, "node '%s' did not join", name);
	}
	*ret = TAKE_PTR(wider);
	return 0;
}

/* What a member holds of the chunks of the one that leaves is lent by us from now on. */
static int take_over_loans(const struct rb_node *node, const json_t *spec, const char *member,
			   const char *gone, struct rb_err *err)
{
	const char *id = rb_json_str(spec, "id", "");
	struct rb_subnet subnet = rb_net_subnet(spec);
	_cleanup_json_ json_t *status = NULL;
	const json_t *row;
	char owner[64];
	size_t i;
	int r = rb_cluster_ask_about(node, member, "status", spec, PROBE_MS, &status, err);

	json_array_foreach (json_object_get(status, "addresses"), i, row) {
		uint32_t address = (uint32_t)rb_json_int(row, "address", 0);

		if (r >= 0)
			r = rb_chunk_owner(node->journal, id, rb_subnet_chunk_of(&subnet, address),
					   owner, err);
		if (r >= 0 && strcmp(rb_json_str(row, "node", ""), member) == 0 &&
		    strcmp(owner, gone) == 0)
			r = rb_address_add(node->journal, id, address, member, "lent", "", member,
					   err);
	}
	return r < 0 ? r : 0;
}

/* Nobody uses the network there, and it makes an end of its part. */
static int dismiss(const struct rb_node *node, const json_t *spec, const char *name,
		   struct rb_err *err)
{
	_cleanup_json_ json_t *use = NULL;
	const json_t *containers;
	int r = rb_cluster_ask_about(node, name, "use", spec, PROBE_MS, &use, err);

	containers = json_object_get(use, "containers");
	if (r >= 0 && json_array_size(containers))
		return rb_err_code(err, RB_E_CONFLICT, -EBUSY,
				   "network '%s' is in use by container '%s' on node '%s'",
				   rb_json_str(spec, "name", "?"),
				   json_string_value(json_array_get(containers, 0)), name);
	return r < 0 ? r : rb_cluster_ask_about(node, name, "unmake", spec, MAKE_MS, NULL, err);
}

int rb_cluster_leave(const struct rb_node *node, const json_t *request, json_t **ret,
		     struct rb_err *err)
{
	_cleanup_json_ json_t *spec = NULL, *others = NULL, *narrower = NULL;
	const char *name = rb_json_str(request, "node", "");
	const json_t *member;
	size_t i;
	int r = begin(node, request, &spec, &others, err);

	if (r < 0)
		return r;
	if (!rb_net_has_node(spec, name))
		return rb_err_code(err, RB_E_NOT_FOUND, -ENOENT,
				   "node '%s' is not a member of network '%s'", name,
				   rb_json_str(spec, "name", "?"));
	if (strcmp(name, node->name) == 0)
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "give the command on a node that stays in the network");
	narrower = with_nodes(spec, others);
	r = all_answer(node, spec, others, err);
	if (r < 0)
		return r;
	r = dismiss(node, spec, name, err);
	if (r == -EBUSY)
		return r;
	if (r < 0 && !rb_json_bool(request, "force", false))
		return rb_err_wrap(err, r, "use --force if that node is gone for good");
	rb_err_clear(err);
	r = 0;
	json_array_foreach (others, i, member)
		if (r >= 0 && strcmp(json_string_value(member), node->name) != 0)
			r = take_over_loans(node, spec, json_string_value(member), name, err);
	if (r >= 0)
		r = tell(node, narrower, others, name, err);
	if (r < 0)
		return rb_err_wrap(err, r, "give the command again");
	*ret = TAKE_PTR(narrower);
	return 0;
}
