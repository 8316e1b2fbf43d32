// SPDX-License-Identifier: Apache-2.0
/*
 * obstacles_target.c - obstacles on the host that the container shall move to
 */
#include "obstacles.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "conn.h"
#include "engine.h"
#include "err.h"
#include "facts.h"
#include "json.h"
#include "ports.h"
#include "storage.h"
#include "strategy.h"
#include "wait.h"

/* what arriving takes beside the memory itself: index of the store, page tables, CRIU */
#define MEMORY_RESERVE_BYTES ((uint64_t)128 << 20)

/* the same of us alone: all but page tables of the tasks and CRIU */
#define OWN_RESERVE_BYTES ((uint64_t)32 << 20)
#define INDEX_SHARE	  128 /* of the pages: memory/store.h, and page tables of both views */

#define CONNECT_MS 5000

struct subject {
	const struct rb_node *node;
	const json_t *offer;
	uint64_t layer_bytes;
	const json_t *info; /* of the engine */
	json_t *obstacles;
	const struct rb_wait *wait;
};

static void check_name(const struct subject *s)
{
	const char *name = rb_json_str(s->offer, "container", "");
	_cleanup_json_ json_t *inspect = NULL;

	if (rb_engine_inspect(s->node->engine, name, &inspect, s->wait, NULL) >= 0)
		rb_obstacle_add(s->obstacles, "error", "rename or remove it",
				"node '%s' has a container '%s'", s->node->name, name);
}

static void check_storage(const struct subject *s)
{
	rb_target_check_storage(s->node, s->offer,
				rb_json_str(s->info, "DockerRootDir", "/var/lib/docker"),
				s->obstacles, s->wait);
}

static void check_host(const struct subject *s)
{
	const json_t *theirs = json_object_get(s->offer, "host");
	_cleanup_json_ json_t *ours = NULL;
	struct rb_err why = {};
	char missing[300];

	if (rb_host_facts(&ours, s->wait, &why) < 0) {
		rb_obstacle_add(s->obstacles, "error", NULL, "node '%s' cannot restore: %s",
				s->node->name, why.msg);
		return;
	}
	if (strcmp(rb_json_str(ours, "architecture", ""),
		   rb_json_str(theirs, "architecture", "")) != 0)
		rb_obstacle_add(s->obstacles, "error", NULL, "node '%s' is %s, this host is %s",
				s->node->name, rb_json_str(ours, "architecture", "?"),
				rb_json_str(theirs, "architecture", "?"));
	rb_missing_words(rb_json_str(theirs, "cpu_flags", ""), rb_json_str(ours, "cpu_flags", ""),
			 missing, sizeof(missing));
	if (*missing)
		rb_obstacle_add(s->obstacles, "error", "move it between hosts with like processors",
				"the processor of node '%s' lacks features that programs may be "
				"using already: %s",
				s->node->name, missing);
}

static uint64_t bytes_of(const json_t *offer, const char *key)
{
	int64_t bytes = rb_json_int(offer, key, 0);

	return bytes > 0 ? (uint64_t)bytes : 0;
}

/* Pages wait in our memory until they are placed; those that stay at the source do not. */
static void check_allowed(const struct rb_node *node, const json_t *offer, uint64_t allowed,
			  json_t *obstacles)
{
	bool stays = rb_strategy_lets_stay(rb_json_str(offer, "strategy", ""));
	uint64_t pages = bytes_of(offer, "pages_bytes");
	uint64_t need = (stays ? 0 : pages) + pages / INDEX_SHARE +
			bytes_of(offer, "shared_bytes") + OWN_RESERVE_BYTES;

	if (allowed < need)
		rb_obstacle_add(
			obstacles, "error",
			stays ? "raise that limit"
			      : "raise that limit, or use --strategy post-copy",
			"reberthd on node '%s' is not allowed enough memory: %llu MiB needed, "
			"the limit of its cgroup leaves %llu MiB",
			node->name, (unsigned long long)(need >> 20),
			(unsigned long long)(allowed >> 20));
}

/* an older source does not say how it will be */
static bool will_be_lazy(const json_t *offer, bool lazy)
{
	return lazy && strcmp(rb_json_str(offer, "strategy", "cold"), "cold") != 0;
}

uint64_t rb_offer_images(const json_t *offer, bool lazy)
{
	return will_be_lazy(offer, lazy)
		       ? bytes_of(offer, "shared_bytes") + bytes_of(offer, "locked_bytes")
		       : bytes_of(offer, "memory_bytes");
}

void rb_obstacles_room(const struct rb_node *node, const json_t *offer, const struct rb_room *room,
		       json_t *obstacles)
{
	bool lazy = will_be_lazy(offer, room->lazy);
	uint64_t memory = bytes_of(offer, "pages_bytes") + bytes_of(offer, "shared_bytes") +
			  MEMORY_RESERVE_BYTES;

	if (lazy && room->memory && room->memory < memory)
		rb_obstacle_add(obstacles, "error",
				"end something there, or move it to another node",
				"node '%s' has too little memory: %llu MiB needed, %llu MiB "
				"available",
				node->name, (unsigned long long)(memory >> 20),
				(unsigned long long)(room->memory >> 20));
	if (lazy)
		check_allowed(node, offer, room->allowed, obstacles);
}

static void check_room(const struct subject *s)
{
	const char *docker = rb_json_str(s->info, "DockerRootDir", "/var/lib/docker");
	struct rb_room room = { .memory = rb_memory_available(),
				.allowed = rb_memory_allowed(),
				.lazy = rb_lazy_restore_works() };

	rb_obstacles_disk(s->node, s->offer, docker, s->layer_bytes, room.lazy, s->obstacles);
	rb_obstacles_room(s->node, s->offer, &room, s->obstacles);
}

static void check_runtime(const struct subject *s)
{
	if (!json_object_get(json_object_get(s->info, "Runtimes"), "reberth-runtime"))
		rb_obstacle_add(s->obstacles, "error",
				"add it to \"runtimes\" in /etc/docker/daemon.json and reload "
				"dockerd (SIGHUP)",
				"Docker on node '%s' does not know the runtime 'reberth-runtime'",
				s->node->name);
}

/* Whose memory is fetched from the source must be able to reach it. Nothing else of a move that
 * goes well needs a connection that way round. */
static void check_way_back(const struct subject *s)
{
	const char *name = rb_json_str(s->offer, "fetch_from", NULL);
	const char *address = name ? rb_json_str(s->node->peers, name, NULL) : NULL;
	struct rb_wait wait = rb_wait_within(s->wait, CONNECT_MS);
	struct rb_conn *conn = NULL;
	struct rb_err why = {};

	if (!name)
		return;
	if (!address)
		rb_err_code(&why, RB_E_NOT_FOUND, -ENOENT, "it is not among its peers");
	else if (rb_conn_connect(s->node->tls, address, name, &wait, &conn, &why) >= 0)
		why.code = RB_OK;
	rb_conn_free(conn);
	if (why.code != RB_OK)
		rb_obstacle_add(s->obstacles, "error",
				"have it reach this host, or use --strategy pre-copy",
				"node '%s' would have to fetch memory from here, and cannot: %s",
				s->node->name, why.msg);
}

static void (*const checks[])(const struct subject *s) = {
	check_name, check_storage, check_host, check_room, check_runtime, check_way_back,
};

int rb_obstacles_target(const struct rb_node *node, const json_t *offer, uint64_t layer_bytes,
			json_t *obstacles, const struct rb_wait *wait, struct rb_err *err)
{
	struct subject subject = { .node = node,
				   .offer = offer,
				   .layer_bytes = layer_bytes,
				   .obstacles = obstacles,
				   .wait = wait };
	_cleanup_json_ json_t *info = NULL;
	const json_t *member;
	size_t k;
	int r = rb_engine_call(node->engine, "GET", "/info", NULL, &info, wait, err);

	if (r < 0)
		return r;
	subject.info = info;
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		checks[i](&subject);
	json_array_foreach (json_object_get(offer, "members"), k, member) {
		subject.offer = member;
		check_name(&subject);
		check_storage(&subject);
	}
	rb_obstacles_segment(node, offer, obstacles, wait);
	rb_obstacles_ports_target(node, offer, obstacles, wait);
	return 0;
}
