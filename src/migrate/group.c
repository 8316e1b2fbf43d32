// SPDX-License-Identifier: Apache-2.0
/* group.c - containers that share one network namespace */
#include "group.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "json.h"
#include "migration.h"

#define PREFIX	     "container:"
#define SHORT_ID_LEN 12

static const char *mode_of(const json_t *inspect)
{
	return rb_json_str(json_object_get(inspect, "HostConfig"), "NetworkMode", "");
}

/* whose network it joined, as Docker was told; NULL: nobody's */
static const char *joined(const char *mode)
{
	return strncmp(mode, PREFIX, strlen(PREFIX)) == 0 ? mode + strlen(PREFIX) : NULL;
}

static const char *plain_name(const char *name)
{
	return name + (*name == '/');
}

bool rb_group_joins(const char *mode, const char *id, const char *name)
{
	const char *whom = joined(mode);

	if (!whom || !*id)
		return false;
	return strcmp(whom, id) == 0 || strcmp(whom, plain_name(name)) == 0 ||
	       (strlen(whom) >= SHORT_ID_LEN && strncmp(whom, id, strlen(whom)) == 0);
}

int rb_group_index(const json_t *group, const json_t *inspect)
{
	const json_t *other;
	size_t i;

	json_array_foreach (group, i, other)
		if (rb_group_joins(mode_of(inspect), rb_json_str(other, "Id", ""),
				   rb_json_str(other, "Name", "/")))
			return (int)i;
	return -1;
}

bool rb_group_has(const json_t *group, const char *id)
{
	const json_t *one;
	size_t i;

	json_array_foreach (group, i, one)
		if (strcmp(rb_json_str(one, "Id", "-"), id) == 0)
			return true;
	return false;
}

static bool find_netns(const json_t *inspect, struct stat *ret)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net",
		 (int)rb_json_int(json_object_get(inspect, "State"), "Pid", 0));
	return stat(path, ret) == 0;
}

bool rb_group_is_whole(const json_t *group, const json_t *inspect)
{
	struct stat owner, own;

	return find_netns(json_array_get(group, 0), &owner) && find_netns(inspect, &own) &&
	       owner.st_ino == own.st_ino && owner.st_dev == own.st_dev;
}

/* whose network namespace it is, in the end */
static int find_owner(const struct rb_node *node, const json_t *inspect, json_t **ret,
		      const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *at = json_incref((json_t *)inspect);
	const char *whom;

	for (int depth = 0; (whom = joined(mode_of(at))); depth++) {
		json_t *next = NULL;
		int r = rb_engine_inspect(node->engine, whom, &next, wait, err);

		if (r == -ENOENT || depth == RB_MEMBERS_MAX)
			return rb_err_code(err, RB_E_REFUSED, -EOPNOTSUPP,
					   "container '%s' uses the network of a container that is "
					   "not here any more: run it anew",
					   plain_name(rb_json_str(at, "Name", "/")));
		if (r < 0)
			return r;
		json_decref(at);
		at = next;
	}
	*ret = TAKE_PTR(at);
	return 0;
}

/* adds those that joined the network of @whom */
static int add_joined(const struct rb_node *node, const json_t *running, const json_t *whom,
		      json_t *group, const struct rb_wait *wait, struct rb_err *err)
{
	const json_t *other;
	size_t i;

	json_array_foreach (running, i, other) {
		const char *id = rb_json_str(other, "Id", "");
		json_t *inspect = NULL;
		int r;

		if (!rb_group_joins(mode_of(other), rb_json_str(whom, "Id", ""),
				    rb_json_str(whom, "Name", "/")) ||
		    rb_group_has(group, id))
			continue;
		if (json_array_size(group) == RB_MEMBERS_MAX)
			return rb_err_code(err, RB_E_REFUSED, -E2BIG,
					   "more than %d containers share one network: stop some",
					   RB_MEMBERS_MAX);
		r = rb_engine_inspect(node->engine, id, &inspect, wait, err);
		/* ended since */
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		json_array_append_new(group, inspect);
	}
	return 0;
}

int rb_group_find(const struct rb_node *node, const json_t *inspect, json_t **ret,
		  const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *running = NULL, *group = json_array();
	json_t *owner = NULL;
	int r = find_owner(node, inspect, &owner, wait, err);

	if (r >= 0)
		r = rb_engine_call(node->engine, "GET", "/containers/json", NULL, &running, wait,
				   err);
	json_array_append_new(group, owner);
	/* it grows meanwhile: some may have joined those that joined */
	for (size_t i = 0; r >= 0 && i < json_array_size(group); i++)
		r = add_joined(node, running, json_array_get(group, i), group, wait, err);
	if (r >= 0)
		*ret = TAKE_PTR(group);
	return r;
}
