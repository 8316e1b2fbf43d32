// SPDX-License-Identifier: Apache-2.0
/*
 * cluster.c - networks on all their nodes
 *
 * The node where the command is given does it all. To create one, every member is first asked what
 * stands in the way, and nothing is changed before all have answered. Then each makes its part (as
 * "creating"), and it is "ready" once this node's journal says so: a member that was not told asks
 * here. What fails before is unmade everywhere; a member that cannot be told then unmakes its part
 * by itself when it asks (agent.c).
 *
 * To remove one, every member is first asked whether a container is in it. Docker refuses to remove
 * a network that is in use, so one who comes in between is safe: then the command says where it
 * stopped, and can be repeated.
 */
#include "cluster.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "cleanup.h"
#include "err.h"
#include "fault.h"
#include "io.h"
#include "journal.h"
#include "json.h"
#include "lock.h"
#include "log.h"
#include "mesh.h"
#include "networks.h"
#include "node.h"
#include "peers.h"
#include "serve.h"
#include "spec.h"
#include "wait.h"

#define PROBE_MS  10000
#define MAKE_MS	  45000
#define STATUS_MS 4000
#define ENGINE_MS 10000
#define MTU_MIN	  1280 /* what IPv6 needs, and nothing sane is below */

int rb_cluster_ask(const struct rb_node *node, const char *member, const json_t *request,
		   int64_t timeout_ms, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *ignored = NULL;

	if (strcmp(member, node->name) == 0)
		return rb_network_serve(node, node->name, request, ret ? ret : &ignored, err);
	return rb_network_ask(node, member, request, timeout_ms, ret, err);
}

int rb_cluster_ask_about(const struct rb_node *node, const char *member, const char *op,
			 const json_t *spec, int64_t timeout_ms, json_t **ret, struct rb_err *err)
{
	_cleanup_json_ json_t *request =
		json_pack("{s:s, s:s}", "op", op, "network", rb_json_str(spec, "id", ""));

	return rb_cluster_ask(node, member, request, timeout_ms, ret, err);
}

/* --- create --- */

static json_t *all_nodes(const struct rb_node *node)
{
	json_t *nodes = json_array(), *address;
	const char *name;

	json_object_foreach ((json_t *)node->peers, name, address)
		json_array_append_new(nodes, json_string(name));
	return nodes;
}

/* @ret: as spec.h has it; the MTU is what was asked for, or a placeholder */
static int describe(const struct rb_node *node, const json_t *request, json_t **ret,
		    struct rb_err *err)
{
	json_t *nodes = json_object_get(request, "nodes");
	_cleanup_json_ json_t *spec = NULL;
	char id[RB_ID_LEN + 1];
	uint32_t vni = 0;
	int r;

	rb_journal_new_id(id);
	if (getrandom(&vni, sizeof(vni), 0) != sizeof(vni))
		return rb_err_set(err, -EIO, "choose a VXLAN identifier");
	spec = json_pack(
		"{s:s, s:s, s:s, s:s, s:I, s:i, s:o, s:s}", "id", id, "name",
		rb_json_str(request, "name", ""), "driver", rb_json_str(request, "driver", "vxlan"),
		"subnet", rb_json_str(request, "subnet", ""), "mtu",
		(json_int_t)rb_json_int(request, "mtu", MTU_MIN), "vni", (int)(vni % 0xfffffe) + 1,
		"nodes", json_array_size(nodes) ? json_incref(nodes) : all_nodes(node), "by",
		node->name);
	if (json_object_get(request, "parent"))
		json_object_set(spec, "parent", json_object_get(request, "parent"));
	if (json_object_get(request, "gateway"))
		json_object_set(spec, "gateway", json_object_get(request, "gateway"));
	r = rb_net_check(spec, err);
	if (r < 0)
		return r;
	if (!rb_net_has_node(spec, node->name))
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "this node, '%s', is not among the nodes of the network: give "
				   "the command on one of them",
				   node->name);
	*ret = TAKE_PTR(spec);
	return 0;
}

/* Each member has a chunk from the beginning. */
static int deal_chunks(const json_t *spec, json_t **ret, struct rb_err *err)
{
	struct rb_subnet subnet = rb_net_subnet(spec);
	const json_t *nodes = json_object_get(spec, "nodes"), *name;
	size_t i;

	if (json_array_size(nodes) > rb_subnet_chunks(&subnet))
		return rb_err_code(err, RB_E_USAGE, -EINVAL,
				   "subnet %s is too small for %zu nodes: it can be shared by %u",
				   rb_json_str(spec, "subnet", "?"), json_array_size(nodes),
				   rb_subnet_chunks(&subnet));
	*ret = json_array();
	json_array_foreach (nodes, i, name)
		json_array_append_new(*ret, json_pack("{s:i, s:s}", "chunk", (int)i, "node",
						      json_string_value(name)));
	return 0;
}

/* Ask all members what stands in the way. @ret_mtu: the most that all have */
static int probe_all(const struct rb_node *node, const json_t *spec, int64_t *ret_mtu,
		     char ret_least[64], struct rb_err *err)
{
	_cleanup_json_ json_t *request = json_pack("{s:s, s:O}", "op", "probe", "spec", spec);
	_cleanup_buf_ struct rb_buf problems = {};
	const json_t *name, *problem;
	size_t i, j;

	*ret_mtu = INT64_MAX;
	json_array_foreach (json_object_get(spec, "nodes"), i, name) {
		_cleanup_json_ json_t *answer = NULL;
		const char *member = json_string_value(name);
		struct rb_err why = {};
		int64_t mtu;

		if (rb_cluster_ask(node, member, request, PROBE_MS, &answer, &why) < 0) {
			/* what is wrong with the request they would all say */
			if (why.code == RB_E_USAGE) {
				*err = why;
				return -EINVAL;
			}
			rb_buf_addf(&problems, "%s%s", problems.len ? "; " : "", why.msg);
			continue;
		}
		mtu = rb_json_int(answer, "mtu", 0);
		if (mtu > 0 && mtu < *ret_mtu) {
			*ret_mtu = mtu;
			snprintf(ret_least, 64, "%s", member);
		}
		json_array_foreach (json_object_get(answer, "problems"), j, problem)
			rb_buf_addf(&problems, "%s%s", problems.len ? "; " : "",
				    json_string_value(problem));
	}
	if (problems.len)
		return rb_err_code(err, RB_E_REFUSED, -EINVAL, "nothing was changed: %s",
				   problems.data);
	return 0;
}

static int choose_mtu(const json_t *request, int64_t most, const char *least, int64_t *ret,
		      struct rb_err *err)
{
	int64_t wanted = rb_json_int(request, "mtu", most);

	if (most < MTU_MIN)
		return rb_err_code(
			err, RB_E_REFUSED, -EMSGSIZE,
			"nothing was changed: the MTU of node '%s' leaves %lld bytes for "
			"containers, and at least %d are needed: raise the MTU of the "
			"interface that has its address",
			least, (long long)most, MTU_MIN);
	if (wanted > most || wanted < MTU_MIN)
		return rb_err_code(err, RB_E_REFUSED, -EMSGSIZE,
				   "nothing was changed: an MTU of %lld is not possible: between "
				   "%d and %lld (what node '%s' lets through)",
				   (long long)wanted, MTU_MIN, (long long)most, least);
	*ret = wanted;
	return 0;
}

/* The first @count members, as far as they can be told; the others ask for themselves. */
static void unmake(const struct rb_node *node, const json_t *spec, size_t count)
{
	const json_t *name;
	size_t i;

	json_array_foreach (json_object_get(spec, "nodes"), i, name) {
		const char *member = json_string_value(name);
		struct rb_err why = {};

		if (i < count && strcmp(member, node->name) != 0 &&
		    rb_cluster_ask_about(node, member, "unmake", spec, MAKE_MS, NULL, &why) < 0)
			rb_warn("network '%s' is not removed on node '%s' yet: %s",
				rb_json_str(spec, "name", "?"), member, why.msg);
	}
	rb_network_unmake_here(node, rb_json_str(spec, "id", ""), NULL);
}

static int make_all(const struct rb_node *node, const json_t *spec, const json_t *chunks,
		    struct rb_err *err)
{
	_cleanup_json_ json_t *request =
		json_pack("{s:s, s:O, s:O}", "op", "make", "spec", spec, "chunks", chunks);
	const json_t *name;
	_cleanup_close_ int lock = rb_lock_take(node, rb_json_str(spec, "id", ""), err);
	size_t i;
	/* ours first: what it says is what the others ask for */
	int r = lock < 0 ? lock : rb_network_make_here(node, spec, chunks, err);

	json_array_foreach (json_object_get(spec, "nodes"), i, name) {
		const char *member = json_string_value(name);

		if (r >= 0 && strcmp(member, node->name) != 0)
			r = rb_cluster_ask(node, member, request, MAKE_MS, NULL, err);
		if (r >= 0)
			r = rb_fault_point("network.create.member", NULL, err);
		if (r < 0) {
			unmake(node, spec, i + 1);
			rb_lock_forget(node, rb_json_str(spec, "id", ""));
			return rb_err_wrap(err, r, "network '%s' was not made",
					   rb_json_str(spec, "name", "?"));
		}
	}
	r = rb_network_state(node->journal, rb_json_str(spec, "id", ""), "ready", err);
	rb_lock_forget(node, rb_json_str(spec, "id", ""));
	return r;
}

static int create(const struct rb_node *node, const json_t *request, json_t **ret,
		  struct rb_err *err)
{
	_cleanup_json_ json_t *spec = NULL, *chunks = NULL;
	int64_t most, mtu = 0;
	const json_t *name;
	char least[64] = "";
	size_t i;
	int r;

	r = describe(node, request, &spec, err);
	if (r >= 0)
		r = deal_chunks(spec, &chunks, err);
	if (r >= 0)
		r = probe_all(node, spec, &most, least, err);
	if (r >= 0)
		r = choose_mtu(request, most, least, &mtu, err);
	if (r < 0)
		return r;
	json_object_set_new(spec, "mtu", json_integer(mtu));
	r = make_all(node, spec, chunks, err);
	if (r < 0)
		return r;
	json_array_foreach (json_object_get(spec, "nodes"), i, name)
		if (strcmp(json_string_value(name), node->name) != 0)
			rb_cluster_ask_about(node, json_string_value(name), "confirm", spec,
					     PROBE_MS, NULL, NULL);
	*ret = json_incref(spec);
	return 0;
}

/* --- rm --- */

/* Return: 0 nobody is in it, negative errno */
static int check_unused(const struct rb_node *node, const json_t *spec, bool force,
			struct rb_err *err)
{
	const json_t *name;
	size_t i;

	json_array_foreach (json_object_get(spec, "nodes"), i, name) {
		_cleanup_json_ json_t *answer = NULL;
		const char *member = json_string_value(name);
		const json_t *containers;
		int r = rb_cluster_ask_about(node, member, "use", spec, PROBE_MS, &answer, err);

		if (r < 0 && force && strcmp(member, node->name) != 0) {
			rb_err_clear(err);
			continue;
		}
		if (r < 0)
			return rb_err_wrap(err, r,
					   "nothing was changed, use --force to go on without "
					   "that node");
		containers = json_object_get(answer, "containers");
		if (json_array_size(containers))
			return rb_err_code(
				err, RB_E_CONFLICT, -EBUSY,
				"network '%s' is in use by container '%s' on node '%s'%s",
				rb_json_str(spec, "name", "?"),
				json_string_value(json_array_get(containers, 0)), member,
				json_array_size(containers) > 1 ? " and others" : "");
	}
	return 0;
}

static int remove_network(const struct rb_node *node, const json_t *request, json_t **ret,
			  struct rb_err *err)
{
	bool force = rb_json_bool(request, "force", false);
	_cleanup_json_ json_t *spec = NULL, *missed = json_array();
	const json_t *name;
	size_t i;
	int r = rb_network_get(node->journal, rb_json_str(request, "name", ""), &spec, err);

	if (r >= 0)
		r = check_unused(node, spec, force, err);
	json_array_foreach (json_object_get(spec, "nodes"), i, name) {
		const char *member = json_string_value(name);

		if (r < 0 || strcmp(member, node->name) == 0)
			continue;
		r = rb_cluster_ask_about(node, member, "unmake", spec, MAKE_MS, NULL, err);
		if (r < 0 && force) {
			rb_err_clear(err);
			json_array_append_new(missed, json_string(member));
			r = 0;
		}
	}
	if (r >= 0)
		r = rb_network_unmake_here(node, rb_json_str(spec, "id", ""), err);
	if (r < 0)
		return r;
	*ret = json_pack("{s:s, s:O}", "name", rb_json_str(spec, "name", ""), "missed", missed);
	return 0;
}

/* --- inspect --- */

static int inspect(const struct rb_node *node, const json_t *request, json_t **ret,
		   struct rb_err *err)
{
	_cleanup_json_ json_t *spec = NULL;
	json_t *members = json_array();
	const json_t *name;
	size_t i;
	int r = rb_network_get(node->journal, rb_json_str(request, "name", ""), &spec, err);

	json_array_foreach (json_object_get(spec, "nodes"), i, name) {
		_cleanup_json_ json_t *answer = NULL;
		const char *member = json_string_value(name);
		struct rb_err why = {};

		if (rb_cluster_ask_about(node, member, "status", spec, STATUS_MS, &answer, &why) <
		    0)
			answer = json_pack("{s:s, s:o}", "node", member, "state",
					   rb_json_text(why.msg));
		json_array_append(members, answer);
	}
	if (r < 0) {
		json_decref(members);
		return r;
	}
	json_object_set_new(spec, "members", members);
	*ret = TAKE_PTR(spec);
	return 0;
}

int rb_network_command(const struct rb_node *node, const json_t *request, json_t **ret,
		       struct rb_err *err)
{
	const char *command = rb_json_str(request, "command", "");

	if (strcmp(command, "create") == 0)
		return create(node, request, ret, err);
	if (strcmp(command, "rm") == 0)
		return remove_network(node, request, ret, err);
	if (strcmp(command, "join") == 0)
		return rb_cluster_join(node, request, ret, err);
	if (strcmp(command, "leave") == 0)
		return rb_cluster_leave(node, request, ret, err);
	if (strcmp(command, "inspect") == 0)
		return inspect(node, request, ret, err);
	if (strcmp(command, "ls") == 0)
		return rb_network_list(node->journal, ret, err);
	return rb_err_code(err, RB_E_USAGE, -EINVAL, "'%.40s' is no command for networks", command);
}
