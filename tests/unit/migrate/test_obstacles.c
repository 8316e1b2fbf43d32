// SPDX-License-Identifier: Apache-2.0
/*
 * test_obstacles.c - what is refused, and in which words
 */
#include <errno.h>

#include "err.h"
#include "facts.h"
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

/* the container's own configuration; the engine is only asked for volumes and sessions */
static json_t *obstacles_of(const char *host_config, const char *labels)
{
	_cleanup_json_ json_t *inspect = json_object();
	struct rb_node node = { .name = "h1" };
	json_t *obstacles = json_array();
	struct rb_err err = {};

	json_object_set_new(inspect, "HostConfig", json_loads(host_config, 0, NULL));
	json_object_set_new(inspect, "Config",
			    json_pack("{s:o}", "Labels", json_loads(labels, 0, NULL)));
	json_object_set_new(inspect, "Mounts", json_array());
	if (rb_obstacles_source(&node, inspect, obstacles, NULL, &err) < 0)
		printf("# %s\n", err.msg);
	return obstacles;
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

int main(void)
{
	TAP_RUN(warnings_do_not_refuse);
	TAP_RUN(the_first_error_is_told_with_its_remedy_and_the_number_of_others);
	TAP_RUN(a_plain_container_in_a_network_of_its_own_may_go);
	TAP_RUN(what_cannot_move_is_refused);
	TAP_RUN(controllers_that_would_start_a_second_copy_are_refused);
	TAP_RUN(missing_processor_features_are_named);
	return tap_done();
}
