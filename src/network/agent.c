// SPDX-License-Identifier: Apache-2.0
/*
 * agent.c - the two processes that keep a node's networks going
 *
 * The one answers Docker (plugin.c), the other looks after devices, filters and addresses. They are
 * two since each of them waits for Docker, and Docker for the first while the second waits. Both
 * hold nothing that the journal does not have, outlive a daemon that is killed, and may be killed
 * at any time; a lock on a file keeps a second one of a kind away.
 *
 * The mesh's half looks at everything every few seconds, and at once when a device comes or goes
 * (a dockerd that starts makes its bridges).
 */
#include "agent.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "err.h"
#include "io.h"
#include "ipam.h"
#include "json.h"
#include "lock.h"
#include "log.h"
#include "mesh.h"
#include "names.h"
#include "networks.h"
#include "node.h"
#include "peers.h"
#include "plugin.h"
#include "serve.h"
#include "spec.h"
#include "wait.h"

#define TICK_MS	      2000
#define SETTLE_MS     100 /* devices come in groups */
#define AUDIT_MS      30000
#define LOAN_AGE_MS   60000
#define LEASE_AGE_MS  120000 /* longer than Docker takes from asking for an address to using it */
#define CREATE_AGE_MS 5000   /* then the maker is asked how far it is */
#define ENGINE_MS     10000
#define ASK_MS	      3000

int rb_agent_plugin(const struct rb_node *node, int stop_fd, struct rb_err *err)
{
	_cleanup_close_ int lock = rb_lock_take(node, RB_AGENT_PLUGIN, err);
	struct rb_ipam ipam = rb_ipam_of(node);
	int r = lock;

	if (r >= 0)
		r = rb_mkdir_p(RB_PLUGIN_DIR, 0755, err);
	if (r < 0)
		return r;
	return rb_plugin_serve(&ipam, RB_PLUGIN_DIR "/" RB_NET_DRIVER ".sock", stop_fd, err);
}

/* --- the mesh --- */

struct agent {
	const struct rb_node *node;
	struct rb_ipam ipam;
	json_t *said;	   /* id of a network -> what was last said about it */
	json_t *names;	   /* id of a network -> who is in it here, rb_names_here() */
	json_t *resolvers; /* that the filters are for */
	int64_t audited_ms;
};

static int64_t age_ms(const json_t *row)
{
	return rb_realtime_ms() - rb_json_int(row, "since_ms", 0);
}

/* Once, until it is something else. */
static void say(struct agent *agent, const json_t *spec, const char *text)
{
	const char *id = rb_json_str(spec, "id", "");

	if (strcmp(rb_json_str(agent->said, id, ""), text) == 0)
		return;
	json_object_set_new(agent->said, id, rb_json_text(text));
	if (*text)
		rb_warn("network '%s': %s", rb_json_str(spec, "name", "?"), text);
	else
		rb_info("network '%s': is up again", rb_json_str(spec, "name", "?"));
}

/* What the node that makes the network says of it: "creating", "ready", "" (there is none, or none
 * any more), or NULL when it does not answer. */
static const char *ask_maker(struct agent *agent, const json_t *spec, json_t **answer)
{
	const char *by = rb_json_str(spec, "by", ""), *id = rb_json_str(spec, "id", "");
	_cleanup_json_ json_t *request = NULL;

	/* here the process that makes it holds a lock of that name until it is ready */
	if (strcmp(by, agent->node->name) == 0)
		return rb_lock_holder(agent->node, id) ? "creating" : "";
	request = json_pack("{s:s, s:s}", "op", "query", "network", id);
	if (rb_network_ask(agent->node, by, request, ASK_MS, answer, NULL) < 0)
		return NULL;
	return rb_json_str(*answer, "state", "");
}

/*
 * Whoever makes a network tells its members when all have it, or takes it back. Who heard nothing
 * asks; a maker that was killed is found by the agent beside it.
 *
 * Return: whether the network is to be looked after
 */
static bool is_wanted(struct agent *agent, const json_t *spec)
{
	const char *id = rb_json_str(spec, "id", ""), *state = rb_json_str(spec, "state", "");
	_cleanup_json_ json_t *answer = NULL;
	const char *theirs = "";
	struct rb_err why = {};

	if (strcmp(state, "ready") == 0)
		return true;
	if (age_ms(spec) < CREATE_AGE_MS)
		return strcmp(state, "creating") == 0;
	if (strcmp(state, "creating") == 0)
		theirs = ask_maker(agent, spec, &answer);
	if (!theirs || strcmp(theirs, "creating") == 0)
		return true;
	if (strcmp(theirs, "ready") == 0) {
		rb_network_state(agent->node->journal, id, "ready", NULL);
		return true;
	}
	if (rb_network_unmake_here(agent->node, id, &why) < 0)
		say(agent, spec, why.msg);
	else
		rb_info("network '%s' was not made everywhere, or is being removed: removed here",
			rb_json_str(spec, "name", "?"));
	rb_lock_forget(agent->node, id);
	return false;
}

/* Docker may have stopped, or been killed, without giving back an address; or we were not there. */
static void release_unused(struct agent *agent, const json_t *spec)
{
	struct rb_wait wait = rb_wait_within(NULL, ENGINE_MS);
	_cleanup_json_ json_t *containers = NULL, *rows = NULL, *used = json_object();
	json_t *container;
	const json_t *row;
	const char *id;
	size_t i;

	/* what was asked for before Docker answers is in its answer, or younger than that age */
	if (rb_address_list(agent->node->journal, rb_json_str(spec, "id", ""), 0, UINT32_MAX, &rows,
			    NULL) < 0 ||
	    rb_mesh_containers(agent->node, spec, &containers, &wait, NULL) < 0)
		return;
	json_object_foreach (containers, id, container) {
		const char *address = rb_json_str(container, "IPv4Address", "");
		char text[64];

		snprintf(text, sizeof(text), "%.*s", (int)strcspn(address, "/"), address);
		json_object_set_new(used, text, json_true());
	}
	json_array_foreach (rows, i, row) {
		const char *state = rb_json_str(row, "state", "");
		uint32_t address = (uint32_t)rb_json_int(row, "address", 0);
		char text[RB_ADDRESS_TEXT];

		if (strcmp(rb_json_str(row, "node", ""), agent->node->name) != 0 ||
		    (strcmp(state, "held") != 0 && strcmp(state, "leaving") != 0) ||
		    age_ms(row) < LEASE_AGE_MS ||
		    json_object_get(used, rb_address_text(text, address, 0)))
			continue;
		rb_info("network '%s': address %s is held by no container any more",
			rb_json_str(spec, "name", "?"), text);
		rb_ipam_release(&agent->ipam, spec, address, NULL);
	}
}

/* As it is now: it may have been removed since it was listed. */
static int apply(struct agent *agent, const char *id, struct rb_err *err)
{
	struct rb_wait wait = rb_wait_within(NULL, ENGINE_MS);
	_cleanup_close_ int lock = rb_mesh_lock(agent->node, err);
	_cleanup_json_ json_t *spec = NULL;
	uint32_t own;
	int r;

	if (lock < 0)
		return lock;
	if (rb_network_get(agent->node->journal, id, &spec, NULL) < 0 ||
	    strcmp(rb_json_str(spec, "state", ""), "removing") == 0)
		return 0;
	r = rb_mesh_apply(agent->node, spec, &wait, err);
	if (r >= 0 && rb_net_is(spec, "vxlan"))
		r = rb_ipam_gateway(&agent->ipam, spec, &own, err);
	if (r >= 0 && rb_net_is(spec, "vxlan"))
		r = rb_names_tend(agent->node, spec, own, err);
	return r;
}

/* Tell the others who is here, and hear who is there. */
static void exchange_names(struct agent *agent, const json_t *spec)
{
	const char *id = rb_json_str(spec, "id", ""), *own = agent->node->name;
	_cleanup_json_ json_t *request = json_pack("{s:s, s:s, s:o}", "op", "names", "network", id,
						   "list", rb_names_stored(agent->node, spec, own));
	const json_t *name;
	size_t i;

	json_array_foreach (json_object_get(spec, "nodes"), i, name) {
		const char *peer = json_string_value(name);
		_cleanup_json_ json_t *answer = NULL;

		/* who cannot be reached hears of it with the next audit, ours or its own */
		if (strcmp(peer, own) != 0 &&
		    rb_network_ask(agent->node, peer, request, ASK_MS, &answer, NULL) >= 0 &&
		    rb_names_store(agent->node, spec, peer, json_object_get(answer, "list"), NULL) >
			    0)
			rb_names_reload(agent->node, spec);
	}
}

static void look_after_names(struct agent *agent, const json_t *spec, bool audit)
{
	struct rb_wait wait = rb_wait_within(NULL, ENGINE_MS);
	_cleanup_json_ json_t *containers = NULL;
	const char *id = rb_json_str(spec, "id", "");
	const json_t *before = json_object_get(agent->names, id);
	json_t *list;
	uint32_t own;
	int r;

	if (!rb_net_is(spec, "vxlan") || rb_ipam_gateway(&agent->ipam, spec, &own, NULL) < 0 ||
	    rb_mesh_containers(agent->node, spec, &containers, &wait, NULL) < 0)
		return;
	list = rb_names_here(agent->node, spec, containers, before, &wait);
	r = rb_names_store(agent->node, spec, agent->node->name, list, NULL);
	if (r > 0)
		rb_names_reload(agent->node, spec);
	if (r > 0 || audit || !before)
		exchange_names(agent, spec);
	json_object_set_new(agent->names, id, list);
}

static void look_after(struct agent *agent, const json_t *spec, bool audit)
{
	struct rb_err why = {};
	int r;

	if (!is_wanted(agent, spec))
		return;
	r = apply(agent, rb_json_str(spec, "id", ""), &why);
	say(agent, spec, r < 0 ? why.msg : "");
	rb_ipam_deliver(&agent->ipam, spec);
	look_after_names(agent, spec, audit);
	if (!audit)
		return;
	release_unused(agent, spec);
	rb_ipam_audit(&agent->ipam, spec, LOAN_AGE_MS);
}

static void tick(struct agent *agent)
{
	bool audit = rb_now_ms() - agent->audited_ms >= AUDIT_MS;
	_cleanup_json_ json_t *networks = NULL, *resolvers = NULL;
	struct rb_err why = {};
	const json_t *spec;
	size_t i;

	if (rb_network_list(agent->node->journal, &networks, &why) < 0) {
		rb_error("networks: %s", why.msg);
		return;
	}
	rb_names_reap();
	resolvers = rb_names_resolvers();
	if (json_array_size(networks) &&
	    rb_mesh_rules(agent->node, !json_equal(resolvers, agent->resolvers), &why) < 0)
		rb_error("networks: %s", why.msg);
	json_decref(agent->resolvers);
	agent->resolvers = json_incref(resolvers);
	json_array_foreach (networks, i, spec)
		look_after(agent, spec, audit);
	if (audit)
		agent->audited_ms = rb_now_ms();
}

/* a socket that becomes readable when a device comes, goes or changes */
static int watch_devices(struct rb_err *err)
{
	struct sockaddr_nl group = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	_cleanup_close_ int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&group, sizeof(group)) < 0)
		return rb_err_set(err, -errno, "watch devices");
	return TAKE_FD(fd);
}

static void drain(int fd)
{
	char buffer[8192];

	while (recv(fd, buffer, sizeof(buffer), 0) > 0 || errno == ENOBUFS)
		;
}

int rb_agent_mesh(const struct rb_node *node, int stop_fd, struct rb_err *err)
{
	_cleanup_close_ int lock = rb_lock_take(node, RB_AGENT_MESH, err);
	_cleanup_close_ int devices = lock < 0 ? -EBADF : watch_devices(err);
	_cleanup_json_ json_t *said = json_object(), *names = json_object();
	struct agent agent = {
		.node = node, .ipam = rb_ipam_of(node), .said = said, .names = names
	};
	struct pollfd fds[] = { { .fd = devices, .events = POLLIN },
				{ .fd = stop_fd, .events = POLLIN } };

	if (lock < 0 || devices < 0)
		return lock < 0 ? lock : devices;
	/* after the start of a host many things come back at once */
	agent.audited_ms = rb_now_ms();
	/* filters of another version, or for other addresses */
	rb_mesh_rules(node, true, NULL);
	while (!fds[1].revents) {
		tick(&agent);
		drain(devices);
		fds[0].revents = 0;
		poll(fds, ARRAY_SIZE(fds), TICK_MS);
		if (fds[0].revents)
			rb_wait_ms(SETTLE_MS, NULL, NULL);
	}
	json_decref(agent.resolvers);
	return 0;
}
