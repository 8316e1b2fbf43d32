// SPDX-License-Identifier: Apache-2.0
/*
 * test_obstacles.c - what is refused, and in which words
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "facts.h"
#include "group.h"
#include "json.h"
#include "obstacles.h"
#include "tap.h"

static void warnings_do_not_refuse(void)
{
	_cleanup_json_ json_t *obstacles = json_array();

	rb_obstacle_add(obstacles, "warning", NULL, "it rains");
	CHECK_INT(rb_obstacles_refuse(obstacles, NULL), 0);
}

static void the_first_error_is_told_with_its_remedy_and_the_number_of_others(void)
{
	_cleanup_json_ json_t *obstacles = json_array();
	struct rb_err err = {};

	rb_obstacle_add(obstacles, "warning", NULL, "it rains");
	rb_obstacle_add(obstacles, "error", "do this", "'%s' is in the way", "x");
	rb_obstacle_add(obstacles, "error", NULL, "y");
	CHECK_INT(rb_obstacles_refuse(obstacles, &err), -ENOTSUP);
	CHECK_INT(err.code, RB_E_REFUSED);
	CHECK_STR(err.msg, "'x' is in the way: do this (and 1 more: see --dry-run)");
}

/* the container's own configuration; the engine is only asked for volumes and sessions
 * @group: what moves together, or NULL */
static json_t *obstacles_in(const char *host_config, const char *labels, const json_t *group)
{
	_cleanup_json_ json_t *inspect = json_object();
	struct rb_node node = { .name = "h1" };
	json_t *obstacles = json_array();
	struct rb_err err = {};

	json_object_set_new(inspect, "HostConfig", json_loads(host_config, 0, NULL));
	json_object_set_new(inspect, "Config",
			    json_pack("{s:o}", "Labels", json_loads(labels, 0, NULL)));
	json_object_set_new(inspect, "Mounts", json_array());
	if (rb_obstacles_source(&node, inspect, false, group, obstacles, NULL, &err) < 0)
		printf("# %s\n", err.msg);
	return obstacles;
}

static json_t *obstacles_of(const char *host_config, const char *labels)
{
	return obstacles_in(host_config, labels, NULL);
}

#define PLAIN "\"LogConfig\":{\"Type\":\"json-file\"}"

static void a_plain_container_in_a_network_of_its_own_may_go(void)
{
	_cleanup_json_ json_t *found = obstacles_of("{\"NetworkMode\":\"lan\"," PLAIN "}", "{}");

	CHECK_INT(json_array_size(found), 0);
}

static void what_cannot_move_is_refused(void)
{
	static const char *const configs[] = {
		"{\"NetworkMode\":\"host\"," PLAIN "}",
		"{\"NetworkMode\":\"default\"," PLAIN "}",
		"{\"NetworkMode\":\"container:abc\"," PLAIN "}",
		"{\"NetworkMode\":\"lan\",\"PidMode\":\"host\"," PLAIN "}",
		"{\"NetworkMode\":\"lan\",\"IpcMode\":\"container:abc\"," PLAIN "}",
		"{\"NetworkMode\":\"lan\",\"Devices\":[{\"PathOnHost\":\"/dev/kvm\"}]," PLAIN "}",
	};

	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
		_cleanup_json_ json_t *found = obstacles_of(configs[i], "{}");

		printf("# %s\n", configs[i]);
		CHECK_INT(rb_obstacles_refuse(found, NULL), -ENOTSUP);
	}
}

static bool says(const json_t *found, const char *key, const char *text)
{
	const json_t *obstacle;
	size_t i;

	json_array_foreach (found, i, obstacle)
		if (strstr(rb_json_str(obstacle, key, ""), text))
			return true;
	return false;
}

static void a_group_moves_together_or_not_at_all(void)
{
	static const char config[] = "{\"NetworkMode\":\"container:abc\"," PLAIN "}";
	/* this very process stands for all tasks */
	_cleanup_json_ json_t *group = json_pack("[{s:s, s:s, s:{s:i}}, {s:s}]", "Id", "abc",
						 "Name", "/owner", "State", "Pid", getpid(), "Id",
						 "def");
	_cleanup_json_ json_t *alone = obstacles_of(config, "{}");
	_cleanup_json_ json_t *together = obstacles_in(config, "{}", group);

	CHECK(says(alone, "remedy", "--group"));
	/* its own State.Pid is not known: nobody can say that the namespace is the owner's */
	CHECK(!says(together, "remedy", "--group"));
	CHECK(says(together, "what", "the network that 'owner' had before"));
	CHECK(rb_group_is_whole(group, json_array_get(group, 0)));
	rb_obstacles_name(together, "side");
	CHECK(says(together, "what", "container 'side': the container is in the network"));
	CHECK(says(together, "container", "side"));
}

static void who_joins_whom(void)
{
	static const struct {
		const char *mode;
		bool joins;
	} cases[] = {
		{ "container:0123456789abcdef", true },
		{ "container:0123456789ab", true },
		{ "container:web", true },
		{ "container:012345", false },
		{ "container:webber", false },
		{ "container:", false },
		{ "web", false },
		{ "", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		printf("# %s\n", cases[i].mode);
		CHECK_INT(rb_group_joins(cases[i].mode, "0123456789abcdef", "/web"),
			  cases[i].joins);
		CHECK_INT(rb_group_joins(cases[i].mode, "0123456789abcdef", "web"), cases[i].joins);
	}
	CHECK(!rb_group_joins("container:", "", "/"));
}

static void controllers_that_would_start_a_second_copy_are_refused(void)
{
	_cleanup_json_ json_t *swarm = obstacles_of("{\"NetworkMode\":\"lan\"," PLAIN "}",
						    "{\"com.docker.swarm.service.id\":\"x\"}");
	_cleanup_json_ json_t *compose = obstacles_of("{\"NetworkMode\":\"lan\"," PLAIN "}",
						      "{\"com.docker.compose.project\":\"x\"}");

	CHECK_INT(rb_obstacles_refuse(swarm, NULL), -ENOTSUP);
	CHECK_INT(rb_obstacles_refuse(compose, NULL), 0);
	CHECK_INT(json_array_size(compose), 1);
}

static void missing_processor_features_are_named(void)
{
	char missing[16];

	rb_missing_words("fpu avx avx2 sse", "sse fpu avx2", missing, sizeof(missing));
	CHECK_STR(missing, "avx");
	rb_missing_words("fpu", "fpu", missing, sizeof(missing));
	CHECK_STR(missing, "");
	/* cut at a word, never within one */
	rb_missing_words("aaaaaaaa bbbbbbbb cc", "", missing, sizeof(missing));
	CHECK_STR(missing, "aaaaaaaa cc");
}

#define GIB ((uint64_t)1 << 30)

static void only_what_is_needed_must_be_free(void)
{
	/* in GiB: a container with 8, of which 1 is shared memory, and 1 locked */
	static const struct {
		const char *strategy;
		bool lazy;
		uint64_t images, memory;
		const char *what;
	} cases[] = {
		{ "pre-copy", true, 3, 10, "" },
		{ "pre-copy", true, 3, 0, "" },
		{ "pre-copy", true, 3, 8,
		  "node 'h2' has too little memory: 8320 MiB needed, 8192 MiB available" },
		{ "pre-copy", true, 2, 10,
		  "node 'h2' has too little disk space for '/state': 2112 MiB needed, 2048 MiB "
		  "free" },
		{ "cold", true, 9, 8, "" },
		{ "cold", true, 8, 10,
		  "node 'h2' has too little disk space for '/state': 8256 MiB needed, 8192 MiB "
		  "free" },
		/* one that cannot do it, and a source that does not say */
		{ "pre-copy", false, 9, 8, "" },
		{ NULL, true, 9, 8, "" },
	};
	const struct rb_node node = { .name = "h2", .state_dir = "/state" };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_json_ json_t *offer = json_pack(
			"{s:I, s:I, s:I, s:I, s:s*}", "memory_bytes", (json_int_t)(8 * GIB),
			"pages_bytes", (json_int_t)(7 * GIB), "shared_bytes", (json_int_t)GIB,
			"locked_bytes", (json_int_t)GIB, "strategy", cases[i].strategy);
		_cleanup_json_ json_t *found = json_array();
		struct rb_room room = { .memory = cases[i].memory * GIB,
					.allowed = UINT64_MAX,
					.lazy = cases[i].lazy };
		struct rb_written images = { "/state", rb_offer_images(offer, cases[i].lazy), 1,
					     cases[i].images * GIB };

		rb_obstacles_disks(&node, &images, 1, found);
		rb_obstacles_room(&node, offer, &room, found);
		printf("# case %zu\n", i);
		CHECK_STR(rb_json_str(json_array_get(found, 0), "what", ""), cases[i].what);
		CHECK_INT(json_array_size(found), *cases[i].what ? 1 : 0);
	}
}

static void what_goes_to_one_disk_is_added_up(void)
{
	const struct rb_node node = { .name = "h2", .state_dir = "/state" };
	struct rb_written list[] = { { "/state", 0, 1, GIB },
				     { "/docker", 0, 1, GIB },
				     { "/srv/a", 500 << 20, 2, GIB },
				     { "/home", 900 << 20, 3, GIB },
				     { "/srv/b", 460 << 20, 2, GIB } };
	_cleanup_json_ json_t *found = json_array();

	rb_obstacles_disks(&node, list, 5, found);
	CHECK_INT(json_array_size(found), 0);
	list[4].bytes += 1 << 20;
	rb_obstacles_disks(&node, list, 5, found);
	CHECK_INT(json_array_size(found), 1);
	CHECK_STR(rb_json_str(json_array_get(found, 0), "what", ""),
		  "node 'h2' has too little disk space for '/srv/a', '/srv/b': 1025 MiB needed, "
		  "1024 MiB free");
	/* what a hostile peer says */
	json_array_clear(found);
	list[2].bytes = list[4].bytes = UINT64_MAX - 5;
	rb_obstacles_disks(&node, list, 5, found);
	CHECK_INT(json_array_size(found), 1);
}

/* Each bind mount for itself would do; the writable layer and the volumes are elsewhere. */
static void folders_of_the_host_are_not_in_dockers(void)
{
	const struct rb_node node = { .name = "h2", .state_dir = "/dev/shm" };
	const int64_t most = (int64_t)rb_disk_free("/tmp") / 4 * 3;
	_cleanup_json_ json_t *offer =
		json_pack("{s:I, s:[{s:s, s:s, s:I}], s:[{s:[{s:s, s:s, s:I}]}]}", "file_bytes",
			  (json_int_t)(2 * most), "binds", "how", "copied", "source", "/tmp/a/b",
			  "bytes", (json_int_t)most, "members", "binds", "how", "copied", "source",
			  "/tmp/c", "bytes", (json_int_t)most);
	_cleanup_json_ json_t *found = json_array();

	rb_obstacles_disk(&node, offer, "/dev/shm", 0, true, found);
	CHECK_INT(json_array_size(found), 1);
	CHECK(strstr(rb_json_str(json_array_get(found, 0), "what", ""),
		     "for '/tmp/a/b', '/tmp/c': "));
}

static void layers_need_room_too(void)
{
	/* GiB of layers, free for our folder and for Docker's */
	static const struct {
		uint64_t layers, state, docker;
		bool one_disk;
		const char *what;
	} cases[] = {
		{ 4, 5, 9, false, "" },
		{ 4, 4, 9, false,
		  "node 'h2' has too little disk space for '/state': 4160 MiB needed, 4096 MiB "
		  "free" },
		{ 4, 5, 8, false,
		  "node 'h2' has too little disk space for '/docker', 'layers of the image, twice "
		  "while it loads them': 8256 MiB needed, 8192 MiB free" },
		/* ours goes while Docker's two come */
		{ 4, 9, 9, true, "" },
		{ 4, 8, 8, true,
		  "node 'h2' has too little disk space for '/docker', 'layers of the image, twice "
		  "while it loads them': 8256 MiB needed, 8192 MiB free" },
	};
	const struct rb_node node = { .name = "h2", .state_dir = "/state" };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_json_ json_t *found = json_array();
		struct rb_written state = { "/state", 7, 1, cases[i].state * GIB };
		struct rb_written docker = { "/docker", 7, cases[i].one_disk ? 1 : 2,
					     cases[i].docker * GIB };

		rb_obstacles_layers(&node, &state, &docker, cases[i].layers * GIB, found);
		printf("# case %zu\n", i);
		CHECK_STR(rb_json_str(json_array_get(found, 0), "what", ""), cases[i].what);
	}
}

/* what it has in the end, on a disk that no host has twice */
static void the_offers_layers_count(void)
{
	const struct rb_node node = { .name = "h2", .state_dir = "/" };
	_cleanup_json_ json_t *offer = json_object(), *found = json_array();

	rb_obstacles_disk(&node, offer, "/", 0, false, found);
	CHECK_INT(json_array_size(found), 0);
	rb_obstacles_disk(&node, offer, "/", (uint64_t)1 << 60, false, found);
	CHECK_INT(json_array_size(found), 1);
	CHECK(strstr(rb_json_str(json_array_get(found, 0), "what", ""), "'layers of the image'"));
}

static void what_waits_here_must_be_allowed(void)
{
	/* the same container */
	static const struct {
		const char *strategy;
		uint64_t allowed_mib;
		const char *what, *remedy;
	} cases[] = {
		{ "pre-copy", (8 << 10) + 88, "", "" },
		{ "pre-copy", (8 << 10) + 87,
		  "reberthd on node 'h2' is not allowed enough memory: 8280 MiB needed, the limit "
		  "of "
		  "its cgroup leaves 8279 MiB",
		  "raise that limit, or use --strategy post-copy" },
		{ "hybrid", 8 << 10,
		  "reberthd on node 'h2' is not allowed enough memory: 8280 MiB needed, the limit "
		  "of "
		  "its cgroup leaves 8192 MiB",
		  "raise that limit, or use --strategy post-copy" },
		/* private memory stays where it is, and what is shared does not */
		{ "post-copy", (1 << 10) + 88, "", "" },
		{ "post-copy", 1 << 10,
		  "reberthd on node 'h2' is not allowed enough memory: 1112 MiB needed, the limit "
		  "of "
		  "its cgroup leaves 1024 MiB",
		  "raise that limit" },
		{ "cold", 1, "", "" },
	};
	const struct rb_node node = { .name = "h2", .state_dir = "/state" };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_json_ json_t *offer =
			json_pack("{s:I, s:I, s:I, s:s}", "memory_bytes", (json_int_t)(8 * GIB),
				  "pages_bytes", (json_int_t)(7 * GIB), "shared_bytes",
				  (json_int_t)GIB, "strategy", cases[i].strategy);
		_cleanup_json_ json_t *found = json_array();
		struct rb_room room = { .memory = 99 * GIB,
					.allowed = cases[i].allowed_mib << 20,
					.lazy = true };

		rb_obstacles_room(&node, offer, &room, found);
		printf("# case %zu\n", i);
		CHECK_STR(rb_json_str(json_array_get(found, 0), "what", ""), cases[i].what);
		CHECK_STR(rb_json_str(json_array_get(found, 0), "remedy", ""), cases[i].remedy);
	}
}

/* --- connections: what will not find its way --- */

#define LAN "{\"lan\":{\"ipam\":[{\"Subnet\":\"10.88.0.0/16\"}],\"default\":true}}"

/* @peer; "here" if it is an address of the source host */
static json_t *connections(const char *peer, bool here, bool translated)
{
	_cleanup_json_ json_t *offer = json_pack("{s:o, s:[{s:s, s:i, s:b}]}", "networks",
						 json_loads(LAN, 0, NULL), "connections", "peer",
						 peer, "count", 2, "here", here);
	json_t *obstacles = json_array();

	rb_obstacles_connections(offer, "h2", translated, obstacles);
	return obstacles;
}

static void only_connections_that_are_lost_are_named(void)
{
	/* 127.0.0.1 stands for an address that the target host has, too */
	static const struct {
		const char *peer;
		bool here, translated;
		const char *what;
	} cases[] = {
		{ "10.88.1.7", false, true, "" },
		{ "10.88.0.1", true, true, "" },
		{ "192.0.2.7", false, false, "" },
		{ "192.0.2.1", true, false, "" },
		{ "2001:db8::1", false, true, "" },
		{ "127.0.0.1", false, false, "" },
		{ "127.0.0.1", true, false,
		  "2 connections to 127.0.0.1, an address of the source host, will end: node 'h2' "
		  "has the same address" },
		{ "192.0.2.1", true, true,
		  "2 connections to 192.0.2.1, an address of the source host, will end: from node "
		  "'h2' they would come from that node's address" },
		{ "192.0.2.7", false, true,
		  "2 connections to 192.0.2.7 will end: it knows them by the source host's address "
		  "(NAT)" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_json_ json_t *found =
			connections(cases[i].peer, cases[i].here, cases[i].translated);

		printf("# %s%s%s\n", cases[i].peer, cases[i].here ? ", here" : "",
		       cases[i].translated ? ", translated" : "");
		CHECK_STR(rb_json_str(json_array_get(found, 0), "what", ""), cases[i].what);
		CHECK_INT(rb_obstacles_refuse(found, NULL), 0);
	}
}

static void networks_that_translate(void)
{
	static const struct {
		const char *network;
		bool does;
	} cases[] = {
		{ "{\"Driver\":\"bridge\"}", true },
		{ "{\"Driver\":\"bridge\",\"Internal\":true}", false },
		{ "{\"Driver\":\"macvlan\"}", false },
		{ "{\"Driver\":\"bridge\",\"Options\":{\"com.docker.network.bridge.enable_ip_"
		  "masquerade\":\"false\"}}",
		  false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_json_ json_t *network = json_loads(cases[i].network, 0, NULL);

		printf("# %s\n", cases[i].network);
		CHECK_INT(rb_network_masquerades(network), cases[i].does);
	}
}

int main(void)
{
	TAP_RUN(warnings_do_not_refuse);
	TAP_RUN(the_first_error_is_told_with_its_remedy_and_the_number_of_others);
	TAP_RUN(a_plain_container_in_a_network_of_its_own_may_go);
	TAP_RUN(what_cannot_move_is_refused);
	TAP_RUN(a_group_moves_together_or_not_at_all);
	TAP_RUN(who_joins_whom);
	TAP_RUN(controllers_that_would_start_a_second_copy_are_refused);
	TAP_RUN(missing_processor_features_are_named);
	TAP_RUN(only_what_is_needed_must_be_free);
	TAP_RUN(what_goes_to_one_disk_is_added_up);
	TAP_RUN(folders_of_the_host_are_not_in_dockers);
	TAP_RUN(layers_need_room_too);
	TAP_RUN(the_offers_layers_count);
	TAP_RUN(what_waits_here_must_be_allowed);
	TAP_RUN(only_connections_that_are_lost_are_named);
	TAP_RUN(networks_that_translate);
	return tap_done();
}
