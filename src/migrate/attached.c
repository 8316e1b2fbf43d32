// SPDX-License-Identifier: Apache-2.0
/* attached.c - is the container in the networks that it was in when the move began? */
#include "attached.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "engine.h"
#include "err.h"
#include "json.h"
#include "migration.h"
#include "net.h"
#include "source.h"

#define NETWORKS "NetworkSettings.Networks"

static int list_devices(struct rb_migration *m, json_t **ret, struct rb_err *err)
{
	_cleanup_close_ int netns = rb_source_netns(m, err);

	return netns < 0 ? netns : rb_cables_of(netns, ret, err);
}

static int say_changed(const struct rb_migration *m, struct rb_err *err)
{
	return rb_err_code(err, RB_E_CANCELED, -ECANCELED,
			   "'%s' was connected to a network or disconnected from one during the "
			   "move, which cancels it",
			   m->entry.container);
}

int rb_attached_note(struct rb_migration *m, struct rb_err *err)
{
	json_t *devices = NULL;
	int r = list_devices(m, &devices, err);

	if (r >= 0)
		rb_migration_fact(m, "devices", devices);
	return r;
}

int rb_attached_still(struct rb_migration *m, struct rb_err *err)
{
	_cleanup_json_ json_t *devices = NULL;
	int r = list_devices(m, &devices, err);

	if (r < 0)
		return r;
	return json_equal(devices, json_object_get(m->entry.facts, "devices"))
		       ? 0
		       : say_changed(m, err);
}

/* An endpoint that is made again has another id. */
static bool are_same(const json_t *then, const json_t *now)
{
	const char *name;
	json_t *endpoint;

	if (json_object_size(then) != json_object_size(now))
		return false;
	json_object_foreach ((json_t *)then, name, endpoint)
		if (strcmp(rb_json_str(endpoint, "EndpointID", ""),
			   rb_json_str(json_object_get(now, name), "EndpointID", "-")) != 0)
			return false;
	return true;
}

int rb_attached_networks(struct rb_migration *m, const struct rb_wait *wait, struct rb_err *err)
{
	_cleanup_json_ json_t *inspect = NULL;
	int r = rb_attached_still(m, err);

	if (r >= 0)
		r = rb_engine_inspect(m->node->engine, m->members[0].container_id, &inspect, wait,
				      err);
	if (r < 0)
		return r;
	return are_same(rb_json_path(json_object_get(m->entry.facts, "inspect"), NETWORKS),
			rb_json_path(inspect, NETWORKS))
		       ? 0
		       : say_changed(m, err);
}
