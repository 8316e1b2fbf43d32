// SPDX-License-Identifier: Apache-2.0
/*
 * obstacles_source.c - obstacles that show in the container's own configuration
 */
#include "obstacles.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "dump.h"
#include "engine.h"
#include "err.h"
#include "freezer.h"
#include "group.h"
#include "json.h"

void rb_obstacle_add(json_t *obstacles, const char *severity, const char *remedy, const char *fmt,
		     ...)
{
	char what[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	json_array_append_new(obstacles, json_pack("{s:s, s:s, s:s}", "severity", severity, "what",
						   what, "remedy", remedy ? remedy : ""));
}

int rb_obstacles_refuse(const json_t *obstacles, struct rb_err *err)
{
	const json_t *first = NULL, *obstacle;
	size_t i, errors = 0;
	char more[64] = "";

	json_array_foreach (obstacles, i, obstacle) {
		if (strcmp(rb_json_str(obstacle, "severity", ""), "error") != 0)
			continue;
		if (!errors++)
			first = obstacle;
	}
	if (!errors)
		return 0;
	if (errors > 1)
		snprintf(more, sizeof(more), " (and %zu more: see --dry-run)", errors - 1);
	return rb_err_code(err, RB_E_REFUSED, -ENOTSUP, "%s%s%s%s", rb_json_str(first, "what", ""),
			   *rb_json_str(first, "remedy", "") ? ": " : "",
			   rb_json_str(first, "remedy", ""), more);
}

void rb_obstacles_name(json_t *obstacles, const char *name)
{
	json_t *obstacle;
	size_t i;

	json_array_foreach (obstacles, i, obstacle) {
		json_object_set_new(obstacle, "what",
				    json_sprintf("container '%s': %s", name,
						 rb_json_str(obstacle, "what", "")));
		json_object_set_new(obstacle, "container", json_string(name));
	}
}

struct subject {
	const struct rb_node *node;
	const json_t *inspect;
	const json_t *host_config;
	const json_t *group;
	json_t *obstacles;
	const struct rb_wait *wait;
};

static void refuse(const struct subject *s, const char *remedy, const char *what)
{
	rb_obstacle_add(s->obstacles, "error", remedy, "%s", what);
}

static void check_shared_namespaces(const struct subject *s)
{
	static const char *const keys[] = { "PidMode", "IpcMode", "UTSMode" };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *mode = rb_json_str(s->host_config, keys[i], "");

		if (strcmp(mode, "host") == 0 || strncmp(mode, "container:", 10) == 0)
			rb_obstacle_add(s->obstacles, "error", "run it with a namespace of its own",
					"%s is '%s': that namespace does not move along", keys[i],
					mode);
	}
	if (*rb_json_str(s->host_config, "UsernsMode", ""))
		rb_obstacle_add(s->obstacles, "warning", NULL,
				"UsernsMode is set; both engines must map users alike");
}

static void check_tty(const struct subject *s)
{
	if (rb_json_bool(json_object_get(s->inspect, "Config"), "Tty", false))
		refuse(s, "run it without -t",
		       "the container has a terminal (-t), which cannot be moved yet");
}

static void check_devices(const struct subject *s)
{
	if (json_array_size(json_object_get(s->host_config, "Devices")) ||
	    json_array_size(json_object_get(s->host_config, "DeviceRequests")))
		refuse(s, NULL, "the container uses devices of this host (--device, --gpus)");
	if (rb_json_bool(s->host_config, "Privileged", false))
		rb_obstacle_add(s->obstacles, "warning", NULL,
				"the container is privileged: what it holds of this host's devices "
				"does not move");
}

static void check_exec_sessions(const struct subject *s)
{
	const json_t *ids = json_object_get(s->inspect, "ExecIDs"), *id;
	size_t i;

	json_array_foreach (ids, i, id) {
		_cleanup_json_ json_t *exec = NULL;
		char path[200];

		snprintf(path, sizeof(path), "/exec/%.100s/json", json_string_value(id));
		if (rb_engine_call(s->node->engine, "GET", path, NULL, &exec, s->wait, NULL) >= 0 &&
		    rb_json_bool(exec, "Running", false))
			refuse(s, "end it and try again",
			       "a 'docker exec' session is open in the container, and cannot be "
			       "moved");
	}
}

static void check_stopped(const struct subject *s)
{
	int init, pid = 0;
	char freezer[PATH_MAX];

	if (rb_criu_init_pid(s->node->runtime_root, rb_json_str(s->inspect, "Id", ""), &init,
			     NULL) >= 0 &&
	    rb_freezer_find(init, freezer, sizeof(freezer), NULL) >= 0)
		pid = rb_freezer_stopped(freezer, NULL);
	if (pid > 0)
		rb_obstacle_add(s->obstacles, "error", "have it go on (kill -CONT), or end it",
				"process %d of the container is stopped (SIGSTOP), and cannot be "
				"saved so",
				pid);
}

static bool has_entries(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), n = 0;
	_cleanup_closedir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		rb_close_fd(&fd);
	while (dir && n <= 2 && readdir(dir))
		n++;
	return n > 2;
}

/* Docker mounts such a one on the host, and CRIU takes it for the host's. */
int rb_obstacles_shm(const json_t *inspect, int init_pid, struct rb_err *err)
{
	const char *mode = rb_json_str(rb_json_path(inspect, "HostConfig"), "IpcMode", "");
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root/dev/shm", init_pid);
	if (strcmp(mode, "shareable") != 0 || !has_entries(path))
		return 0;
	return rb_err_code(err, RB_E_REFUSED, -ENOTSUP,
			   "IpcMode is 'shareable': what is in /dev/shm does not move along");
}

static void check_shm(const struct subject *s)
{
	struct rb_err why = {};
	int init;

	if (rb_criu_init_pid(s->node->runtime_root, rb_json_str(s->inspect, "Id", ""), &init,
			     NULL) >= 0 &&
	    rb_obstacles_shm(s->inspect, init, &why) < 0)
		refuse(s, "run it with --ipc private, or empty that folder", why.msg);
}

static void check_controllers(const struct subject *s)
{
	const json_t *labels = rb_json_path(s->inspect, "Config.Labels");
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)labels, key, value) {
		if (strcmp(key, "com.docker.swarm.service.id") == 0)
			refuse(s, NULL,
			       "the container belongs to a Swarm service, which would start a "
			       "second one");
		else if (strcmp(key, "io.kubernetes.pod.name") == 0)
			refuse(s, NULL,
			       "the container belongs to Kubernetes, which would start a second "
			       "one");
		else if (strcmp(key, "com.docker.compose.project") == 0)
			rb_obstacle_add(s->obstacles, "warning", NULL,
					"the container belongs to Compose project '%s': Compose "
					"here will not know it"
					" any more",
					json_string_value(value));
	}
}

static void check_leftovers(const struct subject *s)
{
	const char *log = rb_json_str(json_object_get(s->host_config, "LogConfig"), "Type", "");

	if (strcmp(log, "json-file") != 0)
		rb_obstacle_add(s->obstacles, "warning", NULL,
				"log driver '%s': earlier lines of 'docker logs' stay here", log);
	if (rb_json_bool(s->host_config, "AutoRemove", false))
		rb_obstacle_add(s->obstacles, "warning", NULL,
				"--rm does not move along: remove it by hand when it ends");
}

static void (*const checks[])(const struct subject *s) = {
	check_shared_namespaces, check_tty, check_devices,     check_exec_sessions,
	check_stopped,		 check_shm, check_controllers, check_leftovers,
};

int rb_obstacles_source(const struct rb_node *node, const json_t *inspect, bool reconnect,
			const json_t *group, json_t *obstacles, const struct rb_wait *wait,
			struct rb_err *err)
{
	const struct subject subject = { .node = node,
					 .inspect = inspect,
					 .host_config = json_object_get(inspect, "HostConfig"),
					 .group = group,
					 .obstacles = obstacles,
					 .wait = wait };

	if (!subject.host_config)
		return rb_err_code(err, RB_E_ENGINE, -EPROTO,
				   "Docker's description of the container lacks HostConfig");
	rb_obstacles_network(node, inspect, reconnect, group, obstacles, wait);
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		checks[i](&subject);
	if (json_array_size(group) > 1)
		rb_obstacles_group(node, group, inspect, obstacles);
	return 0;
}
